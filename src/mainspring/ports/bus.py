"""The bus port: where consumers read events from, in order within each partition.

The event log of the database is a bus by itself, and the first one. Whatever else fills this port
is given the log's events with ``publish``, and gives them back to consumers of every process; it
may give one again, at another offset: consumers keep an inbox.

A bus has no epoch. Its ``source`` says which one it is, and a consumer's place in the log goes with
it from one to the next: a bus that was lost, or that holds what a restored database lost, is
replaced by one of another name.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from mainspring.kernel.errors import Unavailable
from mainspring.kernel.event_log import BusEvent
from mainspring.kernel.table import Rows

__all__ = ["Bus", "BusAway", "BusEvent"]


class BusAway(Unavailable):
    """The bus cannot be reached now. Calls go on: what they tell waits in the log."""


class Bus(Protocol):
    """Events in partitions, each an order of its own. Offsets grow, and need not be gapless."""

    @property
    def source(self) -> str:
        """Which log of events this is: offsets of two sources say nothing of each other."""
        ...

    async def open(self) -> None:
        """Connect, once, before anything else is asked.

        A bus that is away is no reason not to begin: it is tried again until it is there. Raises
        StartError for one that refuses us.
        """
        ...

    def away(self) -> str:
        """Say that it cannot be reached now, in words for anybody; empty when it can.

        While it cannot, whatever else is asked raises BusAway.
        """
        ...

    async def check(self) -> str:
        """Say what is there, without opening it, and make nothing. Raises BusAway, StartError."""
        ...

    async def close(self) -> None:
        """Let go of what ``open`` took, if anything."""
        ...

    async def partitions(self) -> Sequence[int]:
        """Return the partitions there are."""
        ...

    async def begins(self) -> Mapping[int, int]:
        """Return for each partition the offset of the last event it has dropped, 0 for none."""
        ...

    async def ends(self) -> Mapping[int, int]:
        """Return for each partition the offset of its newest event, dropped or not; 0 for none."""
        ...

    async def read(self, partition: int, after: int, limit: int, bytes_max: int) -> Rows[BusEvent]:
        """Return the next events after an offset: at most so many, with so many bytes of bodies.

        The first comes however long it is. None past the end. Raises BusAway.
        """
        ...

    async def publish(self, events: Sequence[BusEvent]) -> None:
        """Make events readable, durably, in this order within each partition key.

        An event that was published before may be there once more. Raises BusAway, with any of
        them published or none.
        """
        ...

    def listen(self) -> AbstractContextManager[asyncio.Event]:
        """Yield a signal that is set whenever there may be more to read; set at first.

        Clear it, read, then wait, and no wake falls between. One can be lost with its connection.
        """
        ...
