"""What is SQLite's own: its writer lives through what happens to its connection."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from mainspring.adapters.database import sqlite_readers
from mainspring.adapters.database.sqlite import SqliteDatabase
from mainspring.adapters.database.sqlite_file import File
from mainspring.kernel.errors import Conflict, Unavailable
from mainspring.kernel.table import Query, Statement
from mainspring.testing.conformance.database.fixtures import (
    NOTE_COUNT,
    NOTES,
    SCRIPT,
    THINGS,
    Note,
    Thing,
    outcomes_of,
)
from tests.deadline import DEADLINE_S

DEFERRED = """
CREATE TABLE parents (id text NOT NULL PRIMARY KEY);
CREATE TABLE children (parent text NOT NULL REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED);
"""
# Reads the table first, and goes on for some milliseconds: it holds on to old pages.
SLOW_COUNT = Query(
    "things.count_slowly",
    "WITH RECURSIVE n(i) AS (SELECT count(*) * 0 FROM things UNION ALL SELECT i + 1 FROM n "
    "WHERE i < 20000) SELECT count(*) FROM n",
    int,
    scans=True,
)
MIB = 1 << 20
ADD_CHILD = Statement("children.add", "INSERT INTO children (parent) VALUES (:parent)")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "mainspring.db")
    await database.open()
    await database.migrate("one", SCRIPT)
    yield database
    await database.close()


async def test_a_writer_that_cannot_reopen_its_file_refuses_and_tries_again(
    database: SqliteDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot_open(file: File, *, readonly: bool = False) -> apsw.Connection:
        raise apsw.CantOpenError

    commit = database.commit
    async with asyncio.timeout(DEADLINE_S):
        with monkeypatch.context() as patched:
            patched.setattr(File, "connect", cannot_open)
            (writer,) = [
                c for c in apsw.connections()
                if Path(c.filename) == tmp_path / "mainspring.db" and not c.pragma("query_only")
            ]  # fmt: skip
            writer.close(force=True)
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await commit([NOTES.insert(Note("refused", ""))])
        with pytest.raises(Unavailable):
            await commit([NOTES.insert(Note("refused", ""))])
        await commit([NOTES.insert(Note("kept", ""))])
    assert await database.read(NOTE_COUNT, ()) == [1]


async def test_a_check_at_the_end_fails_only_the_call_that_breaks_it(
    database: SqliteDatabase,
) -> None:
    await database.migrate("two", DEFERRED)
    kept = [database.commit([NOTES.insert(Note(f"n{n}", f"text {n}"))]) for n in range(3)]
    orphan = database.commit([ADD_CHILD(parent="nobody")])
    outcomes = await outcomes_of([kept[0], orphan, *kept[1:]])
    assert [type(outcome) for outcome in outcomes] == [type(None), Conflict, *[type(None)] * 2]
    assert await database.read(NOTE_COUNT, ()) == [3]


@pytest.fixture
async def scanned(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    """A database that some scan reads at every moment."""
    database = SqliteDatabase(tmp_path / "mainspring.db", durable=False, log_bytes_max=2 * MIB)
    await database.open()
    await database.migrate("one", SCRIPT)
    stopping = asyncio.Event()

    async def scan() -> None:
        while not stopping.is_set():
            assert await database.read(SLOW_COUNT, ()) == [20_001]

    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as scans:
        for _ in range(3):
            scans.create_task(scan())
        yield database
        stopping.set()
    await database.close()


async def test_scans_that_overlap_do_not_let_the_write_ahead_log_grow(
    scanned: SqliteDatabase, tmp_path: Path
) -> None:
    log = tmp_path / "mainspring.db-wal"
    largest = 0
    for n in range(256):
        await scanned.commit([THINGS.insert(Thing(f"t{n}", body=bytes(MIB // 4)))])
        largest = max(largest, log.stat().st_size)
    assert 2 * MIB < largest < 16 * MIB


async def test_pages_are_scrubbed_while_scans_overlap(
    scanned: SqliteDatabase, tmp_path: Path
) -> None:
    log = tmp_path / "mainspring.db-wal"
    await scanned.commit([NOTES.insert(Note("n", "a secret"))])
    assert b"a secret" in log.read_bytes()
    for _ in range(5):
        await scanned.scrub()
        assert log.read_bytes() == b""


async def test_a_foreign_reader_costs_no_commit_and_the_log_is_emptied_once_it_is_gone(
    tmp_path: Path,
) -> None:
    database = SqliteDatabase(tmp_path / "mainspring.db", durable=False, log_bytes_max=MIB)
    await database.open()
    await database.migrate("one", SCRIPT)
    try:
        log = tmp_path / "mainspring.db-wal"
        foreign = apsw.Connection(str(tmp_path / "mainspring.db"))
        foreign.execute("BEGIN")
        foreign.execute("SELECT count(*) FROM things").fetchall()
        n = 0
        async with asyncio.timeout(DEADLINE_S):
            while not log.exists() or log.stat().st_size < 4 * MIB:
                await database.commit([THINGS.insert(Thing(f"t{n}", body=bytes(MIB // 4)))])
                n += 1
            with pytest.raises(Unavailable, match="readers keep the write-ahead log in use"):
                await database.scrub()
            foreign.close()
            while log.stat().st_size >= 4 * MIB:
                await database.commit([THINGS.insert(Thing(f"t{n}", body=bytes(MIB // 4)))])
                n += 1
    finally:
        await database.close()


@pytest.mark.parametrize("there", ["another", "none"])
async def test_a_file_that_was_replaced_under_it_is_neither_read_nor_written(
    database: SqliteDatabase, tmp_path: Path, there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written into a file that no path leads to is gone with the process."""
    monkeypatch.setattr(sqlite_readers, "LOOK_EVERY_S", 0.0)
    await database.commit([NOTES.insert(Note("a", "a"))])
    path, aside = tmp_path / "mainspring.db", tmp_path / "aside.db"
    path.rename(aside)
    if there == "another":
        path.write_bytes(b"of a backup")
    for use in (
        lambda: database.commit([NOTES.insert(Note("b", "b"))]),
        lambda: database.read(NOTE_COUNT, ()),
        lambda: database.read(SLOW_COUNT, ()),
    ):
        with pytest.raises(Unavailable, match="was replaced, moved or removed"):
            await use()
    if there == "another":
        assert path.read_bytes() == b"of a backup"
    aside.replace(path)
    await database.commit([NOTES.insert(Note("b", "b"))])
    assert await database.read(NOTE_COUNT, ()) == [2]
