"""A bus of another kind: in memory, in three partitions, and it gives every event twice."""

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from mainspring.kernel.table import Rows
from mainspring.ports.bus import BusAway, BusEvent
from mainspring.ports.opening import Sources
from mainspring.runtime.notifier import Notifier

PARTITIONS = (0, 1, 2)


def open(url: str, sources: Sources) -> "MemoryBus":
    """Make the one of a URL, as ``memory:NAME``."""
    return MemoryBus(source=url)


class MemoryBus:
    """Offsets have gaps, as those of a broker may have."""

    def __init__(self, copies: int = 2, source: str = "memory") -> None:
        self.source = source
        self.opened = 0
        self.is_away, self.refused = False, 0
        self._board = Notifier()
        self._copies = copies
        self.events: dict[int, list[BusEvent]] = {p: [] for p in PARTITIONS}
        self.dropped = dict.fromkeys(PARTITIONS, 0)

    async def open(self) -> None:
        self.opened += 1

    async def check(self) -> str:
        return "in memory"

    async def close(self) -> None:
        self.opened -= 1

    def away(self) -> str:
        return "it is away" if self.is_away else ""

    def _require(self) -> None:
        if self.is_away:
            self.refused += 1
            raise BusAway("the bus cannot be reached: it is away")

    async def partitions(self) -> Sequence[int]:
        self._require()
        return PARTITIONS

    async def begins(self) -> Mapping[int, int]:
        self._require()
        return dict(self.dropped)

    async def ends(self) -> Mapping[int, int]:
        self._require()
        return {p: held[-1].offset if held else self.dropped[p] for p, held in self.events.items()}

    async def read(self, partition: int, after: int, limit: int, bytes_max: int) -> Rows[BusEvent]:
        self._require()
        rest = [event for event in self.events[partition] if event.offset > after]
        taken: list[BusEvent] = []
        for event in rest[:limit]:
            bytes_max -= len(event.body)
            if bytes_max < 0 and taken:
                break
            taken.append(event)
        return Rows(taken, len(taken) < len(rest))

    async def publish(self, events: Sequence[BusEvent]) -> None:
        self._require()
        for event in events:
            partition = zlib.crc32(event.key.encode()) % len(PARTITIONS)
            held = self.events[partition]
            for _ in range(self._copies):
                offset = (held[-1].offset if held else self.dropped[partition]) + 3
                held.append(
                    BusEvent(offset, event.id, event.tenant, event.type, event.subject, event.body)
                )
        self._board.wake(frozenset({"published"}))

    def listen(self) -> AbstractContextManager[asyncio.Event]:
        return self._board.listen("published")
