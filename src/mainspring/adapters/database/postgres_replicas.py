"""Reads from replicas: which of them has what, as of when, and what is read there.

Each process looks by itself, several times within the lag that is allowed: at the primary, for how
much of its log is on its disk, and at each replica, for how much of that it has replayed. A replica
that has replayed what was there at a moment has all that was acknowledged before that moment. So it
is known how old its rows are at most, and nothing else is needed to leave it: who is not heard of,
and all of them where the primary is not, are too old by themselves.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote

import asyncpg
import msgspec
import structlog

from mainspring.adapters.database.postgres_pool import (
    Connection,
    ConnectionPool,
    Connections,
    PostgresTarget,
    retry_delay_s,
    said,
)
from mainspring.adapters.database.postgres_reads import Reads
from mainspring.adapters.outage import Outage
from mainspring.kernel.errors import Failure, NeedsIndex
from mainspring.kernel.read_after import NEWEST, WritePosition, read_position
from mainspring.kernel.reader import Reader
from mainspring.kernel.table import Query, Rows
from mainspring.ports.database import ReplicaStanding, StartError

T = TypeVar("T")
Look = Callable[[], Awaitable[None]]
log = structlog.get_logger()

LAG_MAX_S = 1.0  # unless the settings say otherwise
REPLICAS_MAX = 8
LOOKS_PER_BOUND = 4  # looks at each server in the time that a replica may lag
LOOK_EVERY_MAX_S = 0.5
LOOKS_KEPT = 240  # at the primary: how far back it can be said how much a replica lags
LOOK_MAX_S = 2.0
READ_MAX_S = 3.0  # of one read at a replica: longer than a scan may take; then the primary is asked

# A run of a primary: no other server has it, nor this one after a restart or a promotion.
LOOK = """
SELECT timeline, flushed, run, EXISTS (SELECT 1 FROM primary_runs WHERE primary_runs.run = now.run)
FROM (
    SELECT timeline, flushed, timeline || ' ' || extract(epoch FROM pg_postmaster_start_time())
    FROM (
        SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8),
            CAST(pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0') AS bigint)
    ) AS server (timeline, flushed)
) AS now (timeline, flushed, run)
"""
_MAKE = (
    'CREATE TABLE IF NOT EXISTS primary_runs (run text COLLATE "C" NOT NULL PRIMARY KEY, '
    "made timestamptz NOT NULL DEFAULT now())"
)
MARK = (
    "WITH gone AS (DELETE FROM primary_runs WHERE run <> $1) "
    "INSERT INTO primary_runs (run) VALUES ($1) ON CONFLICT DO NOTHING"
)
_REPLICA = (
    "SELECT pg_is_in_recovery(), "
    "CAST(pg_wal_lsn_diff(coalesce(pg_last_wal_replay_lsn(), '0/0'), '0/0') AS bigint), "
    "EXISTS (SELECT 1 FROM primary_runs WHERE run = $1)"
)
# What was inserted into the log, which is what was flushed or more, whatever synchronous_commit is.
_POSITION = (
    "SELECT left(pg_walfile_name(at), 8), CAST(pg_wal_lsn_diff(at, '0/0') AS bigint) "
    "FROM pg_current_wal_insert_lsn() AS at"
)


class ReplicaUrls(msgspec.Struct, frozen=True):
    """What the settings say of replicas."""

    urls: tuple[str, ...] = ()
    lag_max_s: float = LAG_MAX_S


def apart(url: str) -> tuple[str, ReplicaUrls]:
    """Take the replicas out of a URL: ``replica=URL`` for each, ``replica_lag_s=``."""
    place, mark, query = url.partition("?")
    urls, rest, lag_max_s = [], [], LAG_MAX_S
    for part in query.split("&") if mark else ():
        name, _, value = part.partition("=")
        if name == "replica":
            urls.append(unquote(value))
        elif name == "replica_lag_s":
            lag_max_s = float(value)
        else:
            rest.append(part)
    if len(urls) > REPLICAS_MAX:
        raise StartError(f"database replicas: {len(urls)} are named, {REPLICAS_MAX} at most")
    return place + (f"?{'&'.join(rest)}" if rest else ""), ReplicaUrls(tuple(urls), lag_max_s)


class Replica:
    """One replica: its connections, and what was seen of it last."""

    def __init__(self, url: str) -> None:
        self.target = PostgresTarget(url, replica=True)
        self.target.outage = Outage(f"replica {self.target.shown}")
        self.connections = Connections(self.target)
        self.reads = Reads(self.connections, self.target.pool_size)
        self.looks = ConnectionPool(self.connections, 1)
        self.complete_s = -math.inf  # it has all that was acknowledged before that moment
        self.replayed = 0
        self.why = "it was not looked at yet"
        self.served = 0
        self.left = 0
        self._behind = Outage(f"reads from replica {self.target.shown}")

    def has(self, offset: int, since_s: float) -> bool:
        """Tell whether it has the log up to there, and all of before a moment."""
        return self.complete_s >= since_s and self.replayed >= offset

    def saw(self, complete_s: float, replayed: int, why: str) -> None:
        """Note what was seen of it."""
        self.complete_s, self.replayed, self.why = complete_s, replayed, why

    def leave(self, why: str) -> None:
        """Read nothing from it until it was seen to be well again."""
        self.saw(-math.inf, 0, why)

    def tell(self) -> None:
        """Log that it is left for what was seen of it, or taken back."""
        if self.why:
            self._behind.failed(self.why)
        else:
            self._behind.worked()


class PostgresReplicas:
    """The replicas of a primary, which ``primary`` looks at and ``newest`` reads from."""

    def __init__(self, told: ReplicaUrls, primary: ConnectionPool, newest: Reader) -> None:
        self._primary = primary
        self._newest = newest
        self._lag_max_s = told.lag_max_s
        self._every_s = min(told.lag_max_s / LOOKS_PER_BOUND, LOOK_EVERY_MAX_S)
        self.replicas = [Replica(url) for url in told.urls]
        self._looks: deque[tuple[float, int]] = deque(maxlen=LOOKS_KEPT)
        self._run = ""
        self._timeline = -1
        self._turn = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._asking: asyncio.Task[str] | None = None
        self._next: asyncio.Task[str] | None = None

    async def start(self) -> None:
        """Begin to look. A replica that is away delays nothing."""
        watched = [
            self._watch(self._look, _nobody),
            *(self._watch(self._looking_at(one), one.leave) for one in self.replicas),
        ]
        self._tasks = [asyncio.create_task(one, name="replica watch") for one in watched]

    async def stop(self) -> None:
        """Look no more, and disconnect from replicas."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for replica in self.replicas:
            await replica.connections.close()

    # What is read where

    def reader(self, after: str) -> Reader | None:
        """Return what reads from a replica that has what this caller has to see; None without one.

        They take turns. ``after`` is what the caller says in ``Read-After``.
        """
        if after == NEWEST:
            return None
        wanted = read_position(after)
        if wanted is not None and wanted.timeline != self._timeline:
            return None  # of before a failover, or of one that was not noticed here yet
        offset = 0 if wanted is None else wanted.offset
        since_s = asyncio.get_running_loop().time() - self._lag_max_s
        for _ in self.replicas:
            self._turn = (self._turn + 1) % len(self.replicas)
            replica = self.replicas[self._turn]
            if replica.has(offset, since_s):
                return _ReplicaReader(replica, self._newest, self._lag_max_s, offset)
        return None

    async def position(self) -> str:
        """Return a position after all that was acknowledged by now; ``newest`` if it is not known.

        Who asks while the server is being asked is answered by the next time, all together.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._ask(self._asking))
        return await asyncio.shield(self._next)

    async def _ask(self, before: asyncio.Task[str] | None) -> str:
        if before is not None:
            await asyncio.wait([before])
        self._asking, self._next = self._next, None
        try:
            async with asyncio.timeout(LOOK_MAX_S):
                (row,) = await self._run_at_primary(_POSITION)
        except (Failure, TimeoutError, asyncpg.PostgresError, OSError):
            return NEWEST  # the write holds: it is told nothing that could hide it
        return str(WritePosition(int(row[0], 16), row[1]))

    def standing(self) -> list[ReplicaStanding]:
        """How each replica is doing, as far as this process knows."""
        now_s = asyncio.get_running_loop().time()
        return [
            ReplicaStanding(
                replica.target.shown,
                None if math.isinf(replica.complete_s) else now_s - replica.complete_s,
                replica.why,
                replica.served,
                replica.left,
            )
            for replica in self.replicas
        ]

    # Looking

    async def look(self) -> None:
        """Look at every server once, now."""
        await self._tried(self._look, _nobody)
        await asyncio.gather(
            *(self._tried(self._looking_at(one), one.leave) for one in self.replicas)
        )

    async def _watch(self, look: Look, failed: Callable[[str], None]) -> None:
        failures = 0
        while True:
            if await self._tried(look, failed):
                failures, pause_s = 0, self._every_s
            else:
                pause_s = max(self._every_s, retry_delay_s(failures))
                failures += 1
            await asyncio.sleep(pause_s)

    async def _tried(self, look: Look, failed: Callable[[str], None]) -> bool:
        """Look, and say whether that went well; what could not be looked at is not read from."""
        try:
            async with asyncio.timeout(LOOK_MAX_S):
                await look()
        except TimeoutError:
            failed(f"it did not answer within {LOOK_MAX_S:g} s")
        except (Failure, StartError, asyncpg.PostgresError, OSError) as error:
            failed(str(error) if isinstance(error, StartError) else said(error))
        except Exception as error:
            failed(repr(error))
            log.exception("replica_watch_failed")
        else:
            return True
        return False

    async def _look(self) -> None:
        """Look at the primary; mark it, so that a replica shows whom it follows."""
        if not self._run:
            await self._run_at_primary(_MAKE)
        asked_s = asyncio.get_running_loop().time()
        ((timeline, flushed, run, marked),) = await self._run_at_primary(LOOK)
        if run != self._run:
            self._run, self._timeline = run, int(timeline, 16)
            self._looks.clear()
            for replica in self.replicas:
                replica.leave("the primary is another one, or was started again")
        if not marked:
            await self._run_at_primary(MARK, (run,))
        self._looks.append((asked_s, flushed))

    async def _run_at_primary(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return await self._primary.run(lambda one: self._primary.fetch(one, sql, values))

    def _looking_at(self, replica: Replica) -> Look:
        async def look() -> None:
            if not replica.target.probed:
                await replica.target.probe()
            run = self._run
            if not run:
                return

            async def ask(connection: Connection) -> list[Any]:
                return await replica.looks.fetch(connection, _REPLICA, (run,))

            try:
                ((stands_by, replayed, follows),) = await replica.looks.run(ask)
            except asyncpg.UndefinedTableError:  # it has not come as far as the mark
                stands_by, replayed, follows = True, 0, False
            if run == self._run:
                replica.saw(*self._judged(stands_by, replayed, follows))
                replica.tell()

        return look

    def _judged(self, stands_by: bool, replayed: int, follows: bool) -> tuple[float, int, str]:
        """As of when it is complete, how far it has come, and why it is not read from."""
        if not stands_by:
            return -math.inf, 0, "it is not a standby: it takes writes itself"
        if not follows:
            return -math.inf, 0, "it does not follow the primary, or has not come so far yet"
        now_s = asyncio.get_running_loop().time()
        complete_s = max((at for at, there in self._looks if there <= replayed), default=-math.inf)
        heard_s = self._looks[-1][0] if self._looks else -math.inf
        why = ""
        if now_s - heard_s > self._lag_max_s:
            why = "the primary was not heard of, so that its lag is not known"
        elif now_s - complete_s > self._lag_max_s:
            why = f"it lags by more than {self._lag_max_s:g} s"
        return complete_s, replayed, why


def _nobody(_: str) -> None:
    """Say nothing of the primary's outage, which those that use it tell of."""


class _ReplicaReader:
    """What one call reads through: a replica, and the primary from the first failure on."""

    __slots__ = ("_lag_max_s", "_newest", "_offset", "_replica")

    def __init__(self, replica: Replica, newest: Reader, lag_max_s: float, offset: int) -> None:
        self._replica: Replica | None = replica
        self._newest = newest
        self._lag_max_s = lag_max_s
        self._offset = offset

    async def read(self, query: Query[Any], values: tuple[Any, ...]) -> list[Any]:
        """Return the rows of a query."""
        return await self._do(lambda reader: reader.read(query, values))

    async def page(self, query: Query[Any], values: tuple[Any, ...], bytes_max: int) -> Rows[Any]:
        """Return the first rows of a query, as far as their text fits."""
        return await self._do(lambda reader: reader.page(query, values, bytes_max))

    async def _do(self, work: Callable[[Reader], Awaitable[T]]) -> T:
        since_s = asyncio.get_running_loop().time() - self._lag_max_s
        replica = self._replica
        if replica is None or not replica.has(self._offset, since_s):
            self._replica = None  # what follows is not older than what was read
            return await work(self._newest)
        try:
            async with asyncio.timeout(READ_MAX_S):
                found = await work(replica.reads)
        except NeedsIndex:
            raise
        except (Failure, TimeoutError, RuntimeError) as error:
            # Whatever it is that it cannot do (its server died, a row's version is gone there, it
            # has not got the table yet), the primary is asked once; a faulty query fails there too.
            replica.left += 1
            self._replica = None
            if not isinstance(error, RuntimeError):
                replica.leave(f"a read failed: {error}")
            return await work(self._newest)
        replica.served += 1
        return found
