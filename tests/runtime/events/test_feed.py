"""Reading the log by its order."""

import pytest

from mainspring.runtime.events import feed
from mainspring.runtime.events.sequencer import Sequencer
from mainspring.runtime.migrate import migrate
from mainspring.runtime.notifier import Notifier
from mainspring.runtime.tables import EVENTS, EventRow


class Log:
    """A database that events are added to."""

    def __init__(self, database):
        self.database = database
        self.page = database.page

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
    source = feed.source_of(log)
    found = await feed.scan(source, 0, limit=2, **options)
    assert ([e.seq for e in found.entries], found.position, found.at_end) == ([10, 20], 20, False)
    found = await feed.scan(source, 20, limit=50, **options)
    assert ([e.seq for e in found.entries], found.position, found.at_end) == (
        [30, 40, 50, 60], 65, False,
    )  # fmt: skip
    found = await feed.scan(source, 65, limit=50, **options)
    assert ([e.seq for e in found.entries], found.position, found.at_end) == (
        [70, 80, 90, 100], 100, True,
    )  # fmt: skip
