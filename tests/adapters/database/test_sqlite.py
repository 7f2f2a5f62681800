"""What is SQLite's own: its writer lives through what happens to its connection."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from mainspring.adapters.database.sqlite import SqliteDatabase
from mainspring.adapters.database.sqlite_file import File
from mainspring.kernel.errors import Conflict, Unavailable
from mainspring.kernel.table import Statement
from mainspring.testing.conformance.database.fixtures import (
    NOTE_COUNT,
    NOTES,
    SCRIPT,
    Note,
    outcomes_of,
)

TIMEOUT_S = 60
DEFERRED = """
CREATE TABLE parents (id text NOT NULL PRIMARY KEY);
CREATE TABLE children (parent text NOT NULL REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED);
"""
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
    async with asyncio.timeout(TIMEOUT_S):
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
