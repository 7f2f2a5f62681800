"""Who waits for whom on PostgreSQL while a collection changes: only who writes its own records."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from mainspring import testing
from mainspring.kernel.errors import NotFound, Unavailable
from mainspring.kernel.table import Query
from mainspring.testing.servers import PostgresServer
from tests.services.records.platform import Platform, read

TITLE = {"name": "title", "type": "text", "max": 50}
PROMPT_S = 20.0  # far below the 30 s that PostgreSQL is given to answer
OWN_NAME = Query("test.own_name", "SELECT current_database()", str)
WAITING = (
    "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory' "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
TOUCH = "UPDATE records_records SET data = data WHERE id = $1"


@pytest.fixture
async def whole(postgres_server: PostgresServer) -> AsyncIterator[testing.Platform]:
    """The platform on PostgreSQL: SQLite has one writer, who waits for nobody."""
    async with testing.Platform(database=postgres_server) as whole:
        yield whole


@asynccontextmanager
async def _operator(platform: Platform, server: PostgresServer) -> AsyncIterator[Any]:
    """A connection of somebody else to the platform's database, in an open transaction."""
    (name,) = await platform.database.read(OWN_NAME, ())
    connection = await asyncpg.connect(server.url(name))
    await connection.execute("BEGIN")
    yield connection
    await connection.close()


async def _change(platform: Platform, name: str, **change: Any) -> dict[str, Any]:
    answer: dict[str, Any] = read(await platform.run("update_collection", name=name, change=change))
    return answer


async def _until_it_waits(connection: Any) -> None:
    async with asyncio.timeout(PROMPT_S):
        while not await connection.fetchval(WAITING):
            pass


@pytest.mark.parametrize("mode", ["SHARE UPDATE EXCLUSIVE", "ROW EXCLUSIVE", "ACCESS SHARE"])
async def test_a_change_beside_what_vacuum_and_long_transactions_hold(
    platform: Platform, postgres_server: PostgresServer, mode: str
) -> None:
    for name in ("posts", "notes", "gone"):
        await platform.make(name, TITLE)
        await platform.add(name, title="before")
    async with _operator(platform, postgres_server) as operator, asyncio.timeout(PROMPT_S):
        await operator.execute(f"LOCK TABLE records_records IN {mode} MODE")
        await asyncio.gather(
            _change(platform, "posts", rules={"list": "true"}),
            *(platform.add("notes", title=str(i)) for i in range(10)),
        )
        await _change(platform, "posts", indexes=[["title"]])
        await platform.work()
        await platform.run("delete_collection", name="gone")
        await platform.add("posts", title="after")
    assert len(await platform.everything("posts", sort="title")) == 2
    assert len(await platform.everything("notes")) == 11


async def test_a_change_is_refused_while_its_records_are_being_written(
    platform: Platform, postgres_server: PostgresServer
) -> None:
    for name in ("posts", "notes"):
        await platform.make(name, TITLE)
    held = await platform.add("posts", title="held")
    async with _operator(platform, postgres_server) as operator, asyncio.timeout(PROMPT_S):
        assert await operator.execute(TOUCH, held["id"]) == "UPDATE 1"
        changes = [
            asyncio.create_task(_change(platform, "posts", rules={"list": "true"})),
            asyncio.create_task(platform.run("delete_collection", name="posts")),
        ]
        await _until_it_waits(operator)
        await _change(platform, "notes", rules={"list": "true"})
        await platform.add("notes", title="a")
        await platform.add("posts", title="a")  # in between, not when it has ended
        for outcome in await asyncio.gather(*changes, return_exceptions=True):
            assert isinstance(outcome, Unavailable)
            assert "a transaction that takes long" in (outcome.detail or "")
        await platform.add("posts", title="b")
    found = await platform.everything("posts")
    assert [r["title"] for r in found] == ["held", "a", "b"]
    changed = await _change(platform, "posts", rules={"list": "true"})
    assert changed["rules"]["list"] == "true"
    await platform.run("delete_collection", name="posts")
    with pytest.raises(NotFound):
        await platform.page("posts")


async def test_a_change_waits_for_a_writer_that_ends(
    platform: Platform, postgres_server: PostgresServer
) -> None:
    await platform.make("posts", TITLE)
    held = await platform.add("posts", title="held")
    async with _operator(platform, postgres_server) as operator:
        await operator.execute(TOUCH, held["id"])
        change = asyncio.create_task(_change(platform, "posts", rules={"list": "true"}))
        await _until_it_waits(operator)
        assert not change.done()
        await operator.execute("COMMIT")
        async with asyncio.timeout(PROMPT_S):
            assert (await change)["rules"]["list"] == "true"
