"""A bus of another kind: in memory, in three partitions, and it gives every event twice."""

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from mainspring.kernel.table import Rows
from mainspring.ports.bus import BusEvent
from mainspring.runtime.notifier import Notifier

PARTITIONS = (0, 1, 2)


class MemoryBus:
    """Offsets have gaps, as those of a broker may have."""

    source = "memory"
    repeats = True

    def __init__(self, copies: int = 2) -> None:
        self._board = Notifier()
        self._copies = copies
        self.events: dict[int, list[BusEvent]] = {p: [] for p in PARTITIONS}

    async def partitions(self) -> Sequence[int]:
        return PARTITIONS

    async def begins(self) -> Mapping[int, int]:
        return dict.fromkeys(PARTITIONS, 0)

    async def ends(self) -> Mapping[int, int]:
        return {p: held[-1].offset if held else 0 for p, held in self.events.items()}

    async def read(self, partition: int, after: int, limit: int, bytes_max: int) -> Rows[BusEvent]:
        rest = [event for event in self.events[partition] if event.offset > after]
        taken: list[BusEvent] = []
        for event in rest[:limit]:
            bytes_max -= len(event.body)
            if bytes_max < 0 and taken:
                break
            taken.append(event)
        return Rows(taken, len(taken) < len(rest))

    async def publish(self, events: Sequence[BusEvent]) -> None:
        for event in events:
            held = self.events[zlib.crc32(event.key.encode()) % len(PARTITIONS)]
            for _ in range(self._copies):
                offset = (held[-1].offset if held else 0) + 3
                held.append(
                    BusEvent(offset, event.id, event.tenant, event.type, event.subject, event.body)
                )
        self._board.wake(frozenset({"published"}))

    def listen(self) -> AbstractContextManager[asyncio.Event]:
        return self._board.listen("published")
