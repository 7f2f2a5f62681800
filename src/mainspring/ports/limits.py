"""The limits port: counts against rates, at once where that takes no waiting.

A limit is a rate under a name. It allows a burst of ``rate.count`` and then one call per
``window_s / count``, for each key by itself (GCRA, the leaky bucket as a meter).
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from mainspring.kernel.policy import Rate
from mainspring.ports.telemetry import CounterSeries

KEYS_MAX = 65_536  # of one limit; an adapter bounds how many it keeps


class LimitVerdict(msgspec.Struct, frozen=True):
    """Whether a call was counted, how many more may come now, and when to come again.

    ``wait_s`` is how long until one more would be counted, for one that was not; for one that was,
    how long until the whole burst is free again.
    """

    counted: bool
    left: int
    wait_s: float


class RateLimit(Protocol):
    """One limit. Counting is atomic: callers at the same moment never pass together over it."""

    def take(self, key: str) -> LimitVerdict | Awaitable[LimitVerdict]:
        """Count one call, or refuse it and count nothing.

        The verdict itself where this process knows it, so that nobody waits for what is at hand;
        an awaitable only where somebody else has to be asked. Never raises: an adapter that cannot
        ask decides by what this process has counted.
        """
        ...

    def give_back(self, key: str) -> None:
        """Uncount one call that turned out to belong to another limit. Does not wait."""
        ...


class RateLimits(Protocol):
    """Makes limits. Processes that share an adapter's store share what is counted."""

    async def open(self, owner: str) -> None:
        """Begin: what is counted is this owner's, and apart from what others' processes count.

        A store that is away is no reason not to begin. Raises StartError for one that refuses us.
        """
        ...

    async def close(self) -> None:
        """Let go of what ``open`` took."""
        ...

    def away(self) -> str:
        """Say why the store cannot be asked now; empty when it can, or there is none to ask."""
        ...

    def measure(self, series: Callable[[str], CounterSeries]) -> None:
        """Count from now on what comes of what is asked, in a series for each kind of result."""
        ...

    def version(self) -> str:
        """Name the store and its version; empty where there is none, or it is not known."""
        ...

    def limit(self, name: str, rate: Rate) -> RateLimit:
        """Return the limit of this name; counts of one name are kept apart from all others."""
        ...
