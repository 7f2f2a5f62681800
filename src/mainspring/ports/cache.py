"""The cache port: bytes that can be had again, kept for a while, at once where nobody is asked."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from mainspring.ports.telemetry import CounterSeries

KEY_CHARS_MAX = 200
VALUE_BYTES_MAX = 1 << 20  # of one value; a larger one is not kept


class Cache(Protocol):
    """Bytes by key. Processes that share an adapter's store share what is kept.

    Anything may be gone at any moment: for want of room, or because the store is away. No method
    raises: an adapter that cannot ask its store has nothing.
    """

    async def open(self, owner: str) -> None:
        """Begin: what is kept is this owner's, and apart from what any other's processes keep.

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

    def get(self, key: str) -> bytes | Awaitable[bytes | None] | None:
        """Return what is kept under a key, and None once its time is over.

        The bytes themselves where this process has them, so that nobody waits for what is at hand;
        an awaitable only where somebody else has to be asked.
        """
        ...

    def put(self, key: str, value: bytes, *, kept_s: float) -> None:
        """Keep a value for so long, instead of what was there. Does not wait.

        Whoever gets the key after this, in this process, does not see what was there before.
        """
        ...
