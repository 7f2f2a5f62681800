"""Publishing and reading: order, bounds, positions, wakes."""

import asyncio
from collections.abc import Iterable

import msgspec

from mainspring.kernel.event import Envelope
from mainspring.ports.bus import Bus, BusEvent

PATIENCE_S = 60.0
SUBJECTS = ("ann", "bob", "cid")
CHUNK_BYTES = 1 << 20


def event(number: int, text: str = "") -> BusEvent:
    """Return an event as it comes from a log, where ``number`` is its place."""
    envelope = Envelope(
        specversion="1.0",
        id=f"evt_{number:06}",
        source="/tests",
        type="tests.thing.happened",
        subject=SUBJECTS[number % len(SUBJECTS)],
        time="2026-01-02T03:04:05.006Z",
        datacontenttype="application/json",
        dataschema="/v1/events/schemas/tests.thing.happened",
        tenant="main",
        actor="system",
        correlationid="req_1",
        data=msgspec.Raw(msgspec.json.encode({"number": number, "text": text})),
        seq=number,
    )
    body = msgspec.json.encode(envelope).decode()
    return BusEvent(number, envelope.id, envelope.tenant, envelope.type, envelope.subject, body)


async def read_all(bus: Bus, *, ids: int, limit: int = 7) -> dict[int, list[BusEvent]]:
    """Follow every partition from its beginning until ``ids`` different events were met."""
    found: dict[int, list[BusEvent]] = {p: [] for p in await bus.partitions()}
    met: set[str] = set()
    with bus.listen() as signal:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                signal.clear()
                for partition, events in found.items():
                    more = True
                    while more:
                        after = events[-1].offset if events else 0
                        rows = await bus.read(partition, after, limit, CHUNK_BYTES)
                        assert len(rows.items) <= limit
                        events += rows.items
                        met |= {e.id for e in rows.items}
                        more = rows.more
                if len(met) >= ids:
                    return found
                await signal.wait()


def numbers(events: Iterable[BusEvent], subject: str) -> list[int]:
    """Return the numbers of a subject's events, each where it is met first."""
    found = [msgspec.json.decode(e.envelope.data)["number"] for e in events if e.subject == subject]
    return list(dict.fromkeys(found))


async def check_what_is_published_is_read_in_order_by_key(bus: Bus) -> None:
    """Each subject's events are in one partition, in the order in which they were published."""
    await bus.publish([event(n) for n in range(1, 21)])
    await bus.publish([event(n) for n in range(21, 41)])
    found = await read_all(bus, ids=40)
    for subject in SUBJECTS:
        places = [p for p, events in found.items() if any(e.subject == subject for e in events)]
        assert len(places) == 1
        expected = [n for n in range(1, 41) if SUBJECTS[n % len(SUBJECTS)] == subject]
        assert numbers(found[places[0]], subject) == expected
    for events in found.values():
        offsets = [e.offset for e in events]
        assert offsets == sorted(set(offsets))


async def check_an_event_is_what_it_was(bus: Bus) -> None:
    """Whoever reads an event finds what was published, and its ``seq`` if it has one."""
    text = 'a "quoted" line\n\u00e4\u20ac\U0001f600'
    await bus.publish([event(1, text)])
    (found,) = {
        e.id: e for events in (await read_all(bus, ids=1)).values() for e in events
    }.values()
    assert (found.tenant, found.type, found.subject) == ("main", "tests.thing.happened", "bob")
    assert found.envelope.seq == 1
    assert found.envelope == event(1, text).envelope
    assert msgspec.json.decode(found.envelope.data) == {"number": 1, "text": text}


async def check_reading_goes_on_from_any_position(bus: Bus) -> None:
    """What comes after an offset is the same however far the reading before it went."""
    await bus.publish([event(n) for n in range(1, 31)])
    for partition, events in (await read_all(bus, ids=30)).items():
        for at, before in enumerate(events):
            rows = await bus.read(partition, before.offset, 1_000, CHUNK_BYTES)
            assert [e.offset for e in rows.items] == [e.offset for e in events[at + 1 :]]
            assert not rows.more


async def check_a_read_is_bounded_in_events_and_in_bytes(bus: Bus) -> None:
    """A read holds as much as it was asked for; one event comes however long it is."""
    await bus.publish([event(3 * n, "x" * 10_000) for n in range(1, 11)])  # of one subject
    found = await read_all(bus, ids=10)
    (partition,) = [p for p, events in found.items() if events]
    count = len(found[partition])
    rows = await bus.read(partition, 0, 3, CHUNK_BYTES)
    assert (len(rows.items), rows.more) == (3, True)
    rows = await bus.read(partition, 0, 1_000, 25_000)
    assert (len(rows.items), rows.more) == (2, True)
    rows = await bus.read(partition, 0, 1_000, 1)
    assert (len(rows.items), rows.more) == (1, True)
    rows = await bus.read(partition, 0, count, CHUNK_BYTES)
    assert (len(rows.items), rows.more) == (count, False)


async def check_it_says_where_it_begins_and_ends(bus: Bus) -> None:
    """An empty bus ends at 0; later at its newest event, and nothing is past that."""
    partitions = list(await bus.partitions())
    assert await bus.ends() == dict.fromkeys(partitions, 0)
    await bus.publish([event(n) for n in range(1, 11)])
    found = await read_all(bus, ids=10)
    ends, begins = await bus.ends(), await bus.begins()
    for partition in partitions:
        events = found[partition]
        assert ends[partition] == (events[-1].offset if events else 0)
        assert begins[partition] <= (events[0].offset if events else 0)
        rows = await bus.read(partition, ends[partition], 10, CHUNK_BYTES)
        assert (rows.items, rows.more) == ([], False)


async def check_publishing_again_loses_nothing(bus: Bus) -> None:
    """What was published before may be there once more; it is never there less than once."""
    await bus.publish([event(n) for n in range(1, 6)])
    await bus.publish([event(n) for n in range(3, 9)])
    found = await read_all(bus, ids=8)
    ids = {e.id for events in found.values() for e in events}
    assert ids == {event(n).id for n in range(1, 9)}


async def check_whoever_waits_is_woken(bus: Bus) -> None:
    """A signal is set at first, and again by what is published after it was cleared."""
    with bus.listen() as signal:
        assert signal.is_set()
        signal.clear()
        await bus.publish([event(1)])
        async with asyncio.timeout(PATIENCE_S):
            await signal.wait()
    assert {e.id for events in (await read_all(bus, ids=1)).values() for e in events} == {
        event(1).id
    }
