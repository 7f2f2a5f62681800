"""How often something happened in the last minute, in constant space."""

SLOTS = 60  # of a second each


class SlidingWindow:
    """Counts by the second in a ring; what is older than a minute is overwritten or not summed."""

    __slots__ = ("_counts", "_seconds")

    def __init__(self) -> None:
        self._counts = [0] * SLOTS
        self._seconds = [-SLOTS] * SLOTS

    def add(self, now_ms: int) -> None:
        """Count one at this moment."""
        second = now_ms // 1000
        slot = second % SLOTS
        if self._seconds[slot] != second:
            self._seconds[slot] = second
            self._counts[slot] = 0
        self._counts[slot] += 1

    def count(self, now_ms: int) -> int:
        """How many were counted in the 60 s until this moment."""
        oldest = now_ms // 1000 - SLOTS
        return sum(
            count
            for second, count in zip(self._seconds, self._counts, strict=True)
            if second > oldest
        )
