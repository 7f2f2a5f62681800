"""Places of a queue in this process: how many of them the jobs of one key may hold.

What hangs keeps its place until its time is up. If the jobs of one key could hold all, whatever
comes after would wait for that. So a key holds fewer than ``SHARE`` times as many as are free:
dynamic thresholds (Choudhury and Hahne, 1998), known from the shared buffers of switches. One key
gets two thirds of the places; beside four that take what they get a ninth stays free.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable

SHARE = 2


class Places:
    """The free places of a queue, and how many each key holds, while a claim hands them out."""

    __slots__ = ("_free", "_held")

    def __init__(self, free: int, held: Iterable[str | None] = ()) -> None:
        self._free = free
        self._held = Counter(key for key in held if key is not None)

    def take(self, key: str) -> bool:
        """Take a place unless there is none, or its key holds too many."""
        if self._free < 1 or self._held[key] >= SHARE * self._free:
            return False
        self._free -= 1
        self._held[key] += 1
        return True

    def take_any(self) -> None:
        """Take a place for what has no key."""
        self._free -= 1

    def room(self, key: str) -> int:
        """Return how many a key could take, if no other took one."""
        return max(-((self._held[key] - 1 - SHARE * (self._free + 1)) // (SHARE + 1)) - 1, 0)


PlacesOf = Callable[[str], Places]  # given the name of a queue


def endless(queue: str) -> Places:
    """Return the places of a queue whose jobs run one after the other."""
    return Places(sys.maxsize)
