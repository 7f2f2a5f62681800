"""The steps of a move, and what a database is said to be at each, so that a cut leaves one in use.

==========================  ===========  ============
after                       the source   the target
==========================  ===========  ============
nothing                     live         empty
a copy ahead                live         arriving
a move that was cut         leaving      arriving
all was compared            left         arriving
a move                      left         live
==========================  ===========  ============

Only one that is live is served. What was left can be moved back to: it takes what it lacks.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec

from mainspring.kernel.service import Service
from mainspring.kernel.table import Query
from mainspring.ports.database import Database, StartError
from mainspring.runtime import identity
from mainspring.runtime.audit.merkle_store import Tree
from mainspring.runtime.identity import FIND_IDENTITY, IdentityRow
from mainspring.runtime.migrate import every_script, migrate
from mainspring.runtime.move.copying import Digest, Progress, add, clear, digest
from mainspring.runtime.move.tables import Copied, is_used, tables_of, unplaced_events

APPLICATION = "mainspring-move"  # what its own sessions on a server are called
SESSIONS_END_S = 10.0

# Who else has the database open, of those that are Mainspring's.
_SESSIONS = Query(
    "move.sessions",
    "SELECT 0",
    int,
    postgres="SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name = 'mainspring' AND backend_type = 'client backend'",
)
_END_SESSIONS = Query(
    "move.end_sessions",
    "SELECT 0",
    int,
    postgres="SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'mainspring' "
    "AND backend_type = 'client backend'",
)

# A table, rows that were done since it was last called, and how many there are if that is known.
Watch = Callable[[str, int, int | None], None]


class MoveEnd(NamedTuple):
    """A database that is moved from or to, open, and what to call it without its password."""

    database: Database
    shown: str


class Compared(msgspec.Struct, frozen=True):
    """One table after a move: what was done to get there, and its digest, the same in both."""

    name: str
    removed: int
    added: int
    digest: Digest


class Moved(msgspec.Struct, frozen=True):
    """What a move did. ``root`` is the audit log's over its ``events``, the same in both."""

    target: str
    tables: list[Compared]
    events: int
    root: str


class Differs(Exception):
    """The two databases do not hold the same after all. The message says where."""


class Mover:
    """Moves what the source holds to the target. Both are open, and have the newest schema."""

    def __init__(self, source: MoveEnd, target: MoveEnd, services: Sequence[Service]) -> None:
        self._source, self._target, self._services = source, target, services

    async def prepare(self, *, alone: bool) -> None:
        """Make the target ready to take the source in. Raises StartError where it is not its own.

        An empty database gets the schema; one that this source was being moved to, or was moved
        from, is taken as it is. With ``alone`` nobody may be at work on the source.
        """
        ours = await self._identity()
        await self._require_schema()
        if alone:
            await self._require_alone()
        database, shown = self._target
        identity.check_schema(await database.applied(), self._services, database.dialect)
        await migrate(database, self._services)
        theirs = await database.read(FIND_IDENTITY, ())
        if not theirs:
            if await is_used(database):
                raise StartError(f"{shown} holds something else: name an empty database")
            await identity.settle(
                database,
                msgspec.structs.replace(ours, standing="arriving", other_end=self._source.shown),
            )
            return
        if theirs[0].id != ours.id:
            raise StartError(f"{shown} is another platform's database: name an empty one")
        if theirs[0].standing == identity.LIVE:
            raise StartError(f"{shown} is this platform's database already, and in use")
        if theirs[0].standing != "arriving":
            await identity.stand(database, "arriving", self._source.shown)

    async def copy_ahead(self, watch: Watch) -> None:
        """Copy everything while others go on writing to the source: most of a move, roughly."""
        source, target = self._source.database, self._target.database
        tables = await self._tables()
        progress = await self._progress(tables, watch, readings=1)
        await target.set_triggers(on=False)
        for copied in reversed(tables):
            await clear(copied, source, target)
        for copied in tables:
            await add(copied, source, target, progress)

    async def move(self, watch: Watch, number: Callable[[], Awaitable[int]]) -> Moved:
        """Copy what is left, compare everything, and let the target be the one that is used.

        Nobody else may write to the source, which is made sure of. ``number`` gives events of
        PostgreSQL their places in the log. Raises StartError and Differs; the source is live again
        then. A kill leaves it leaving.
        """
        ours = await self._identity()
        if ours.standing != "left":  # by a move that was cut after all had been compared
            await identity.stand(self._source.database, "leaving", self._target.shown)
        try:
            await self._end_sessions()
            while await unplaced_events(self._source.database):
                await number()
            tables = await self._tables()
            progress = await self._progress(tables, watch, readings=2)
            await self._target.database.set_triggers(on=False)
            moved = await self._compare(tables, progress)
        except BaseException:
            if ours.standing != "left":
                back = identity.stand(self._source.database, identity.LIVE, "")
                await asyncio.shield(back)
            raise
        await self._target.database.set_triggers(on=True)
        await identity.stand(self._source.database, "left", self._target.shown)
        await identity.take_over(self._target.database, ours)
        return moved

    async def _progress(self, tables: list[Copied], watch: Watch, readings: int) -> Progress:
        """Have ``watch`` hear of rows with how many there are to read, so many times over."""
        counts = [await copied.count(self._source.database) for copied in tables]
        known = [count for count in counts if count is not None]
        total = readings * sum(known) if len(known) == len(counts) else None
        return lambda table, rows: watch(table, rows, total)

    async def _compare(self, tables: list[Copied], progress: Progress) -> Moved:
        source, target = self._source.database, self._target.database
        removed = {copied.name: await clear(copied, source, target) for copied in reversed(tables)}
        compared = []
        for copied in tables:
            added, held = await add(copied, source, target, progress)
            found = await digest(copied, target, progress)
            if found != held:
                raise Differs(
                    f"{copied.name}: {held.rows:,} rows here and {found.rows:,} there, "
                    f"SHA-256 {held.sha256} and {found.sha256}"
                )
            compared.append(Compared(copied.name, removed[copied.name], added, found))
        ours, theirs = Tree(source), Tree(target)
        events = await ours.size()
        root = await ours.root(events)
        if (await theirs.size(), await theirs.root(events)) != (events, root):
            raise Differs("the audit log has another root there")
        return Moved(self._target.shown, compared, events, root.hex())

    async def _identity(self) -> IdentityRow:
        rows = await self._source.database.read(FIND_IDENTITY, ())
        if not rows:
            raise identity.never_started()
        if rows[0].standing == "arriving":
            raise StartError(
                f"{self._source.shown} is where a move from {rows[0].other_end} goes to: finish "
                "that first"
            )
        if rows[0].standing != identity.LIVE and rows[0].other_end != self._target.shown:
            raise StartError(
                f"{self._source.shown} was moved to {rows[0].other_end}, or is being moved there"
            )
        return rows[0]

    async def _tables(self) -> list[Copied]:
        return await tables_of(self._source.database, self._target.database)

    async def _require_schema(self) -> None:
        database = self._source.database
        applied = await database.applied()
        identity.check_schema(applied, self._services, database.dialect)
        known = {name for name, _ in every_script(self._services, database.dialect)}
        if missing := sorted(known - applied.keys()):
            raise StartError(
                f"{self._source.shown} lacks the migration {missing[0]} of this code: start the "
                "platform with it once, then move"
            )

    async def _require_alone(self) -> None:
        (others,) = await self._source.database.read(_SESSIONS, ())
        if others:
            raise StartError(
                f"processes of a platform use {self._source.shown} ({others} connections): stop "
                "them all, then move"
            )

    async def _end_sessions(self) -> None:
        """MoveEnd whoever came between: none begins anew, for the database is not live any more."""
        async with asyncio.timeout(SESSIONS_END_S):
            while (await self._source.database.read(_END_SESSIONS, ()))[0]:
                pass
