"""One reader for a whole process: what was read once is given to all who follow."""

import asyncio

import pytest

from mainspring.kernel.errors import Unavailable
from mainspring.runtime.events.cursors import PARTITION
from mainspring.runtime.events.log_bus import LogBus
from mainspring.runtime.events.reader import (
    WINDOW_BYTES_MAX,
    WINDOW_EVENTS_MAX,
    SharedReader,
    Window,
)
from mainspring.runtime.events.sequencer import SEQUENCED, Sequencer
from mainspring.runtime.migrate import migrate
from mainspring.runtime.notifier import Notifier
from mainspring.testing.conformance.bus.reading import event
from tests.tampering import LOSE_AFTER


class CountedLog(LogBus):
    """The log of a database: it counts what is read of it, and can be made to fail."""

    def __init__(self, database):
        self.board = Notifier()
        super().__init__(database, self.board)
        self.database = database
        self.sequencer = Sequencer(database, self.board)
        self.count = 0
        self.reads = 0
        self.broken = False

    async def read(self, *args):
        self.reads += 1
        if self.broken:
            raise Unavailable
        return await super().read(*args)

    async def append(self, count, text="", *, wakes=True):
        await self.publish([event(self.count + i + 1, text) for i in range(count)])
        self.count += count
        while await self.sequencer.sequence():
            pass
        if wakes:
            self.board.wake(SEQUENCED | {"events"})


@pytest.fixture
async def log(database):
    await migrate(database, [])
    return CountedLog(database)


@pytest.fixture
def window(log):
    return SharedReader(log).window(PARTITION)


async def offsets(window, after, limit=5_000, **bounds):
    return [event.offset for event in (await window.after(after, limit, **bounds)).items]


async def test_followers_share_one_read_and_what_was_decoded(log, window):
    await log.append(10)
    assert await offsets(window, 0) == list(range(1, 11))
    before = log.reads
    assert await offsets(window, 10) == []
    assert log.reads == before
    await log.append(3)
    found = await asyncio.gather(*(window.after(position, 9) for position in (10, 10, 12) * 50))
    assert [e.offset for e in found[0].items] == [11, 12, 13]
    assert [e.offset for e in found[2].items] == [13]
    assert log.reads == before + 1
    assert len({id(rows.items[-1].envelope) for rows in found}) == 1


async def test_who_is_far_behind_reads_alone_and_holds_up_nobody(log, window):
    await log.append(20)
    assert await offsets(window, 20) == []
    await log.append(WINDOW_EVENTS_MAX)
    assert await offsets(window, 21, limit=2) == [22, 23]
    before = log.reads
    assert await offsets(window, 5, limit=3) == [6, 7, 8]
    assert log.reads == before + 1
    assert await offsets(window, log.count) == []
    assert log.reads == before + 1


async def test_memory_is_bounded_in_events_and_bytes(log, window):
    await log.append(1)
    assert await offsets(window, 1) == []
    for _ in range(3):
        await log.append(600)
        assert await offsets(window, log.count - 2) == [log.count - 1, log.count]
    assert window.end - window.begin == WINDOW_EVENTS_MAX

    await log.append(30, "x" * (WINDOW_BYTES_MAX // 20))
    assert await offsets(window, log.count) == []
    assert 0 < window.size_bytes <= WINDOW_BYTES_MAX
    held = window.end - window.begin
    assert 15 <= held < 20
    alone = await window.after(window.begin - 1, 5)  # what is not held comes by the chunk
    assert (len(alone.items), alone.more) == (2, True)
    rows = await window.after(window.begin, 50, WINDOW_BYTES_MAX // 5)
    assert (len(rows.items), rows.more) == (3, True)
    rows = await window.after(window.begin, 50, 1)
    assert (len(rows.items), rows.more) == (1, True)


async def test_everybody_meets_every_event_at_a_pace_of_their_own(log, window):
    """Fast and slow followers, and one that begins late, while the log grows past the window."""
    done = asyncio.Event()

    async def follow(limit):
        met, position = [], 0
        while True:
            finished = done.is_set()
            rows = await window.after(position, limit)
            met += [e.offset for e in rows.items]
            position = met[-1] if met else 0
            if finished and not rows.more:
                return met
            await asyncio.sleep(0)

    followers = [asyncio.create_task(follow(limit)) for limit in (1, 10, 500)]
    for _ in range(12):
        await log.append(250)
    done.set()
    followers.append(asyncio.create_task(follow(300)))
    for met in await asyncio.gather(*followers):
        assert met == list(range(1, 3_001))


async def test_a_read_that_fails_is_done_again(log, window):
    await log.append(2)
    log.broken = True
    with pytest.raises(Unavailable):
        await window.after(0, 10)
    log.broken = False
    assert await offsets(window, 0) == [1, 2]


async def test_a_lost_wake_is_made_up_for(log, window):
    assert await offsets(window, 0) == []
    await log.append(1, wakes=False)
    assert await offsets(window, 0) == []
    window.look_again()
    assert await offsets(window, 0) == [1]


async def test_a_window_that_nobody_asked_for_long_begins_at_the_end(log, window):
    await log.append(1)
    assert await offsets(window, 0) == [1]
    await log.append(2 * WINDOW_EVENTS_MAX)
    before = log.reads
    assert await offsets(window, log.count) == []
    assert log.reads - before <= 2
    assert window.begin == window.end == log.count


async def test_a_log_that_fell_back_is_noticed_however_far_it_grew_again(log, window: Window):
    await log.append(5)
    assert await offsets(window, 5) == []
    await log.database.commit([LOSE_AFTER(seq=3)])
    log.count = 10
    await log.append(4)
    assert await offsets(window, 5) == [6, 7]
    assert (window.losses, window.end) == (1, 7)
    await log.append(1)
    assert await offsets(window, 7) == [8]
    assert window.losses == 1
