"""The publisher: brings the log's events to a bus that is not the log itself.

It follows the log with a cursor as consumers do. An event is published before the cursor moves: a
kill between the two publishes it once more, and consumers of such a bus keep an inbox.
"""

import asyncio

from mainspring.ports.bus import Bus
from mainspring.runtime.events.cursors import ClaimedCursor, CursorMoved, Cursors
from mainspring.runtime.events.log_bus import PARTITION
from mainspring.runtime.events.reader import SharedReader
from mainspring.runtime.notifier import wait
from mainspring.runtime.supervisor import Supervisor

BATCH_EVENTS = 512
BATCH_BYTES = 4 << 20  # of their bodies
POLL_S = 5.0


class Publisher:
    """One loop; of several processes one publishes, and the others stand by."""

    __slots__ = ("_bus", "_cursors", "_log", "_name", "_supervisor")

    def __init__(self, log: SharedReader, bus: Bus, cursors: Cursors) -> None:
        self._log = log
        self._bus = bus
        self._cursors = cursors
        self._name = f"publisher {bus.source}"
        self._supervisor = Supervisor()

    def failing(self) -> list[str]:
        """Name the loop if it fails, and why."""
        return self._supervisor.failing()

    async def prepare(self) -> None:
        """Make its cursor: the whole log is published."""
        await self._cursors.make(self._name, self._log.bus.source, PARTITION, 0)

    async def run_due(self) -> int:
        """Publish what there is; return how many events. See ``ConsumerRunner.run_due``."""
        self._log.window(PARTITION).look_again()
        cursor = await self._claim(by_force=True)
        published = 0
        while count := await self._publish(cursor):
            published += count
        return published

    async def start(self) -> None:
        """Follow the log."""
        await self.prepare()
        self._supervisor.start(self._name, self._follow)

    async def stop(self) -> None:
        """Stop. What was not published is at the next start, or by another process."""
        await self._supervisor.stop()

    async def _follow(self) -> None:
        window = self._log.window(PARTITION)
        cursor = await self._claim()
        with window.listen() as signal:
            while True:
                signal.clear()
                try:
                    if await self._publish(cursor):
                        continue
                except CursorMoved:
                    cursor = await self._claim()
                    continue
                if not await wait(signal, POLL_S):
                    window.look_again()

    async def _claim(self, *, by_force: bool = False) -> ClaimedCursor:
        never = asyncio.Event()
        while True:
            found = await self._cursors.claim(
                self._name, self._log.bus.source, PARTITION, by_force=by_force
            )
            if isinstance(found, ClaimedCursor):
                return found
            await wait(never, found)

    async def _publish(self, cursor: ClaimedCursor) -> int:
        window = self._log.window(PARTITION)
        events = (await window.after(cursor.position, BATCH_EVENTS, BATCH_BYTES)).items
        if events:
            await self._bus.publish(events)
            await self._cursors.move(cursor, events[-1].offset)
        return len(events)
