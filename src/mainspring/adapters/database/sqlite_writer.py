"""Writing to SQLite: one thread that commits whatever has queued up, a savepoint for each call."""

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

import apsw
import structlog

from mainspring.adapters.database.sqlite_checkpoints import Checkpoints, copied
from mainspring.adapters.database.sqlite_file import (
    BUSY_MS,
    File,
    apply_write,
    fetched,
    made,
    run,
    translated,
)
from mainspring.adapters.outage import Outage
from mainspring.kernel.errors import NeedsIndex, OutcomeUnknown, Unavailable
from mainspring.kernel.table import Command, Query, Rows, Write
from mainspring.ports.database import (
    COMMIT_QUEUE_MAX,
    NO_WAKES,
    SCAN_STEPS_MAX,
    DatabaseTransaction,
    Wakes,
)
from mainspring.ports.listeners import described, tell

R = TypeVar("R")
log = structlog.get_logger()
Body = Callable[[DatabaseTransaction], Awaitable[tuple[Sequence[Write], Wakes]]]

GROUP_MAX = 256  # calls in one commit
STEPS_BETWEEN_CHECKS = 10_000
INSIDE_STEPS_MAX = SCAN_STEPS_MAX // 10  # of a scan inside of a transaction
EMPTYING_BUSY_MS = 100  # that commits wait for a reader which keeps the log in use

Between = Callable[[], bool]  # done by the thread between two groups; it ends when that is False
Turn = Callable[[], contextlib.AbstractContextManager[None]]  # to commit: raises Unavailable


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
        with self._budget(query):
            rows = self._connection.execute(query.sql.sqlite, values).fetchall()
        return [query.make(row) for row in rows]

    @contextlib.contextmanager
    def _budget(self, query: Query[Any]) -> Iterator[None]:
        """Refuse a scan that goes on for long: everybody who writes waits for it."""
        if not query.scans:
            yield
            return
        steps = 0

        def over_budget() -> bool:
            nonlocal steps
            steps += STEPS_BETWEEN_CHECKS
            return steps > INSIDE_STEPS_MAX

        self._connection.set_progress_handler(over_budget, STEPS_BETWEEN_CHECKS)
        try:
            yield
        except apsw.InterruptError as error:
            raise NeedsIndex(f"{query.sql.name} went over its budget") from error
        finally:
            self._connection.set_progress_handler(None)

    async def page(self, query: Query[R], values: tuple[Any, ...], bytes_max: int) -> Rows[R]:
        """Return the first rows of a query, as far as they fit."""
        return made(query, fetched(self._connection, query, values, bytes_max))

    async def execute(self, command: Command) -> list[tuple[Any, ...]]:
        """Run a statement now and return the rows of its RETURNING."""
        try:
            return run(self._connection, command)
        except Exception as error:
            self.failure = error
            raise

    async def apply(self, writes: Sequence[Write]) -> None:
        """Apply writes now, in their order."""
        try:
            for write in writes:
                apply_write(self._connection, write)
        except Exception as error:
            self.failure = error
            raise


class Writer:
    """The thread, its connection, and the queue of calls that wait for their commit.

    What it does to the file it does in its ``turn``, where other processes write too.
    """

    def __init__(self, file: File, *, group_max: int, turn: Turn = contextlib.nullcontext) -> None:
        self._file = file
        self._turn = turn
        self._group_max = group_max
        self._queue: queue.SimpleQueue[_Task | Between] = queue.SimpleQueue()  # bounded by waiting
        self._listeners: list[Callable[[Wakes], None]] = []
        self._group_listeners: list[Callable[[int], None]] = []
        self._outage = Outage("database")
        self._checkpoints = Checkpoints(file, lambda: self._queue.put(self._finish_checkpoint))
        self._closing = False
        self._triggers = True
        self.waiting = 0
        self.commits = 0
        self.calls_committed = 0

    def open(self) -> None:
        """Open the connection. Raises apsw.Error."""
        self.connection = self._connect()

    def _connect(self) -> apsw.Connection:
        connection = self._file.connect()
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, int(self._triggers))
        # In place of SQLite's own, which brings the log in within the commit.
        connection.set_wal_hook(self._logged)
        return connection

    def _logged(self, connection: apsw.Connection, name: str, pages: int) -> int:
        self._checkpoints.logged(pages)
        return apsw.SQLITE_OK

    def start(self) -> None:
        """Start the thread."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write_forever, name="mainspring-writer")
        self._thread.start()

    async def close(self) -> None:
        """Commit what is queued, then close."""
        self._closing = True
        self._queue.put(lambda: False)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._checkpoints.close)
        self.connection.close()

    async def submit(self, writes: Sequence[Write], wakes: Wakes, body: Body | None = None) -> None:
        """Queue what is known, or a body to run, and wait for its commit."""
        if self._closing:
            raise Unavailable("the database is closing", retry_after_s=1)
        if self.waiting >= COMMIT_QUEUE_MAX:
            raise Unavailable("too many writes are waiting", retry_after_s=1)
        self.waiting += 1
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.put(_Task(future, writes, wakes, body))
        # A caller that is cancelled cancels only this future: its commit goes on in the queue.
        await future

    def post(self, writes: Sequence[Write]) -> None:
        """Queue a commit from any thread and do not wait for it."""
        if not self._closing:
            self._queue.put(_Task(None, writes, NO_WAKES))

    async def empty_log(self) -> None:
        """Bring the write-ahead log into the database, between two commits, and begin it anew.

        Raises Unavailable when somebody reads pages that are only there.
        """
        await self._do_between(self._empty_log)

    async def set_triggers(self, *, on: bool) -> None:
        """Have triggers run or not in what this connection commits. Raises Unavailable."""

        def turn() -> None:
            self._triggers = on
            self.connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, int(on))

        await self._do_between(turn)

    async def _do_between(self, work: Callable[[], None]) -> None:
        """Have the thread do something between two commits."""
        if self._closing:
            raise Unavailable("the database is closing", retry_after_s=1)
        done: asyncio.Future[None] = self._loop.create_future()

        def do() -> bool:
            error: BaseException | None = None
            try:
                work()
            except (apsw.Error, Unavailable) as found:
                error = translated(found)
            self._loop.call_soon_threadsafe(_tell, done, error)
            return True

        self._queue.put(do)
        await done

    def on_wake(self, listener: Callable[[Wakes], None]) -> None:
        """Call ``listener`` on the loop after each commit that wakes somebody."""
        self._listeners.append(listener)

    def on_group(self, listener: Callable[[int], None]) -> None:
        """Call ``listener`` on the loop with the size of each group."""
        self._group_listeners.append(listener)

    # The thread

    def _write_forever(self) -> None:
        go_on = True
        while go_on:
            found: _Task | Between | None = self._queue.get()
            if isinstance(found, _Task):
                found = self._commit_from(found)
            if found is not None:
                go_on = found()

    def _commit_from(self, first: _Task) -> Between | None:
        """Commit a call and what has queued up by its turn; return what is to be done after it."""
        group = [first]
        with contextlib.ExitStack() as turn:
            error: BaseException | None = None
            try:
                turn.enter_context(self._turn())
                self._file.require_in_place()
            except Unavailable as not_ours:
                error = not_ours
            between = self._gather(group)
            if error is None:
                try:
                    self._commit_group(group)
                except BaseException as raised:  # noqa: BLE001 - told to the callers; it goes on
                    error = RuntimeError(f"the commit raised {described(raised)}")
        if error is not None:
            for task in group:
                task.error = error
        self._loop.call_soon_threadsafe(self._acknowledge, group)
        return between

    def _gather(self, group: list[_Task]) -> Between | None:
        """Add what is queued to a group; return what stands between it and the next one."""
        with contextlib.suppress(queue.Empty):
            while len(group) < self._group_max:
                found = self._queue.get_nowait()
                if not isinstance(found, _Task):
                    return found
                group.append(found)
        return None

    def _finish_checkpoint(self) -> bool:
        """Bring in what a checkpoint left, so that the next commit begins the log anew."""
        try:
            with self._checkpoints.idle, self._turn():
                copied(self.connection)
        except (apsw.Error, Unavailable) as error:  # the next checkpoint comes to it
            log.warning("checkpoint_not_finished", error=str(error))
        return True

    def _empty_log(self) -> None:
        with self._checkpoints.idle, self._turn():
            self.connection.set_busy_timeout(EMPTYING_BUSY_MS)
            try:
                busy = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]
            finally:
                self.connection.set_busy_timeout(BUSY_MS)
        if busy:
            raise Unavailable("readers keep the write-ahead log in use", retry_after_s=1)

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
                task.error = task.error or translated(error)

    def _commit_together(self, group: list[_Task], apply: Callable[[_Task], None]) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        for task in group:
            apply(task)
        try:
            self.connection.execute("COMMIT")
        except apsw.IOError as error:
            # The log may hold the commit, and a start after a crash may find it there.
            raise OutcomeUnknown(
                "the database could not say whether this was stored: the disk failed. Repeat the "
                "call with the same Idempotency-Key; without one look first",
                retry_after_s=1,
            ) from error

    def _roll_back(self) -> None:
        """Leave no transaction open; a connection that cannot even do that is replaced."""
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except apsw.Error:
            self.connection.close(force=True)
            try:
                self.connection = self._connect()
            except (
                apsw.Error,
                Unavailable,
            ) as error:  # the next group finds it closed, and tries again
                log.error("writer_not_reopened", error=repr(error))

    def _apply(self, task: _Task) -> None:
        """Apply a call. Raises _Spoiled when it fails and leaves something behind."""
        connection = self.connection
        at = 0
        try:
            for at, write in enumerate(task.writes):  # noqa: B007 - read where one fails
                apply_write(connection, write)
        except Exception as error:
            if at or connection.changes() or not connection.in_transaction:
                raise _Spoiled from error
            task.error = translated(error)  # its first write met a conflict and changed nothing

    def _apply_apart(self, task: _Task) -> None:
        """Apply a call under a savepoint; when it fails, undo it."""
        connection = self.connection
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
                apply_write(connection, write)
        except Exception as error:
            task.error = translated(error)
            if not connection.in_transaction:
                raise  # SQLite rolled everything back by itself (disk full, I/O error)
            connection.execute("ROLLBACK TO call")
        connection.execute("RELEASE call")

    def _acknowledge(self, group: list[_Task]) -> None:
        """On the loop: answer the callers, then wake whoever listens."""
        self.waiting -= sum(task.future is not None for task in group)
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
            _tell(task.future, task.error)
        if wakes:
            names = frozenset(wakes)
            for listener in self._listeners:
                tell(listener, names)


def _tell(waiting: asyncio.Future[None], error: BaseException | None) -> None:
    if waiting.done():  # who asked is gone
        return
    if error is None:
        waiting.set_result(None)
    else:
        waiting.set_exception(error)


def _drive(body: Body, inside: _Inside) -> tuple[Sequence[Write], Wakes]:
    """Run a body that never suspends to its end."""
    running = body(inside).__await__()
    try:
        next(running)
    except StopIteration as stop:
        value: tuple[Sequence[Write], Wakes] = stop.value
        return value
    raise RuntimeError("a handler inside a transaction may await nothing but its transaction")
