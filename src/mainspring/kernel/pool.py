"""What callers share, and none of them may take all of: uploads, streams, connections, memory."""

from collections.abc import Iterator
from contextlib import contextmanager

from mainspring.kernel.errors import RateLimited, Unavailable

RETRY_AFTER_S = 1


class Pool:
    """At most ``size`` places, or bytes, taken at once, and ``share`` of them by one holder.

    A holder is whoever the places count for: a caller, or the address of an unknown one. What it
    keeps is one number for each holder of a place, so it is bounded by its size.
    """

    __slots__ = ("_held", "share", "size", "taken", "what")

    def __init__(self, what: str, size: int, share: int) -> None:
        self.what = what
        self.size = size
        self.share = min(share, size)
        self.taken = 0
        self._held: dict[str, int] = {}

    def take(self, holder: str, count: int = 1) -> None:
        """Take what will be given back. Raises Unavailable, and RateLimited beyond the share."""
        self.check(holder, count)
        self.note(holder, count)

    def check(self, holder: str, count: int = 1) -> None:
        """Raise what ``take`` would."""
        if self.taken + count > self.size:
            raise Unavailable(f"too many {self.what} at once", retry_after_s=RETRY_AFTER_S)
        if self._held.get(holder, 0) + count > self.share:
            raise RateLimited(
                f"one caller may have {self.share} {self.what} at once: try again when one is done",
                retry_after_s=RETRY_AFTER_S,
                extra={"policy": self.what},
            )

    def note(self, holder: str, count: int) -> None:
        """Count what is taken already, whether or not there is room for it."""
        self._held[holder] = self._held.get(holder, 0) + count
        self.taken += count

    def give_back(self, holder: str, count: int = 1) -> None:
        """Give back what ``take`` gave."""
        left = self._held[holder] - count
        self.taken -= count
        if left:
            self._held[holder] = left
        else:
            del self._held[holder]

    @contextmanager
    def place(self, holder: str) -> Iterator[None]:
        """Hold a place for a while. Raises what ``take`` does."""
        self.take(holder)
        try:
            yield
        finally:
            self.give_back(holder)
