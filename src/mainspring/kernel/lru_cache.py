"""What one process remembers because it can be had again: bounded, the least recently used goes.

Both classes are for one thread; whoever shares one with another thread holds a lock around it.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """Up to ``size_max`` values, or as many as take that much by ``size_of`` (bytes, say).

    A value that is larger than the whole is not kept. ``dropped`` is told of each value that goes,
    whyever: pushed out, replaced, popped or cleared.
    """

    __slots__ = ("_dropped", "_size", "_size_max", "_size_of", "_sizes", "_values")

    def __init__(
        self,
        size_max: int,
        *,
        size_of: Callable[[V], int] | None = None,
        dropped: Callable[[K, V], None] | None = None,
    ) -> None:
        self._size_max = size_max
        self._size_of = size_of
        self._dropped = dropped
        self._values: OrderedDict[K, V] = OrderedDict()
        self._sizes: dict[K, int] = {}  # as they were measured; empty where each counts as one
        self._size = 0

    def get(self, key: K) -> V | None:
        """Return what is kept, which is then the last to go."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> bool:
        """Keep a value instead of what was there. Returns whether it is kept."""
        self.pop(key)
        size = 1
        if self._size_of is not None:
            size = self._size_of(value)
            if size > self._size_max:
                return False
            self._sizes[key] = size
        self._values[key] = value
        self._size += size
        while self._size > self._size_max:
            self._went(*self._values.popitem(last=False))
        return True

    def pop(self, key: K) -> V | None:
        """Keep it no longer, and return what it was."""
        value = self._values.pop(key, None)
        if value is not None:
            self._went(key, value)
        return value

    def _went(self, key: K, value: V) -> None:
        self._size -= self._sizes.pop(key, 1)
        if self._dropped is not None:
            self._dropped(key, value)

    def clear(self) -> None:
        """Keep nothing."""
        while self._values:
            self._went(*self._values.popitem(last=False))

    def __len__(self) -> int:
        return len(self._values)


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
