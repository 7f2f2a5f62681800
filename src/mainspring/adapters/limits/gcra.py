"""GCRA, the leaky bucket as a meter: for each key the moment at which its bucket will be empty."""

import math
from abc import ABC, abstractmethod

from mainspring.kernel.clock import Clock
from mainspring.kernel.policy import Rate
from mainspring.ports.limits import LimitVerdict


class Gcra(ABC):
    """One limit: its rate, and what is told of it. Who inherits keeps the moments."""

    __slots__ = ("_clock", "_interval", "_told", "_window")

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self._clock = clock
        self._window = rate.window_s
        self._interval = rate.window_s / rate.count
        self._told = LimitVerdict(True, 0, 0.0)

    def take(self, key: str) -> LimitVerdict:
        """Count one call at once, or refuse it and count nothing."""
        return self.take_at(key, self._clock.monotonic_s())

    @abstractmethod
    def take_at(self, key: str, now_s: float) -> LimitVerdict:
        """Count one call at a moment of the clock."""

    def _counted(self, ahead_s: float) -> LimitVerdict:
        left = int((self._window - ahead_s) / self._interval + 1e-6)
        wait_s = float(math.ceil(ahead_s))
        if self._told.left != left or self._told.wait_s != wait_s:
            # Calls that come one by one are all told the same.
            self._told = LimitVerdict(True, left, wait_s)
        return self._told

    def _refused(self, ahead_s: float) -> LimitVerdict:
        return LimitVerdict(False, 0, ahead_s - self._window)
