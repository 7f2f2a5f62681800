"""PostgreSQL 15 or newer: commits in batches across calls, a verdict for each, wakes by NOTIFY.

A commit is durable when it is acknowledged, unless the server is told otherwise
(``synchronous_commit``). When a connection breaks during a commit its outcome is unknown: the
caller gets OutcomeUnknown, and its idempotency key makes a repetition safe.
"""

import asyncio
import copy
import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

import asyncpg
import structlog

from mainspring.adapters.database.postgres_batch import can_join, only_inserts
from mainspring.adapters.database.postgres_commit import (
    CommitLane,
    Inside,
    Unit,
    apply,
    verdict,
)
from mainspring.adapters.database.postgres_migrations import APPLIED, HAS_MIGRATIONS, Migrations
from mainspring.adapters.database.postgres_pool import (
    LOST,
    CommitLost,
    Connection,
    ConnectionPool,
    Connections,
    PostgresTarget,
    said,
    transaction,
    translated,
)
from mainspring.adapters.database.postgres_reads import SCANNERS, Reads
from mainspring.adapters.database.postgres_replicas import PostgresReplicas, apart
from mainspring.adapters.database.postgres_room import Room
from mainspring.adapters.database.postgres_wakes import TURNS, Announcer, Listener
from mainspring.kernel.channel import Channel
from mainspring.kernel.errors import Unavailable
from mainspring.kernel.process_role import Seat
from mainspring.kernel.table import Query, Rows, Write
from mainspring.ports.database import (
    COMMIT_QUEUE_MAX,
    NO_WAKES,
    DatabaseTransaction,
    StartError,
    Wakes,
)
from mainspring.ports.listeners import tell
from mainspring.ports.opening import SYSTEM_SOURCES, Sources

R = TypeVar("R")
log = structlog.get_logger()
Body = Callable[[DatabaseTransaction], Awaitable[tuple[Sequence[Write], Wakes]]]

LANES = 2
WRITERS = 4  # connections for calls that go alone
OUTSIDE_POOLS = 2  # who listens, and who posts from a thread of its own
# What a process opens beside its connections for reads, of which the announcer has one.
BESIDE_READERS = LANES + WRITERS + SCANNERS + 1 + OUTSIDE_POOLS
CLOSE_WAIT_S = 30.0  # for transactions that run while the database closes
POSTS_MAX = 256  # commits posted from threads and not yet done; one more is dropped and logged

_WITH_TRIGGERS = """
SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger
JOIN pg_class ON pg_class.oid = tgrelid
WHERE NOT tgisinternal AND relnamespace = current_schema()::regnamespace ORDER BY 1
"""


def open(url: str, sources: Sources = SYSTEM_SOURCES) -> "PostgresDatabase":
    """Use a server: ``postgresql://USER@HOST/DATABASE``. Raises StartError."""
    return PostgresDatabase(url)


def share(url: str, size: int) -> "Callable[[Seat], PostgresDatabase]":
    """Let ``size`` processes that are forked from now on divide the connections of the server."""
    room = Room(size)
    return lambda _: PostgresDatabase(url, room=room)


class PostgresDatabase:
    """A PostgreSQL database by its URL: libpq's parameters, and those of ``Target``."""

    dialect: Literal["postgres"] = "postgres"
    exclusive = False
    first = False

    def __init__(
        self, url: str, *, queue_max: int = COMMIT_QUEUE_MAX, room: Room | None = None
    ) -> None:
        url, replicas = apart(url)
        self._target = PostgresTarget(url)
        self._room = room
        self._queue_max = queue_max
        self._connections = Connections(self._target)
        self._reads = Reads(self._connections, self._target.pool_size)
        self._batches = ConnectionPool(self._connections, LANES)
        self._writers = ConnectionPool(self._connections, WRITERS)
        self._migrations = Migrations(self._target, self._writers)
        self._inserts = CommitLane(self._batches, self._settle, turns=False)
        self._guarded = CommitLane(self._batches, self._settle, turns=True)
        self._single: set[asyncio.Task[None]] = set()
        self.replicas: PostgresReplicas | None = None
        if replicas.urls:
            looks = ConnectionPool(self._connections, 1)
            self.replicas = PostgresReplicas(replicas, looks, self._reads)
        self._announcer = Announcer(ConnectionPool(self._connections, 1))
        self._listener = Listener(self._target, self._hear, self._connections.has_pid)
        self._connections.turns.announce = partial(self._announcer.tell, frozenset({TURNS}))
        self._listeners: list[Callable[[Wakes], None]] = []
        self._group_listeners: list[Callable[[int], None]] = []
        self._poster = Poster(self._target)
        self._closing = False
        self._version = ""
        self.waiting = 0
        self.calls_committed = 0

    @property
    def commits(self) -> int:
        """Transactions sent so far; fewer than calls, since calls are committed together."""
        return self._inserts.batches + self._guarded.batches

    async def open(self) -> None:
        """Connect. Raises StartError."""
        self._version = await self._target.probe()
        try:
            connection = await self._connections.take()
            await self._divide(connection)
            self._connections.give_back(connection)
        except Unavailable as error:
            why = said(error.__cause__ or error)
            raise StartError(f"cannot connect to {self._target.shown}: {why}") from error
        self._inserts.start()
        self._guarded.start()
        if not self._target.pooler:
            try:
                await self._listener.start()
            except (*LOST, asyncpg.PostgresError) as error:
                raise StartError(f"cannot listen at {self._target.shown}: {said(error)}") from error
        if self.replicas is not None:
            await self.replicas.start()

    async def _divide(self, connection: Connection) -> None:
        """Open no more than one's part, in a crew. A pooler has its own ways to divide them."""
        if self._room is None or self._target.pooler:
            return
        wanted = self._target.pool_size + BESIDE_READERS + bool(self.replicas)
        try:
            each = await self._room.each(connection, wanted)
        except (*LOST, asyncpg.PostgresError) as error:
            raise StartError(f"PostgreSQL at {self._target.shown} fails: {said(error)}") from error
        self._connections.most = each - OUTSIDE_POOLS

    async def close(self) -> None:
        """Commit what is queued, then disconnect."""
        if self._closing:
            return
        self._closing = True
        if self.replicas is not None:
            await self.replicas.stop()
        await self._inserts.stop()
        await self._guarded.stop()
        if self._single:
            _, stuck = await asyncio.wait(self._single, timeout=CLOSE_WAIT_S)
            for task in stuck:
                task.cancel()
        await asyncio.to_thread(self._poster.close)
        await self._announcer.stop()
        await self._listener.stop()
        await self._connections.close()

    def recheck(self, query: Query[R], judge: Callable[[list[R]], None]) -> None:
        """Look whether it is still this database that answers: also after a pooler changed it."""
        self._target.recheck(query, judge)

    async def version(self) -> str:
        """Name and version of the server."""
        return self._version

    # Reading

    async def read(self, query: Query[R], values: tuple[Any, ...]) -> list[R]:
        """Return the rows of a query; one that scans has connections and a deadline of its own."""
        return await self._reads.read(query, values)

    async def page(self, query: Query[R], values: tuple[Any, ...], bytes_max: int) -> Rows[R]:
        """Return the first rows of a query; the server sends no more than fit, and one row."""
        return await self._reads.page(query, values, bytes_max)

    # Writing

    async def commit(self, writes: Sequence[Write], wakes: Wakes = NO_WAKES) -> None:
        """Queue the writes of one call for the next batch, or commit them alone, and wait."""
        if not writes:
            self._wake(wakes)
            return
        unit = self._admit(writes, wakes)
        if only_inserts(writes):
            self._inserts.put(unit)
        elif can_join(writes):
            self._guarded.put(unit)
        else:
            self._alone(unit, self._verdict(unit))
        # The commit goes on when its caller is gone, who cancels this future and nothing else.
        await unit.future

    async def transact(self, body: Body) -> None:
        """Run ``body`` in a transaction of its own, with the writes it returns."""
        unit = self._admit((), NO_WAKES)
        self._alone(unit, self._transact(unit, body))
        await unit.future

    def post(self, writes: Sequence[Write]) -> None:
        """Commit from any thread, on a thread and a connection of their own."""
        if not self._closing:
            self._poster.put(writes)

    async def scrub(self) -> None:
        """Nothing is to be done here: VACUUM and the retention of the log are the server's."""

    def on_wake(self, listener: Callable[[Wakes], None]) -> None:
        """Call ``listener`` on the loop after each commit that wakes somebody."""
        self._listeners.append(listener)

    def on_group(self, listener: Callable[[int], None]) -> None:
        """Call ``listener`` on the loop with the size of each batch that was settled at once."""
        self._group_listeners.append(listener)

    def _admit(self, writes: Sequence[Write], wakes: Wakes) -> Unit:
        if self._closing:
            raise Unavailable("the database is closing", retry_after_s=1)
        if self.waiting >= self._queue_max:
            raise Unavailable("too many writes are waiting", retry_after_s=1)
        unit = Unit(writes, wakes, asyncio.get_running_loop().create_future())
        self.waiting += 1
        return unit

    def _alone(self, unit: Unit, outcome: Awaitable[BaseException | None]) -> None:
        async def run() -> None:
            # What is cut off by closing may have been committed.
            error: BaseException | None = translated(CommitLost())
            try:
                error = await outcome
            finally:
                self._settle([unit], error)

        task = asyncio.create_task(run())
        self._single.add(task)
        task.add_done_callback(self._single.discard)

    async def _verdict(self, unit: Unit) -> BaseException | None:
        return await verdict(self._writers, unit.writes)

    async def _transact(self, unit: Unit, body: Body) -> BaseException | None:
        async def work(connection: Connection, in_turn: bool) -> None:
            async with transaction(connection, in_turn=in_turn):
                inside = Inside(connection)
                writes, unit.wakes = await body(inside)
                if inside.failure is not None:
                    raise inside.failure
                await apply(connection, writes)

        try:
            await self._writers.commit(work)
        except Exception as error:  # noqa: BLE001 - handed to the caller
            return translated(error)
        return None

    def _settle(self, units: Sequence[Unit], error: BaseException | None) -> None:
        """Answer the callers, then wake whoever listens."""
        self.waiting -= len(units)
        if error is None:
            self._target.writes.worked()
        for told in self._group_listeners:
            tell(told, len(units))
        wakes: set[Channel] = set()
        for unit in units:
            if error is None:
                self.calls_committed += 1
                wakes |= unit.wakes
            if unit.future.done():
                continue
            if error is None:
                unit.future.set_result(None)
            else:
                # Each caller raises its own: a traceback belongs to one task.
                unit.future.set_exception(copy.copy(error) if len(units) > 1 else error)
        self._wake(frozenset(wakes))

    def _wake(self, wakes: Wakes) -> None:
        if wakes:
            self._deliver(wakes)
            self._announcer.tell(wakes)

    def _hear(self, wakes: Wakes) -> None:
        if TURNS in wakes:
            self._connections.turns.begin()
        self._deliver(wakes - {TURNS})

    def _deliver(self, wakes: Wakes) -> None:
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            loop.call_soon(listener, wakes)  # one that raises must not stop a lane

    # The schema

    async def applied(self) -> dict[str, str]:
        """Digests of the migrations that were applied; a database that is empty has no list."""
        (there,) = await self.read(HAS_MIGRATIONS, ())
        return dict(await self.read(APPLIED, ())) if there else {}

    async def set_triggers(self, *, on: bool) -> None:
        """Have the tables' own triggers run or not, whoever connects.

        The owner of a table may say so. ``session_replication_role`` would end with the session,
        and takes a superuser.
        """

        async def work(connection: Connection) -> None:
            async with transaction(connection):
                for (table,) in await connection.fetch(_WITH_TRIGGERS):
                    say = "ENABLE" if on else "DISABLE"
                    await connection.execute(f"ALTER TABLE {table} {say} TRIGGER USER")

        try:
            await self._writers.run(work)
        except (asyncpg.PostgresError, *LOST) as error:
            raise Unavailable(f"triggers cannot be turned {'on' if on else 'off'}") from error

    async def migrate(self, name: str, script: str) -> bool:
        """Apply a migration once; processes that start together take turns."""
        return await self._migrations.apply(name, script)


class Poster:
    """A thread with a loop and a connection of its own, made by the first post."""

    def __init__(self, target: PostgresTarget) -> None:
        self._connections = Connections(target)
        self._pool = ConnectionPool(self._connections, 1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mainspring-poster")
        self._starting = threading.Lock()
        self._room = threading.BoundedSemaphore(POSTS_MAX)

    def put(self, writes: Sequence[Write]) -> None:
        """Commit soon. From any thread."""
        if not self._room.acquire(blocking=False):
            log.warning("posted_write_dropped", waiting=POSTS_MAX)
            return
        with self._starting:
            if not self._thread.ident:
                self._thread.start()
        asyncio.run_coroutine_threadsafe(self._commit(writes), self._loop)

    async def _commit(self, writes: Sequence[Write]) -> None:
        try:
            error = await verdict(self._pool, writes)
            if error is not None and not isinstance(error, Unavailable):  # the pool told of that
                log.warning("posted_write_failed", error=repr(error))
        finally:
            self._room.release()

    def close(self) -> None:
        """Finish what was posted, then end the thread."""
        if self._thread.ident:
            asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    async def _finish(self) -> None:
        running = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*running, return_exceptions=True)
        await self._connections.close()
