"""One call: its values, its order, and what it fails with."""

from mainspring.kernel.errors import Conflict, Rerun
from mainspring.testing.conformance.database.fixtures import (
    CLOSE,
    FORGET,
    GROW,
    NAMES,
    NOTE,
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
    fails,
    made,
    thing_of,
)


async def check_values_come_back_as_they_were(fresh: Opener) -> None:
    """Text in any script, the bounds of bigint, every float but NaN, bytes, booleans and NULL."""
    text = "a 'quoted' \"text\": $1 :name ? % \\ \n é é 👩‍🚀 ﷽ \U0010ffff"
    things = [
        Thing("t1", text, 2**63 - 1, 1.7976931348623157e308, True, bytes(range(256))),
        Thing("t2", "", -(2**63), 5e-324, False, b""),
        Thing("t3"),
        Thing("t4", "é", 0, -0.1),
    ]
    database = await made(fresh, *things)
    for thing in things:
        assert await thing_of(database, thing.id) == thing
    found = await thing_of(database, "t1")
    assert found is not None
    assert found.flag is True
    assert type(found.size) is int


async def check_text_is_ordered_by_code_point(fresh: Opener) -> None:
    """Sorting and comparing do not depend on the language of the server."""
    names = ["10", "9", "A", "Z", "_", "a", "b", "z", "Ä", "é", "ﬀ", "🦉"]
    database = await made(fresh, *[Thing(f"t{i}", name) for i, name in enumerate(names)])
    assert await database.read(NAMES, ("",)) == sorted(names)
    assert await database.read(NAMES, ("Z",)) == [n for n in sorted(names) if n > "Z"]


async def check_a_call_is_committed_whole_or_not_at_all(fresh: Opener) -> None:
    """The last write of a call that fails leaves nothing of the first."""
    database = await made(fresh, Thing("there", "name"))
    writes = [
        THINGS.insert(Thing("new")),
        NOTES.insert(Note("n", "text")),
        THINGS.insert(Thing("other", "name")),
    ]
    await fails(Conflict, database.commit(writes))
    assert await database.read(THING_IDS, ()) == ["there"]
    assert await database.read(NOTE_COUNT, ()) == [0]


async def check_a_taken_value_fails_as_the_insert_says(fresh: Opener) -> None:
    """An instance, a class, Rerun, or None: the row that is there stays and the call goes on."""
    database = await made(fresh, Thing("there", "name", 1))
    failure = Taken("with this detail")
    same_key, same_name = Thing("there", size=2), Thing("other", "name")
    for thing in same_key, same_name:
        assert await fails(Taken, database.commit([THINGS.insert(thing, failure)])) is failure
        await fails(Taken, database.commit([THINGS.insert(thing, Taken)]))
        await fails(Rerun, database.commit([THINGS.insert(thing, Rerun)]))
        await database.commit(
            [THINGS.insert(thing, None), NOTES.insert(Note(f"of {thing.id}", thing.id))]
        )
    assert await database.read(NOTE_COUNT, ()) == [2]
    assert await database.read(THING_IDS, ()) == ["there"]
    assert await database.read(SIZE, ("there",)) == [1]


async def check_a_call_that_repeats_itself_conflicts(fresh: Opener) -> None:
    """Two rows with one key in one call; where that is to be ignored, the first stays."""
    database = await made(fresh)
    twice = [Thing("same", size=1), Thing("same", size=2)]
    await fails(Conflict, database.commit([THINGS.insert(thing) for thing in twice]))
    await database.commit([THINGS.insert(thing, None) for thing in twice])
    assert await database.read(THING_IDS, ()) == ["same"]


async def check_a_stale_guard_fails_the_call(fresh: Opener) -> None:
    """A write of a row that others changed or removed raises Rerun and changes nothing."""
    first = Thing("t", size=1)
    database = await made(fresh, first)
    await database.commit([THINGS.update(first, size=2)])
    second = await thing_of(database, "t")
    assert second == Thing("t", size=2, version=2)
    for stale in THINGS.update(first, size=9), THINGS.delete(first):
        await fails(Rerun, database.commit([NOTES.insert(Note("n", "text")), stale]))
    assert await thing_of(database, "t") == second
    assert await database.read(NOTE_COUNT, ()) == [0]
    await database.commit([THINGS.delete(second)])
    await fails(Rerun, database.commit([THINGS.update(second, size=3)]))
    await fails(Rerun, database.commit([THINGS.delete(second)]))


async def check_an_unguarded_write_wins(fresh: Opener) -> None:
    """It needs no version, and nobody minds when the row is gone."""
    first = Thing("t", size=1)
    database = await made(fresh, first)
    await database.commit([THINGS.update_unguarded(first, size=2)])
    await database.commit([THINGS.update_unguarded(first, size=3, name="now")])
    assert await thing_of(database, "t") == Thing("t", "now", 3, version=3)
    await database.commit([THINGS.delete_unguarded(first)])
    await database.commit([THINGS.delete_unguarded(first), THINGS.update_unguarded(first, size=1)])
    assert await database.read(THING_IDS, ()) == []


async def check_a_statement_touches_as_many_rows_as_expected(fresh: Opener) -> None:
    """Else the call fails as the statement says; a broken constraint fails it likewise."""
    database = await made(fresh, Thing("t", "first", 1), Thing("u", "second"))
    await database.commit([TAKE(id="t").expect(1, Taken)])
    note = NOTES.insert(Note("n", "text"))
    await fails(Taken, database.commit([note, TAKE(id="t").expect(1, Taken)]))
    await fails(Taken, database.commit([TAKE(id="t").expect(1, Taken("detail")), note]))
    await database.commit([TAKE(id="t"), TAKE(id="t").expect(0, Taken)])
    await fails(Taken, database.commit([note, RENAME(id="t", name="second").expect(1, Taken)]))
    await fails(Conflict, database.commit([note, RENAME(id="t", name="second")]))
    assert await database.read(SIZE, ("t",)) == [0]
    assert await database.read(NOTE_COUNT, ()) == [0]


async def check_an_update_to_a_taken_value_conflicts(fresh: Opener) -> None:
    """A guarded update can break a unique index too."""
    things = [Thing("t", "first"), Thing("u", "second")]
    database = await made(fresh, *things)
    await fails(Conflict, database.commit([THINGS.update(things[1], name="first")]))
    assert await thing_of(database, "u") == things[1]


async def check_writes_apply_in_their_order(fresh: Opener) -> None:
    """Each write of a call finds what the ones before it left."""
    thing = Thing("t", "name", 1)
    database = await made(fresh, thing)
    await database.commit([NOTES.insert(Note("a", "once"))])
    await database.commit([CLOSE(id="a").expect(1, Taken), NOTES.insert(Note("b", "once"))])
    await database.commit([CLOSE(id="b").expect(1, Taken), NOTES.insert(Note("c", "once"), None)])
    await database.commit([FORGET(id="c"), NOTES.insert(Note("c", "again"))])
    assert await database.read(NOTE, ("c",)) == [Note("c", "again")]
    await database.commit([THINGS.delete(thing), THINGS.insert(Thing("u", "name"))])
    await database.commit([THINGS.insert(Thing("v", size=1)), GROW(id="v"), GROW(id="v")])
    await database.commit([GROW(id="v").expect(1, Taken), GROW(id="v").expect(1, Taken)])
    assert await database.read(SIZE, ("v",)) == [5]
    seen = await thing_of(database, "v")
    assert seen is not None
    await database.commit([THINGS.update(seen, size=6), THINGS.update_unguarded(seen, flag=True)])
    assert await thing_of(database, "v") == Thing("v", size=6, flag=True, version=3)


async def check_an_insert_is_dropped_only_for_what_stays(fresh: Opener) -> None:
    """A value that the same call frees is free, whichever kind of write frees it."""
    thing = Thing("t", "name")
    database = await made(fresh, thing)
    await database.commit([THINGS.delete(thing), THINGS.insert(Thing("u", "name"), None)])
    seen = await thing_of(database, "u")
    assert seen is not None
    await database.commit(
        [THINGS.update(seen, name="new"), THINGS.insert(Thing("v", "name"), None)]
    )
    await database.commit(
        [THINGS.update(Thing("v", "name"), size=1), NOTES.insert(Note("n", "text"), None)]
    )
    await database.commit(
        [
            THINGS.update(Thing("v", "name", 1, version=2), size=2),
            NOTES.insert(Note("dropped", "text"), None),
        ]
    )
    assert await database.read(THING_IDS, ()) == ["u", "v"]
    assert await database.read(SIZE, ("v",)) == [2]
    assert await database.read(NOTE_COUNT, ()) == [1]


async def check_a_large_call_commits(fresh: Opener) -> None:
    """Thousands of rows in one call, and a megabyte in one value."""
    database = await made(fresh)
    big = Note("big", "é" * 500_000, "closed")
    await database.commit([*(THINGS.insert(Thing(f"{i:05}")) for i in range(5_000))])
    await database.commit([NOTES.insert(big)])
    assert len(await database.read(THING_IDS, ())) == 5_000
    assert await database.read(NOTE, ("big",)) == [big]
