"""A follower: takes what comes after a cursor, in the one process that holds it.

It notices when the partition is not the one its cursor has come through: that ends before the
cursor, begins after it, or does not hold any more what was read last. Past the end of the log it
goes on with the next event there. Another bus is read again from its beginning, and what it lost is
published again: the inbox passes by what was taken.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from mainspring.ports.bus import BusEvent
from mainspring.runtime.events.cursors import (
    LEASE_S,
    SOURCE,
    ClaimedCursor,
    CursorMoved,
    Cursors,
)
from mainspring.runtime.events.reader import Window
from mainspring.runtime.notifier import wait

log = structlog.get_logger()

BATCH_EVENTS = 256
BATCH_BYTES = 4 << 20  # of their bodies
POLL_S = 5.0  # a wake can be lost with its connection; the bus never is

Take = Callable[[ClaimedCursor, Sequence[BusEvent]], Awaitable[None]]

_LOG_ADVICE = (
    "it goes on with the next event; if the database was restored, run mainspring admin restored, "
    "so that no reader goes on from a position that now means another event"
)
_BUS_ADVICE = (
    "what it lost is published again from the log, and nothing is done twice; if it was made anew, "
    "give it another name in [bus] url"
)


class Follower:
    """Follows one partition for one name. ``take`` handles a batch and takes the cursor past it.

    Where it raises CursorMoved nothing was done, and the cursor is claimed anew. ``alive`` is
    called with each step.
    """

    __slots__ = ("_alive", "_cursors", "_losses", "_name", "_take", "_window")

    def __init__(
        self,
        cursors: Cursors,
        name: str,
        window: Window,
        take: Take,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._cursors = cursors
        self._name = name
        self._window = window
        self._take = take
        self._alive = alive
        self._losses = window.losses

    async def run_due(self) -> int:
        """Take what is there; return in how many batches. Where no other process can be."""
        self._window.look_again()
        batches = 0
        while True:
            cursor = await self._hold(by_force=True)
            try:
                while await self._step(cursor):
                    batches += 1
            except CursorMoved:
                continue
            return batches

    async def follow(self) -> None:
        """Take what comes, for ever."""
        cursor = await self._hold(by_force=self._cursors.first)
        with self._window.listen() as signal:
            while True:
                signal.clear()
                self._alive()
                try:
                    if await self._step(cursor):
                        continue
                except CursorMoved:
                    log.info("cursor_moved", consumer=self._name, partition=cursor.partition)
                    cursor = await self._hold()
                    continue
                if not await wait(signal, POLL_S):
                    self._window.look_again()

    async def _step(self, cursor: ClaimedCursor) -> int:
        """Take one batch; return how many events it held. Raises CursorMoved."""
        window = self._window
        events = (await window.after(cursor.position, BATCH_EVENTS, BATCH_BYTES)).items
        if window.losses != self._losses:
            raise CursorMoved
        if events:
            await self._take(cursor, events)
        elif cursor.position > window.end and cursor.position > await self._end():
            raise CursorMoved
        return len(events)

    async def _hold(self, *, by_force: bool = False) -> ClaimedCursor:
        """Claim the cursor as soon as nobody holds it, and bring it to where it can go on."""
        never = asyncio.Event()
        bus, number = self._window.bus, self._window.partition
        fell_back = self._losses != self._window.losses
        self._losses = self._window.losses
        while True:
            self._alive()
            found = await self._cursors.claim(self._name, bus.source, number, by_force=by_force)
            if not isinstance(found, ClaimedCursor):
                await wait(never, min(found, LEASE_S))
                continue
            # Read after the cursor, so a partition that grows never ends before it.
            end, begin = await self._end(), (await bus.begins())[number]
            if begin <= found.position <= end and (bus.source == SOURCE or not fell_back):
                return found
            try:
                await self._go_back(found, begin, end)
            except CursorMoved:
                continue
            return found

    async def _go_back(self, cursor: ClaimedCursor, begin: int, end: int) -> None:
        is_log = cursor.source == SOURCE
        to = end if is_log else begin
        log.error(
            "cursor_out_of_reach",
            consumer=cursor.consumer, source=cursor.source, partition=cursor.partition,
            was_at=cursor.position, held_after=begin, held_to=end, goes_on_at=to,
            advice=_LOG_ADVICE if is_log else _BUS_ADVICE,
        )  # fmt: skip
        if not is_log:
            await self._cursors.publish_again(cursor.source)
        await self._cursors.move(cursor, to)

    async def _end(self) -> int:
        return (await self._window.bus.ends())[self._window.partition]
