"""What is PostgreSQL's own: batches across callers, broken connections, notifications."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest

from mainspring.adapters.database import postgres_pool
from mainspring.adapters.database.postgres import PostgresDatabase
from mainspring.adapters.database.postgres_pool import PostgresTarget
from mainspring.adapters.database.postgres_turns import TURNS_MIN, Turns
from mainspring.kernel.errors import Invalid, Unavailable
from mainspring.kernel.table import Query, Statement
from mainspring.ports.database import DatabaseTransaction, StartError, Wakes
from mainspring.testing.conformance.database.fixtures import (
    GROW,
    NOTE_COUNT,
    NOTES,
    SCRIPT,
    SIZE,
    TAKE,
    THING_IDS,
    THINGS,
    Note,
    Taken,
    Thing,
    outcomes_of,
)
from mainspring.testing.servers import PostgresServer, embedded_postgres
from tests.deadline import DEADLINE_S

KILL_OTHERS = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
SLOWLY = Statement(
    "things.slowly",
    "UPDATE things SET size = size + 1 WHERE id = :id AND pg_sleep(30) IS NOT NULL",
)


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    database = PostgresDatabase(postgres_url)
    await database.open()
    await database.migrate("one", SCRIPT)
    await database.commit([THINGS.insert(Thing("t", size=0))])
    yield database
    await database.close()


@pytest.fixture
async def operator(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Somebody at the server's own console."""
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


async def until(operator: asyncpg.Connection, sql: str, wanted: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if await operator.fetchval(sql) == wanted:
                return


# Batches


async def test_calls_of_many_callers_share_a_statement(database: PostgresDatabase) -> None:
    before = database.commits
    commits = [database.commit([NOTES.insert(Note(f"{i}", f"{i}"))]) for i in range(512)]
    assert await outcomes_of(commits) == [None] * 512
    assert database.commits - before <= 4
    things = [Thing(f"t{i}", size=0) for i in range(64)]
    await database.commit([THINGS.insert(thing) for thing in things])
    before = database.commits
    updates = [database.commit([THINGS.update(thing, size=1)]) for thing in things]
    grows = [database.commit([GROW(id=t.id).expect(1, Taken)]) for t in things]
    assert await outcomes_of([*updates, *grows]) == [None] * 128
    assert database.commits - before <= 16


async def test_a_bad_call_costs_the_others_little(database: PostgresDatabase) -> None:
    before = database.commits
    commits = [
        database.commit([THINGS.insert(Thing("t" if i == 100 else f"t{i}"), Taken)])
        for i in range(256)
    ]
    outcomes = await outcomes_of(commits)
    assert [i for i, outcome in enumerate(outcomes) if outcome is not None] == [100]
    assert database.commits - before <= 2 * 8 + 3


async def test_a_call_behind_a_hot_row_is_not_starved(database: PostgresDatabase) -> None:
    row = Thing("t", size=0)
    hot = [database.commit([THINGS.update(row, size=i)]) for i in range(50)]
    commits = [*hot, database.commit([NOTES.insert(Note("n", "text"))])]
    outcomes = await outcomes_of(commits)
    assert sum(outcome is None for outcome in outcomes) == 2
    assert await database.read(SIZE, ("t",)) == [0]


async def test_a_hot_row_of_a_services_own_statement_fails_no_batch(
    database: PostgresDatabase,
) -> None:
    """They share a commit, and so do all the others."""
    things = [Thing(f"t{i}", size=0) for i in range(32)]
    await database.commit([THINGS.insert(thing) for thing in things])
    before = database.commits
    hot = [database.commit([GROW(id="t").expect(1, Taken)]) for _ in range(20)]
    others = [database.commit([GROW(id=thing.id).expect(1, Taken)]) for thing in things]
    assert await outcomes_of([*hot, *others]) == [None] * 52
    assert database.commits - before <= 6
    assert await database.read(SIZE, ("t",)) == [20]


async def test_refusals_of_a_hot_row_cost_no_commits(database: PostgresDatabase) -> None:
    await database.commit([THINGS.insert(Thing("stock", size=8))])
    before = database.commits
    takes = [
        database.commit([NOTES.insert(Note(f"{i}", f"{i}")), TAKE(id="stock").expect(1, Taken)])
        for i in range(100)
    ]
    outcomes = await outcomes_of(takes)
    assert sum(outcome is None for outcome in outcomes) == 8
    assert sum(isinstance(outcome, Taken) for outcome in outcomes) == 92
    assert database.commits - before <= 10
    assert await database.read(NOTE_COUNT, ()) == [8]


async def test_a_value_no_index_can_hold_is_invalid(database: PostgresDatabase) -> None:
    noise = "".join(chr(0x4E00 + i * 7919 % 20_000) for i in range(9_000))
    with pytest.raises(Invalid):
        await database.commit([THINGS.insert(Thing("long", noise))])
    with pytest.raises(Invalid):
        await database.commit([THINGS.insert(Thing("nul", "a\0b"))])


async def test_a_defect_is_not_a_driver_error(database: PostgresDatabase) -> None:
    broken = Query("broken", "SELECT nothing FROM nowhere", int)
    with pytest.raises(RuntimeError, match="42P01"):
        await database.read(broken, ())
    with pytest.raises(RuntimeError, match="42P01"):
        await database.commit([Statement("broken", "DELETE FROM nowhere")()])


@pytest.fixture
async def hasty(
    database: PostgresDatabase, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PostgresDatabase]:
    """The same database for a process that the server has little patience with."""
    monkeypatch.setattr(postgres_pool, "IDLE_IN_TRANSACTION_S", 1)
    monkeypatch.setattr(postgres_pool, "TRANSACTION_S", 1)
    hasty = PostgresDatabase(postgres_url)
    await hasty.open()
    yield hasty
    await hasty.close()


async def test_a_process_that_freezes_between_statements_gives_up_its_locks(
    database: PostgresDatabase, hasty: PostgresDatabase
) -> None:
    locked, go_on = asyncio.Event(), asyncio.Event()

    async def body(transaction: DatabaseTransaction) -> tuple[tuple[()], Wakes]:
        await transaction.execute(GROW(id="t"))
        locked.set()
        await go_on.wait()
        await transaction.execute(GROW(id="t"))
        return (), frozenset()

    freezes = asyncio.create_task(hasty.transact(body))
    await locked.wait()
    await database.commit([GROW(id="t").expect(1, Taken)])
    go_on.set()
    with pytest.raises(Unavailable):
        await freezes
    assert await hasty.read(SIZE, ("t",)) == [1]


async def test_a_process_that_freezes_within_a_statement_gives_up_its_locks(
    database: PostgresDatabase, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server calls it active, not idle: it was sent a statement, and not told to run it."""
    monkeypatch.setattr(postgres_pool, "TRANSACTION_S", 1)
    target = PostgresTarget(postgres_url)
    await target.probe()
    if not target.limits_transactions:
        pytest.skip("this server ends no transaction for its length")
    frozen = await target.connect()
    await frozen.execute("BEGIN; UPDATE things SET size = 9 WHERE id = 't'")
    await frozen.prepare("SELECT 1")
    await database.commit([GROW(id="t").expect(1, Taken)])
    assert await database.read(SIZE, ("t",)) == [1]
    await frozen.close()


async def test_a_migration_may_take_long(hasty: PostgresDatabase) -> None:
    assert await hasty.migrate("long", "SELECT pg_sleep(1.2)")


async def test_a_listener_that_raises_stops_nothing(database: PostgresDatabase) -> None:
    def broken(_: Wakes) -> None:
        raise ZeroDivisionError

    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))
    database.on_wake(broken)
    for i in range(3):
        await database.commit([NOTES.insert(Note(f"{i}", f"{i}"))], frozenset({"events"}))
    assert await database.read(NOTE_COUNT, ()) == [3]
    assert complaints


async def test_many_readers_share_few_connections(postgres_url: str) -> None:
    database = PostgresDatabase(postgres_url + "&pool=2")
    await database.open()
    one = Query("one", "SELECT 1 FROM pg_sleep(0.001)", int)
    try:
        assert await asyncio.gather(*(database.read(one, ()) for _ in range(100))) == [[1]] * 100
    finally:
        await database.close()


async def test_a_scan_cannot_write(database: PostgresDatabase) -> None:
    writes = Query("writes", "DELETE FROM things RETURNING id", str, scans=True)
    with pytest.raises(Unavailable):
        await database.read(writes, ())
    assert await database.read(THING_IDS, ()) == ["t"]


async def test_transactions_that_meet_take_turns(
    database: PostgresDatabase, postgres_url: str
) -> None:
    """Two processes lock the same rows in opposite orders: a deadlock costs a second, 600 many."""
    rows = [Thing(f"r{at}", size=0) for at in range(4)]
    await database.commit([THINGS.insert(row) for row in rows])
    other = PostgresDatabase(postgres_url)
    await other.open()
    try:
        there = [GROW(id=row.id).expect(1, Taken) for row in rows]
        back = list(reversed(there))
        commits = [
            process.commit(commands)
            for process in (database, other)
            for commands in (there, back)
            for _ in range(150)
        ]
        assert await outcomes_of(commits) == [None] * 600
        sizes = [await database.read(SIZE, (row.id,)) for row in rows]
        assert sizes == [[600]] * 4
    finally:
        await other.close()


def test_turns_are_taken_for_longer_the_sooner_they_are_needed_again() -> None:
    turns, told = Turns(), []
    turns.announce = lambda: told.append(turns.taken)

    def until_free() -> int:
        passed = 0
        while turns.taken:
            turns.passed()
            passed += 1
        return passed

    assert not turns.taken
    turns.met()
    assert until_free() == TURNS_MIN
    turns.met()
    assert until_free() == 2 * TURNS_MIN
    turns.begin()  # another process met one
    assert until_free() == 4 * TURNS_MIN
    for _ in range(4 * TURNS_MIN + 1):
        turns.passed()
    turns.begin()
    assert until_free() == TURNS_MIN
    assert told == [True, True]


async def test_processes_share_the_few_connections_a_server_has(
    postgres_url: str, operator: asyncpg.Connection
) -> None:
    """Each has a few of its own; nobody is refused because another process has the others."""
    role = f"few_{secrets.token_hex(4)}"
    await operator.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 9")
    await operator.execute(f"GRANT ALL ON SCHEMA public TO {role}")
    url = postgres_url.replace("postgres@", f"{role}@")
    processes = [PostgresDatabase(url) for _ in range(2)]
    try:
        for database in processes:
            await database.open()
        await processes[0].migrate("one", SCRIPT)
        commits = [
            processes[key % 2].commit([NOTES.insert(Note(f"n{key}", f"n{key}"))])
            for key in range(100)
        ]
        reads = [
            processes[at % 2].read(Query("slow", "SELECT 1 FROM pg_sleep(0.01)", int), ())
            for at in range(100)
        ]
        scans = [
            processes[at % 2].read(Query("scan", "SELECT 2", int, scans=True), ())
            for at in range(20)
        ]
        alone = [
            database.commit([GROW(id="nobody").expect(0, Taken)])
            for database in processes
            for _ in range(20)
        ]
        read = asyncio.gather(*reads, *scans)
        assert await outcomes_of([*commits, *alone]) == [None] * 140
        assert await read == [[1]] * 100 + [[2]] * 20
        late = PostgresDatabase(url)
        with pytest.raises(StartError, match="too many connections"):
            await late.open()
    finally:
        for database in processes:
            await database.close()
        await operator.execute(f"DROP OWNED BY {role}")
        await operator.execute(f"DROP ROLE {role}")


# Broken connections


async def test_reads_and_commits_go_on_after_every_connection_was_cut(
    database: PostgresDatabase, operator: asyncpg.Connection
) -> None:
    for round_ in range(3):
        await operator.fetchval(KILL_OTHERS)
        reads = [database.read(SIZE, ("t",)) for _ in range(20)]
        assert await asyncio.gather(*reads) == [[0]] * 20
        keys = [f"{round_}.{i}" for i in range(20)]
        outcomes = await outcomes_of([database.commit([NOTES.insert(Note(k, k))]) for k in keys])
        assert all(outcome is None or isinstance(outcome, Unavailable) for outcome in outcomes)
        await database.commit([NOTES.insert(Note(f"{round_}", f"{round_}"))])


@pytest.mark.parametrize("expects", [None, 1])
async def test_a_commit_of_unknown_outcome_is_not_repeated(
    database: PostgresDatabase, operator: asyncpg.Connection, expects: int | None
) -> None:
    command = SLOWLY(id="t") if expects is None else SLOWLY(id="t").expect(expects, Taken)
    commit = asyncio.ensure_future(database.commit([command]))
    await until(operator, SLEEPING, 1)
    await operator.fetchval(KILL_OTHERS)
    with pytest.raises(Unavailable) as raised:
        await commit
    assert raised.value.retry_after_s
    await until(operator, SLEEPING, 0)
    assert await database.read(SIZE, ("t",)) == [0]


async def test_what_was_acknowledged_survives_a_killed_server() -> None:
    binaries = embedded_postgres()
    if binaries is None:
        pytest.skip("needs embedded-postgres")
    server = PostgresServer(binaries, durable=True)
    database = PostgresDatabase(server.create_database())
    try:
        await database.open()
        await database.migrate("one", SCRIPT)
        acknowledged: list[str] = []
        enough = asyncio.Event()

        async def write(caller: int) -> None:
            for i in range(1_000):
                key = f"{caller}.{i}"
                try:
                    await database.commit([NOTES.insert(Note(key, key)), THINGS.insert(Thing(key))])
                except Unavailable:
                    return
                acknowledged.append(key)
                if len(acknowledged) == 500:
                    enough.set()

        writers = asyncio.gather(*(write(i) for i in range(16)))
        await enough.wait()
        await asyncio.to_thread(server.kill)
        await writers
        with pytest.raises(Unavailable):
            await database.read(THING_IDS, ())
        await asyncio.to_thread(server.start)
        found: list[str] = []
        async with asyncio.timeout(DEADLINE_S):
            while not found:
                try:
                    found = await database.read(THING_IDS, ())
                except Unavailable:
                    await asyncio.sleep(0)
        assert set(acknowledged) <= set(found)
        assert await database.read(NOTE_COUNT, ()) == [len(found)]
    finally:
        await database.close()
        server.close()


async def test_a_cancelled_read_leaves_no_answer_behind(database: PostgresDatabase) -> None:
    slow = Query("slow", "SELECT 7 FROM pg_sleep(30)", int)
    reading = asyncio.ensure_future(database.read(slow, ()))
    await database.read(SIZE, ("t",))
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert [await database.read(SIZE, ("t",)) for _ in range(20)] == [[0]] * 20


# Starting


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://me:secret@127.0.0.1:1/here", "127.0.0.1"),
        ("postgresql://me:secret@/here?host=/nowhere", "/nowhere/here"),
        ("postgresql://me:secret@127.0.0.1:1/here?pool=none", "pool is 1 to 100"),
        ("postgresql://me:secret@127.0.0.1:1/here?prepared=1", "prepared is true or false"),
    ],
)
async def test_a_wrong_url_is_one_clear_line(url: str, says: str) -> None:
    with pytest.raises(StartError) as raised:
        await PostgresDatabase(url).open()
    assert says in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


async def test_a_database_that_is_not_there_is_named(postgres_server: PostgresServer) -> None:
    with pytest.raises(StartError, match="nonesuch"):
        await PostgresDatabase(postgres_server.url("nonesuch")).open()


# Wakes


async def test_a_wake_is_heard_once_by_its_own_process(
    database: PostgresDatabase, postgres_url: str
) -> None:
    heard: asyncio.Queue[Wakes] = asyncio.Queue()
    database.on_wake(heard.put_nowait)
    await database.commit([GROW(id="t")], frozenset({"mine"}))
    await database.commit([NOTES.insert(Note("n", "n"))], frozenset({"mine"}))
    other = PostgresDatabase(postgres_url)
    await other.open()
    try:
        await other.commit((), frozenset({"theirs"}))
        async with asyncio.timeout(DEADLINE_S):
            names = [await heard.get() for _ in range(3)]
    finally:
        await other.close()
    assert names == [frozenset({"mine"}), frozenset({"mine"}), frozenset({"theirs"})]


async def test_everybody_is_woken_when_the_listener_comes_back(
    database: PostgresDatabase, operator: asyncpg.Connection
) -> None:
    heard: asyncio.Queue[Wakes] = asyncio.Queue()
    database.on_wake(heard.put_nowait)
    await operator.fetchval(KILL_OTHERS)
    async with asyncio.timeout(DEADLINE_S):
        assert await heard.get() == frozenset({"*"})
    await operator.execute("SELECT pg_notify('mainspring', 'events,jobs:default')")
    async with asyncio.timeout(DEADLINE_S):
        assert await heard.get() == frozenset({"events", "jobs:default"})
