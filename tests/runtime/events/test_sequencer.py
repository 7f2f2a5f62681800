"""No reader that follows seq misses an event, however late its transaction commits."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from mainspring.adapters.database.postgres import PostgresDatabase
from mainspring.kernel.errors import Unavailable
from mainspring.kernel.table import Query, Statement, Write
from mainspring.ports.database import NO_WAKES, Database, DatabaseTransaction, Wakes
from mainspring.runtime.events.sequencer import BATCH_EVENTS, TAKE_TURN, Sequencer
from mainspring.runtime.migrate import migrate
from mainspring.runtime.notifier import Notifier, wait
from mainspring.runtime.tables import EVENTS, EVENTS_AFTER, LAST_SEQ, EventRow

TIMEOUT_S = 30
WAKE_EVENTS = frozenset({"events"})
LOG = Query("log", "SELECT seq FROM events ORDER BY seq", int)
UNNUMBERED = Query("unnumbered", "SELECT count(*) FROM events WHERE seq IS NULL", int)
INSERT = Statement(
    "test.insert",
    "INSERT INTO events (id, tenant, type, subject, time_ms, leaf, body) "
    "VALUES (:id, 'main', 'a.b.c', 's', 0, '', '{}')",
)


class RolledBack(Exception):
    pass


def event(key: str) -> Write:
    return EVENTS.insert(EventRow(key, "main", "a.b.c", "s", 0, b"", "{}"))


@pytest.fixture
async def processes(postgres_url: str) -> AsyncIterator[list[PostgresDatabase]]:
    """Three handles of one database, as three processes would have."""
    opened = [PostgresDatabase(postgres_url) for _ in range(3)]
    for database in opened:
        await database.open()
    await migrate(opened[0], [])
    yield opened
    for database in opened:
        await database.close()


class Process:
    """A database with its board and its sequencer, for as long as a test runs."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.board = Notifier()
        database.on_wake(self.board.wake)
        self.sequencer = Sequencer(database, self.board)


async def write_late(database: Database, key: str, gate: asyncio.Event, commits: bool) -> None:
    """Insert at once, so take an ordinal early; commit, or not, when the gate opens."""

    async def body(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
        await transaction.execute(INSERT(id=key))
        await gate.wait()
        if not commits:
            raise RolledBack
        return (), WAKE_EVENTS

    try:
        await database.transact(body)
    except RolledBack:
        return


async def follow(process: Process, until: asyncio.Event, found: list[tuple[int, str]]) -> None:
    """Read ``seq > last`` as consumers do."""
    last = 0
    with process.board.listen("sequenced") as signal:
        while True:
            signal.clear()
            done = until.is_set()
            events = await process.database.read(EVENTS_AFTER, (last, 7))
            found += [(e.seq, e.id) for e in events]
            if events:
                last = events[-1].seq
            elif done:
                return
            else:
                await wait(signal, 0.05)


async def test_a_reader_meets_every_committed_event_once(
    processes: list[PostgresDatabase], seed: int
) -> None:
    chance = random.Random(seed)
    running = [Process(database) for database in processes]
    committed: set[str] = set()
    found: list[list[tuple[int, str]]] = [[], []]
    written = asyncio.Event()
    for process in running[:2]:
        await process.sequencer.start()
    readers = [
        asyncio.create_task(follow(running[i], written, found[i])) for i in range(len(found))
    ]

    async def write(caller: int) -> None:
        for i in range(12):
            key = f"{caller:02}.{i:02}"
            commits = chance.random() < 0.7
            gate = asyncio.Event()
            database = chance.choice(processes)
            writing = asyncio.create_task(write_late(database, key, gate, commits))
            for j in range(chance.randrange(4)):
                quick = f"{key}.{j}"
                await chance.choice(processes).commit([event(quick)], WAKE_EVENTS)
                committed.add(quick)
            gate.set()
            await writing
            if commits:
                committed.add(key)

    async with asyncio.timeout(TIMEOUT_S):
        await asyncio.gather(*(write(caller) for caller in range(10)))
        while await processes[0].read(UNNUMBERED, ()) != [0]:
            await running[0].sequencer.sequence()
        written.set()
        await asyncio.gather(*readers)
    for process in running[:2]:
        await process.sequencer.stop()
    for met in found:
        assert [seq for seq, _ in met] == list(range(1, len(committed) + 1))
        assert {key for _, key in met} == committed


async def test_a_late_commit_comes_later(processes: list[PostgresDatabase]) -> None:
    database = processes[0]
    sequencer = Sequencer(database, Notifier())
    gate = asyncio.Event()
    late = asyncio.create_task(write_late(processes[1], "late", gate, commits=True))
    async with asyncio.timeout(TIMEOUT_S):
        while not await database.read(Query("open", OPEN_INSERTS, int), ()):
            continue
        await database.commit([event("early")], WAKE_EVENTS)
        assert await sequencer.sequence() == 1
        gate.set()
        await late
        assert await sequencer.sequence() == 1
    events = await database.read(EVENTS_AFTER, (0, 10))
    assert [(e.seq, e.id) for e in events] == [(1, "early"), (2, "late")]


OPEN_INSERTS = (
    "SELECT 1 FROM pg_stat_activity WHERE state = 'idle in transaction' "
    "AND query LIKE 'INSERT INTO events%' AND datname = current_database()"
)


async def test_one_process_numbers_at_a_time(processes: list[PostgresDatabase]) -> None:
    first, second = processes[:2]
    await first.commit([event("a")], WAKE_EVENTS)
    taken, release = asyncio.Event(), asyncio.Event()

    async def hold(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
        assert await transaction.execute(TAKE_TURN()) == [(True,)]
        taken.set()
        await release.wait()
        return (), NO_WAKES

    holding = asyncio.create_task(first.transact(hold))
    await taken.wait()
    sequencer = Sequencer(second, Notifier())
    assert await sequencer.sequence() == 0
    release.set()
    await holding
    assert await sequencer.sequence() == 1


async def test_a_batch_is_bounded_and_the_next_goes_on(processes: list[PostgresDatabase]) -> None:
    database = processes[0]
    sequencer = Sequencer(database, Notifier())
    await database.commit([event(f"{i:05}") for i in range(BATCH_EVENTS + 5)])
    assert [await sequencer.sequence() for _ in range(3)] == [BATCH_EVENTS, 5, 0]
    assert await database.read(LAST_SEQ, ()) == [BATCH_EVENTS + 5]
    ids = [e.id for e in await database.read(EVENTS_AFTER, (0, 2_000))]
    assert ids == sorted(ids)


async def test_a_kill_at_any_moment_leaves_no_gap(
    processes: list[PostgresDatabase], postgres_url: str, seed: int
) -> None:
    chance = random.Random(seed)
    writers, *numbering = processes
    done = asyncio.Event()

    async def number(database: PostgresDatabase) -> None:
        sequencer = Sequencer(database, Notifier())
        while not done.is_set():
            try:
                await sequencer.sequence()
            except Unavailable:
                await asyncio.sleep(0)

    async def write(caller: int) -> None:
        for i in range(60):
            await writers.commit(
                [event(f"{caller}.{i}.{j}") for j in range(chance.randrange(1, 9))]
            )

    operator = await asyncpg.connect(postgres_url)
    async with asyncio.timeout(TIMEOUT_S):
        tasks = [asyncio.create_task(number(database)) for database in numbering]
        writing = asyncio.gather(*(write(caller) for caller in range(8)))
        kills = 0
        while not writing.done() or kills < 30:
            pids = await operator.fetch(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'mainspring' "
                "AND datname = current_database() AND (query LIKE '%seq%' OR query = 'COMMIT')"
            )
            if pids:
                victim = chance.choice(pids)["pid"]
                kills += await operator.fetchval("SELECT pg_terminate_backend($1)::int", victim)
        await writing
        done.set()
        await asyncio.gather(*tasks)
        while await writers.read(UNNUMBERED, ()) != [0]:
            await Sequencer(writers, Notifier()).sequence()
    await operator.close()
    seqs = await writers.read(LOG, ())
    assert seqs == list(range(1, len(seqs) + 1))


async def test_the_log_is_followed_on_either_engine(database: Database) -> None:
    """On SQLite the commit itself numbers; a reader sees no difference."""
    await migrate(database, [])
    process = Process(database)
    await process.sequencer.start()
    with process.board.listen("events", "sequenced") as signal:
        for i in range(20):
            await database.commit([event(f"{i:02}")], WAKE_EVENTS)
        async with asyncio.timeout(TIMEOUT_S):
            while (await database.read(LAST_SEQ, ()))[0] < 20:
                signal.clear()
                await wait(signal, 1.0)
    await process.sequencer.stop()
    met = await database.read(EVENTS_AFTER, (0, 100))
    assert [(e.seq, e.id) for e in met] == [(i + 1, f"{i:02}") for i in range(20)]
