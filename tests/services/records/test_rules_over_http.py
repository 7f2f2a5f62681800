"""The collection of the quickstart on a whole platform, attacked by everybody who can reach it."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from mainspring.app import build, sections
from mainspring.settings import load

QUICKSTART = Path(__file__).parents[3] / "docs/quickstart.md"
PHOTO = {"name": "photo", "type": "file"}


class Client:
    """Asks with one credential, or with none."""

    def __init__(self, http: aiohttp.ClientSession, url: str, credential: str | None) -> None:
        self._http = http
        self._url = url
        self._headers = {"Authorization": f"Bearer {credential}"} if credential else {}

    def as_(self, credential: str | None) -> "Client":
        return Client(self._http, self._url, credential)

    async def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent: dict[str, Any] = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with self._http.request(
            method, self._url + path, headers={**self._headers, **named}, **sent
        ) as answer:
            read = await answer.read()
            return answer.status, msgspec.json.decode(read) if read else None

    async def signed_up(self, name: str) -> tuple[str, "Client"]:
        """Sign up; return the user's id and a client of theirs."""
        person = {"email": f"{name}@example.com", "password": f"correct horse of {name}"}
        _, user = await self.ask("POST", "/v1/users", person)
        _, tokens = await self.ask("POST", "/v1/sessions", person)
        return user["id"], self.as_(tokens["access_token"])


@pytest.fixture
async def root(database_url: str, tmp_path: Path) -> AsyncIterator[Client]:
    environ = {
        "MAINSPRING_PLATFORM__DATA_DIR": str(tmp_path / "data"),
        "MAINSPRING_DATABASE__URL": database_url,
        "MAINSPRING_SERVER__PORT": "0",
    }
    platform = await build(load(sections(None), environ=environ))
    await platform.start()
    key = (tmp_path / "data/admin.key").read_text().strip()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as http:
        yield Client(http, platform.url, key)
    await platform.drain(5.0)


def _quickstart() -> dict[str, Any]:
    """The collection as the page makes it, word for word."""
    (text,) = re.findall(r"/v1/collections -d '(\{.*?\})'\n", QUICKSTART.read_text(), re.DOTALL)
    made: dict[str, Any] = msgspec.json.decode(text)
    return made


ENTRIES = "/v1/collections/entries/records"


async def test_the_quickstarts_collection_holds(root: Client) -> None:
    new = _quickstart()
    new["fields"].append(PHOTO)
    assert (await root.ask("POST", "/v1/collections", new))[0] == 201
    nobody = root.as_(None)
    (ann_id, ann), (ben_id, ben) = await root.signed_up("ann"), await root.signed_up("ben")
    key = {"name": "writer", "scopes": ["records:write"]}
    _, writer_key = await root.ask("POST", "/v1/api_keys", key)
    other = {"name": "other", "scopes": ["jobs:read"]}
    _, other_key = await root.ask("POST", "/v1/api_keys", other)
    assert (await root.as_(writer_key["key"]).ask("GET", ENTRIES))[0] == 200  # the rule: "true"

    entry = {"text": "Lovely", "author": ann_id}
    assert (await nobody.ask("POST", ENTRIES, {"text": "x", "author": ""}))[0] == 401
    assert (await nobody.ask("POST", ENTRIES, entry))[0] == 401
    assert (await ben.ask("POST", ENTRIES, entry))[0] == 403
    assert (await ann.ask("POST", ENTRIES, {**entry, "pinned": True}))[0] == 403
    status, made = await ann.ask("POST", ENTRIES, entry, Idempotency_Key="1")
    assert (status, made["pinned"]) == (201, False)
    one = f"{ENTRIES}/{made['id']}"

    attacks: list[tuple[str, str, Any]] = [
        ("PATCH", one, {"author": ben_id}), ("PATCH", one, {"text": "x", "author": ben_id}),
        ("PATCH", one, {"pinned": True}), ("PATCH", one, {"pinned": None}),
        ("PUT", one, {"text": "x", "author": ben_id}), ("DELETE", one, None),
        ("PUT", one, {"text": "x", "author": ann_id, "pinned": True}),
        ("POST", f"{ENTRIES}:batch",
         {"items": [{"action": "update", "id": made["id"], "data": {"author": ben_id}}]}),
        ("POST", f"{ENTRIES}:batch", {"items": [
            {"action": "create", "data": entry},
            {"action": "update", "id": made["id"], "data": {"pinned": True}}]}),
        ("POST", f"{ENTRIES}:batch", {"items": [{"action": "delete", "id": made["id"]}]}),
    ]  # fmt: skip
    others = [("PATCH", one, {}), ("PATCH", one, {"text": "Awful"}),
              ("PATCH", one, {"author": ben_id}), ("POST", f"{one}/files/photo", b"bytes"),
              ("PUT", one, {"text": "Awful", "author": ben_id})]  # fmt: skip
    for method, path, body in attacks:
        assert (await ann.ask(method, path, body))[0] == 403, (method, path, body)
    for caller, status in ((nobody, 401), (ben, 403), (root.as_(other_key["key"]), 403)):
        for method, path, body in attacks + others:
            assert (await caller.ask(method, path, body))[0] == status, (method, path, body)
    _, page = await nobody.ask("GET", ENTRIES)
    assert page["items"] == [made]
    assert (await ann.ask("PATCH", one, {"text": "Lovely place"}))[1]["text"] == "Lovely place"
    assert (await ann.ask("POST", f"{one}/files/photo", b"bytes"))[0] == 201
    assert (await root.ask("PATCH", one, {"pinned": True}))[0] == 200
    assert (await ann.ask("PUT", one, {"text": "x", "author": ann_id}))[0] == 403  # unpins it
    assert (await ann.ask("PUT", one, {"text": "x", "author": ann_id, "pinned": True}))[0] == 200


async def test_a_private_collection_holds(root: Client) -> None:
    own = "record.owner == caller.id"
    fields = [{"name": "owner", "type": "text"}, {"name": "pin", "type": "integer"}, PHOTO,
              {"name": "next", "type": "relation", "collection": "notes"}]  # fmt: skip
    rules = dict.fromkeys(("list", "view", "update", "delete"), own) | {"create": "true"}
    assert (await root.ask("POST", "/v1/collections", {"name": "notes"}))[0] == 201
    change = {"fields": fields, "rules": rules}
    assert (await root.ask("PATCH", "/v1/collections/notes", change))[0] == 200
    notes, nobody = "/v1/collections/notes/records", root.as_(None)
    (ann_id, ann), (_, ben) = await root.signed_up("ann"), await root.signed_up("ben")
    _, writer_key = await root.ask(
        "POST", "/v1/api_keys", {"name": "w", "scopes": ["records:write"]}
    )
    writer = root.as_(writer_key["key"])
    _, orphan = await root.ask("POST", notes, {"pin": 1})
    sent: dict[str, Any] = {"owner": ann_id, "pin": 2}
    _, anns = await ann.ask("POST", notes, sent, Idempotency_Key="a")

    gone = f"{notes}/{orphan['id'][:-4]}0000"
    for caller in (nobody, ben):
        for record in (orphan, anns):
            one = f"{notes}/{record['id']}"
            asked: list[tuple[str, str, Any]] = [
                ("GET", "", None), ("GET", "?fields=pin", None), ("GET", "?expand=next", None),
                ("PATCH", "", {}), ("PATCH", "", {"pin": "no"}), ("PUT", "", {}),
                ("DELETE", "", None), ("GET", "/files/photo", None),
                ("POST", "/files/photo", b"x"), ("POST", "/files/nothing", b"x"),
            ]  # fmt: skip
            for method, rest, body in asked:
                hidden = await caller.ask(method, one + rest, body, If_Match='"9"')
                missing = await caller.ask(method, gone + rest, body, If_Match='"9"')
                for told in (hidden[1], missing[1]):
                    for varies in ("instance", "request_id"):
                        told.pop(varies, None)
                assert hidden == missing, (method, rest)
                assert hidden[0] == 404
        for query in ("", "?filter=pin>0", "?filter=owner!=caller.id", "?sort=-pin"):
            assert (await caller.ask("GET", notes + query))[1]["items"] == []
            _, counted = await caller.ask("GET", f"{notes}:aggregate{query.split('?sort')[0]}")
            assert counted["items"][0]["count"] == 0
        assert (await caller.ask("POST", notes, {"next": anns["id"]}))[0] == 422
        assert (await caller.ask("POST", notes, {"owner": ann_id})) == (204, None)
    assert (await writer.ask("PATCH", f"{notes}/{anns['id']}", {})) == (204, None)
    assert (await writer.ask("PUT", f"{notes}/{orphan['id']}", {"pin": 3})) == (204, None)
    assert (await writer.ask("GET", f"{notes}/{anns['id']}"))[0] == 404
    created = {"items": [{"action": "create", "data": {"pin": 7}}]}
    assert await writer.ask("POST", f"{notes}:batch", created) == (200, {"items": [None]})

    assert await ann.ask("POST", notes, sent, Idempotency_Key="a") == (200, anns)
    assert (await root.ask("PATCH", f"{notes}/{anns['id']}", {"owner": None}))[0] == 200
    assert await ann.ask("POST", notes, sent, Idempotency_Key="a") == (204, None)
    assert (await ann.ask("GET", f"{notes}/{anns['id']}"))[0] == 404
