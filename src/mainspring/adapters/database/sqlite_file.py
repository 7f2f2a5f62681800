"""What every connection to an SQLite file shares: pragmas, reading, writing, what errors mean."""

import fcntl
import itertools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, TypeVar

import apsw

from mainspring.adapters import private_file
from mainspring.cel.patterns import matched
from mainspring.cel.sql import MATCHES
from mainspring.kernel.errors import Conflict, Failure, Invalid, Rerun, Unavailable
from mainspring.kernel.table import Command, Delete, Insert, Query, Rows, Update, Write
from mainspring.ports.database import StartError

R = TypeVar("R")

STATEMENTS_CACHED = 512  # prepared statements per connection
CHECKPOINT_PAGES = 4_000  # WAL pages before an automatic checkpoint
PAGE_BYTES = 4_096
BUSY_MS = 5_000
UTF8_BYTES_MAX = 4  # of one character
ROOM_BYTES_MIN = 64 << 10  # with less than that free, what fails for no given reason fails of it

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA mmap_size = 0",
    "PRAGMA cache_size = -32768",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA secure_delete = ON",
    f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}",
    # A log that scans let grow gives the room back when it begins anew.
    f"PRAGMA journal_size_limit = {CHECKPOINT_PAGES * PAGE_BYTES}",
)
_MIGRATIONS = (
    "CREATE TABLE IF NOT EXISTS migrations (name text NOT NULL PRIMARY KEY, digest text NOT NULL)"
)

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


class File:
    """Where the database is, and how it is opened.

    Without ``durable`` the disk is not waited for: a power cut may lose or spoil it. For tests.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.path = path
        self._durable = durable
        self._place: tuple[int, int] | None = None

    def make(self) -> None:
        """Make the file where there is none; SQLite gives its other files the mode of this one."""
        os.close(private_file.opener(str(self.path), os.O_RDWR | os.O_CREAT))
        self._place = self._leads_to()

    def require_in_place(self) -> None:
        """Raise Unavailable when the path leads elsewhere than when it was opened.

        What is open then is a file that nobody will find again, and what is there may be older.
        """
        if self._leads_to() != self._place:
            raise Unavailable(
                f"the database file {self.path} was replaced, moved or removed while it is open: "
                "stop the platform, put the file in place, and start it again",
                retry_after_s=1,
            )

    def _leads_to(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def connect(self, *, readonly: bool = False) -> apsw.Connection:
        """Open one connection. Raises apsw.Error, and Unavailable where there is another file."""
        self.require_in_place()
        connection = apsw.Connection(str(self.path), statementcachesize=STATEMENTS_CACHED)
        connection.set_busy_timeout(BUSY_MS)
        # Without it a plan that looked at a bound value, as partial indexes make it do, is made
        # again at every call: 9 us instead of 2 for a record by its id.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        connection.create_scalar_function(MATCHES, _matches, 2, deterministic=True)
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        if not self._durable:
            connection.execute("PRAGMA synchronous = OFF")
        if readonly:
            connection.execute("PRAGMA query_only = ON")
        else:
            connection.execute(_MIGRATIONS)
        return connection

    def lock(self) -> IO[bytes]:
        """Hold a lock that dies with the process. Raises StartError when another holds it."""
        path = self.path.with_name(self.path.name + ".lock")
        try:
            handle = os.fdopen(private_file.opener(str(path), os.O_RDWR | os.O_CREAT), "r+b")
        except OSError as error:
            raise StartError(
                f"cannot open the database in {path.parent}: {error.strerror}"
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            handle.close()
            raise StartError(f"another process uses {path.parent}: stop it first") from error
        return handle

    def log_bytes(self) -> int:
        """Return how large the write-ahead log is; 0 where there is none."""
        try:
            return self.path.with_name(self.path.name + "-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def why(self, error: Exception) -> str:
        """Say why it cannot be opened or written: a full disk is often an I/O error to SQLite."""
        if isinstance(error, apsw.IOError) and _is_full(self.path.parent):
            return _WHY[apsw.FullError]
        return _WHY.get(type(error), str(error))


def _is_full(folder: Path) -> bool:
    free = os.statvfs(folder)
    return free.f_bavail * free.f_frsize < ROOM_BYTES_MIN


Fetched = tuple[list[Any], bool]  # rows as the library has them, and whether there are more


def fetched(
    connection: apsw.Connection,
    query: Query[Any],
    values: tuple[Any, ...],
    bytes_max: int | None,
) -> Fetched:
    """Return the rows, or the first that fit and at least one."""
    cursor = connection.execute(query.sql.sqlite, values)
    if bytes_max is None:
        return cursor.fetchall(), False
    try:
        return _fitting(cursor, query.long_at, bytes_max)
    finally:
        cursor.close()  # what was not stepped to would keep the read open


def _fitting(rows: Iterable[Any], long_at: tuple[int, ...], bytes_max: int) -> Fetched:
    """Take rows while their text fits. A page is seldom so long that it has to be counted."""
    kept: list[Any] = []
    characters = 0
    rows = iter(rows)
    for row in rows:
        for at in long_at:
            if value := row[at]:
                characters += len(value)
        if characters * UTF8_BYTES_MAX > bytes_max:
            return _counted(kept, itertools.chain((row,), rows), long_at, bytes_max)
        kept.append(row)
    return kept, False


def _counted(
    kept: list[Any], rows: Iterable[Any], long_at: tuple[int, ...], bytes_max: int
) -> Fetched:
    """Go on to take rows while the bytes of their text fit, after those that do."""
    total = sum(_bytes_of(row, long_at) for row in kept)
    for row in rows:
        total += _bytes_of(row, long_at)
        if kept and total > bytes_max:
            return kept, True
        kept.append(row)
    return kept, False


def _bytes_of(row: Any, long_at: tuple[int, ...]) -> int:
    values = [row[at] for at in long_at if row[at] is not None]
    return sum(len(v) if isinstance(v, bytes) else len(v.encode()) for v in values)


def made(query: Query[R], found: Fetched) -> Rows[R]:
    """Turn rows into what the query makes of them."""
    rows, more = found
    make = query.make
    return Rows([make(row) for row in rows], more)


def apply_write(connection: apsw.Connection, write: Write) -> None:
    """Run one write. Raises what was promised for a guard that fails."""
    if type(write) is Insert:
        connection.execute(write.table.insert_sql().sqlite, write.values)
        if connection.changes() != 1 and write.on_conflict is not None:
            raise _fresh(write.on_conflict)
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
        run(connection, write)


def run(connection: apsw.Connection, command: Command) -> list[tuple[Any, ...]]:
    """Run a statement and return the rows of its RETURNING. Raises its own failure."""
    try:
        rows = connection.execute(command.sql.sqlite, command.values).fetchall()
    except apsw.ConstraintError as error:
        raise _fresh(command.failure) from error
    if command.expects is not None and connection.changes() != command.expects:
        raise _fresh(command.failure)
    return rows


def _fresh(failure: Exception | type[Exception]) -> Exception:
    return failure() if isinstance(failure, type) else failure


def _matches(*values: Any) -> bool | None:
    return matched(*values)


def translated(error: BaseException) -> BaseException:
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
