"""Search in a file of SQLite's FTS5: one for all processes of a machine, lost without a loss.

Documents stand in an FTS5 table without their texts (``contentless_delete``): only where each word
stands is kept. Versions, marks of what was deleted and the position are in the same file, and
change in the same transaction. A file that cannot be read is put aside and another one begun.
One that is removed or replaced under processes that live is left by all of them: each looks whether
the path still leads to what it has open before it asks, so that none writes where no other reads.
"""

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import apsw
import msgspec
import structlog

from mainspring.adapters import private_file
from mainspring.kernel.errors import Unavailable
from mainspring.kernel.search_terms import Term
from mainspring.ports.database import StartError
from mainspring.ports.opening import SYSTEM_SOURCES, Sources, path_of
from mainspring.ports.search import QUERY_S, Hit, IndexChange, NoIndex, SearchQuery, TooCommon

T = TypeVar("T")

log = structlog.get_logger()

READERS = 2
BUSY_MS = 5_000  # another process of this machine may be writing
STEPS = 2_000  # of SQLite's machine between two looks at the clock
_FORMAT = 1  # of the file: another one is begun anew
_SCHEMA = """
CREATE TABLE IF NOT EXISTS owner (id text NOT NULL PRIMARY KEY);
CREATE TABLE IF NOT EXISTS indexes (
    number integer PRIMARY KEY AUTOINCREMENT,
    name text NOT NULL UNIQUE,
    fields text NOT NULL,
    position integer NOT NULL
);
"""
# Words come apart by spaces; what is not ASCII is part of one, whatever it is.
_MAKE = """
CREATE TABLE documents_{n} (
    at integer PRIMARY KEY,
    id text NOT NULL UNIQUE,
    version integer NOT NULL,
    there integer NOT NULL
);
CREATE VIRTUAL TABLE words_{n} USING fts5(
    {columns}, content='', contentless_delete=1, tokenize='ascii'
);
"""
_UPSERT = """
INSERT INTO documents_{n} (id, version, there) VALUES (?, ?, ?)
ON CONFLICT (id) DO UPDATE SET version = excluded.version, there = excluded.there
WHERE excluded.version >= documents_{n}.version RETURNING at
"""
_NEWEST = """
SELECT d.id, 0.0 FROM words_{n} AS w CROSS JOIN documents_{n} AS d ON d.at = w.rowid
WHERE words_{n} MATCH :match AND d.id < :id ORDER BY d.id DESC LIMIT :limit
"""
# bm25 is smaller the better it fits.
_RELEVANCE = """
SELECT id, -rank FROM (
    SELECT d.id AS id, bm25(words_{n}, {weights}) AS rank
    FROM words_{n} AS w CROSS JOIN documents_{n} AS d ON d.at = w.rowid
    WHERE words_{n} MATCH :match
) WHERE rank > :rank OR (rank = :rank AND id > :id) ORDER BY rank, id LIMIT :limit
"""
_FIRST_ID, _LAST_ID = "", "\U0010ffff"


def open(url: str, sources: Sources = SYSTEM_SOURCES) -> "Fts5Search":
    """Open ``fts5:PATH``, the file. Raises StartError."""
    return Fts5Search(path_of(url))


class _Index(msgspec.Struct, frozen=True):
    number: int
    fields: list[str]


_fields = msgspec.json.Decoder(list[str]).decode


class Fts5Search:
    """Fills the search port."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.path = path
        self._durable = durable
        self._owner = ""
        self._begun = False
        self._away = ""
        self._writer = ThreadPoolExecutor(1, "search-writer")
        self._readers = ThreadPoolExecutor(READERS, "search-reader")
        self._local = threading.local()
        self._connections: list[apsw.Connection] = []

    async def open(self, owner: str) -> None:
        """Make the file where there is none, or one of another database. Raises StartError."""
        await asyncio.get_running_loop().run_in_executor(self._writer, self._begin, owner)

    async def close(self) -> None:
        """Close the file once what runs has ended."""
        for pool in (self._writer, self._readers):
            await asyncio.to_thread(pool.shutdown)
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def away(self) -> str:
        """Say why the file could not be read or written a moment ago."""
        return self._away

    def version(self) -> str:
        """Name SQLite's version."""
        return f"FTS5 of SQLite {apsw.sqlite_lib_version()}"

    def _begin(self, owner: str) -> None:
        self._owner = owner
        try:
            try:
                known = self._prepare()
            except (apsw.CorruptError, apsw.NotADBError) as error:
                log.warning("search_file_set_aside", path=str(self.path), error=str(error))
                self._discard(keep=True)
                known = self._prepare()
            if known not in ("", owner):
                log.warning("search_file_of_another", path=str(self.path))
                self._discard()
                self._prepare()
            self._connection().execute("INSERT OR IGNORE INTO owner (id) VALUES (?)", (owner,))
            self._begun = True
        except (apsw.Error, OSError) as error:
            raise StartError(f"[search] url: cannot use {self.path}: {error}") from error

    def _prepare(self) -> str:
        """Open the file, bring it to its schema, and return whose it is: empty for nobody's."""
        os.close(private_file.opener(str(self.path), os.O_RDWR | os.O_CREAT))
        connection = self._connection()
        (found,) = connection.execute("PRAGMA user_version").fetchall()[0]
        if found not in (0, _FORMAT):
            self._discard()
            return self._prepare()
        connection.execute(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {_FORMAT}")
        owners = connection.execute("SELECT id FROM owner").fetchall()
        return str(owners[0][0]) if owners else ""

    def _discard(self, *, keep: bool = False) -> None:
        """Let go of the file, so that another is begun; what cannot be read is kept beside it."""
        for connection in self._connections:
            connection.close(True)
        self._connections.clear()
        self._local = threading.local()
        if keep and self.path.exists():
            self.path.replace(self.path.with_name(self.path.name + ".unreadable"))
        for end in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + end).unlink(missing_ok=True)

    def _connection(self) -> apsw.Connection:
        """The connection of this thread, to the file that the path leads to."""
        found: apsw.Connection | None = getattr(self._local, "connection", None)
        if found is not None and self._local.file == self._file():
            return found
        if found is not None:
            self._connections.remove(found)
            del self._local.connection
            found.close(True)
        if self._begun and self._file() is None:
            log.warning("search_file_lost", path=str(self.path))
            self._make_file()
        return self._connect()

    def _connect(self) -> apsw.Connection:
        self._local.file = self._file()  # before: one that takes its place is noticed by the next
        made = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READWRITE)
        made.set_busy_timeout(BUSY_MS)
        made.execute("PRAGMA journal_mode = WAL")
        # What was indexed must not be lost where the cursor that says so was not.
        made.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'OFF'}")
        if self._begun:  # another one may be in its place since
            made.execute(_SCHEMA)
            made.execute(f"PRAGMA user_version = {_FORMAT}")
            made.execute("INSERT OR IGNORE INTO owner (id) VALUES (?)", (self._owner,))
        self._local.connection = made
        self._connections.append(made)
        return made

    def _file(self) -> tuple[int, int] | None:
        """Say which file the path leads to; None for none."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _make_file(self) -> None:
        """Make the file where it is gone, without what the one before left: one process does."""
        lock = self.path.with_name(self.path.name + ".lock")
        with lock.open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            if self._file() is None:
                for end in ("-wal", "-shm"):
                    self.path.with_name(self.path.name + end).unlink(missing_ok=True)
                os.close(private_file.opener(str(self.path), os.O_RDWR | os.O_CREAT))

    async def _run(self, pool: ThreadPoolExecutor, work: Callable[[apsw.Connection], T]) -> T:
        try:
            done = await asyncio.get_running_loop().run_in_executor(
                pool, lambda: work(self._connection())
            )
        except (apsw.Error, OSError) as error:
            self._away = f"{self.path.name}: {error}"
            raise Unavailable("the search index cannot be used now", retry_after_s=1) from error
        self._away = ""
        return done

    async def make(self, index: str, fields: Sequence[str]) -> None:
        """Make an index; one that is there is left as it is."""

        def work(connection: apsw.Connection) -> None:
            with connection:
                if _find(connection, index) is not None:
                    return
                text = msgspec.json.encode(fields).decode()
                connection.execute(
                    "INSERT INTO indexes (name, fields, position) VALUES (?, ?, 0)", (index, text)
                )
                columns = ", ".join(f"c{at}" for at in range(len(fields)))
                number = connection.last_insert_rowid()
                connection.execute(_MAKE.format(n=number, columns=columns))

        await self._run(self._writer, work)

    async def drop(self, index: str) -> None:
        """Remove an index."""

        def work(connection: apsw.Connection) -> None:
            with connection:
                found = _find(connection, index)
                if found is not None:
                    connection.execute(f"DROP TABLE words_{found.number}")
                    connection.execute(f"DROP TABLE documents_{found.number}")
                    connection.execute("DELETE FROM indexes WHERE name = ?", (index,))

        await self._run(self._writer, work)

    async def indexes(self) -> list[str]:
        """Name the indexes there are."""
        return await self._run(
            self._readers,
            lambda connection: [
                str(name) for (name,) in connection.execute("SELECT name FROM indexes")
            ],
        )

    async def position(self, index: str) -> int:
        """Return the position of an index. Raises NoIndex."""
        return await self._run(self._readers, lambda connection: _position(connection, index))

    async def apply(
        self, index: str, changes: Sequence[IndexChange], position: int | None = None
    ) -> None:
        """Write changes and the position in one transaction. Raises NoIndex."""

        def work(connection: apsw.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            try:
                found = _find(connection, index)
                if found is None:
                    raise NoIndex(index)
                for change in changes:
                    _write(connection, found, change)
                if position is not None:
                    connection.execute(
                        "UPDATE indexes SET position = max(position, ?) WHERE name = ?",
                        (position, index),
                    )
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

        await self._run(self._writer, work)

    async def query(self, index: str, query: SearchQuery, *, position: int = 0) -> list[Hit]:
        """Return the next hits. Raises NoIndex, TooCommon, Unavailable."""

        def work(connection: apsw.Connection) -> list[Hit]:
            connection.execute("BEGIN")  # all of it of one moment
            try:
                found = _find(connection, index)
                if found is None or _position(connection, index) < position:
                    raise NoIndex(index)  # older than what was written to it: it is not that one
                return _hits(connection, found, query)
            finally:
                connection.execute("ROLLBACK")

        return await self._run(self._readers, work)


def _find(connection: apsw.Connection, index: str) -> _Index | None:
    rows = connection.execute(
        "SELECT number, fields FROM indexes WHERE name = ?", (index,)
    ).fetchall()
    return _Index(int(str(rows[0][0])), _fields(str(rows[0][1]))) if rows else None


def _position(connection: apsw.Connection, index: str) -> int:
    rows = connection.execute("SELECT position FROM indexes WHERE name = ?", (index,)).fetchall()
    if not rows:
        raise NoIndex(index)
    return int(str(rows[0][0]))


def _write(connection: apsw.Connection, index: _Index, change: IndexChange) -> None:
    n = index.number
    values = (change.id, change.version, int(change.words is not None))
    rows = connection.execute(_UPSERT.format(n=n), values).fetchall()
    if not rows:
        return  # what is there is newer
    at = rows[0][0]
    connection.execute(f"DELETE FROM words_{n} WHERE rowid = ?", (at,))
    if change.words is not None:
        columns = ", ".join(f"c{column}" for column in range(len(index.fields)))
        marks = ", ".join("?" * (len(index.fields) + 1))
        words = [change.words.get(field, "") for field in index.fields]
        connection.execute(
            f"INSERT INTO words_{n} (rowid, {columns}) VALUES ({marks})", (at, *words)
        )


def _hits(connection: apsw.Connection, index: _Index, query: SearchQuery) -> list[Hit]:
    searched = [(at, name) for at, name in enumerate(index.fields) if name in query.weights]
    if not searched:
        return []
    columns = " ".join(f"c{at}" for at, _ in searched)
    match = f"{{{columns}}} : ({' AND '.join(map(_quoted, query.terms))})"
    after, binds = query.after, {"match": match, "limit": query.limit}
    if query.order == "newest":
        text = _NEWEST.format(n=index.number)
        values = {**binds, "id": _LAST_ID if after is None else after.id}
    else:
        weights = ", ".join(str(float(query.weights.get(name, 0))) for name in index.fields)
        text = _RELEVANCE.format(n=index.number, weights=weights)
        rank = float("-inf") if after is None else -after.score
        values = {**binds, "rank": rank, "id": _FIRST_ID if after is None else after.id}
    until_s = time.monotonic() + QUERY_S
    connection.set_progress_handler(lambda: time.monotonic() > until_s, STEPS)
    try:
        return [Hit(str(id), float(score)) for id, score in connection.execute(text, values)]
    except apsw.InterruptError:
        raise TooCommon from None
    finally:
        connection.set_progress_handler(None)


def _quoted(term: Term) -> str:
    """Write a term in FTS5's language: in quotes nothing is syntax, and words have no quotes."""
    return f'"{" ".join(term.words)}"' + ("*" if term.prefix else "")
