"""No reader that follows seq misses an event, however late its transaction commits."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import cast

import asyncpg
import pytest

from mainspring.adapters.database.postgres import PostgresDatabase
from mainspring.kernel.errors import Unavailable
from mainspring.kernel.table import Query, Statement, Write
from mainspring.ports.database import NO_WAKES, Database, DatabaseTransaction, Wakes
from mainspring.runtime.audit.merkle_store import LEAVES
from mainspring.runtime.events.event_log import EVENT, StoredLog
from mainspring.runtime.events.log_bus import LogBus
from mainspring.runtime.events.reader import SharedReader
from mainspring.runtime.events.sequencer import BATCH_EVENTS, PLACE, TAKE_TURN, Sequencer
from mainspring.runtime.migrate import migrate
from mainspring.runtime.notifier import Notifier, wait
from mainspring.runtime.tables import EVENTS, EVENTS_AFTER, LAST_SEQ, EventRow
from mainspring.testing.conformance.bus import reading
from mainspring.testing.servers import PostgresServer, embedded_postgres, system_postgres
from tests.conftest import OLDEST_POSTGRES
from tests.deadline import DEADLINE_S

WAKE_EVENTS = frozenset({"events"})
LOG = Query("log", "SELECT seq FROM event_places ORDER BY seq", int)
UNNUMBERED = Query("unnumbered", "SELECT count(*) FROM logged_events WHERE seq IS NULL", int)
INSERT = Statement(
    "test.insert",
    "INSERT INTO events (id, tenant, type, subject, time_ms, leaf, body) "
    "VALUES (:id, 'main', 'a.b.c', 's', 0, '', '{}')",
)


class RolledBack(Exception):
    pass


def event(key: str, time_ms: int = 0) -> Write:
    return EVENTS.insert(EventRow(key, "main", "a.b.c", "s", time_ms, b"", "{}"))


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

    async with asyncio.timeout(DEADLINE_S):
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
    async with asyncio.timeout(DEADLINE_S):
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
    async with asyncio.timeout(DEADLINE_S):
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
        async with asyncio.timeout(DEADLINE_S):
            while (await database.read(LAST_SEQ, ()))[0] < 20:
                signal.clear()
                await wait(signal, 1.0)
    await process.sequencer.stop()
    met = await database.read(EVENTS_AFTER, (0, 100))
    assert [(e.seq, e.id) for e in met] == [(i + 1, f"{i:02}") for i in range(20)]


SCANNED = Query(
    "test.scanned",
    "SELECT COUNT(*) FROM events WHERE ordinal > "
    "(SELECT settled FROM event_places ORDER BY seq DESC LIMIT 1)",
    int,
)


async def number(sequencer: Sequencer, database: Database, begin: int, end: int) -> None:
    """Commit events one by one, each followed by a step of the sequencer."""
    for i in range(begin, end):
        await database.commit([event(f"{i:05}")])
        assert await sequencer.sequence() == 1


async def test_it_looks_again_only_at_what_may_still_commit(
    processes: list[PostgresDatabase], postgres_url: str
) -> None:
    """However long the log is, and whoever holds a snapshot of it, as a dump does."""
    database = processes[0]
    sequencer = Sequencer(database, Notifier())
    dump = await asyncpg.connect(postgres_url)
    holding = dump.transaction(isolation="repeatable_read", readonly=True)
    await holding.start()
    assert await dump.fetchval("SELECT count(*) FROM events") == 0
    await number(sequencer, database, 0, 50)
    assert await database.read(SCANNED, ()) == [2]
    assert await dump.fetchval("SELECT count(*) FROM event_places") == 0
    await holding.rollback()
    await dump.close()

    gate = asyncio.Event()
    late = asyncio.create_task(write_late(processes[1], "late", gate, commits=True))
    gone = asyncio.create_task(write_late(processes[2], "gone", gate, commits=False))
    async with asyncio.timeout(DEADLINE_S):
        while len(await database.read(Query("open", OPEN_INSERTS, int), ())) < 2:
            continue
    await number(sequencer, database, 50, 90)  # nothing is settled past those two
    assert (await database.read(SCANNED, ()))[0] >= 40
    gate.set()
    await asyncio.gather(late, gone)
    # Another process takes over, which knows only what is stored.
    sequencer = Sequencer(processes[1], Notifier())
    assert await sequencer.sequence() == 1
    await number(sequencer, database, 90, 100)
    assert await database.read(SCANNED, ()) == [2]
    found = await database.read(EVENTS_AFTER, (0, 1_000))
    assert [e.seq for e in found] == list(range(1, 102))
    assert [e.id for e in found if not e.id.isdigit()] == ["late"]


class FailedOver:
    """A database by a name that another server answers to after a while."""

    dialect = "postgres"

    def __init__(self, server: PostgresDatabase) -> None:
        self.server = server

    async def transact(
        self, body: Callable[[DatabaseTransaction], Awaitable[tuple[Sequence[Write], Wakes]]]
    ) -> None:
        await self.server.transact(body)


async def test_what_was_known_of_another_server_is_forgotten(
    processes: list[PostgresDatabase],
) -> None:
    """After a failover the same ids and ordinals are given to others."""
    binaries = embedded_postgres() or system_postgres(OLDEST_POSTGRES)
    assert binaries is not None  # or there were no processes
    first = PostgresServer(binaries)
    try:
        before = PostgresDatabase(first.url())
        await before.open()
        await migrate(before, [])
        followed = FailedOver(before)
        sequencer = Sequencer(cast("Database", followed), Notifier())
        for at in range(0, 60, 20):  # each concludes what the one before has settled
            await number(sequencer, before, at, at + 20)
        await before.close()
    finally:
        first.close()
    followed.server = processes[0]
    await number(sequencer, processes[0], 0, 10)
    assert len(await processes[0].read(EVENTS_AFTER, (0, 100))) == 10


PLAN = "EXPLAIN (FORMAT TEXT) "
PROBED = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) "
FILL = Statement(
    "test.fill",
    "INSERT INTO events (id, tenant, type, subject, time_ms, leaf, body) "
    "SELECT lpad(n::text, 5, '0'), 'main', 'a.b.c', 's', n, '', repeat('x', 800) "
    "FROM generate_series(1, CAST(:count AS bigint)) AS n",
)


async def test_each_step_and_each_read_looks_up_what_it_needs(
    processes: list[PostgresDatabase], postgres_url: str
) -> None:
    """Not the whole log, when it is long and the server knows how long."""
    database = processes[0]
    sequencer = Sequencer(database, Notifier())
    await database.commit([FILL(count=20_000)])
    while await sequencer.sequence():
        pass
    operator = await asyncpg.connect(postgres_url)
    await operator.execute("ANALYZE events; ANALYZE event_places")
    place = PLACE(server="", settled=0, limit=BATCH_EVENTS)
    asked = [
        (place.sql.postgres, place.values),
        (EVENTS_AFTER.sql.postgres, (0, 257)),
        (EVENTS_AFTER.sql.postgres, (19_000, 257)),
        (EVENTS_AFTER.postgres_page, (0, 257, 1 << 20)),
        (LAST_SEQ.sql.postgres, ()),
        (LEAVES.sql.postgres, (256, 512)),
        (EVENT.sql.postgres, ("00007",)),
    ]
    for sql, values in asked:
        plan = "\n".join([row[0] for row in await operator.fetch(PLAN + sql, *values)])
        assert "Seq Scan" not in plan, plan
        assert "Hash" not in plan, plan
    await operator.close()


PAGE = Path(__file__).parents[3] / "docs" / "howto" / "run-on-postgresql.md"
YEAR_MS = 1_798_761_600_000  # where 2027 begins, and the second partition
PARTS = Query(
    "test.parts", "SELECT tableoid::regclass::text || ' ' || id FROM events ORDER BY time_ms", str
)


async def test_events_are_partitioned_by_time_as_the_page_says(
    processes: list[PostgresDatabase], postgres_url: str
) -> None:
    """Whatever reads or writes the log does so over partitions, and knows what is there already."""
    database = processes[0]
    sequencer, bus = Sequencer(database, Notifier()), LogBus(database, Notifier())
    times = [YEAR_MS - 1, YEAR_MS, YEAR_MS * 2]
    await database.commit([event("1", times[0])])
    assert await sequencer.sequence() == 1
    (script,) = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    operator = await asyncpg.connect(postgres_url)
    await operator.execute(script)
    await database.commit([event("2", times[1]), event("3", times[2])])
    assert await sequencer.sequence() == 2
    assert await database.read(PARTS, ()) == [
        "events_until_2027 1",
        "events_2027 2",
        "events_later 3",
    ]
    assert [e.id for e in await database.read(EVENTS_AFTER, (0, 9))] == ["1", "2", "3"]
    published = [reading.event(number) for number in (4, 5)]
    for _ in range(2):
        await bus.publish(published)
    while await sequencer.sequence():
        pass
    assert await bus.ends() == {0: 5}
    plan = "\n".join(
        [row[0] for row in await operator.fetch(PROBED + EVENTS_AFTER.sql.postgres, 0, 2)]
    )
    await operator.close()
    assert "(never executed)" in plan, plan  # the partitions that the places do not lead to
    rows = await bus.read(0, 3, 9, 1 << 20)
    assert [e.id for e in rows.items] == [e.id for e in published]
    stored = StoredLog(database, SharedReader(bus))
    assert await stored.places(["1", "3", "none"]) == {"1": 1, "3": 3}
    assert len(await database.read(LEAVES, (0, 5))) == 5
    assert await migrate(database, []) == 0
