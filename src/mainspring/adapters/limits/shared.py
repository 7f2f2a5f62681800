"""Rates counted by GCRA in memory that the processes of a crew share: they count together.

Nobody waits for a lock. Two processes that count the same key in the same microsecond may count
one call for two: each other process lets through one call too many at most, as often as that
happens. Otherwise a rate holds for all of them as it does in one.
"""

import mmap

from mainspring.adapters.in_process import InProcess
from mainspring.adapters.limits.gcra import Gcra
from mainspring.adapters.shared_memory import SharedMemory
from mainspring.kernel.clock import Clock
from mainspring.kernel.policy import Rate
from mainspring.ports.limits import LimitVerdict

WAYS = 8  # places of a bucket; a key is in the bucket of its hash, or not at all
ROOM = 2  # places for each key that is to have one, so that few buckets are full before the table
_WORD = 8  # bytes of a hash, and of a moment
_HASH_MASK = (1 << 64) - 1


class SharedLimits(InProcess):
    """Fills the limits port: each limit has a table, in the order in which they are asked for.

    The processes of a crew ask for the same limits in the same order.
    """

    def __init__(self, clock: Clock, memory: SharedMemory, *, keys_max: int) -> None:
        self._clock = clock
        self._memory = memory
        self._keys_max = keys_max
        self._limits: dict[str, SharedLimiter] = {}

    def limit(self, name: str, rate: Rate) -> "SharedLimiter":
        """Return the limit of this name."""
        if name not in self._limits:
            size = SharedLimiter.size_bytes(self._keys_max)
            table = self._memory.at(len(self._limits) * size, size)
            self._limits[name] = SharedLimiter(rate, self._clock, table, keys_max=self._keys_max)
        return self._limits[name]


class SharedLimiter(Gcra):
    """One limit's table: buckets of hashed keys, with the moment at which each will be empty again.

    A place is given to another key once its moment has passed. While all places of a bucket are
    busy, new keys there share one more: flooding the table with addresses resets nobody.
    """

    __slots__ = ("_buckets", "_crowds", "_hashes", "_moments")

    def __init__(self, rate: Rate, clock: Clock, table: memoryview, *, keys_max: int) -> None:
        super().__init__(rate, clock)
        self._buckets = buckets = _buckets(keys_max)
        ends = [buckets * WAYS * _WORD, 2 * buckets * WAYS * _WORD]
        self._hashes = table[: ends[0]].cast("Q")
        self._moments = table[ends[0] : ends[1]].cast("d")
        self._crowds = table[ends[1] : ends[1] + buckets * _WORD].cast("d")

    @staticmethod
    def size_bytes(keys_max: int) -> int:
        """Return how much memory a table takes, in whole pages."""
        words = _buckets(keys_max) * (2 * WAYS + 1)
        return -(-words * _WORD // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY

    def take_at(self, key: str, now_s: float) -> LimitVerdict:
        """Count one call at a moment of the clock."""
        hashed = hash(key) & _HASH_MASK or 1  # forks hash alike; 0 is a place nobody has had
        bucket = hashed % self._buckets
        table, at = self._find(hashed, bucket, now_s)
        ahead_s = max(table[at], now_s) + self._interval - now_s
        if ahead_s > self._window * 1.000_000_001:
            return self._refused(ahead_s)
        table[at] = now_s + ahead_s
        return self._counted(ahead_s)

    def give_back(self, key: str) -> None:
        """Uncount one call that turned out to belong to another policy."""
        hashed = hash(key) & _HASH_MASK or 1
        first = hashed % self._buckets * WAYS
        for at in range(first, first + WAYS):
            if self._hashes[at] == hashed:
                self._moments[at] -= self._interval

    def _find(self, hashed: int, bucket: int, now_s: float) -> "tuple[memoryview[float], int]":
        """Return where a key is counted: in a place of its own while there is one."""
        first = bucket * WAYS
        hashes = self._hashes[first : first + WAYS].tolist()
        if hashed in hashes:
            return self._moments, first + hashes.index(hashed)
        moments = self._moments[first : first + WAYS].tolist()
        earliest = min(moments)
        if earliest > now_s:
            return self._crowds, bucket
        at = first + moments.index(earliest)
        # What it shared until now counts: who comes from the crowd brings that along.
        self._moments[at] = self._crowds[bucket]
        self._hashes[at] = hashed
        return self._moments, at

    def __len__(self) -> int:
        return sum(map(bool, self._hashes))


def _buckets(keys_max: int) -> int:
    return -(-keys_max * ROOM // WAYS)
