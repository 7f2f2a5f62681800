"""The write-ahead log is brought in beside the commits, and begins anew."""

import asyncio
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path

import apsw
import pytest

from mainspring.adapters.database import sqlite_checkpoints, sqlite_writer
from mainspring.adapters.database.sqlite import SqliteDatabase
from mainspring.adapters.database.sqlite_checkpoints import AGAIN_PAGES
from mainspring.adapters.database.sqlite_file import CHECKPOINT_PAGES, PAGE_BYTES
from mainspring.testing.conformance.database.fixtures import SCRIPT, THINGS, Thing
from tests.deadline import DEADLINE_S

MIB = 1 << 20


async def test_the_log_begins_anew_while_calls_are_committed(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "mainspring.db", durable=False)
    await database.open()
    await database.migrate("one", SCRIPT)
    log = tmp_path / "mainspring.db-wal"
    largest = n = 0
    for n in range(300):  # four times what the log holds before it is brought in
        await database.commit([THINGS.insert(Thing(f"t{n}", body=bytes(MIB // 4)))])
        largest = max(largest, log.stat().st_size)
    await database.close()
    assert largest < 3 * CHECKPOINT_PAGES * PAGE_BYTES
    assert (tmp_path / "mainspring.db").stat().st_size > n * MIB // 4


async def test_a_commit_does_not_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go_on = threading.Event(), threading.Event()
    inner, rest = sqlite_checkpoints.copied, sqlite_writer.copied
    left: list[int | None] = []

    def held(connection: apsw.Connection) -> int | None:
        entered.set()
        assert go_on.wait(DEADLINE_S)
        return inner(connection)

    monkeypatch.setattr(sqlite_checkpoints, "copied", held)
    monkeypatch.setattr(sqlite_writer, "copied", lambda c: left.append(rest(c)))
    database = SqliteDatabase(tmp_path / "mainspring.db", durable=False)
    await database.open()
    await database.migrate("one", SCRIPT)
    names = count()

    async def commit_until(there: Callable[[], bool], size_bytes: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not there():
                thing = Thing(f"t{next(names)}", body=bytes(size_bytes))
                await database.commit([THINGS.insert(thing)])

    await commit_until(entered.is_set, MIB // 4)
    for n in range(3):
        await database.commit([THINGS.insert(Thing(f"meanwhile {n}", body=b"short"))])
    go_on.set()
    await commit_until(lambda: bool(left), 1)
    assert left[0] == 0  # the writer brought in the little that was left
    await database.close()


async def test_where_a_reader_keeps_the_log_not_every_commit_asks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    inner = sqlite_checkpoints.copied

    def counted(connection: apsw.Connection) -> int | None:
        nonlocal asked
        asked += 1
        return inner(connection)

    monkeypatch.setattr(sqlite_checkpoints, "copied", counted)
    database = SqliteDatabase(tmp_path / "mainspring.db", durable=False)
    await database.open()
    await database.migrate("one", SCRIPT)
    foreign = apsw.Connection(str(tmp_path / "mainspring.db"))
    foreign.execute("BEGIN")
    foreign.execute("SELECT count(*) FROM things").fetchall()
    log = tmp_path / "mainspring.db-wal"
    n = 0
    while not log.exists() or log.stat().st_size < 2 * CHECKPOINT_PAGES * PAGE_BYTES:
        await database.commit([THINGS.insert(Thing(f"t{n}", body=bytes(MIB // 4)))])
        n += 1
    await database.close()
    foreign.close()
    assert 1 <= asked <= CHECKPOINT_PAGES // AGAIN_PAGES + 1
    assert n > 100
