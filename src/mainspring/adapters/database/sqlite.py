"""SQLite: WAL, one writer thread that group-commits, key reads on the event loop.

A commit is durable when it is acknowledged (``synchronous=FULL``). Each call of a group has its own
savepoint, so one that fails leaves the others whole.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import apsw
import structlog

from mainspring.adapters.database.sqlite_file import BUSY_MS, File
from mainspring.adapters.database.sqlite_readers import SCAN_WAIT_S, Readers
from mainspring.adapters.database.sqlite_shared import PAUSE_SCANS, FileSeat, SharedFile
from mainspring.adapters.database.sqlite_writer import GROUP_MAX, Body, Writer
from mainspring.kernel.errors import Unavailable
from mainspring.kernel.process_role import Seat
from mainspring.kernel.table import Query, Rows, Write
from mainspring.ports.database import (
    NO_WAKES,
    DatabaseTransaction,
    StartError,
    Wakes,
    digest_of,
)
from mainspring.ports.listeners import tell
from mainspring.ports.opening import SYSTEM_SOURCES, Sources, path_of

R = TypeVar("R")
log = structlog.get_logger()

LOG_BYTES_MAX = 64 << 20  # of the write-ahead log, before scans wait for it to begin anew
HOLD_SCANS_S = 0.5  # for another process that empties the log, until it says so again

_APPLIED = Query("migrations.applied", "SELECT name, digest FROM migrations ORDER BY name", tuple)


def open(url: str, sources: Sources = SYSTEM_SOURCES) -> "SqliteDatabase":
    """Keep everything in one file: ``sqlite:PATH``. Raises StartError."""
    return SqliteDatabase(path_of(url))


def share(url: str, size: int) -> Callable[[Seat], "SqliteDatabase"]:
    """Let ``size`` processes that are forked from now on have the file of ``open`` together.

    Each asks for its own with its seat. Raises StartError.
    """
    shared = SharedFile(path_of(url), size)
    return lambda seat: SqliteDatabase(shared.path, seat=shared.seat(seat))


def snapshot(url: str, into: Path) -> None:
    """Copy the file of ``open``, as one moment shows it, while others use it. Raises StartError."""
    path = path_of(url)
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(BUSY_MS)
            connection.execute("VACUUM INTO ?", (str(into),))
        finally:
            connection.close()
    except apsw.Error as error:
        raise StartError(f"cannot copy the database {path} to {into}: {error}") from error


class SqliteDatabase:
    """The embedded database: a file in the data directory.

    Without ``durable`` the disk is not waited for: a power cut may lose or spoil it. For tests.

    The write-ahead log begins anew by itself whenever nobody reads pages that are only there. Where
    scans overlap without a gap that moment never comes: over ``log_bytes_max`` they are held up
    until it has.

    With a ``seat`` other processes have the file too, and whoever gave it holds the file's lock.
    """

    dialect: Literal["sqlite"] = "sqlite"
    replicas = None

    def __init__(
        self,
        path: Path,
        *,
        group_max: int = GROUP_MAX,
        durable: bool = True,
        log_bytes_max: int = LOG_BYTES_MAX,
        seat: FileSeat | None = None,
    ) -> None:
        self._file = File(path, durable=durable)
        self._seat = seat
        self.exclusive = seat is None
        self.first = seat is None or seat.first
        turn = contextlib.nullcontext if seat is None else seat.turnstile.taken
        self._writer = Writer(self._file, group_max=group_max, turn=turn)
        self._listeners: list[Callable[[Wakes], None]] = []
        self._scans_to_be_held = asyncio.Event()
        self._holding: asyncio.Task[None] | None = None
        self._log_bytes_max = self._emptied_over_bytes = log_bytes_max
        self._emptying: asyncio.Task[None] | None = None
        self._writer.on_group(lambda _: self._bound_log())

    async def open(self) -> None:
        """Open the file and start the writer. Raises StartError."""
        with contextlib.ExitStack() as opened:
            if self._seat is None:
                opened.enter_context(self._file.lock())
            try:
                self._file.make()
                self._writer.open()
                self._readers = Readers(self._file)
            except (apsw.Error, OSError) as error:
                raise StartError(
                    f"cannot open the database {self._file.path}: {self._file.why(error)}"
                ) from error
            self._lock = opened.pop_all()
        self._writer.start()
        if self._seat is not None:
            self._seat.neighbours.start(self._hear)
            self._writer.on_wake(self._seat.neighbours.tell)

    async def close(self) -> None:
        """Commit what is queued, then close."""
        if self._emptying is not None:
            await self._emptying
        await self._writer.close()
        if self._seat is not None:
            self._seat.neighbours.stop()
        if self._holding is not None:
            self._holding.cancel()
        self._readers.close()
        self._lock.close()

    def recheck(self, query: Query[R], judge: Callable[[list[R]], None]) -> None:
        """Nothing more to do: what is open is this file, and its path is looked at."""

    async def version(self) -> str:
        """Name and version of the library."""
        return f"SQLite {apsw.sqlite_lib_version()}"

    @property
    def waiting(self) -> int:
        """Calls that wait for their commit."""
        return self._writer.waiting

    @property
    def commits(self) -> int:
        """Groups committed so far."""
        return self._writer.commits

    @property
    def calls_committed(self) -> int:
        """Calls in those groups."""
        return self._writer.calls_committed

    async def read(self, query: Query[R], values: tuple[Any, ...]) -> list[R]:
        """Return the rows of a query: on the loop, or in the reader pool when it scans."""
        return (await self._readers.read(query, values, None)).items

    async def page(self, query: Query[R], values: tuple[Any, ...], bytes_max: int) -> Rows[R]:
        """Return the first rows of a query; those that do not fit are not stepped to."""
        return await self._readers.read(query, values, bytes_max)

    async def commit(self, writes: Sequence[Write], wakes: Wakes = NO_WAKES) -> None:
        """Queue the writes of one call for the next group commit and wait for it."""
        await self._writer.submit(writes, wakes)

    async def transact(self, body: Body) -> None:
        """Run ``body`` in the writer thread, inside the next group's transaction."""
        await self._writer.submit((), NO_WAKES, body)

    def post(self, writes: Sequence[Write]) -> None:
        """Queue a commit from any thread and do not wait for it."""
        self._writer.post(writes)

    async def scrub(self) -> None:
        """Empty the write-ahead log: it holds pages as they were before ``secure_delete``."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + SCAN_WAIT_S
        async with self._readers.paused():
            while True:
                if self._seat is not None:
                    self._seat.neighbours.tell(frozenset({PAUSE_SCANS}))
                try:
                    await self._writer.empty_log()
                except Unavailable:
                    if self._seat is None or loop.time() >= until_s:
                        raise
                else:
                    return
                await asyncio.sleep(HOLD_SCANS_S / 2)

    async def set_triggers(self, *, on: bool) -> None:
        """Have triggers run or not: an option of this connection, gone with the process."""
        await self._writer.set_triggers(on=on)

    def _bound_log(self) -> None:
        """Have the write-ahead log emptied when it is over its bound."""
        if self._emptying is None and self._file.log_bytes() > self._emptied_over_bytes:
            self._emptying = asyncio.create_task(self._empty_log())

    async def _empty_log(self) -> None:
        try:
            await self.scrub()
            self._emptied_over_bytes = self._log_bytes_max
        except Unavailable as error:
            # Another program reads, for as long as it likes: it is asked again a bound later.
            log_bytes = self._file.log_bytes()
            self._emptied_over_bytes = log_bytes + self._log_bytes_max
            log.warning("write_ahead_log_kept", log_bytes=log_bytes, error=error.detail)
        finally:
            self._emptying = None

    def on_wake(self, listener: Callable[[Wakes], None]) -> None:
        """Call ``listener`` on the loop after each commit that wakes somebody."""
        self._listeners.append(listener)
        self._writer.on_wake(listener)

    def _hear(self, wakes: Wakes) -> None:
        """Pass on what another process tells."""
        if PAUSE_SCANS in wakes:
            self._scans_to_be_held.set()
            if self._holding is None:
                self._holding = asyncio.create_task(self._hold_scans())
        for listener in self._listeners:
            tell(listener, wakes)

    async def _hold_scans(self) -> None:
        async with self._readers.paused():
            with contextlib.suppress(TimeoutError):
                while True:
                    self._scans_to_be_held.clear()
                    async with asyncio.timeout(HOLD_SCANS_S):
                        await self._scans_to_be_held.wait()
        self._holding = None

    def on_group(self, listener: Callable[[int], None]) -> None:
        """Call ``listener`` on the loop with the size of each group."""
        self._writer.on_group(listener)

    async def applied(self) -> dict[str, str]:
        """Digests of the migrations that were applied."""
        return dict(await self.read(_APPLIED, ()))

    async def migrate(self, name: str, script: str) -> bool:
        """Apply a migration once."""
        digest = digest_of(script)
        done = Query("migrations.find", "SELECT digest FROM migrations WHERE name = :name", str)
        applied = False

        async def body(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
            nonlocal applied
            applied = False
            if found := await transaction.read(done, (name,)):
                if found[0] != digest:
                    raise StartError(f"migration {name} was changed after it was applied")
                return (), NO_WAKES
            self._writer.connection.execute(script)
            self._writer.connection.execute("INSERT INTO migrations VALUES (?, ?)", (name, digest))
            applied = True
            return (), NO_WAKES

        try:
            await self.transact(body)
        except (apsw.Error, Unavailable) as error:
            raise StartError(f"migration {name} failed: {error}") from error
        return applied
