"""What the checks of databases write to, and how they look at the outcome."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec

from mainspring.kernel.channel import Channel
from mainspring.kernel.errors import Failure
from mainspring.kernel.table import Query, Statement, Table
from mainspring.ports.database import Database, Wakes

Opener = Callable[[], Awaitable[Database]]
TIMEOUT_S = 60.0
E = TypeVar("E", bound=BaseException)


class Thing(msgspec.Struct, frozen=True):
    """A guarded row with a column of each type."""

    id: str
    name: str | None = None
    size: int | None = None
    ratio: float | None = None
    flag: bool | None = None
    body: bytes | None = None
    version: int = 1


class Note(msgspec.Struct, frozen=True):
    """A row without a guard; its text is unique while it is open."""

    id: str
    text: str
    state: str = "open"


class Taken(Failure):
    """The check's own failure."""

    status, code, title = 409, "taken", "Taken"


THINGS = Table("things", Thing, key=("id",))
NOTES = Table("notes", Note, key=("id",))

SCRIPT = """
-- What the checks write to. The text of an open note is unique; 'text text' is not a type twice.
CREATE TABLE things (
    id text NOT NULL PRIMARY KEY,
    name text UNIQUE,
    size bigint,
    ratio double precision,
    flag boolean,
    body bytea,
    version bigint NOT NULL
);
CREATE TABLE notes (id text NOT NULL PRIMARY KEY, text text NOT NULL, state text NOT NULL);
CREATE UNIQUE INDEX notes_open ON notes (text) WHERE state = 'open';
"""

THING = Query("things.one", f"SELECT {THINGS.columns} FROM things WHERE id = :id", THINGS)
THING_IDS = Query("things.ids", "SELECT id FROM things ORDER BY id", str)
NAMES = Query("things.names", "SELECT name FROM things WHERE name > :after ORDER BY name", str)
SIZE = Query("things.size", "SELECT size FROM things WHERE id = :id", int)
NOTE = Query("notes.one", f"SELECT {NOTES.columns} FROM notes WHERE id = :id", NOTES)
NOTE_COUNT = Query("notes.count", "SELECT count(*) FROM notes", int)
ENDLESS = Query(
    "checks.endless",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    int,
    scans=True,
)
GROW = Statement("things.grow", "UPDATE things SET size = size + 1 WHERE id = :id RETURNING size")
TAKE = Statement("things.take", "UPDATE things SET size = size - 1 WHERE id = :id AND size >= 1")
CLOSE = Statement("notes.close", "UPDATE notes SET state = 'done' WHERE id = :id")
FORGET = Statement("notes.forget", "DELETE FROM notes WHERE id = :id")
RENAME = Statement("things.rename", "UPDATE things SET name = :name WHERE id = :id")


@asynccontextmanager
async def opener(make: Callable[[], Database]) -> AsyncIterator[Opener]:
    """Open what ``make`` returns, and close in the end all that was opened."""
    opened: list[Database] = []

    async def fresh() -> Database:
        database = make()
        await database.open()
        opened.append(database)
        return database

    try:
        yield fresh
    finally:
        for database in opened:
            await database.close()


async def made(fresh: Opener, *things: Thing) -> Database:
    """Open the database, make the tables of the checks and put these rows there."""
    database = await fresh()
    await database.migrate("conformance/0001", SCRIPT)
    if things:
        await database.commit([THINGS.insert(thing) for thing in things])
    return database


async def thing_of(database: Database, key: str) -> Thing | None:
    """Read one thing, or None."""
    rows = await database.read(THING, (key,))
    return rows[0] if rows else None


async def fails(kind: type[E], commit: Awaitable[object]) -> E:
    """Await what must raise ``kind``; return what it raised."""
    try:
        await commit
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


async def outcomes_of(commits: Sequence[Awaitable[None]]) -> list[BaseException | None]:
    """Await all at once; return what each raised, or None where it came through."""
    async with asyncio.timeout(TIMEOUT_S):
        return await asyncio.gather(*commits, return_exceptions=True)


def channels(*names: str) -> Wakes:
    """Return wakes by these names."""
    return frozenset(map(Channel, names))
