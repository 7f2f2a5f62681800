"""Many calls at once: each has the outcome it would have alone."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

from mainspring.kernel.errors import Failure, Rerun, Unavailable
from mainspring.kernel.table import Write
from mainspring.ports.database import COMMIT_QUEUE_MAX, DatabaseTransaction, Wakes
from mainspring.testing.conformance.database.fixtures import (
    CLOSE,
    GROW,
    NOTE_COUNT,
    NOTES,
    RENAME,
    SIZE,
    TAKE,
    THING_IDS,
    THINGS,
    Note,
    Opener,
    Taken,
    Thing,
    channels,
    fails,
    made,
    outcomes_of,
    thing_of,
)


async def check_one_bad_call_does_not_touch_the_others(fresh: Opener) -> None:
    """Of many at once, each has the outcome it would have alone; no value spoils a batch."""
    database = await made(fresh, Thing("there"))
    bad: dict[int, Thing] = {
        7: Thing("there"),
        30: Thing("b30", size=2**63),
        31: Thing("b31", "\ud800"),
        55: Thing("there"),
        99: Thing("t098"),
    }
    commits = [
        database.commit([NOTES.insert(Note(f"n{i}", f"{i}")), THINGS.insert(thing, Taken)])
        for i in range(100)
        for thing in [bad.get(i, Thing(f"t{i:03}"))]
    ]
    outcomes = await outcomes_of(commits)
    failed = {i for i, outcome in enumerate(outcomes) if outcome is not None}
    assert failed == bad.keys() or failed == (bad.keys() - {99} | {98})  # whichever came first
    assert all(isinstance(outcomes[i], Failure) for i in failed), outcomes
    assert all(isinstance(outcomes[i], Taken) for i in failed - {30, 31}), outcomes
    assert len(await database.read(THING_IDS, ())) == 96
    assert await database.read(NOTE_COUNT, ()) == [95]


async def check_one_of_many_with_the_same_key_wins(fresh: Opener) -> None:
    """As with an idempotency key sent twice at once."""
    database = await made(fresh)
    outcomes = await outcomes_of(
        [
            database.commit(
                [THINGS.insert(Thing("same"), Taken), NOTES.insert(Note(f"{i}", f"{i}"))]
            )
            for i in range(100)
        ]
    )
    assert sum(outcome is None for outcome in outcomes) == 1
    assert all(outcome is None or isinstance(outcome, Taken) for outcome in outcomes)
    assert await database.read(NOTE_COUNT, ()) == [1]


async def check_one_stale_guard_does_not_touch_the_others(fresh: Opener) -> None:
    """Guarded updates of different rows at once: one is stale and alone fails."""
    things = [Thing(f"t{i:02}", size=0) for i in range(50)]
    database = await made(fresh, *things)
    await database.commit([THINGS.update(things[20], size=9)])
    outcomes = await outcomes_of([database.commit([THINGS.update(t, size=1)]) for t in things])
    assert [i for i, outcome in enumerate(outcomes) if outcome is not None] == [20]
    assert isinstance(outcomes[20], Rerun)


async def check_a_hot_row_loses_no_update(fresh: Opener) -> None:
    """Fifty callers read, add one and write under a guard until they get through."""
    database = await made(fresh, Thing("hot", size=0))

    async def add_one(number: int) -> None:
        while True:
            seen = await thing_of(database, "hot")
            assert seen is not None
            assert seen.size is not None
            note = NOTES.insert(Note(f"{number}", f"{number}"))
            try:
                await database.commit([note, THINGS.update(seen, size=seen.size + 1)])
            except Rerun:
                continue
            return

    outcomes = await outcomes_of([add_one(i) for i in range(50)])
    assert outcomes == [None] * 50
    assert await thing_of(database, "hot") == Thing("hot", size=50, version=51)
    assert await database.read(NOTE_COUNT, ()) == [50]


async def check_a_hot_counter_loses_no_statement(fresh: Opener) -> None:
    """The same row in many calls at once, by statements that need no guard, checked or not."""
    database = await made(fresh, Thing("up", size=0), Thing("down", size=30))
    ups = [database.commit([GROW(id="up")]) for _ in range(25)]
    ups += [database.commit([GROW(id="up").expect(1, Taken)]) for _ in range(25)]
    downs = [database.commit([TAKE(id="down").expect(1, Taken)]) for _ in range(40)]
    outcomes = await outcomes_of([*ups, *downs])
    assert outcomes[:50] == [None] * 50
    assert sum(outcome is None for outcome in outcomes[50:]) == 30
    assert sum(isinstance(outcome, Taken) for outcome in outcomes) == 10
    assert await database.read(SIZE, ("up",)) == [50]
    assert await database.read(SIZE, ("down",)) == [0]


async def check_calls_on_one_row_have_each_their_outcome(fresh: Opener) -> None:
    """By two statements, with rows added before and after; one alone fails at what it adds."""
    database = await made(fresh, Thing("stock", size=30))
    await database.commit([NOTES.insert(Note("taken", "there before"))])
    ids = ["taken" if i == 17 else f"{i}" for i in range(60)]
    takes = [
        database.commit(
            [
                NOTES.insert(Note(note, f"note {i}"), Rerun),
                TAKE(id="stock").expect(1, Taken),
                THINGS.insert(Thing(f"after {i}")),
            ]
        )
        for i, note in enumerate(ids)
    ]
    grows = [database.commit([GROW(id="stock").expect(1, Taken)]) for _ in range(10)]
    outcomes = await outcomes_of([*takes, *grows])
    assert isinstance(outcomes[17], Rerun | Taken)
    assert outcomes[60:] == [None] * 10
    sold = sum(outcome is None for outcome in outcomes[:60])
    (left,) = await database.read(SIZE, ("stock",))
    assert 30 <= sold <= 40
    assert sold + (left or 0) == 40
    others = [outcome for i, outcome in enumerate(outcomes[:60]) if i != 17 and outcome is not None]
    assert all(isinstance(outcome, Taken) for outcome in others), others
    assert await database.read(NOTE_COUNT, ()) == [1 + sold]
    assert len(await database.read(THING_IDS, ())) == 1 + sold


async def check_opposite_orders_do_not_deadlock(fresh: Opener) -> None:
    """Calls that write the same rows the other way round all come through."""
    things = [Thing(f"t{i}", size=0) for i in range(4)]
    database = await made(fresh, *things)
    commits: list[Awaitable[None]] = []
    for i in range(30):
        some = [Thing(f"new {i // 2} {j}") for j in range(5)]
        forwards = i % 2 == 0
        inserts: list[Write] = [THINGS.insert(t, None) for t in (some if forwards else some[::-1])]
        grows: list[Write] = [GROW(id=t.id) for t in (things if forwards else things[::-1])]
        commits += [database.commit(inserts), database.commit(grows)]
    assert await outcomes_of(commits) == [None] * 60
    assert await database.read(SIZE, ("t0",)) == [30]
    assert len(await database.read(THING_IDS, ())) == 4 + 15 * 5


async def check_a_full_queue_refuses_and_does_nothing(fresh: Opener) -> None:
    """One call more than fits is Unavailable, says when to come again, and leaves no trace."""
    database = await made(fresh)
    over = 100
    commits = [
        database.commit([NOTES.insert(Note(f"{i}", f"{i}")), THINGS.insert(Thing(f"{i:05}"))])
        for i in range(COMMIT_QUEUE_MAX + over)
    ]
    outcomes = await outcomes_of(commits)
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert len(refused) == over
    assert all(isinstance(r, Unavailable) and r.retry_after_s for r in refused)
    assert await database.read(NOTE_COUNT, ()) == [COMMIT_QUEUE_MAX]
    assert len(await database.read(THING_IDS, ())) == COMMIT_QUEUE_MAX
    await database.commit([THINGS.insert(Thing("there is room again"))])


async def check_a_commit_is_read_by_whoever_was_told(fresh: Opener) -> None:
    """Reads return the newest commit: one's own above all."""
    database = await made(fresh)

    async def write_and_read(key: str) -> None:
        thing = Thing(key, size=0)
        await database.commit([THINGS.insert(thing)])
        assert await thing_of(database, key) == thing
        await database.commit([THINGS.update(thing, size=1)])
        assert await database.read(SIZE, (key,)) == [1]

    assert await outcomes_of([write_and_read(f"t{i}") for i in range(50)]) == [None] * 50


async def check_a_commit_goes_on_without_its_caller(fresh: Opener) -> None:
    """A caller that is cancelled does not take the commit, or the database, with it."""
    database = await made(fresh)
    tasks = [
        asyncio.ensure_future(database.commit([THINGS.insert(Thing(f"t{i:02}"))]))
        for i in range(20)
    ]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    reads = [asyncio.ensure_future(database.read(THING_IDS, ())) for _ in range(20)]
    await asyncio.sleep(0)
    for read in reads[::2]:
        read.cancel()
    await asyncio.gather(*reads, return_exceptions=True)
    await database.commit([THINGS.insert(Thing("last"))])
    assert len(await database.read(THING_IDS, ())) == 21


async def check_a_transaction_reads_what_it_did(fresh: Opener) -> None:
    """Its statements return rows, its reads see them, and the writes it returns are committed."""
    database = await made(fresh, Thing("t", size=1))
    seen: list[Any] = []

    async def body(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
        seen[:] = await transaction.execute(GROW(id="t"))
        seen.extend(await transaction.read(SIZE, ("t",)))
        seen.extend(await transaction.execute(CLOSE(id="nobody")))
        await transaction.apply([THINGS.insert(Thing("u", size=7)), GROW(id="u")])
        seen.extend(await transaction.read(SIZE, ("u",)))
        return [NOTES.insert(Note("n", "text"))], channels("noted")

    await database.transact(body)
    assert seen == [(2,), 2, 8]
    assert await database.read(NOTE_COUNT, ()) == [1]


async def check_a_transaction_that_fails_leaves_nothing(fresh: Opener) -> None:
    """Whatever fails: the body, a statement it heeds or not, or a write it returned."""
    database = await made(fresh, Thing("t", "first", 0), Thing("u", "second", 0))

    async def raises(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
        await transaction.execute(GROW(id="t"))
        raise Taken

    async def expects(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
        await transaction.execute(GROW(id="t"))
        await transaction.execute(TAKE(id="u").expect(1, Taken))
        return (), frozenset()

    async def breaks(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
        await transaction.execute(GROW(id="t"))
        await transaction.execute(RENAME(id="u", name="first").expect(1, Taken))
        return (), frozenset()

    async def returns(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
        await transaction.execute(GROW(id="t"))
        return [THINGS.insert(Thing("v")), THINGS.insert(Thing("t"), Taken)], channels("lost")

    async def applies(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
        await transaction.apply([THINGS.insert(Thing("v")), THINGS.insert(Thing("t"), Taken)])
        return (), frozenset()

    async def swallows(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
        await transaction.execute(GROW(id="t"))
        await fails(Taken, transaction.execute(TAKE(id="u").expect(1, Taken)))
        return [NOTES.insert(Note("n", "text"))], channels("lost")

    for body in raises, expects, breaks, returns, applies, swallows:
        await fails(Taken, database.transact(body))
    assert await database.read(SIZE, ("t",)) == [0]
    assert await database.read(THING_IDS, ()) == ["t", "u"]


async def check_transactions_beside_each_other_count_right(fresh: Opener) -> None:
    """Fifty at once, and each gets a number of its own."""
    database = await made(fresh, Thing("t", size=0))
    numbers: dict[int, int] = {}

    async def take(caller: int) -> None:
        async def body(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
            numbers[caller] = (await transaction.execute(GROW(id="t")))[0][0]
            return [NOTES.insert(Note(f"{caller}", f"{numbers[caller]}"))], frozenset()

        await database.transact(body)

    assert await outcomes_of([take(i) for i in range(50)]) == [None] * 50
    assert sorted(numbers.values()) == list(range(1, 51))
    assert await database.read(NOTE_COUNT, ()) == [50]
