"""The bus port: where consumers read events from, in order within each partition.

The event log of the database is a bus by itself, and the first one. Whatever else fills this port
is given the log's events with ``publish``, and gives them back to consumers of every process.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from mainspring.kernel.event_log import BusEvent
from mainspring.kernel.table import Rows

__all__ = ["Bus", "BusEvent"]


class Bus(Protocol):
    """Events in partitions, each an order of its own. Offsets grow, and need not be gapless."""

    @property
    def source(self) -> str:
        """Which log of events this is: offsets of two sources say nothing of each other."""
        ...

    @property
    def repeats(self) -> bool:
        """Whether it may give an event again at another offset: then consumers keep an inbox."""
        ...

    async def partitions(self) -> Sequence[int]:
        """Return the partitions there are."""
        ...

    async def begins(self) -> Mapping[int, int]:
        """Return for each partition the offset after which everything is still held."""
        ...

    async def ends(self) -> Mapping[int, int]:
        """Return for each partition the offset of its newest event, 0 where there was none."""
        ...

    async def read(self, partition: int, after: int, limit: int, bytes_max: int) -> Rows[BusEvent]:
        """Return the next events after an offset: at most so many, with so many bytes of bodies.

        The first comes however long it is. None past the end. Raises Unavailable.
        """
        ...

    async def publish(self, events: Sequence[BusEvent]) -> None:
        """Make events readable, durably, in this order within each partition key.

        An event that was published before may be there once more where the bus ``repeats``, and is
        there once where it does not. Raises Unavailable, with any of them published or none.
        """
        ...

    def listen(self) -> AbstractContextManager[asyncio.Event]:
        """Yield a signal that is set whenever there may be more to read; set at first.

        Clear it, read, then wait, and no wake falls between. One can be lost with its connection.
        """
        ...
