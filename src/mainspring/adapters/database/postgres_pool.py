"""Connections to PostgreSQL: kept open without being reset, replaced when they break."""

import asyncio
import math
import random
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
import structlog

from mainspring.adapters.database import postgres_goodbye
from mainspring.adapters.database.postgres_batch import TAKE_TURN
from mainspring.adapters.database.postgres_hosts import STANDBY, NoHost, PostgresHosts, watch_over
from mainspring.adapters.database.postgres_trust import Trust
from mainspring.adapters.database.postgres_turns import Turns
from mainspring.adapters.database.postgres_types import TypedConnection
from mainspring.adapters.database.shares import Line
from mainspring.adapters.outage import Outage
from mainspring.kernel.current_call import current_account
from mainspring.kernel.errors import (
    Conflict,
    Failure,
    Invalid,
    OutcomeUnknown,
    Rerun,
    Unavailable,
)
from mainspring.kernel.table import Query
from mainspring.ports.database import StartError

T = TypeVar("T")
log = structlog.get_logger()

POOL_SIZE = 8  # connections for reads and transactions, unless the URL says ``pool=N``
POOL_SIZE_MAX = 100
WAIT_TIMEOUT_S = 10.0
# After that a connection is made anew, give or take a fifth: a name may lead elsewhere by now.
AGE_MAX_S = 300.0
EXAMINED_EVERY_S = 1.0  # whether a connection leads to the database that was opened
COMMAND_TIMEOUT_S = 30.0  # after that a server that does not answer counts as gone
CLOSE_TIMEOUT_S = 5.0
IDLE_IN_TRANSACTION_S = 10  # a process that freezes in a transaction gives up its locks then
# As does one that freezes between the messages of a statement: the server takes it for active.
TRANSACTION_S = 30
TRANSACTION_LIMIT_MAJOR = 17  # the first version that can end a transaction for its length
ATTEMPTS_MAX = 6  # of a transaction that PostgreSQL aborts because of others
RETRY_FIRST_S = 0.005
RETRY_MAX_S = 0.2
BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 2.0
STATEMENTS_CACHED = 1_024  # prepared statements per connection
STATEMENT_MAX_CHARS = 65_536  # longer texts are not kept prepared
OLDEST_MAJOR = 15
UNREACHED = "the database cannot be reached"

Connection = Any  # asyncpg.Connection, whose pooled and plain forms differ in type only

LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,  # a primary that became a replica under us
    asyncpg.InternalClientError,  # the server's farewell arrived while nothing was asked
    asyncpg.IdleInTransactionSessionTimeoutError,  # this process slept in a transaction
    asyncpg.TransactionTimeoutError,
    OSError,
    TimeoutError,
)
# Of these the server has said no word that settles what became of a statement it was sent.
UNSETTLED = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
CANNOT_WRITE = (asyncpg.DiskFullError, asyncpg.ReadOnlySQLTransactionError)
CONTENDED = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)


class PostgresTarget:
    """What a database URL says: where PostgreSQL is, and how to speak to it.

    Beside libpq's own parameters the URL takes ``pool=N`` and ``prepared=true|false``: prepared
    statements are needed for speed and break behind a pooler that hands out its connections per
    transaction (PgBouncer before 1.21). Left out, they are used unless a pooler is found.
    """

    def __init__(self, url: str, *, replica: bool = False) -> None:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        prepared = query.pop("prepared", None)
        pool = query.pop("pool", str(POOL_SIZE))
        if prepared not in (None, "true", "false"):
            raise StartError(f"database url: prepared is true or false, not {prepared!r}")
        if not pool.isdecimal() or not 1 <= int(pool) <= POOL_SIZE_MAX:
            raise StartError(f"database url: pool is 1 to {POOL_SIZE_MAX}, not {pool!r}")
        self._application_name = query.pop("application_name", "mainspring")
        self.hosts = PostgresHosts(parts, query, replica=replica)
        self.trust = Trust(parts, query)
        self.dsn = urlunsplit(parts._replace(query=urlencode(self.trust.query)))
        self.pool_size = int(pool)
        self.prepared = prepared != "false"
        self.says_prepared = prepared is not None
        self.pooler = False
        self.probed = False
        self.limits_transactions = False
        self.outage = Outage("database")
        self.writes = Outage("database writes")
        self._few_connections = False
        self._recheck: tuple[Query[Any], Callable[[list[Any]], None]] | None = None
        shown = ",".join(host for host, _ in self.hosts.named) or "localhost"
        self.shown = f"{shown}{parts.path}"

    async def connect(self) -> Connection:
        """Open one connection, to the primary. Raises what the driver raises."""
        return await self.hosts.connect(self._connect)

    async def _connect(self, where: dict[str, Any], within_s: float) -> Connection:
        settings = {"application_name": self._application_name}
        if self.probed and not self.pooler:  # a pooler refuses settings it does not know
            settings["idle_in_transaction_session_timeout"] = f"{IDLE_IN_TRANSACTION_S}s"
        if self.limits_transactions:
            settings["transaction_timeout"] = f"{TRANSACTION_S}s"
        connection = await asyncpg.connect(
            self.dsn,
            connection_class=TypedConnection,
            timeout=within_s,
            command_timeout=COMMAND_TIMEOUT_S,
            statement_cache_size=STATEMENTS_CACHED if self.prepared else 0,
            max_cached_statement_lifetime=0,
            max_cacheable_statement_size=STATEMENT_MAX_CHARS,
            server_settings=settings,
            **where,
        )
        watch_over(connection.transport)
        return connection

    def recheck(self, query: Query[Any], judge: Callable[[list[Any]], None]) -> None:
        """Have ``examine`` run this query, and its rows judged."""
        self._recheck = (query, judge)

    async def examine(self, connection: Connection) -> None:
        """Make sure which database a connection leads to. Raises Unavailable, or as lost."""
        if self.pooler and self.hosts.wanted != "any":  # which may lead to a standby by now
            (row,) = await self.fetch(connection, "SELECT pg_catalog.pg_is_in_recovery()", ())
            if row[0]:
                raise NoHost(STANDBY)
        if self._recheck is None:
            return
        query, judge = self._recheck
        try:
            rows = await self.fetch(connection, query.sql.postgres, ())
        except asyncpg.PostgresError as error:
            if is_lost(error):
                raise
            raise Unavailable(
                f"the database that answers is not the one that was opened: {said(error)}",
                retry_after_s=1,
            ) from error
        judge([query.make(row) for row in rows])

    async def fetch(self, connection: Connection, sql: str, values: Sequence[Any]) -> list[Any]:
        """Run one statement outside a transaction and return its rows."""
        if self.prepared:
            rows: list[Any] = await connection.fetch(sql, *values)
            return rows
        # Parsing and running are two exchanges: a pooler keeps them together in a transaction.
        async with transaction(connection):
            return list(await connection.fetch(sql, *values))

    def warn_of_few_connections(self) -> None:
        """Say once that the server has fewer connections than this process would use."""
        if not self._few_connections:
            self._few_connections = True
            log.warning(
                "postgres_connections_few",
                server=self.shown,
                advice="calls wait for each other: raise max_connections, lower ?pool=N in "
                "[database] url, or put a pooler in between",
            )

    async def probe(self) -> str:
        """Connect once; return the server's version. Raises StartError.

        A pooler is found by the process that answers not being the one that greeted.
        """
        try:
            connection = await self.connect()
        except (*LOST, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            why = said(error) + self.trust.advice(error)
            raise StartError(f"cannot reach PostgreSQL at {self.shown}: {why}") from error
        try:
            version = connection.get_server_version()
            shown = connection.get_settings().server_version.split()[0]
            if version.major < OLDEST_MAJOR:
                raise StartError(f"PostgreSQL {version.major} is too old: {OLDEST_MAJOR} or newer")
            await connection.execute("BEGIN")
            answers = await connection.fetchval("SELECT pg_backend_pid()")
            await connection.execute("COMMIT")
            self.pooler = answers != connection.get_server_pid()
        except (*LOST, asyncpg.PostgresError) as error:
            raise StartError(f"PostgreSQL at {self.shown} fails: {said(error)}") from error
        finally:
            connection.terminate()
        self.probed = True
        self.limits_transactions = version.major >= TRANSACTION_LIMIT_MAJOR and not self.pooler
        if self.trust.unverified:
            log.warning(
                "postgres_unverified",
                server=self.shown,
                advice="add sslmode=verify-full and sslrootcert=FILE to [database] url: without "
                "them whoever is in between can read and change everything",
            )
        if self.pooler and not self.says_prepared:
            self.prepared = False
            log.warning("postgres_pooler_found", prepared_statements=False, wakes="polled")
        return f"PostgreSQL {shown}"


class Connections:
    """The open connections of a process, the one used last handed out first, whatever it was for.

    They are made when needed and kept, ``most`` at a time. A server that has no more to give leaves
    the process with those it has: whoever needs one waits until another is done with it.
    """

    def __init__(
        self, target: PostgresTarget, *, jitter: Callable[[], float] = random.random
    ) -> None:
        self.target = target
        self.most: float = math.inf
        self.jitter = jitter
        self.turns = Turns()
        self._idle: list[Connection] = []
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._pids: dict[Connection, int] = {}
        self._examine_at_s: dict[Connection, float] = {}
        self._too_old_at_s: dict[Connection, float] = {}
        self._moves: dict[Connection, int] = {}
        self._making = 0
        self._failures = 0
        self._refused = UNREACHED
        self._retry_at_s = 0.0
        self._closed = False

    def has_pid(self, pid: int) -> bool:
        """Tell whether a server process serves one of these connections."""
        return pid in self._pids.values()

    async def take(self) -> Connection:
        """Take a connection, a new one where none is idle. Raises Unavailable.

        It leads to the database that was opened, as of ``EXAMINED_EVERY_S`` ago at most.
        """
        while True:
            while self._idle:
                connection = self._idle.pop()
                if not self._is_done(connection) and await self._still_good(connection):
                    return connection
                self.cut(connection)
            if (made := await self._make()) is not None:
                return made
            if (handed := await self._next()) is not None:
                if await self._still_good(handed):
                    return handed
                self.cut(handed)

    def give_back(self, connection: Connection) -> None:
        """Take a connection back; one closed, too old, or still in a transaction is dropped."""
        if self._closed or self._is_done(connection) or connection.is_in_transaction():
            self.cut(connection)
        elif not self._hand(connection):
            self._idle.append(connection)

    def cut(self, connection: Connection) -> None:
        """Drop a connection that cannot be trusted any more; another may be made in its place."""
        connection.terminate()
        self._forget(connection)
        self._hand(None)

    def cut_idle(self) -> None:
        """Drop those that nobody uses."""
        while self._idle:
            self.cut(self._idle.pop())

    async def close(self) -> None:
        """Close the idle ones; those that are lent close when they come back."""
        self._closed = True
        while self._idle:
            connection = self._idle.pop()
            self._forget(connection)
            await close(connection)

    def _forget(self, connection: Connection) -> None:
        self._pids.pop(connection, None)
        self._examine_at_s.pop(connection, None)
        self._too_old_at_s.pop(connection, None)
        self._moves.pop(connection, None)

    def _is_done(self, connection: Connection) -> bool:
        """Tell whether it is closed, too old, or leads to a server that was left."""
        moves = self.target.hosts.moves
        if connection.is_closed() or self._moves.get(connection, moves) != moves:
            return True
        return asyncio.get_running_loop().time() >= self._too_old_at_s.get(connection, math.inf)

    async def _still_good(self, connection: Connection) -> bool:
        """Tell whether it works and leads to the database, where that was not just looked at."""
        if asyncio.get_running_loop().time() < self._examine_at_s[connection]:
            return True
        try:
            await self._examine(connection)
        except BaseException as error:
            if is_lost(error):
                self.cut_idle()  # they reached the same server
                return False
            self.cut(connection)
            if isinstance(error, Unavailable):
                self.cut_idle()
                self.target.outage.failed(error.detail)
            raise
        return True

    async def _examine(self, connection: Connection) -> None:
        await self.target.examine(connection)
        loop = asyncio.get_running_loop()
        self._examine_at_s[connection] = loop.time() + EXAMINED_EVERY_S

    def _hand(self, connection: Connection | None) -> bool:
        """Pass a connection, or the place of one, to who has waited longest."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    async def _next(self) -> Connection | None:
        """Wait for another's connection, or for its place. Raises Unavailable."""
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(WAIT_TIMEOUT_S):
                return await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                handed = waiter.result()
                if handed is None:
                    self._hand(None)
                else:
                    self.give_back(handed)
            waiter.cancel()
            if isinstance(error, TimeoutError):
                raise Unavailable("no database connection is free", retry_after_s=1) from None
            raise

    async def _make(self) -> Connection | None:
        """Make one; None where there may be no more, so that another's has to be waited for."""
        if len(self._pids) + self._making >= self.most:
            return None
        self._making += 1
        try:
            return await self._connect()
        except asyncpg.TooManyConnectionsError:
            self.target.warn_of_few_connections()
            return None
        except BaseException:
            self._hand(None)  # whoever waited for this one has a place, and may find out as well
            raise
        finally:
            self._making -= 1

    async def _connect(self) -> Connection:
        """Make one. Raises Unavailable; TooManyConnectionsError where others can be waited for."""
        loop = asyncio.get_running_loop()
        if (wait_s := self._retry_at_s - loop.time()) > 0:
            raise Unavailable(self._refused, retry_after_s=round(wait_s, 3))
        try:
            connection = await self.target.connect()
            moves = self.target.hosts.moves
            try:
                await self._examine(connection)
            except BaseException:
                connection.terminate()
                raise
        except (*LOST, asyncpg.PostgresError, asyncpg.InterfaceError, Unavailable) as error:
            if isinstance(error, asyncpg.TooManyConnectionsError) and self._pids:
                raise
            delay_s = retry_delay_s(self._failures, self.jitter())
            self._failures += 1
            self._retry_at_s = loop.time() + delay_s
            if isinstance(error, Unavailable):  # it is there, and not the one that was opened
                self.target.outage.failed(error.detail)
                self._refused = error.detail
                raise
            self._refused = UNREACHED
            self.target.outage.failed(said(error))
            raise Unavailable(UNREACHED, retry_after_s=1) from error
        self._failures = 0
        self.target.outage.worked()
        self._moves[connection] = moves
        self._pids[connection] = connection.get_server_pid()
        self._too_old_at_s[connection] = loop.time() + AGE_MAX_S * (0.8 + 0.4 * self.jitter())
        return connection


class ConnectionPool:
    """How many connections one kind of work may use at once."""

    def __init__(self, connections: Connections, size: int) -> None:
        self._connections = connections
        self._target = connections.target
        self._size = size
        self._lent = 0
        self._waiters = Line()

    async def acquire(self) -> Connection:
        """Take a connection. Raises Unavailable when there is none to be had in time."""
        if self._lent < self._size:
            self._lent += 1
        else:
            await self._wait_for_turn()
        try:
            return await self._connections.take()
        except BaseException:
            self._end_turn()
            raise

    def release(self, connection: Connection) -> None:
        """Give a connection back."""
        self._connections.give_back(connection)
        self._end_turn()

    def drop(self, connection: Connection) -> None:
        """Cut a connection that cannot be trusted any more."""
        self._connections.cut(connection)
        self._end_turn()

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run ``work`` on a connection, again after a pause when PostgreSQL aborts it for others.

        ``work`` is one statement or one transaction that it ends itself. It is never repeated when
        its outcome is not known.
        """
        for attempt in range(ATTEMPTS_MAX):
            connection = await self.acquire()
            try:
                result = await work(connection)
            except CONTENDED:
                self._connections.turns.met()
                self.release(connection)
                if attempt == ATTEMPTS_MAX - 1:
                    raise
            except Exception as error:
                if isinstance(error, CANNOT_WRITE):
                    self._target.writes.failed(said(error))
                if is_lost(error):
                    self._connections.cut_idle()  # they reached the same server
                    self.drop(connection)
                else:
                    self.release(connection)
                raise
            except BaseException:  # cancelled: the answer may still be on its way
                postgres_goodbye.leave(connection, self.drop)
                raise
            else:
                self.release(connection)
                return result
            pause_s = min(RETRY_FIRST_S * 2**attempt, RETRY_MAX_S)
            await asyncio.sleep(pause_s * (0.5 + self._connections.jitter()))
        raise AssertionError("the last attempt returns or raises")

    async def commit(self, work: Callable[[Connection, bool], Awaitable[None]]) -> None:
        """Run ``work``, which changes something, as ``run`` does; it is told if it takes a turn."""
        turns = self._connections.turns
        await self.run(lambda connection: work(connection, turns.taken))
        turns.passed()

    async def fetch(self, connection: Connection, sql: str, values: Sequence[Any]) -> list[Any]:
        """Run one statement outside a transaction and return its rows."""
        return await self._target.fetch(connection, sql, values)

    async def _wait_for_turn(self) -> None:
        turn = self._waiters.join(current_account())
        try:
            async with asyncio.timeout(WAIT_TIMEOUT_S):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._end_turn()
            turn.cancel()
            if isinstance(error, TimeoutError):
                raise Unavailable("no database connection is free", retry_after_s=1) from None
            raise

    def _end_turn(self) -> None:
        """Pass turns on, account by account."""
        self._lent -= 1
        while self._lent < self._size and (found := self._waiters.next()) is not None:
            self._lent += 1
            found[1].set_result(None)


def retry_delay_s(failures: int, noise: float = 1.0) -> float:
    """How long to wait before connecting again, after so many failures; noise is 0 to 1."""
    delay_s: float = min(BACKOFF_FIRST_S * 2 ** min(failures, 16), BACKOFF_MAX_S)
    return delay_s * (0.5 + noise / 2)


@asynccontextmanager
async def transaction(
    connection: Connection,
    begin: str = "BEGIN ISOLATION LEVEL READ COMMITTED",
    *,
    in_turn: bool = False,
) -> AsyncIterator[None]:
    """Begin, and commit or roll back. READ COMMITTED, as every guard here expects."""
    await connection.execute(f"{begin}; SELECT {TAKE_TURN}" if in_turn else begin)
    try:
        yield
    except BaseException as error:
        if not is_lost(error) and isinstance(error, Exception):
            await connection.execute("ROLLBACK")
        raise
    with committing():
        await connection.execute("COMMIT")


class CommitLost(ConnectionError):
    """The connection broke while a commit was on its way."""


@contextmanager
def committing() -> Iterator[None]:
    """Around what commits: raise CommitLost when it is not known whether it did."""
    try:
        yield
    except UNSETTLED as error:
        if isinstance(error, asyncpg.QueryCanceledError):
            raise
        raise CommitLost(said(error)) from error


async def close(connection: Connection) -> None:
    """Say goodbye, but not for longer than ``CLOSE_TIMEOUT_S``."""
    try:
        await connection.close(timeout=CLOSE_TIMEOUT_S)
    except (*LOST, asyncpg.PostgresError):
        connection.terminate()


def is_lost(error: BaseException) -> bool:
    """Tell whether the connection, and not the statement, is what failed."""
    if isinstance(error, asyncpg.InterfaceError):
        return "closed" in str(error)  # any other misuse of the driver is a defect of ours
    return isinstance(error, LOST) and not isinstance(error, asyncpg.QueryCanceledError)


def translated(error: BaseException) -> BaseException:
    """Turn what the driver raises into what the port promises; a defect becomes RuntimeError."""
    if isinstance(error, Failure | Rerun | StartError):
        return error
    if isinstance(error, asyncpg.DiskFullError):
        return Unavailable("the database cannot write: the disk is full", retry_after_s=1)
    if isinstance(error, CommitLost):
        return OutcomeUnknown(
            "the database did not answer the commit: whether it was done is not known. Repeat the "
            "call with the same Idempotency-Key; without one look first",
            retry_after_s=1,
        )
    if isinstance(error, LOST) or is_lost(error):
        return Unavailable(UNREACHED, retry_after_s=1)
    if isinstance(error, (*CONTENDED, asyncpg.LockNotAvailableError)):
        return Unavailable("too many calls change the same rows", retry_after_s=1)
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return Conflict("a unique value is taken")
    if isinstance(error, asyncpg.DataError | UnicodeEncodeError):
        return Invalid("a value is not one the database stores")
    if isinstance(error, asyncpg.ProgramLimitExceededError):
        return Invalid("a value is larger than the database stores")
    if isinstance(error, asyncpg.PostgresError):
        return RuntimeError(f"PostgreSQL {error.sqlstate}: {said(error)}")
    return error


def said(error: BaseException) -> str:
    """What went wrong in one line; a PostgreSQL error's detail, which holds values, is left out."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.args[0]) if error.args else type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, asyncpg.ClientConfigurationError):
        return str(error.args[0])
    return f"{type(error).__name__}: {error}".splitlines()[0]
