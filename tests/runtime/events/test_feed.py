"""Reading the log by its order, and the newest entries that followers share."""

import asyncio

import pytest

from mainspring.kernel.errors import Unavailable
from mainspring.kernel.table import Statement
from mainspring.runtime.events import feed
from mainspring.runtime.events.feed import RECENT_BYTES_MAX, RECENT_EVENTS_MAX, Recent
from mainspring.runtime.migrate import migrate
from mainspring.runtime.notifier import Notifier
from mainspring.runtime.tables import EVENTS, EventRow

WOKEN = frozenset({"events"})
# Where engines give seq later, this stands for the sequencer: one writer, so ordinal is the order.
SEQUENCE = Statement("test.sequence", "UPDATE events SET seq = ordinal WHERE seq IS NULL")


class Log:
    """A database that counts its reads and can be made to fail."""

    def __init__(self, database):
        self.database = database
        self.count = 0
        self.reads = 0
        self.broken = False

    async def read(self, query, values):
        self.reads += 1
        if self.broken:
            raise Unavailable
        return await self.database.read(query, values)

    async def page(self, query, values, bytes_max):
        self.reads += 1
        if self.broken:
            raise Unavailable
        return await self.database.page(query, values, bytes_max)

    async def append(self, count, body="{}"):
        rows = [
            EventRow(f"evt_{self.count + i:09}", "main", "tests.thing.happened", "x", 0, b"", body)
            for i in range(count)
        ]
        await self.database.commit([EVENTS.insert(row) for row in rows])
        if self.database.dialect == "postgres":
            await self.database.commit([SEQUENCE()])
        self.count += count


@pytest.fixture
async def log(database):
    await migrate(database, [])
    return Log(database)


async def seqs(recent, position, limit=5_000):
    return [entry.seq for entry in (await recent.after(position, limit)).items]


async def test_followers_share_one_read(log):
    await log.append(10)
    board = Notifier()
    recent = Recent(log, board)
    assert await seqs(recent, 0) == list(range(1, 11))
    before = log.reads
    assert await seqs(recent, 10) == []
    assert log.reads == before
    await log.append(3)
    board.wake(WOKEN)
    found = await asyncio.gather(*(seqs(recent, position) for position in (7, 10, 12) * 50))
    assert found[:3] == [list(range(8, 14)), [11, 12, 13], [13]]
    assert log.reads == before + 2  # how far the log goes, and what is new
    assert await seqs(recent, 3, limit=2) == [4, 5]


async def test_who_is_far_behind_reads_the_database(log):
    await log.append(20)
    recent = Recent(log, Notifier())
    await log.append(RECENT_EVENTS_MAX)
    assert await seqs(recent, RECENT_EVENTS_MAX + 20) == []
    before = log.reads
    assert await seqs(recent, 5, limit=3) == [6, 7, 8]
    assert log.reads == before + 1


async def test_memory_is_bounded_in_events_and_bytes(log):
    board = Notifier()
    recent = Recent(log, board)
    for _ in range(3):
        await log.append(600)
        board.wake(WOKEN)
        assert await seqs(recent, log.count - 2) == [log.count - 1, log.count]
    assert len(recent._entries) == RECENT_EVENTS_MAX
    assert await seqs(recent, 0) == list(range(1, 1_801))

    large = "x" * (RECENT_BYTES_MAX // 4)
    await log.append(6, body=large)
    board.wake(WOKEN)
    assert await seqs(recent, 1_800) == [1_801]  # what is no longer held comes by the chunk
    assert (await recent.after(1_800, 5)).more
    assert await seqs(recent, 1_803) == [1_804, 1_805, 1_806]
    assert sum(len(entry.body) for entry in recent._entries) <= RECENT_BYTES_MAX


async def test_a_read_that_fails_is_done_again(log):
    board = Notifier()
    recent = Recent(log, board)
    await log.append(2)
    log.broken = True
    with pytest.raises(Unavailable):
        await recent.after(0, 10)
    log.broken = False
    assert await seqs(recent, 0) == [1, 2]


async def test_a_lost_wake_is_made_up_for(log):
    recent = Recent(log, Notifier())
    assert await seqs(recent, 0) == []
    await log.append(1)  # and nobody wakes
    assert await seqs(recent, 0) == []
    recent.look_again()
    assert await seqs(recent, 0) == [1]


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
