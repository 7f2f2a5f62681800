"""Reading the log by its order."""

import asyncio

import pytest

from mainspring.kernel.errors import PositionGone
from mainspring.kernel.event_log import SCANNED_BYTES_MAX, scan
from mainspring.runtime.events.event_log import StoredLog
from mainspring.runtime.events.log_bus import LogBus
from mainspring.runtime.events.reader import SharedReader
from mainspring.runtime.events.sequencer import Sequencer
from mainspring.runtime.migrate import migrate
from mainspring.runtime.notifier import Notifier
from mainspring.runtime.tables import EVENTS, EventRow
from tests.deadline import DEADLINE_S
from tests.tampering import LOSE_AFTER


class Log:
    """A database that events are added to."""

    def __init__(self, database):
        self.database = database
        self.stored = StoredLog(database, SharedReader(LogBus(database, Notifier())))

    async def append(self, count, body="{}", name=""):
        rows = [
            EventRow(f"evt_{name}{i:09}", "main", "tests.thing.happened", "x", 0, b"", body)
            for i in range(count)
        ]
        await self.database.commit([EVENTS.insert(row) for row in rows])
        sequencer = Sequencer(self.database, Notifier())
        while await sequencer.sequence():
            pass


@pytest.fixture
async def log(database):
    await migrate(database, [])
    return Log(database)


async def test_a_scan_finds_what_is_wanted_and_says_how_far_it_read(log):
    await log.append(100)
    options = {"wanted": lambda entry: entry.seq % 10 == 0, "scanned_max": 45}
    source = log.stored.entries_after
    found = await scan(source, 0, limit=2, **options)
    assert ([e.seq for e in found.entries], found.position, found.at_end) == ([10, 20], 20, False)
    found = await scan(source, 20, limit=50, **options)
    assert ([e.seq for e in found.entries], found.position, found.at_end) == (
        [30, 40, 50, 60], 65, False,
    )  # fmt: skip
    found = await scan(source, 65, limit=50, **options)
    assert ([e.seq for e in found.entries], found.position, found.at_end) == (
        [70, 80, 90, 100], 100, True,
    )  # fmt: skip


@pytest.mark.parametrize("how", ["scan", "follow"])
async def test_who_wants_nothing_of_a_long_log_lets_others_run(log, how):
    """Also where a read waits for nothing: one reader would stop the whole process."""
    await log.append(3_000)
    met, turns = [], 0

    def wanted(event):
        met.append(event.offset)
        return False

    async def read():
        if how == "scan":
            await scan(log.stored.events_after, 0, limit=1, scanned_max=9_999, wanted=wanted)
        else:
            await to_the_end(log.stored.follow(0), wanted)

    reading = asyncio.create_task(read())
    async with asyncio.timeout(DEADLINE_S):
        while not met or met[-1] < 3_000:
            await asyncio.sleep(0)
            turns += 1
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert met == list(range(1, 3_001))
    assert turns > 10


async def to_the_end(follower, wanted):
    while not (await follower.read(wanted)).at_end:
        pass


async def test_who_is_far_behind_notices_too_that_the_log_went_back(log):
    """It reads for itself, and nobody has looked at the end of the log since."""
    await log.append(2_000)
    met = []

    def wanted(event):
        met.append(event.id)
        return True

    follower = log.stored.follow(0)
    await follower.read(wanted)
    assert len(met) < 1_000
    await log.database.commit([LOSE_AFTER(seq=50)])
    await log.append(2_100, name="other_")
    with pytest.raises(PositionGone, match="fell back"):
        await to_the_end(follower, wanted)
    assert not [name for name in met if "other" in name]


async def test_a_scan_is_bounded_in_bytes_of_what_it_passes_by(log):
    await log.append(40, "x" * 900_000)
    found = await scan(
        log.stored.events_after, 0, limit=1, scanned_max=9_999, wanted=lambda event: False
    )
    assert (found.entries, found.at_end) == ([], False)
    assert SCANNED_BYTES_MAX <= found.position * 900_000 < SCANNED_BYTES_MAX + (2 << 20)
    found = await scan(
        log.stored.events_after, found.position, limit=9, scanned_max=99, wanted=lambda event: True
    )
    assert found.position > 36


async def test_places_and_one_event_by_id(log):
    await log.append(3)
    unplaced = EventRow("evt_unplaced", "main", "tests.thing.happened", "x", 0, b"", "{}")
    await log.database.commit([EVENTS.insert(unplaced)])
    places = await log.stored.places(["evt_000000000", "evt_000000002", "evt_unplaced", "evt_no"])
    placed = log.database.dialect == "sqlite"  # the commit itself gives them their place
    assert places == {
        "evt_000000000": 1, "evt_000000002": 3, "evt_unplaced": 4 if placed else None,
    }  # fmt: skip
    event = await log.stored.event("evt_000000001")
    assert (event.offset, event.tenant, event.type) == (2, "main", "tests.thing.happened")
    assert (await log.stored.event("evt_unplaced") is None) != placed
    assert await log.stored.event("evt_no") is None


async def test_events_made_between_two_ids_come_in_their_order(log):
    await log.append(5)
    rows = await log.stored.events_made("evt_000000000", "evt_000000004", 2)
    assert ([event.offset for event in rows.items], rows.more) == ([2, 3], True)
    rows = await log.stored.events_made("evt_000000002", "evt_000000004", 2)
    assert ([event.offset for event in rows.items], rows.more) == ([4], False)
