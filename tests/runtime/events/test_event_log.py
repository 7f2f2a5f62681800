"""Reading the log by its order."""

import pytest

from mainspring.kernel.event_log import scan
from mainspring.runtime.events.event_log import StoredLog
from mainspring.runtime.events.log_bus import LogBus
from mainspring.runtime.events.reader import SharedReader
from mainspring.runtime.events.sequencer import Sequencer
from mainspring.runtime.migrate import migrate
from mainspring.runtime.notifier import Notifier
from mainspring.runtime.tables import EVENTS, EventRow


class Log:
    """A database that events are added to."""

    def __init__(self, database):
        self.database = database
        self.stored = StoredLog(database, SharedReader(LogBus(database, Notifier())))

    async def append(self, count):
        rows = [
            EventRow(f"evt_{i:09}", "main", "tests.thing.happened", "x", 0, b"", "{}")
            for i in range(count)
        ]
        await self.database.commit([EVENTS.insert(row) for row in rows])
        await Sequencer(self.database, Notifier()).sequence()


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
