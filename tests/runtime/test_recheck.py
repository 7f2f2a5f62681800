"""A process that runs notices when its database is another one, or not what it was any more."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mainspring.adapters.database import postgres_pool
from mainspring.adapters.keyring.file import FileKeyring
from mainspring.kernel.errors import Unavailable
from mainspring.kernel.table import Statement
from mainspring.ports.database import Database
from mainspring.runtime import identity
from mainspring.runtime.identity import FIND_IDENTITY, Recheck
from mainspring.runtime.migrate import migrate
from mainspring.testing import Client, Platform, PostgresServer
from mainspring.testing.clock import FakeClock, SeededEntropy
from mainspring.testing.servers import PgBouncer, embedded_postgres
from tests.conftest import connect
from tests.deadline import DEADLINE_S
from tests.services.log_platform import Burnt, app

CLOCK = FakeClock()
LOSE_IDENTITY = Statement("test.lose_identity", "DROP TABLE identity")
CUT_OTHERS = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname IS NOT NULL AND pid <> pg_backend_pid()"
)


class Watched:
    """An open database that is looked at, and how often everything was forgotten."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.forgotten = 0
        self.recheck = Recheck(self.forget)

    def forget(self) -> None:
        self.forgotten += 1

    async def ask(self) -> None:
        (row,) = await self.database.read(FIND_IDENTITY, ())
        assert row.id

    async def refused(self) -> str:
        """Return why it is refused, to those who read and to those who write."""
        with pytest.raises(Unavailable) as reading:
            await self.ask()
        with pytest.raises(Unavailable) as writing:
            await self.database.commit([identity.IDENTITIES.insert(ROW, on_conflict=None)])
        assert writing.value.detail == reading.value.detail
        return reading.value.detail


ROW = identity.IdentityRow(1, "other", 1, "", "", 0)


@pytest.fixture(params=["direct", "pooled"])
async def url(
    request: pytest.FixtureRequest, postgres_url: str, postgres_server: PostgresServer
) -> AsyncIterator[str]:
    """The same database, also through a pooler, whose connections do not end with the server's."""
    if request.param == "direct":
        yield postgres_url
        return
    if not shutil.which("pgbouncer"):
        pytest.skip("no pgbouncer on PATH")
    pooler = PgBouncer(postgres_server)
    yield pooler.url(postgres_url)
    await asyncio.to_thread(pooler.close)


@pytest.fixture
async def keyring(tmp_path: Path) -> FileKeyring:
    keyring = FileKeyring(tmp_path / "keyring.json", CLOCK, SeededEntropy(1))
    await keyring.open()
    return keyring


@pytest.fixture
async def watched(
    url: str, keyring: FileKeyring, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Watched]:
    monkeypatch.setattr(postgres_pool, "EXAMINED_EVERY_S", 0.0)
    database = connect(url)
    await database.open()
    await migrate(database, [])
    await identity.establish(database, keyring, CLOCK, SeededEntropy(2))
    watched = Watched(database)
    await watched.recheck.start(database)
    yield watched
    await database.close()


@pytest.fixture
async def elsewhere(postgres_url: str, watched: Watched) -> AsyncIterator[Database]:
    """The database as another process has it."""
    other = connect(postgres_url)
    await other.open()
    yield other
    await other.close()


async def test_it_is_refused_once_it_was_said_to_be_restored(
    watched: Watched, elsewhere: Database
) -> None:
    await watched.ask()
    await identity.went_back(elsewhere)
    with capture_logs() as lines:
        assert "was restored since it was opened" in await watched.refused()
        assert "was restored since it was opened" in await watched.refused()
    assert [line["event"] for line in lines] == ["part_unavailable"]
    assert watched.forgotten == 0


async def test_it_is_refused_once_it_has_another_keyring(
    watched: Watched, elsewhere: Database, tmp_path: Path
) -> None:
    other = FileKeyring(tmp_path / "other.json", CLOCK, SeededEntropy(3))
    await other.open()
    await identity.accept_loss(elsewhere, other, CLOCK, SeededEntropy(4))
    assert "has been given another keyring" in await watched.refused()


async def test_one_that_has_no_identity_is_another(watched: Watched, elsewhere: Database) -> None:
    await elsewhere.commit([LOSE_IDENTITY()])
    assert "is not the one that was opened" in await watched.refused()


async def test_the_right_one_is_taken_when_it_is_back(
    watched: Watched, elsewhere: Database, postgres_server: PostgresServer, postgres_url: str
) -> None:
    """Its name leads to another in between: a server that was made anew, say."""
    await elsewhere.close()
    name = postgres_url.split("?")[0].rsplit("/", 1)[1]

    def rename(old: str, new: str) -> None:
        rename_database(postgres_server, old, new)

    await asyncio.to_thread(rename, name, f"{name}_right")
    await asyncio.to_thread(postgres_server.psql, f"CREATE DATABASE {name}")
    assert "is not the one that was opened" in await until_told(watched)
    await asyncio.to_thread(rename, name, f"{name}_wrong")
    await asyncio.to_thread(rename, f"{name}_right", name)
    await until_answered(watched)
    assert watched.forgotten == 0


async def test_what_was_concluded_is_forgotten_when_a_copy_took_its_place(
    watched: Watched, elsewhere: Database, postgres_server: PostgresServer, postgres_url: str
) -> None:
    """The same database with less in it, perhaps: only where it is tells them apart."""
    await elsewhere.close()
    name = postgres_url.split("?")[0].rsplit("/", 1)[1]

    def replace() -> None:
        rename_database(postgres_server, name, f"{name}_old")
        postgres_server.psql(f"CREATE DATABASE {name} TEMPLATE {name}_old")

    await asyncio.to_thread(postgres_server.psql, f"{CUT_OTHERS} AND datname = '{name}'")
    await until_answered(watched)
    assert watched.forgotten == 0, "a connection that broke is no reason"
    await asyncio.to_thread(replace)
    await until_answered(watched)
    assert watched.forgotten == 1


def rename_database(server: PostgresServer, old: str, new: str) -> None:
    """Which nobody may be connected to meanwhile."""
    server.psql(f"ALTER DATABASE {old} ALLOW_CONNECTIONS false")
    server.psql(f"{CUT_OTHERS} AND datname = '{old}'")
    server.psql(f"ALTER DATABASE {old} RENAME TO {new}")
    server.psql(f"ALTER DATABASE {new} ALLOW_CONNECTIONS true")


async def until_told(watched: Watched) -> str:
    """Ask until it is known why nothing is answered: not only that nothing can be reached."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with pytest.raises(Unavailable) as refused:
                await watched.ask()
            if "cannot be reached" not in refused.value.detail:
                return refused.value.detail
            await asyncio.sleep(0)


async def until_answered(watched: Watched) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await watched.ask()
            except Unavailable:
                await asyncio.sleep(0)


class Kept:
    """A server of a test's own, that can be put back to an earlier state."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._data, self._kept = server.directory / "data", server.directory / "kept"

    def keep(self) -> None:
        self._server.stop()
        _copy(self._data, self._kept)
        self._server.start()

    def put_back(self) -> None:
        self._server.kill()
        shutil.rmtree(self._data)
        self._kept.rename(self._data)
        self._server.start()


def _copy(old: Path, new: Path) -> None:
    shutil.copytree(old, new, symlinks=True)
    for path in (old, *old.rglob("*")):
        shutil.copystat(path, new / path.relative_to(old))
        owner = path.stat()
        os.chown(new / path.relative_to(old), owner.st_uid, owner.st_gid)


async def settled(caller: Client) -> int:
    """Return the first status of an answer when the server is there again."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if (status := (await caller.get("/v1/collections/notes")).status) != 503:
                return status


async def test_a_server_that_lost_commits_under_a_living_process() -> None:
    """As after a failover: what was acknowledged is gone, and the process remembers it all."""
    binaries = embedded_postgres()
    if binaries is None:
        pytest.skip("needs embedded-postgres")
    server = PostgresServer(binaries)
    kept = Kept(server)
    notes = "/v1/collections/notes"
    text, lost, other = ({"name": name, "type": "text"} for name in ("text", "lost", "kept"))
    try:
        async with Platform(app, database=server) as platform:
            admin = platform.admin
            new = {"name": "notes", "fields": [text]}
            (await admin.post("/v1/collections", new)).expect(201)
            await asyncio.to_thread(kept.keep)
            assert await settled(admin) == 200
            key = await platform.as_key("records:*")
            (await admin.patch(notes, {"fields": [text, lost]})).expect(200)
            (await key.post(f"{notes}/records", {"lost": "x"})).expect(201)
            await platform.emit(Burnt("note_1"))
            position = (await admin.get("/v1/events")).expect(200)["position"]

            await asyncio.to_thread(kept.put_back)

            # Nothing moves here by itself; elsewhere the log is looked at several times a second.
            assert await settled(admin) == 200
            (await key.get(f"{notes}/records")).expect(401)  # it was never made
            (await admin.post(f"{notes}/records", {"lost": "x"})).expect(422)
            (await admin.patch(notes, {"fields": [text, other]})).expect(200)
            (await admin.post(f"{notes}/records", {"kept": "x"})).expect(201)
            (await admin.post(f"{notes}/records", {"lost": "x"})).expect(422)
            for _ in range(9):
                await platform.emit(Burnt("note_2"))
            gone = await admin.get(f"/v1/events?after={position}")
            assert gone.expect(410)["code"] == "position_gone"
            again = gone.json["position"]
            await platform.emit(Burnt("note_3"))
            page = (await admin.get(f"/v1/events?after={again}")).expect(200)
            assert [event["subject"] for event in page["items"]] == ["note_3"]
    finally:
        server.close()
