"""Turns: calls whose guards failed on one row run again one after the other, not all at once.

Without this, of n calls that race for a row every round lets one win and n - 1 run again.
"""

import asyncio
from collections.abc import AsyncIterator, Hashable, Sequence
from contextlib import asynccontextmanager

from mainspring.kernel.errors import Rerun
from mainspring.kernel.table import Delete, Insert, Update, Write


def contested(writes: Sequence[Write]) -> Hashable | None:
    """Name one row that these writes guard, or else what may have asked for the re-run."""
    guarded: list[tuple[Hashable, ...]] = []
    asking: list[tuple[Hashable, ...]] = []
    for write in writes:
        if isinstance(write, Update | Delete):
            if write.version is not None:
                guarded.append((write.table.name, write.key))
        elif isinstance(write, Insert):
            if write.on_conflict is Rerun:
                asking.append((write.table.name,))
        elif write.failure is Rerun:
            asking.append((write.sql.name,))
    return min(guarded or asking, key=repr, default=None)


class KeyedLocks:
    """First come, first served, by row, within this process. A call holds one turn at most."""

    __slots__ = ("_locks",)

    def __init__(self) -> None:
        self._locks: dict[Hashable, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def of(self, row: Hashable | None) -> AsyncIterator[None]:
        """Wait for the turn at this row and hold it; at None there is nothing to wait for."""
        if row is None:
            yield
            return
        lock, holders = self._locks.get(row, (None, 0))
        lock = lock or asyncio.Lock()
        self._locks[row] = (lock, holders + 1)
        try:
            async with lock:
                yield
        finally:
            lock, holders = self._locks[row]
            if holders == 1:
                del self._locks[row]
            else:
                self._locks[row] = (lock, holders - 1)
