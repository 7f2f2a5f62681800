"""One reader of the bus for a whole process: whoever follows it is given what was read once.

Consumers, live feeds and whatever hears of revocations ask a ``Window`` for what comes after their
place. The first to ask after a wake has it read; the others wait for that read, and hold the same
events, decoded once. Who is further behind than the window reads for itself, at its own pace, and
holds up nobody.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from operator import attrgetter

import structlog

from mainspring.kernel.table import Rows
from mainspring.ports.bus import Bus, BusEvent

log = structlog.get_logger()

# Told of a bus that fell back: what was held of it, in order, and where it ends by now.
FellBack = Callable[[Bus, Sequence[BusEvent], int], Awaitable[None]]

WINDOW_EVENTS_MAX = 1_024  # held in memory for those who follow
WINDOW_BYTES_MAX = 8 << 20  # of their bodies; what is decoded of them may be as much again
CHUNK_EVENTS = 256  # events in one read
CHUNK_BYTES = 1 << 20  # of bodies in one read

_OFFSET = attrgetter("offset")


class Window:
    """The newest events of one partition, from ``begin`` (exclusive) to ``end``.

    ``losses`` counts how often what was read last was not there any more: the log fell back, and
    whatever was concluded from it may be wrong.
    """

    __slots__ = (
        "_behind", "_bytes", "_events", "_fell_back", "_jump", "_last", "_listening", "_reading",
        "_woken", "begin", "bus", "end", "losses", "partition",
    )  # fmt: skip

    def __init__(self, bus: Bus, partition: int, fell_back: FellBack) -> None:
        self.bus = bus
        self._fell_back = fell_back
        self.partition = partition
        self._listening = bus.listen()  # ends with this object
        self._woken = self._listening.__enter__()
        self._events: list[BusEvent] = []
        self._bytes = 0
        self._last: BusEvent | None = None  # at ``end``: must be there at the next read too
        self._jump = True  # begin at the end of the partition
        self._behind = False  # there is more than was read
        self._reading: asyncio.Task[None] | None = None
        self.begin = 0
        self.end = 0
        self.losses = 0

    @property
    def size_bytes(self) -> int:
        """How many bytes of bodies are held."""
        return self._bytes

    def listen(self) -> AbstractContextManager[asyncio.Event]:
        """Yield a signal that is set when there may be more; see ``Bus.listen``."""
        return self.bus.listen()

    def look_again(self) -> None:
        """Have the bus read at the next question, whatever woke or did not."""
        self._woken.set()

    async def after(
        self, offset: int, limit: int, bytes_max: int = WINDOW_BYTES_MAX
    ) -> Rows[BusEvent]:
        """Return the next events: everything that was there when its wake came.

        At most ``limit`` with ``bytes_max`` bytes of bodies; one comes however long it is.
        """
        if offset - self.end > WINDOW_EVENTS_MAX:  # nobody has asked for a while
            self._jump = True
            self._woken.set()
        for _ in range(2):  # a read that runs already may have begun before that
            if self._reading is None:
                if not self._woken.is_set():
                    break
                self._woken.clear()
                self._reading = asyncio.create_task(self._read_on())
            await asyncio.shield(self._reading)
        if offset < self.begin:
            return await self.bus.read(self.partition, offset, limit, min(bytes_max, CHUNK_BYTES))
        at = first = bisect_right(self._events, offset, key=_OFFSET)
        until = min(len(self._events), first + limit)
        while at < until:
            bytes_max -= len(self._events[at].body)
            if bytes_max < 0 and at > first:
                break
            at += 1
        return Rows(self._events[first:at], self._behind or at < len(self._events))

    async def _read_on(self) -> None:
        try:
            if self._jump:
                self._begin_at(*await self._find_end())
            rows = await self._next()
            self._take(rows)
            read = len(rows.items)
            while rows.more and read < WINDOW_EVENTS_MAX:
                rows = await self.bus.read(self.partition, self.end, CHUNK_EVENTS, CHUNK_BYTES)
                self._take(rows)
                read += len(rows.items)
            if rows.more:
                self._woken.set()
        except BaseException:
            self._woken.set()
            raise
        finally:
            self._reading = None

    async def _next(self) -> Rows[BusEvent]:
        """Read on from the last event, and with it: another log may be there by now."""
        last = self._last
        if last is None:
            return await self.bus.read(self.partition, self.end, CHUNK_EVENTS, CHUNK_BYTES)
        rows = await self.bus.read(self.partition, last.offset - 1, CHUNK_EVENTS + 1, CHUNK_BYTES)
        if rows.items and (rows.items[0].offset, rows.items[0].id) == (last.offset, last.id):
            return Rows(rows.items[1:], rows.more)
        found = await self._find_end()
        # Before anything is forgotten: where this fails it is noticed again at the next read.
        await self._fell_back(self.bus, [*self._events] or [last], found[0])
        self.losses += 1
        self._begin_at(*found)
        return Rows([], more=False)

    def _take(self, rows: Rows[BusEvent]) -> None:
        for event in rows.items:
            self._events.append(event)
            self._bytes += len(event.body)
            self._last, self.end = event, event.offset
        self._behind = rows.more
        self._let_go()

    async def _find_end(self) -> tuple[int, BusEvent | None]:
        """Return the end of the partition, and the event there."""
        end = (await self.bus.ends())[self.partition]
        rows = await self.bus.read(self.partition, end - 1, 1, 1) if end else None
        return end, rows.items[0] if rows and rows.items else None

    def _begin_at(self, end: int, last: BusEvent | None) -> None:
        """Hold nothing of before the end of the partition."""
        self._events.clear()
        self._bytes = 0
        self.begin = self.end = end
        self._last = last
        self._jump = False

    def _let_go(self) -> None:
        """Hold no more than the bounds."""
        gone = 0
        while len(self._events) - gone > WINDOW_EVENTS_MAX or self._bytes > WINDOW_BYTES_MAX:
            self._bytes -= len(self._events[gone].body)
            self.begin = self._events[gone].offset
            gone += 1
        del self._events[:gone]


async def _log_it(bus: Bus, held: Sequence[BusEvent], ends_at: int) -> None:
    log.error("log_fell_back", source=bus.source, was_at=held[-1].offset, log_ends_at=ends_at)


class SharedReader:
    """The windows of a bus, one for each partition that somebody follows.

    ``fell_back`` hears when what was read last is not there any more; without it, it is logged.
    """

    __slots__ = ("_fell_back", "_windows", "bus")

    def __init__(self, bus: Bus, fell_back: FellBack = _log_it) -> None:
        self.bus = bus
        self._fell_back = fell_back
        self._windows: dict[int, Window] = {}

    def window(self, partition: int) -> Window:
        """Return the window of a partition."""
        if (window := self._windows.get(partition)) is None:
            window = self._windows[partition] = Window(self.bus, partition, self._fell_back)
        return window
