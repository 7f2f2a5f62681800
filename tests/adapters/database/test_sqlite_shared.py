"""What the processes of one SQLite file share: turns to commit, wakes, and room in the log."""

import asyncio
import contextlib
import itertools
import mmap
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from mainspring.adapters.database import sqlite, sqlite_shared
from mainspring.adapters.database.sqlite import SqliteDatabase, share
from mainspring.adapters.database.sqlite_shared import Neighbours, SharedFile, Turnstile
from mainspring.kernel.channel import Channel
from mainspring.kernel.errors import Unavailable
from mainspring.kernel.process_role import Seat
from mainspring.kernel.table import Query
from mainspring.ports.database import StartError
from mainspring.testing.conformance.database.fixtures import NOTES, SCRIPT, THINGS, Note, Thing
from tests.adapters.database.test_sqlite import MIB
from tests.deadline import DEADLINE_S

TURNS = 20
# Reads the table first, and goes on for a few tenths of a second: it holds on to old pages.
LONG_COUNT = Query(
    "things.count_for_long",
    "WITH RECURSIVE n(i) AS (SELECT count(*) * 0 FROM things UNION ALL SELECT i + 1 FROM n "
    "WHERE i < 700000) SELECT count(*) FROM n",
    int,
    scans=True,
)


@contextlib.contextmanager
def forked(body: Callable[[], object]) -> Iterator[int]:
    """Run something in another process, which is killed in the end."""
    pid = os.fork()
    if pid == 0:
        try:
            body()
        finally:
            os._exit(0)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_process_that_commits_all_the_time_starves_nobody(tmp_path: Path) -> None:
    turnstile, counted = Turnstile(tmp_path / "turns"), mmap.mmap(-1, 8)

    def turns() -> int:
        return int.from_bytes(counted[:8], "little")

    def commit_for_ever() -> None:
        while True:
            with turnstile.taken():
                until_s = time.monotonic() + 0.001
                while time.monotonic() < until_s:
                    pass
                counted[:8] = (turns() + 1).to_bytes(8, "little")

    with forked(commit_for_ever):
        while not turns():
            pass
        waited = 0
        for _ in range(TURNS):
            before = turns()
            with turnstile.taken():
                waited += turns() - before
    # For one each time at most, about; without a turnstile for many.
    assert waited <= TURNS


def test_who_dies_in_its_turn_gives_it_back(tmp_path: Path) -> None:
    turnstile = Turnstile(tmp_path / "turns")
    read, written = os.pipe()

    def die() -> None:
        with turnstile.taken():
            os.write(written, b"!")
            signal.pause()

    with forked(die):
        os.read(read, 1)
    taken_s = time.monotonic()
    with turnstile.taken():
        assert time.monotonic() - taken_s < sqlite_shared.BUSY_MS / 1000


def test_nobody_waits_for_ever_for_a_process_that_is_frozen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_shared, "BUSY_MS", 20)
    turnstile = Turnstile(tmp_path / "turns")
    read, written = os.pipe()

    def freeze() -> None:
        with turnstile.taken():
            os.write(written, b"!")
            os.kill(os.getpid(), signal.SIGSTOP)

    with forked(freeze):
        os.read(read, 1)
        for _ in range(2):
            with pytest.raises(Unavailable, match="another process"), turnstile.taken():
                pass


async def test_a_full_inbox_loses_no_wake() -> None:
    """Who does not listen for a while is told of everything when it does."""
    inbox, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for each in (inbox, end):
        each.setblocking(False)
    teller, listener = Neighbours(end, [end]), Neighbours(inbox, [])
    heard: set[Channel] = set()
    told = {Channel(f"jobs:{n % 7}") for n in range(7)} | {Channel("last")}
    all_heard = asyncio.Event()
    teller.start(heard.update)
    for n in range(20_000):  # more than any inbox holds
        teller.tell(frozenset({Channel(f"jobs:{n % 7}")}))
    teller.tell(frozenset({Channel("last")}))

    def hear(wakes: frozenset[Channel]) -> None:
        heard.update(wakes)
        if heard == told:
            all_heard.set()

    listener.start(hear)
    async with asyncio.timeout(DEADLINE_S):
        await all_heard.wait()
    assert heard == told
    teller.stop()
    listener.stop()
    inbox.close()
    end.close()


def test_a_file_that_is_shared_is_closed_to_others(tmp_path: Path) -> None:
    shared = SharedFile(tmp_path / "mainspring.db", 2)
    with pytest.raises(StartError, match="another process uses"):
        SharedFile(tmp_path / "mainspring.db", 2)
    del shared


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[list[SqliteDatabase]]:
    own = share(f"sqlite:{tmp_path / 'mainspring.db'}", 2)
    both = [own(Seat(number, 2, first=number == 0)) for number in range(2)]
    for each in both:
        await each.open()
    await both[0].migrate("one", SCRIPT)
    yield both
    for each in both:
        await each.close()


async def test_pages_are_scrubbed_while_another_process_scans_and_commits(
    two: list[SqliteDatabase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scans overlap and are long: without a word to it the log is always in use."""
    monkeypatch.setattr(sqlite, "SCAN_WAIT_S", 2.0)
    one, other = two
    log = tmp_path / "mainspring.db-wal"
    stopping = asyncio.Event()
    await one.commit([THINGS.insert(Thing(f"t{n}", body=bytes(MIB // 4))) for n in range(4)])

    async def scan() -> None:
        while not stopping.is_set():
            await other.read(LONG_COUNT, ())

    async def commit() -> None:
        for n in itertools.count():
            if stopping.is_set():
                return
            await other.commit([NOTES.insert(Note(f"other{n}", f"text {n}"))])

    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
        for body in (scan, scan, scan, commit):
            tasks.create_task(body())
        await one.commit([NOTES.insert(Note("n", "a secret"))])
        assert b"a secret" in log.read_bytes()
        await one.scrub()
        assert b"a secret" not in log.read_bytes()
        stopping.set()
