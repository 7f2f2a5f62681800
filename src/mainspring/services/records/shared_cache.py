"""A cache of compiled things for several threads.

A room of its own because a call inside a transaction may run in a thread of the database's.
"""

import threading
from collections.abc import Hashable
from typing import TypeVar

from mainspring import LruCache

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SharedLruCache(LruCache[K, V]):
    """An ``LruCache`` that any thread may use."""

    __slots__ = ("_lock",)

    def __init__(self, size_max: int) -> None:
        super().__init__(size_max)
        self._lock = threading.RLock()  # ``put`` pops

    def get(self, key: K) -> V | None:
        """Return what is kept, which is then the last to go."""
        with self._lock:
            return super().get(key)

    def put(self, key: K, value: V) -> bool:
        """Keep a value instead of what was there. Returns whether it is kept."""
        with self._lock:
            return super().put(key, value)

    def pop(self, key: K) -> V | None:
        """Keep it no longer, and return what it was."""
        with self._lock:
            return super().pop(key)

    def clear(self) -> None:
        """Keep nothing."""
        with self._lock:
            super().clear()
