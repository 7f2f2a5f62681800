"""From opening to closing: migrations, wakes, scans, posts."""

import asyncio
import threading
from collections.abc import Awaitable, Sequence

from mainspring.kernel.errors import Conflict, NeedsIndex, Unavailable
from mainspring.kernel.table import Query, Write
from mainspring.ports.database import DatabaseTransaction, StartError, Wakes
from mainspring.testing.conformance.database.fixtures import (
    ENDLESS,
    GROW,
    NOTE,
    NOTE_COUNT,
    NOTES,
    SCRIPT,
    SIZE,
    THINGS,
    TIMEOUT_S,
    Note,
    Opener,
    Thing,
    channels,
    fails,
    made,
    outcomes_of,
    thing_of,
)


async def check_wakes_come_after_the_commit(fresh: Opener) -> None:
    """A listener that is woken reads what woke it; a call that fails wakes nobody."""
    database = await made(fresh, Thing("there"))
    heard: list[str] = []
    woken = asyncio.Event()

    def listen(names: Wakes) -> None:
        heard.extend(names)
        woken.set()

    database.on_wake(listen)
    await fails(Conflict, database.commit([THINGS.insert(Thing("there"))], channels("lost")))
    await database.commit([THINGS.insert(Thing("new"))], channels("one", "local:two"))
    async with asyncio.timeout(TIMEOUT_S):
        await woken.wait()
    assert {"one", "local:two"} <= set(heard)
    assert "lost" not in heard
    woken.clear()

    async def body(_: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
        return (), channels("three")

    await database.transact(body)
    async with asyncio.timeout(TIMEOUT_S):
        await woken.wait()
    assert "three" in heard


async def check_wakes_reach_other_processes(fresh: Opener) -> None:
    """Those of a commit, by name, but not the local ones; not where there is one process only."""
    database = await made(fresh)
    if database.exclusive:
        return
    other = await fresh()
    heard: list[str] = []
    news = asyncio.Event()

    def listen(names: Wakes) -> None:
        heard.extend(names)
        news.set()

    async def hears(name: str) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while name not in heard:
                news.clear()
                await news.wait()

    other.on_wake(listen)
    await database.commit([THINGS.insert(Thing("a"))], channels("events", "local:mine"))
    await hears("events")
    await database.commit([THINGS.insert(Thing("b"))], channels("local:mine"))
    await database.commit([GROW(id="a")], channels(*(f"long {i:05} {'x' * 90}" for i in range(99))))
    await hears("*")  # too many names to send, with whatever else is sent then: everybody is woken
    await database.commit((), channels("last"))
    await hears("last")
    assert "local:mine" not in heard


async def check_a_scan_over_its_budget_is_refused(fresh: Opener) -> None:
    """It raises NeedsIndex, and meanwhile and afterwards others are served."""
    database = await made(fresh, Thing("t"))
    scan = asyncio.ensure_future(database.read(ENDLESS, ()))
    await database.commit([NOTES.insert(Note("n", "text"))])
    assert await thing_of(database, "t") == Thing("t")
    assert not scan.done()
    async with asyncio.timeout(TIMEOUT_S):
        await fails(NeedsIndex, scan)
    listed = Query("things.scan", "SELECT id FROM things ORDER BY size", str, scans=True)
    assert await database.read(listed, ()) == ["t"]


async def check_a_post_from_a_thread_is_committed(fresh: Opener) -> None:
    """Also while the event loop is blocked; one that fails does no harm."""
    database = await made(fresh, Thing("t", size=0))

    def post() -> None:
        for _ in range(10):
            database.post([THINGS.insert(Thing("t")), GROW(id="t")])
            database.post([GROW(id="t")])

    thread = threading.Thread(target=post)
    thread.start()
    thread.join()
    await database.close()
    database = await fresh()
    assert await database.read(SIZE, ("t",)) == [10]


async def check_closing_finishes_what_was_queued(fresh: Opener) -> None:
    """Every call that was taken is answered and durable; later ones are refused."""
    database = await made(fresh, *[Thing(f"t{i}", size=0) for i in range(20)])
    commits: list[Awaitable[None]] = []
    for i in range(20):
        commits.append(database.commit([NOTES.insert(Note(f"{i}", f"{i}"))]))
        commits.append(database.commit([THINGS.update(Thing(f"t{i}"), size=1)]))
        commits.append(database.commit([GROW(id=f"t{i}")]))
    tasks = [asyncio.ensure_future(commit) for commit in commits]
    await asyncio.sleep(0)
    await database.close()
    assert await outcomes_of(tasks) == [None] * 60
    await fails(Unavailable, database.commit([NOTES.insert(Note("late", "late"))]))
    database = await fresh()
    assert await database.read(NOTE_COUNT, ()) == [20]


async def check_a_migration_runs_once(fresh: Opener) -> None:
    """The second time is a no-op; a script that has changed since stops the start."""
    database = await fresh()
    assert await database.migrate("conformance/0001", SCRIPT) is True
    assert await database.migrate("conformance/0001", SCRIPT) is False
    error = await fails(StartError, database.migrate("conformance/0001", SCRIPT + " "))
    assert "conformance/0001" in str(error)
    await database.close()
    database = await fresh()
    assert await database.migrate("conformance/0001", SCRIPT) is False


async def check_a_migration_that_fails_leaves_nothing(fresh: Opener) -> None:
    """Not the table it made, not the note that it ran."""
    database = await fresh()
    broken = SCRIPT + "CREATE TABLE more (id text NOT NULL PRIMARY KEY); SELECT nonsense;"
    await fails(StartError, database.migrate("conformance/0001", broken))
    assert await database.migrate("conformance/0001", SCRIPT) is True


async def check_processes_that_migrate_together_take_turns(fresh: Opener) -> None:
    """One of them applies it and all go on."""
    database = await fresh()
    others = [] if database.exclusive else [await fresh() for _ in range(3)]
    async with asyncio.timeout(TIMEOUT_S):
        applied = await asyncio.gather(
            *(each.migrate("conformance/0001", SCRIPT) for each in (database, database, *others))
        )
    assert sum(applied) == 1


async def check_the_schema_can_change_while_open(fresh: Opener) -> None:
    """Statements that were prepared before a migration go on working after it."""
    database = await made(fresh, Thing("t"))
    every = Query("things.every", "SELECT * FROM things WHERE id = :id", Thing)
    assert await database.read(every, ("t",)) == [Thing("t")]
    await database.migrate("conformance/0002", "ALTER TABLE notes ADD COLUMN more text")
    await database.migrate("conformance/0003", "CREATE INDEX things_size ON things (size)")
    await database.commit([NOTES.insert(Note("n", "text")), GROW(id="t")])
    assert await database.read(NOTE, ("n",)) == [Note("n", "text")]
    assert await database.read(every, ("t",)) == [Thing("t")]


_NO_NOTES = {
    "sqlite": "CREATE TRIGGER no_notes BEFORE INSERT ON notes BEGIN SELECT RAISE(IGNORE); END",
    "postgres": """
    CREATE FUNCTION no_notes() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
    CREATE TRIGGER no_notes BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION no_notes()
    """,
}


async def check_triggers_are_off_until_they_are_on_again(fresh: Opener) -> None:
    """A copy adds rows that a trigger would refuse, and later calls are judged as ever."""
    database = await made(fresh)
    await database.migrate("conformance/0002", _NO_NOTES[database.dialect])
    for number, on in enumerate((True, False, True)):
        await database.set_triggers(on=on)
        note = NOTES.insert(Note(str(number), "text"))
        if on:
            await fails(Conflict, database.commit([note]))
        else:
            await database.commit([note])
        found = await database.read(NOTE, (str(number),))
        assert found == ([] if on else [Note(str(number), "text")])


async def check_it_names_its_version(fresh: Opener) -> None:
    """The name and version of the real thing, for status pages and test reports."""
    database = await fresh()
    name, _, number = (await database.version()).partition(" ")
    assert name in ("SQLite", "PostgreSQL")
    assert number[0].isdecimal()
    assert database.dialect in ("sqlite", "postgres")
