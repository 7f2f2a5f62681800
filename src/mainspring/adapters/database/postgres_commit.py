"""Commits on PostgreSQL: calls gathered into batches, and a verdict for each where one fails."""

import asyncio
import re
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, TypeVar

import asyncpg

from mainspring.adapters.database.postgres_batch import (
    BatchStatement,
    columns,
    in_key_order,
    insert_rows,
    own_statement,
    touched,
)
from mainspring.adapters.database.postgres_pool import (
    Connection,
    ConnectionPool,
    committing,
    transaction,
    translated,
)
from mainspring.kernel.errors import NeedsIndex, Rerun, Unavailable
from mainspring.kernel.table import Command, Insert, Query, Rows, Update, Write
from mainspring.ports.database import SCAN_DEADLINE_S, Wakes

R = TypeVar("R")

BATCH_CALLS_MAX = 256
BATCH_WRITES_MAX = 4_096  # a call with more of them goes alone
ALIKE_MAX = 32  # the same service statement in one batch; always a power of two of them
SERIES_MAX = 64  # calls that change one row one after the other, in one transaction

_ROWS = re.compile(r"\breturning\b|^\s*(?:select|values)\b", re.IGNORECASE)
_WITH = re.compile(r"\s*with\b", re.IGNORECASE)


class Unit:
    """One call waiting for its commit."""

    __slots__ = ("future", "keys", "own", "wakes", "writes")

    def __init__(
        self, writes: Sequence[Write], wakes: Wakes, future: "asyncio.Future[None]"
    ) -> None:
        self.writes = writes
        self.own = own_statement(writes)
        self.keys = frozenset(touched(writes))
        self.wakes = wakes
        self.future = future

    @property
    def changes_one_row(self) -> bool:
        """Whether all it does but adding rows is one statement, to the rows of one key."""
        return (
            self.own is not None
            and len(self.keys) == 1
            and all(write is self.own or type(write) is Insert for write in self.writes)
        )


Settle = Callable[[Sequence[Unit], BaseException | None], None]
RefusedUnits = Mapping[Unit, BaseException]
TryCommit = Callable[[list[Unit]], Awaitable[RefusedUnits]]


class CommitLane:
    """Takes queued calls as they come and commits them batch by batch on one connection.

    While one batch is on its way the next gathers: the busier it is, the larger they are. With
    ``turns`` they change rows that others change, and take turns when told to. Calls that change
    the same row go one after the other in a transaction of their own, every second batch.
    """

    def __init__(self, pool: ConnectionPool, settle: Settle, *, turns: bool) -> None:
        self._pool = pool
        self._turns = turns
        self._settle = settle
        self._queue: deque[Unit] = deque()
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self._repeats = False  # whether calls were left over because of rows that others change
        self.batches = 0

    def start(self) -> None:
        """Begin to take calls."""
        self._task = asyncio.create_task(self._run(), name="commit lane")

    async def stop(self) -> None:
        """Finish what is queued, then end."""
        await self._idle.wait()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def put(self, unit: Unit) -> None:
        """Queue a call; its future says what became of it."""
        self._queue.append(unit)
        self._idle.clear()
        self._work.set()

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            while self._queue:
                series = self._take_series() if self._repeats else []
                if series:
                    await self._commit(series, self._one_by_one)
                if self._queue:
                    await self._commit(self._take(), self._together)
            self._work.clear()
            self._idle.set()

    def _take(self) -> list[Unit]:
        """Take the next batch: bounded, no row updated twice, calls left over in their order."""
        units: list[Unit] = []
        later: list[Unit] = []
        claimed: set[tuple[Any, ...]] = set()
        writes = 0
        while self._queue and len(units) < BATCH_CALLS_MAX and len(later) < BATCH_CALLS_MAX:
            unit = self._queue[0]
            writes += len(unit.writes)
            if units and writes > BATCH_WRITES_MAX:
                break
            self._queue.popleft()
            if claimed.isdisjoint(unit.keys):
                claimed |= unit.keys
                units.append(unit)
            else:
                later.append(unit)
        self._repeats = bool(later)
        units, over = _in_powers_of_two(units)
        self._queue.extendleft(reversed([*over, *later]))
        return units

    def _take_series(self) -> list[Unit]:
        """Take the calls on the row that most of the next calls change, if it is more than one."""
        ahead = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_CALLS_MAX))]
        rows = Counter(unit.keys for unit in ahead if unit.changes_one_row)
        ((row, count),) = rows.most_common(1) or [(frozenset(), 0)]
        units: list[Unit] = []
        others: list[Unit] = []
        for unit in ahead:
            chosen = count > 1 and len(units) < SERIES_MAX and unit.keys == row
            (units if chosen and unit.changes_one_row else others).append(unit)
        self._queue.extendleft(reversed(others))
        return units

    async def _commit(self, units: list[Unit], attempt: TryCommit) -> None:
        """Commit a batch; when that fails, its halves; a call that fails alone has its verdict."""
        try:
            refused = await attempt(units)
        except Exception as error:  # noqa: BLE001 - handed to the callers, or narrowed down to one
            outcome = translated(error)
            if isinstance(outcome, Unavailable):
                # To try again is the callers' to decide, who may have no key for it.
                self._settle(units, outcome)
            elif len(units) > 1:
                middle = len(units) // 2
                await self._commit(units[:middle], attempt)
                await self._commit(units[middle:], attempt)
            else:
                self._settle(units, await verdict(self._pool, units[0].writes))
        else:
            if held := [unit for unit in units if unit not in refused]:
                self._settle(held, None)
            for unit, failure in refused.items():
                self._settle([unit], failure)

    async def _together(self, units: list[Unit]) -> RefusedUnits:
        """Commit calls that change different rows, by one statement."""
        batch = BatchStatement()
        for unit in units:
            batch.add(unit.writes)
        sql, in_turn_sql, values = batch.statement()
        self.batches += 1

        async def work(connection: Connection, in_turn: bool) -> None:
            with committing():  # the statement is a transaction of its own
                text = in_turn_sql if in_turn and self._turns else sql
                await self._pool.fetch(connection, text, values)

        await self._pool.commit(work)
        return {}

    async def _one_by_one(self, units: list[Unit]) -> RefusedUnits:
        """Commit calls that change one row, each by its own statement, and then add their rows.

        One whose statement finds nothing to change has done nothing yet: it is refused alone. It
        holds the lock of that row alone, so it meets no other in a deadlock.
        """
        refused: dict[Unit, BaseException] = {}
        self.batches += 1

        async def work(connection: Connection, in_turn: bool) -> None:
            refused.clear()
            batch = BatchStatement()
            async with transaction(connection, in_turn=in_turn):
                for unit in units:
                    assert unit.own is not None
                    _, count = await _run(connection, unit.own)
                    if count == unit.own.expects:
                        batch.add([write for write in unit.writes if write is not unit.own])
                    elif count:
                        raise fresh(unit.own.failure)
                    else:
                        refused[unit] = fresh(unit.own.failure)
                sql, _, values = batch.statement()
                if values:
                    await connection.fetch(sql, *values)

        await self._pool.commit(work)
        return refused


def _in_powers_of_two(units: list[Unit]) -> tuple[list[Unit], list[Unit]]:
    """Keep 1, 2, 4 … calls with the same service statement; return the others too.

    Each number of them is a statement of its own to PostgreSQL: these few stay prepared.
    """
    alike = Counter(_own_text(unit) for unit in units)
    room = {sql: min(1 << (n.bit_length() - 1), ALIKE_MAX) for sql, n in alike.items()}
    kept: list[Unit] = []
    over: list[Unit] = []
    for unit in units:
        sql = _own_text(unit)
        if sql is not None:
            room[sql] -= 1
        (kept if sql is None or room[sql] >= 0 else over).append(unit)
    return kept, over


def _own_text(unit: Unit) -> str | None:
    return unit.own.sql.postgres if unit.own is not None and unit.own.sql.many is None else None


async def verdict(pool: ConnectionPool, writes: Sequence[Write]) -> BaseException | None:
    """Commit one call in a transaction of its own. Returns what it fails with, or None."""

    async def work(connection: Connection, in_turn: bool) -> None:
        async with transaction(connection, in_turn=in_turn):
            await apply(connection, writes)

    try:
        await pool.commit(work)
    except Exception as error:  # noqa: BLE001 - returned to the caller
        return translated(error)
    return None


class Inside:
    """An open transaction, as a body sees it.

    PostgreSQL gives a transaction up at its first error; ``failure`` remembers it, so that a body
    that swallows it does not commit half of what it did.
    """

    __slots__ = ("_connection", "failure")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.failure: BaseException | None = None

    async def read(self, query: Query[R], values: tuple[Any, ...]) -> list[R]:
        """Return the rows of a query, this transaction's own writes included."""
        return [query.make(row) for row in await self._fetch(query, query.sql.postgres, values)]

    async def page(self, query: Query[R], values: tuple[Any, ...], bytes_max: int) -> Rows[R]:
        """Return the first rows of a query, as far as they fit."""
        rows = await self._fetch(query, query.postgres_page, (*values, bytes_max))
        return page_of(query, rows)

    async def _fetch(self, query: Query[Any], sql: str, values: tuple[Any, ...]) -> list[Any]:
        timeout_s = SCAN_DEADLINE_S if query.scans else None
        try:
            rows: list[Any] = await self._connection.fetch(sql, *values, timeout=timeout_s)
        except TimeoutError as error:
            self.failure = NeedsIndex(f"{query.sql.name} went over its budget")
            raise self.failure from error
        except BaseException as error:
            self.failure = error
            raise
        return rows

    async def execute(self, command: Command) -> list[tuple[Any, ...]]:
        """Run a statement now and return the rows of its RETURNING."""
        try:
            return await run_command(self._connection, command)
        except BaseException as error:
            self.failure = error
            raise

    async def apply(self, writes: Sequence[Write]) -> None:
        """Apply writes now, in their order."""
        try:
            await apply(self._connection, writes)
        except BaseException as error:
            self.failure = error
            raise


def page_of(query: Query[R], rows: Sequence[Any]) -> Rows[R]:
    """Read what ``Query.postgres_page`` returns: rows, each with whether it is over the bound."""
    fitting = [row for at, row in enumerate(rows) if at == 0 or not row[-1]]
    make = query.make
    return Rows([make(row[:-1]) for row in map(tuple, fitting)], more=len(fitting) < len(rows))


async def apply(connection: Connection, writes: Sequence[Write]) -> None:
    """Apply writes in their order inside an open transaction. Raises the first that fails."""
    for (kind, table, checked), run in groupby(writes, key=_kind):
        if kind is Insert:
            await _insert(connection, table, list(run), checked)  # type: ignore[arg-type]
            continue
        for write in run:
            if isinstance(write, Command):
                await run_command(connection, write)
            else:
                await _change(connection, write)


def _kind(write: Write) -> tuple[type, Any, bool]:
    if isinstance(write, Insert):
        return Insert, write.table, write.on_conflict is not None
    return type(write), None, False


async def _insert(connection: Connection, table: Any, rows: list[Insert], checked: bool) -> None:
    values = columns(in_key_order(table, [row.values for row in rows]))
    sql = f"{insert_rows(table)} RETURNING {', '.join(table.key)}"
    added = Counter(tuple(key) for key in await connection.fetch(sql, *values))
    if not checked or added.total() == len(rows):
        return
    positions = [table.names.index(name) for name in table.key]
    for row in rows:
        key = tuple([row.values[position] for position in positions])
        if not added[key]:
            assert row.on_conflict is not None
            raise fresh(row.on_conflict)
        added[key] -= 1


async def _change(connection: Connection, write: Any) -> None:
    """Update or delete a row by key. Raises Rerun when its guard fails."""
    guard = () if write.version is None else (write.version,)
    if isinstance(write, Update):
        sql = write.table.update_sql(write.names, bool(guard)).postgres
        done = await connection.execute(sql, *write.values, *write.key, *guard)
    else:
        sql = write.table.delete_sql(bool(guard)).postgres
        done = await connection.execute(sql, *write.key, *guard)
    if guard and _count(done) != 1:
        raise Rerun


async def run_command(connection: Connection, command: Command) -> list[tuple[Any, ...]]:
    """Run a statement; return its rows. Raises its failure when the count is not as expected."""
    rows, count = await _run(connection, command)
    if command.expects is not None and count != command.expects:
        raise fresh(command.failure)
    return rows


async def _run(connection: Connection, command: Command) -> tuple[list[tuple[Any, ...]], int]:
    """Run a statement; return its rows and how many it touched. Raises its failure for a taken key.

    PostgreSQL gives the transaction up then.
    """
    sql = command.sql.postgres
    rows: list[Any] = []
    try:
        if not _ROWS.search(sql):
            count = _count(await connection.execute(sql, *command.values))
        elif _WITH.match(sql):  # what it returns need not be what it changed
            prepared = await connection.prepare(sql)
            rows = await prepared.fetch(*command.values)
            count = _count(prepared.get_statusmsg())
        else:
            rows = await connection.fetch(sql, *command.values)
            count = len(rows)
    except asyncpg.IntegrityConstraintViolationError as error:
        raise fresh(command.failure) from error
    return [tuple(row) for row in rows], count


def fresh(failure: BaseException | type[BaseException]) -> BaseException:
    """An exception to raise: the one given, or a new one of the class given."""
    return failure() if isinstance(failure, type) else failure


def _count(status: str) -> int:
    """How many rows a command touched, from its tag: ``INSERT 0 1``, ``UPDATE 2``."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdecimal() else 0
