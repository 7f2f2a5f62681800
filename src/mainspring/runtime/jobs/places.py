"""Places of a queue in this process: how many of them the jobs of one key may hold.

What hangs keeps its place until its time is up. If the jobs of one key could hold all, whatever
comes after would wait for that. So three rules, the first two known from networks:

- A key holds fewer than ``SHARE`` times as many places as are free: dynamic thresholds (Choudhury
  and Hahne, 1998), by which switches share their buffers.
- The second half of the places is for keys whose jobs end: there a key may hold one place more than
  it did for each job of its that was done, and half as many after one that failed. This is the slow
  start of TCP (Jacobson, 1988). What hangs from the first on gets one place, and nobody else's.
- Whose jobs have ended well may hang all the same, one key after the other. So the last quarter is
  for those that hold few: there a key holds fewer than an eighth of the places that are free, or
  one. Who needs few places at a time finds one, until more than twenty keys hang at once (of 128).
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable

from mainspring.kernel.lru_cache import LruCache

SHARE = 4
LAST = 4  # one of so many places is for keys that hold few
FEW = 8  # times as many are free as such a key holds
KEYS_MAX = 10_000  # whose windows are remembered; who is forgotten starts anew


class Windows:
    """How many places each key has earned: one, and one more for each job that was done."""

    __slots__ = ("_earned",)

    def __init__(self) -> None:
        self._earned: LruCache[str, int] = LruCache(KEYS_MAX)

    def of(self, key: str) -> int:
        """Return how many places a key may hold when few are left."""
        return self._earned.get(key) or 1

    def ended(self, key: str, *, done: bool) -> None:
        """Note how a job of a key has ended."""
        held = self.of(key)
        self._earned.put(key, held + 1 if done else max(held // 2, 1))


class Places:
    """The free places of a queue, and how many each key holds, while a claim hands them out.

    ``held`` has the key of each job that runs.
    """

    __slots__ = ("_free", "_held", "_total", "_windows")

    def __init__(
        self, free: int, held: Iterable[str | None] = (), windows: Windows | None = None
    ) -> None:
        keys = list(held)
        self._free = free
        self._total = free + len(keys)
        self._held = Counter(key for key in keys if key is not None)
        self._windows = windows or Windows()

    def take(self, key: str) -> bool:
        """Take a place unless there is none, or its key holds too many."""
        if self.room(key) < 1:
            return False
        self._free -= 1
        self._held[key] += 1
        return True

    def take_any(self) -> None:
        """Take a place for what has no key."""
        self._free -= 1

    def room(self, key: str) -> int:
        """Return how many a key could take, if no other took one."""
        held, free = self._held[key], self._free
        within_share = -((held - SHARE * free) // (SHARE + 1))
        earned = self._windows.of(key) - held
        of_first_half = free - (self._total + 1) // 2 + 1
        before_last = free - self._total // LAST
        few = -((FEW * held - free) // (FEW + 1))
        return max(min(within_share, max(earned, of_first_half), before_last), min(earned, few), 0)


PlacesOf = Callable[[str], Places]  # given the name of a queue


def endless(queue: str) -> Places:
    """Return the places of a queue whose jobs run one after the other."""
    return Places(sys.maxsize)
