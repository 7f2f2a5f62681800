"""SQLite: WAL, one writer thread that group-commits, key reads on the event loop.

A commit is durable when it is acknowledged (``synchronous=FULL``). Each call of a group has its own
savepoint, so one that fails leaves the others whole.
"""

import asyncio
import contextvars
import fcntl
import hashlib
import os
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

import apsw
import structlog

from mainspring.adapters import private_file
from mainspring.adapters.database.shares import Shares
from mainspring.kernel.errors import Conflict, Failure, Invalid, NeedsIndex, Rerun, Unavailable
from mainspring.kernel.table import Command, Delete, Insert, Query, Rows, Update, Write
from mainspring.ports.database import (
    COMMIT_QUEUE_MAX,
    NO_WAKES,
    SCAN_DEADLINE_S,
    SCAN_STEPS_MAX,
    StartError,
    Transaction,
    Wakes,
)
from mainspring.runtime.containment import described, tell
from mainspring.runtime.outage import Outage
from mainspring.runtime.tracing import current_account

R = TypeVar("R")
log = structlog.get_logger()
Body = Callable[[Transaction], Awaitable[tuple[Sequence[Write], Wakes]]]

GROUP_MAX = 256  # calls in one commit
READERS = 4  # threads for scans
SCAN_WAIT_S = 10.0  # for a thread, and for a scan in it on a machine that does other things
STATEMENTS_CACHED = 512  # prepared statements per connection
CHECKPOINT_PAGES = 4_000  # WAL pages before an automatic checkpoint
STEPS_BETWEEN_CHECKS = 10_000

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA mmap_size = 0",
    "PRAGMA cache_size = -32768",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA secure_delete = ON",
    f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}",
)
_MIGRATIONS = (
    "CREATE TABLE IF NOT EXISTS migrations (name text NOT NULL PRIMARY KEY, digest text NOT NULL)"
)
_APPLIED = Query("migrations.applied", "SELECT name FROM migrations ORDER BY name", str)


_CANNOT_WRITE = (
    apsw.FullError, apsw.IOError, apsw.BusyError, apsw.CantOpenError, apsw.ReadOnlyError,
    apsw.ConnectionClosedError,
)  # fmt: skip


_WHY: dict[type, str] = {
    apsw.FullError: "the disk is full",
    apsw.ReadOnlyError: "its file is read-only",
    apsw.IOError: "the disk refuses (I/O error)",
    apsw.CantOpenError: "its file cannot be opened",
    apsw.BusyError: "another process holds it",
}


class _Task:
    """One call waiting for its commit: writes that are known, or a body to run inside."""

    __slots__ = ("body", "context", "error", "future", "wakes", "writes")

    def __init__(
        self,
        future: asyncio.Future[None] | None,
        writes: Sequence[Write],
        wakes: Wakes,
        body: Body | None = None,
    ) -> None:
        self.future = future
        self.writes = writes
        self.wakes = wakes
        self.body = body
        self.context = contextvars.copy_context() if body is not None else None
        self.error: BaseException | None = None


class _Spoiled(Exception):
    """A call failed with some of it applied: the group is to be done again, each call apart."""


class _Inside:
    """The open transaction as a body sees it: nothing in it ever suspends.

    ``failure`` remembers a statement that failed, so that a body that swallows it does not commit
    half of what it did.
    """

    __slots__ = ("_connection", "failure")

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.failure: Exception | None = None

    async def read(self, query: Query[R], values: tuple[Any, ...]) -> list[R]:
        """Return the rows of a query, this transaction's own writes included."""
        return [query.make(row) for row in self._connection.execute(query.sql.sqlite, values)]

    async def page(self, query: Query[R], values: tuple[Any, ...], bytes_max: int) -> Rows[R]:
        """Return the first rows of a query, as far as they fit."""
        return _made(query, _fetched(self._connection, query, values, bytes_max))

    async def execute(self, command: Command) -> list[tuple[Any, ...]]:
        """Run a statement now and return the rows of its RETURNING."""
        try:
            return _run(self._connection, command)
        except Exception as error:
            self.failure = error
            raise


class SqliteDatabase:
    """The embedded database: a file in the data directory.

    Without ``durable`` the disk is not waited for: a power cut may lose or spoil it. For tests.
    """

    dialect: Literal["sqlite"] = "sqlite"
    exclusive = True

    def __init__(self, path: Path, *, group_max: int = GROUP_MAX, durable: bool = True) -> None:
        self._path = path
        self._durable = durable
        self._group_max = group_max
        self._queue: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()  # bounded by _waiting
        self._waiting = 0
        self._listeners: list[Callable[[Wakes], None]] = []
        self._group_listeners: list[Callable[[int], None]] = []
        self._outage = Outage("database")
        self._shares = Shares(READERS)
        self._closing = False
        self.commits = 0
        self.calls_committed = 0

    async def open(self) -> None:
        """Open the file and start the writer. Raises StartError."""
        self._loop = asyncio.get_running_loop()
        try:
            self._lock = _locked(self._path.with_name(self._path.name + ".lock"))
        except OSError as error:
            raise StartError(f"cannot open the database {self._path}: {error.strerror}") from error
        try:
            # SQLite gives its other files the mode of this one.
            os.close(private_file.opener(str(self._path), os.O_RDWR | os.O_CREAT))
            self._writer = self._connect()
            self._reader = self._connect(readonly=True)
        except (apsw.Error, OSError) as error:
            self._lock.close()
            why = _WHY.get(type(error), str(error))
            raise StartError(f"cannot open the database {self._path}: {why}") from error
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="mainspring-reader")
        self._local = threading.local()
        self._thread = threading.Thread(target=self._write_forever, name="mainspring-writer")
        self._thread.start()

    def _connect(self, *, readonly: bool = False) -> apsw.Connection:
        connection = apsw.Connection(str(self._path), statementcachesize=STATEMENTS_CACHED)
        connection.set_busy_timeout(5_000)
        # Without it a plan that looked at a bound value, as partial indexes make it do, is made
        # again at every call: 9 us instead of 2 for a record by its id.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        if not self._durable:
            connection.execute("PRAGMA synchronous = OFF")
        if readonly:
            connection.execute("PRAGMA query_only = ON")
        else:
            connection.execute(_MIGRATIONS)
        return connection

    async def close(self) -> None:
        """Commit what is queued, then close."""
        self._closing = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._pool.shutdown(wait=True)
        self._reader.close()
        self._writer.close()
        self._lock.close()

    async def version(self) -> str:
        """Name and version of the library."""
        return f"SQLite {apsw.sqlite_lib_version()}"

    @property
    def waiting(self) -> int:
        """Calls that wait for their commit."""
        return self._waiting

    # Reading

    async def read(self, query: Query[R], values: tuple[Any, ...]) -> list[R]:
        """Return the rows of a query: on the loop, or in the reader pool when it scans."""
        return (await self._read(query, values, None)).items

    async def page(self, query: Query[R], values: tuple[Any, ...], bytes_max: int) -> Rows[R]:
        """Return the first rows of a query; those that do not fit are not stepped to."""
        return await self._read(query, values, bytes_max)

    async def _read(
        self, query: Query[R], values: tuple[Any, ...], bytes_max: int | None
    ) -> Rows[R]:
        if query.scans:
            return await self._scan_in_turn(query, values, bytes_max)
        try:
            rows = _fetched(self._reader, query, values, bytes_max)
        except apsw.Error as error:
            raise _translated(error) from error
        return _made(query, rows)

    async def _scan_in_turn(
        self, query: Query[R], values: tuple[Any, ...], bytes_max: int | None
    ) -> Rows[R]:
        """Scan in a thread, once it is this account's turn; to wait costs no budget."""
        account = current_account()
        await self._shares.acquire(account, SCAN_WAIT_S)
        scan = self._loop.run_in_executor(self._pool, self._scan, query, values, bytes_max)
        # The thread goes on when its caller is gone, and so does its hold on the slot.
        scan.add_done_callback(lambda _: self._shares.release(account))
        return await asyncio.shield(scan)

    def _scan(self, query: Query[R], values: tuple[Any, ...], bytes_max: int | None) -> Rows[R]:
        connection: apsw.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect(readonly=True)
        steps = 0
        busy = False
        # The time of this thread, and not of the clock on the wall: what others do at the same
        # time is not the query's doing.
        deadline_s = time.thread_time() + SCAN_DEADLINE_S
        given_up_s = time.monotonic() + SCAN_WAIT_S

        def over_budget() -> bool:
            nonlocal steps, busy
            steps += STEPS_BETWEEN_CHECKS
            busy = time.monotonic() > given_up_s
            return busy or steps > SCAN_STEPS_MAX or time.thread_time() > deadline_s

        connection.set_progress_handler(over_budget, STEPS_BETWEEN_CHECKS)
        try:
            rows = _fetched(connection, query, values, bytes_max)
        except apsw.InterruptError as error:
            if busy:
                raise Unavailable("the database is busy", retry_after_s=1) from error
            raise NeedsIndex(f"{query.sql.name} went over its budget") from error
        except apsw.Error as error:
            raise _translated(error) from error
        finally:
            connection.set_progress_handler(None)
        return _made(query, rows)

    # Writing

    async def commit(self, writes: Sequence[Write], wakes: Wakes = NO_WAKES) -> None:
        """Queue the writes of one call for the next group commit and wait for it."""
        await self._submit(writes, wakes)

    async def transact(self, body: Body) -> None:
        """Run ``body`` in the writer thread, inside the next group's transaction."""
        await self._submit((), NO_WAKES, body)

    async def _submit(
        self, writes: Sequence[Write], wakes: Wakes, body: Body | None = None
    ) -> None:
        if self._closing:
            raise Unavailable("the database is closing", retry_after_s=1)
        if self._waiting >= COMMIT_QUEUE_MAX:
            raise Unavailable("too many writes are waiting", retry_after_s=1)
        self._waiting += 1
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.put(_Task(future, writes, wakes, body))
        # A caller that is cancelled cancels only this future: its commit goes on in the queue.
        await future

    def post(self, writes: Sequence[Write]) -> None:
        """Queue a commit from any thread and do not wait for it."""
        if not self._closing:
            self._queue.put(_Task(None, writes, NO_WAKES))

    async def scrub(self) -> None:
        """Empty the write-ahead log: it holds pages as they were before ``secure_delete``."""
        await self._loop.run_in_executor(self._pool, self._empty_log)

    def _empty_log(self) -> None:
        connection = self._connect(readonly=True)
        try:
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]
        finally:
            connection.close()
        if busy:
            raise Unavailable("readers keep the write-ahead log in use", retry_after_s=1)

    def on_wake(self, listener: Callable[[Wakes], None]) -> None:
        """Call ``listener`` on the loop after each commit that wakes somebody."""
        self._listeners.append(listener)

    def on_group(self, listener: Callable[[int], None]) -> None:
        """Call ``listener`` on the loop with the size of each group."""
        self._group_listeners.append(listener)

    async def applied(self) -> list[str]:
        """Names of the migrations that were applied."""
        return await self.read(_APPLIED, ())

    async def migrate(self, name: str, script: str) -> bool:
        """Apply a migration once."""
        digest = hashlib.sha256(script.encode()).hexdigest()
        done = Query("migrations.find", "SELECT digest FROM migrations WHERE name = :name", str)
        applied = False

        async def body(transaction: Transaction) -> tuple[Sequence[Write], Wakes]:
            nonlocal applied
            applied = False
            if found := await transaction.read(done, (name,)):
                if found[0] != digest:
                    raise StartError(f"migration {name} was changed after it was applied")
                return (), NO_WAKES
            self._writer.execute(script)
            self._writer.execute("INSERT INTO migrations VALUES (?, ?)", (name, digest))
            applied = True
            return (), NO_WAKES

        try:
            await self.transact(body)
        except (apsw.Error, Unavailable) as error:
            raise StartError(f"migration {name} failed: {error}") from error
        return applied

    # The writer thread

    def _write_forever(self) -> None:
        stop = False
        while not stop:
            first = self._queue.get()
            if first is None:
                return
            group = [first]
            while len(group) < self._group_max:
                try:
                    task = self._queue.get_nowait()
                except queue.Empty:
                    break
                if task is None:
                    stop = True
                    break
                group.append(task)
            try:
                self._commit_group(group)
            except BaseException as error:  # noqa: BLE001 - told to the callers; the thread goes on
                for task in group:
                    task.error = RuntimeError(f"the commit raised {described(error)}")
            self._loop.call_soon_threadsafe(self._acknowledge, group)

    def _commit_group(self, group: list[_Task]) -> None:
        """Commit the calls of a group together; those that fail do not touch the others.

        Few calls fail, so at first they go without savepoints. When one fails after it changed
        something, all is rolled back and done again with a savepoint around each. A body, which
        may fail anywhere, has its savepoint at once.
        """
        apart = any(task.body is not None for task in group)
        try:
            try:
                self._commit_together(group, self._apply_apart if apart else self._apply)
            except _Spoiled:
                self._roll_back()
                self._commit_together(group, self._apply_apart)
        except Exception as error:  # noqa: BLE001 - handed to every caller of the group
            self._roll_back()
            if isinstance(error, apsw.ConstraintError) and len(group) > 1:
                # A check deferred to the end failed: find out whose by taking each call alone.
                for task in group:
                    task.error = None
                    self._commit_group([task])
                return
            for task in group:
                task.error = task.error or _translated(error)

    def _commit_together(self, group: list[_Task], apply: Callable[[_Task], None]) -> None:
        self._writer.execute("BEGIN IMMEDIATE")
        for task in group:
            apply(task)
        self._writer.execute("COMMIT")

    def _roll_back(self) -> None:
        """Leave no transaction open; a connection that cannot even do that is replaced."""
        try:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        except apsw.Error:
            self._writer.close(force=True)
            try:
                self._writer = self._connect()
            except apsw.Error as error:  # the next group finds it closed, and tries again
                log.error("writer_not_reopened", error=repr(error))

    def _apply(self, task: _Task) -> None:
        """Apply a call. Raises _Spoiled when it fails and leaves something behind."""
        connection = self._writer
        at = 0
        try:
            for at, write in enumerate(task.writes):  # noqa: B007 - read where one fails
                _apply_write(connection, write)
        except Exception as error:
            if at or connection.changes() or not connection.in_transaction:
                raise _Spoiled from error
            task.error = _translated(error)  # its first write met a conflict and changed nothing

    def _apply_apart(self, task: _Task) -> None:
        """Apply a call under a savepoint; when it fails, undo it."""
        connection = self._writer
        task.error = None
        connection.execute("SAVEPOINT call")
        try:
            if task.body is not None:
                assert task.context is not None
                inside = _Inside(connection)
                task.writes, task.wakes = task.context.run(_drive, task.body, inside)
                if inside.failure is not None:
                    raise inside.failure
            for write in task.writes:
                _apply_write(connection, write)
        except Exception as error:
            task.error = _translated(error)
            if not connection.in_transaction:
                raise  # SQLite rolled everything back by itself (disk full, I/O error)
            connection.execute("ROLLBACK TO call")
        connection.execute("RELEASE call")

    def _acknowledge(self, group: list[_Task]) -> None:
        """On the loop: answer the callers, then wake whoever listens."""
        self._waiting -= sum(task.future is not None for task in group)
        self.commits += 1
        self.calls_committed += len(group)
        for told in self._group_listeners:
            tell(told, len(group))
        away = [task.error for task in group if isinstance(task.error, Unavailable)]
        if away:
            self._outage.failed(away[0].detail)
        elif any(task.error is None for task in group):
            self._outage.worked()
        wakes = {name for task in group if task.error is None for name in task.wakes}
        for task in group:
            if task.future is None:
                if task.error is not None and not away:
                    log.warning("posted_write_failed", error=repr(task.error))
                continue
            if task.future.done():
                continue
            if task.error is None:
                task.future.set_result(None)
            else:
                task.future.set_exception(task.error)
        if wakes:
            names = frozenset(wakes)
            for listener in self._listeners:
                tell(listener, names)


_Fetched = tuple[list[Any], bool]  # rows as the library has them, and whether there are more


def _fetched(
    connection: apsw.Connection,
    query: Query[Any],
    values: tuple[Any, ...],
    bytes_max: int | None,
) -> _Fetched:
    cursor = connection.execute(query.sql.sqlite, values)
    if bytes_max is None:
        return cursor.fetchall(), False
    try:
        return _fitting(cursor, bytes_max)
    finally:
        cursor.close()  # what was not stepped to would keep the read open


def _fitting(rows: Iterable[Any], bytes_max: int) -> _Fetched:
    kept: list[Any] = []
    total = 0
    for row in rows:
        for value in row:
            if isinstance(value, str):
                total += len(value) if value.isascii() else len(value.encode())
            elif isinstance(value, bytes):
                total += len(value)
        if kept and total > bytes_max:
            return kept, True
        kept.append(row)
    return kept, False


def _made(query: Query[R], fetched: _Fetched) -> Rows[R]:
    rows, more = fetched
    make = query.make
    return Rows([make(row) for row in rows], more)


def _locked(path: Path) -> IO[bytes]:
    """Hold a lock that dies with the process. Raises StartError when another holds it."""
    try:
        handle = os.fdopen(private_file.opener(str(path), os.O_RDWR | os.O_CREAT), "r+b")
    except OSError as error:
        raise StartError(f"cannot open the database in {path.parent}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise StartError(f"another process uses {path.parent}: stop it first") from error
    return handle


def _drive(body: Body, inside: _Inside) -> tuple[Sequence[Write], Wakes]:
    """Run a body that never suspends to its end."""
    running = body(inside).__await__()
    try:
        next(running)
    except StopIteration as stop:
        value: tuple[Sequence[Write], Wakes] = stop.value
        return value
    raise RuntimeError("a handler inside a transaction may await nothing but its transaction")


def _apply_write(connection: apsw.Connection, write: Write) -> None:
    if type(write) is Insert:
        connection.execute(write.table.insert_sql().sqlite, write.values)
        if connection.changes() != 1 and write.taken is not None:
            raise _fresh(write.taken)
    elif type(write) is Update:
        guarded = write.version is not None
        sql = write.table.update_sql(write.names, guarded).sqlite
        guard = (write.version,) if guarded else ()
        connection.execute(sql, (*write.values, *write.key, *guard))
        if guarded and connection.changes() != 1:
            raise Rerun
    elif type(write) is Delete:
        guarded = write.version is not None
        guard = (write.version,) if guarded else ()
        connection.execute(write.table.delete_sql(guarded).sqlite, (*write.key, *guard))
        if guarded and connection.changes() != 1:
            raise Rerun
    else:
        assert isinstance(write, Command)
        _run(connection, write)


def _run(connection: apsw.Connection, command: Command) -> list[tuple[Any, ...]]:
    try:
        rows = connection.execute(command.sql.sqlite, command.values).fetchall()
    except apsw.ConstraintError as error:
        raise _fresh(command.failure) from error
    if command.expects is not None and connection.changes() != command.expects:
        raise _fresh(command.failure)
    return rows


def _fresh(failure: Exception | type[Exception]) -> Exception:
    return failure() if isinstance(failure, type) else failure


def _translated(error: BaseException) -> BaseException:
    """Turn what SQLite raises into what the port promises."""
    if isinstance(error, OverflowError | UnicodeEncodeError):
        return Invalid("a value is not one the database stores")
    if isinstance(error, Failure | Rerun | StartError) or not isinstance(error, apsw.Error):
        return error
    if isinstance(error, _CANNOT_WRITE):
        why = _WHY.get(type(error), type(error).__name__)
        return Unavailable(f"the database cannot write: {why}", retry_after_s=1)
    if isinstance(error, apsw.ConstraintError):
        return Conflict("a unique value is taken")
    if isinstance(error, apsw.TooBigError):
        return Invalid("a value is larger than the database stores")
    return error
