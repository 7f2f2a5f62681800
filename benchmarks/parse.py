"""Reads, lists and creates on PostgreSQL beside Parse Server: the same server, a core for each.

Parse Server is npm's, and needs Node and ``npm install --prefix .tools/npm parse-server@8``.
"""

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks import web
from benchmarks.beside import PINNED, Placement
from benchmarks.load import request
from benchmarks.report import Row
from benchmarks.servers import Mainspring, Process, post
from mainspring.testing.servers import PostgresServer, embedded_postgres

MODULES = Path(__file__).parents[1] / ".tools" / "npm" / "node_modules"
SCRIPT = Path(__file__).with_name("parse_server.cjs")
ADDRESS = "127.0.0.77"  # of PostgreSQL: its driver for Node takes no directory of a socket
_APP = {"X-Parse-Application-Id": "bench"}
_MASTER = {**_APP, "X-Parse-Master-Key": "bench-master"}


class ParseServer(Process):
    """One process of Parse Server over a database of its own."""

    name = "parse-server"
    label = "Parse Server"

    def __init__(self, directory: Path, url: str, *, placement: Placement = PINNED) -> None:
        super().__init__(directory, "/parse/health", placement)
        self._url = url
        self._session: dict[str, str] = {}

    def version(self) -> str:
        """What is measured."""
        said = json.loads((MODULES / "parse-server" / "package.json").read_text())
        return f"parse-server {said['version']}"

    def start(self) -> None:
        """Start over the database."""
        self.launch(
            ["node", str(SCRIPT), self._url, str(self.port)],
            {"NODE_PATH": str(MODULES)},
            cwd=self.directory,  # it writes logs where it stands
        )

    def prepare(self, rows: int) -> list[str]:
        """Make the class, the posts and the user."""
        known = {"requiresAuthentication": True}
        self.ask("POST", "/parse/schemas/posts", {
            "className": "posts",
            "fields": {
                "title": {"type": "String", "required": True}, "body": {"type": "String"},
                "views": {"type": "Number"}, "status": {"type": "String"},
            },
            "classLevelPermissions": dict.fromkeys(("find", "get", "create", "count"), known),
        }, headers=_MASTER)  # fmt: skip
        made = [
            self.ask("POST", "/parse/classes/posts", post(n), headers=_MASTER) for n in range(rows)
        ]
        who = {"username": "reader", "password": "correct horse battery 9"}
        token = self.ask("POST", "/parse/users", who, headers=_APP)["sessionToken"]
        self._session = {**_APP, "X-Parse-Session-Token": token}
        return [one["objectId"] for one in made]

    def get(self, record_id: str) -> bytes:
        """One post, logged in."""
        return request("GET", f"/parse/classes/posts/{record_id}", self._session)

    def page(self, *, total: bool) -> bytes:
        """The first 30 posts."""
        count = "&count=1" if total else ""
        return request("GET", f"/parse/classes/posts?limit=30&order=objectId{count}", self._session)

    def create(self, number: int, title: str = "") -> bytes:
        """A new post, without idempotency, event or audit: it has none as it comes."""
        body = json.dumps(post(number, title)).encode()
        return request("POST", "/parse/classes/posts", self._session, body)


def measure(seconds: float, rounds: int) -> Iterator[Row]:
    """Yield a row per workload; none where a part is absent, which is said."""
    binaries = embedded_postgres()
    if binaries is None or shutil.which("node") is None or not (MODULES / "parse-server").exists():
        print(f"skipped: {__doc__}")
        return
    server = PostgresServer(binaries, durable=True, settings={"listen_addresses": ADDRESS})
    try:
        ours = {"MAINSPRING_DATABASE__URL": server.create_database()}
        name = server.create_database().partition("?")[0].rpartition("/")[2]
        theirs = f"postgresql://postgres@{ADDRESS}/{name}"
        yield from web.measure(
            partial(ParseServer, url=theirs), PINNED, seconds, rounds, (1_000,),
            make_mine=partial(Mainspring, settings=ours),
        )  # fmt: skip
    finally:
        server.close()
