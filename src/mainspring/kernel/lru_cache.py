"""What one process remembers because it can be had again: bounded, the least recently used goes.

Both classes are for one thread; whoever shares one with another thread holds a lock around it.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import cachetools

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """Up to ``size_max`` values, or as many as take that much by ``size_of`` (bytes, say).

    A value that is larger than the whole is not kept. ``dropped`` is told of each value that goes,
    whyever: pushed out, replaced, popped or cleared.
    """

    __slots__ = ("_values",)

    def __init__(
        self,
        size_max: int,
        *,
        size_of: Callable[[V], int] | None = None,
        dropped: Callable[[K, V], None] | None = None,
    ) -> None:
        self._values: cachetools.LRUCache[K, V] = (
            cachetools.LRUCache(size_max, size_of)
            if dropped is None
            else _Telling(size_max, size_of, dropped)
        )

    def get(self, key: K) -> V | None:
        """Return what is kept, which is then the last to go."""
        try:
            return self._values[key]
        except KeyError:
            return None

    def put(self, key: K, value: V) -> bool:
        """Keep a value instead of what was there. Returns whether it is kept."""
        values = self._values
        if values.getsizeof(value) > values.maxsize:
            values.pop(key, None)
            return False
        values[key] = value
        return True

    def pop(self, key: K) -> V | None:
        """Keep it no longer, and return what it was."""
        return self._values.pop(key, None)

    def clear(self) -> None:
        """Keep nothing."""
        while self._values:
            self._values.popitem()

    def __len__(self) -> int:
        return len(self._values)


class _Telling(cachetools.LRUCache[K, V]):
    """Says of each value that it goes."""

    def __init__(
        self,
        size_max: int,
        size_of: Callable[[V], int] | None,
        dropped: Callable[[K, V], None],
    ) -> None:
        super().__init__(size_max, size_of)
        self._dropped = dropped

    def __setitem__(self, key: K, value: V) -> None:
        self.pop(key, None)
        super().__setitem__(key, value)

    def __delitem__(self, key: K) -> None:
        value = self[key]
        super().__delitem__(key)
        self._dropped(key, value)


class ExpiringCache(Generic[K, V]):
    """An ``LruCache`` whose values hold for a time, told by moments of the user's own clock.

    When that clock is set back, what was kept later than now does not hold either.
    """

    __slots__ = ("_values",)

    def __init__(self, size_max: int, *, size_of: Callable[[V], int] | None = None) -> None:
        def size(kept: tuple[V, float, float]) -> int:
            return 1 if size_of is None else size_of(kept[0])

        self._values: LruCache[K, tuple[V, float, float]] = LruCache(size_max, size_of=size)

    def get(self, key: K, now: float) -> V | None:
        """Return what is kept and holds now."""
        kept = self._values.get(key)
        return kept[0] if kept is not None and kept[1] <= now < kept[2] else None

    def put(self, key: K, value: V, now: float, until: float) -> bool:
        """Keep a value from now on. Returns whether it is kept."""
        return self._values.put(key, (value, now, until))

    def pop(self, key: K) -> None:
        """Keep it no longer."""
        self._values.pop(key)

    def clear(self) -> None:
        """Keep nothing any longer."""
        self._values.clear()
