"""The publisher: brings the log's events to a bus that is not the log itself.

It follows the log with a cursor as consumers do. An event is published before the cursor moves: a
kill between the two publishes it once more, and consumers of such a bus keep an inbox.
"""

import asyncio
from collections.abc import Sequence

from mainspring.ports.bus import Bus, BusEvent
from mainspring.runtime.events.cursors import (
    PARTITION,
    SOURCE,
    ClaimedCursor,
    CursorRow,
    Cursors,
    publisher_of,
)
from mainspring.runtime.events.follower import Follower
from mainspring.runtime.events.lags import Behind
from mainspring.runtime.events.reader import SharedReader
from mainspring.runtime.supervisor import Supervisor

PUBLISH_TIMEOUT_S = 60.0  # of one batch: then the loop begins again, and says that it fails
PUBLISH_SLOW_S = 5.0  # a batch that is not published for longer is told, however often it is tried


class Publisher:
    """One loop; of several processes one publishes, and the others stand by."""

    __slots__ = ("_bus", "_cursors", "_follower", "_log", "_name", "_supervisor", "_trying_since_s")

    def __init__(self, log: SharedReader, bus: Bus, cursors: Cursors) -> None:
        self._log = log.bus
        self._bus = bus
        self._cursors = cursors
        self._name = publisher_of(bus.source)
        self._follower = Follower(cursors, self._name, log.window(PARTITION), self._publish)
        self._supervisor = Supervisor()
        self._trying_since_s: float | None = None  # to publish the batch that is next

    def failing(self) -> list[str]:
        """Name the loop if it fails, and why: not for a bus that is away."""
        return self._supervisor.failing()

    def waiting(self) -> list[str]:
        """Say how long the bus has taken nothing, where it just does not answer."""
        since_s = self._trying_since_s
        if since_s is None:
            return []
        waited_s = asyncio.get_running_loop().time() - since_s
        if waited_s <= PUBLISH_SLOW_S:
            return []
        return [f"{self._name}: the bus has not taken a batch of events for {waited_s:.0f} s"]

    async def behind(self) -> dict[str, Behind]:
        """Return how many events of the log are not published yet, under its name."""
        positions = await self._cursors.positions(self._name, SOURCE)
        end = (await self._log.ends())[PARTITION]
        position = positions.get(PARTITION, end)
        if position >= end:
            return {self._name: Behind(0)}
        return {self._name: Behind(end - position, self._log, PARTITION, position)}

    async def prepare(self) -> None:
        """Make its cursor: the whole log is published."""
        await self._cursors.make([CursorRow(self._name, SOURCE, PARTITION, 0)])

    async def run_due(self) -> int:
        """Publish what there is; return in how many batches. See ``ConsumerRunner.run_due``."""
        return await self._follower.run_due()

    async def start(self) -> None:
        """Follow the log."""
        await self.prepare()
        self._supervisor.start(self._name, self._follower.follow)

    async def stop(self) -> None:
        """Stop. What was not published is at the next start, or by another process."""
        await self._supervisor.stop()

    async def _publish(self, cursor: ClaimedCursor, events: Sequence[BusEvent]) -> None:
        if self._trying_since_s is None:
            self._trying_since_s = asyncio.get_running_loop().time()
        async with asyncio.timeout(PUBLISH_TIMEOUT_S):
            await self._bus.publish(events)
        self._trying_since_s = None
        await self._cursors.move(cursor, events[-1].offset)
