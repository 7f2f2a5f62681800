"""Rates counted in the process by GCRA.

Exact within one process, nearly so among the processes of a crew (``shared.py``). N processes that
share nothing together allow up to N times the rate.
"""

import math
from collections.abc import Callable

from mainspring.adapters.in_process import InProcess
from mainspring.adapters.limits.gcra import Gcra
from mainspring.adapters.limits.shared import SharedLimits
from mainspring.adapters.shared_memory import SharedMemory
from mainspring.kernel.clock import Clock
from mainspring.kernel.policy import Rate
from mainspring.kernel.process_role import Seat
from mainspring.ports.database import StartError
from mainspring.ports.limits import KEYS_MAX, LimitVerdict
from mainspring.ports.opening import SYSTEM_SOURCES, Sources

SHARED_SLOTS = 1_024  # what keys share once a table is full of busy ones


def open(url: str, sources: Sources = SYSTEM_SOURCES) -> "MemoryLimits":
    """Count in this process: ``memory:``, or ``memory:65536`` keys of each. Raises StartError."""
    return MemoryLimits(sources.clock, keys_max=_keys_max(url))


def share(url: str, size: int, sources: Sources = SYSTEM_SOURCES) -> Callable[[Seat], SharedLimits]:
    """Let processes that are forked from now on count together. Raises StartError."""
    keys_max, memory = _keys_max(url), SharedMemory("limits")
    return lambda _: SharedLimits(sources.clock, memory, keys_max=keys_max)


def _keys_max(url: str) -> int:
    _, _, keys = url.partition(":")
    if keys and not (keys.isascii() and keys.isdigit() and int(keys)):
        raise StartError(f"{url!r}: write memory:, or memory:65536 for the keys of a limit")
    return int(keys or KEYS_MAX)


class MemoryLimits(InProcess):
    """Fills the limits port; each limit has a table of its own."""

    def __init__(self, clock: Clock, *, keys_max: int = KEYS_MAX) -> None:
        self._clock = clock
        self._keys_max = keys_max
        self._limits: dict[str, GcraLimiter] = {}

    def limit(self, name: str, rate: Rate) -> "GcraLimiter":
        """Return the limit of this name."""
        made = GcraLimiter(rate, self._clock, keys_max=self._keys_max)
        return self._limits.setdefault(name, made)


class GcraLimiter(Gcra):
    """One limit's table: for each key the moment at which its bucket will be empty again.

    The table is two generations, ``keys_max`` together and half as many again at worst. An entry
    reaches at most one window ahead, so a generation that is no longer written to is dropped whole
    after a window: nobody's state goes before it has lapsed. While both are full of busy keys, new
    ones share ``SHARED_SLOTS`` buckets, so flooding the table with addresses resets nobody.
    """

    __slots__ = ("_keys_max", "_old", "_rotated_s", "_shared", "_young")

    def __init__(self, rate: Rate, clock: Clock, *, keys_max: int = KEYS_MAX) -> None:
        super().__init__(rate, clock)
        self._keys_max = keys_max // 2
        self._young: dict[str, float] = {}
        self._old: dict[str, float] = {}
        self._rotated_s = -math.inf
        self._shared: dict[int, float] = {}

    def take_at(self, key: str, now_s: float) -> LimitVerdict:
        """Count one call at a moment of the clock."""
        tat = self._young.get(key)
        if tat is None:
            tat = self._old.pop(key, None)
            if tat is None:
                if len(self._young) >= self._keys_max and not self._rotate(now_s):
                    return self._take_shared(key, now_s)
                if self._shared:
                    tat = self._shared.get(hash(key) % SHARED_SLOTS)
            if tat is not None:
                self._young[key] = tat
        start_s = tat if tat is not None and tat > now_s else now_s
        ahead_s = start_s + self._interval - now_s
        if ahead_s > self._window * 1.000_000_001:
            return self._refused(ahead_s)
        self._young[key] = now_s + ahead_s
        return self._counted(ahead_s)

    def give_back(self, key: str) -> None:
        """Uncount one call that turned out to belong to another policy."""
        if key in self._young:
            self._young[key] -= self._interval

    def _rotate(self, now_s: float) -> bool:
        """Drop the old generation when every entry in it has lapsed. Returns whether it did."""
        if now_s - self._rotated_s < self._window:
            return False
        self._old, self._young = self._young, {}
        self._rotated_s = now_s
        self._shared = {slot: tat for slot, tat in self._shared.items() if tat > now_s}
        return True

    def _take_shared(self, key: str, now_s: float) -> LimitVerdict:
        slot = hash(key) % SHARED_SLOTS
        start_s = max(self._shared.get(slot, 0.0), now_s)
        ahead_s = start_s + self._interval - now_s
        if ahead_s > self._window:
            return self._refused(ahead_s)
        self._shared[slot] = start_s + self._interval
        return self._counted(ahead_s)

    def __len__(self) -> int:
        return len(self._young) + len(self._old) + len(self._shared)
