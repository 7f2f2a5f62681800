"""How often something happened in the last minute, in constant space."""

SLOTS = 60  # of a second each
WINDOW_WORDS = 2 * SLOTS


class SlidingWindow:
    """Counts by the second in a ring; what is older than a minute is overwritten or not summed.

    ``words`` hold it, and begin as noughts: how many of each second, and which seconds these are.
    """

    __slots__ = ("_words",)

    def __init__(self, words: "memoryview[int]") -> None:
        self._words = words

    def add(self, now_ms: int) -> None:
        """Count one at this moment."""
        second = now_ms // 1000
        slot = second % SLOTS
        if self._words[SLOTS + slot] != second:
            self._words[slot] = 0  # first: another process may be reading
            self._words[SLOTS + slot] = second
        self._words[slot] += 1

    def count(self, now_ms: int) -> int:
        """How many were counted in the 60 s until this moment."""
        oldest = now_ms // 1000 - SLOTS
        words = list(self._words)
        return sum(
            count
            for count, second in zip(words[:SLOTS], words[SLOTS:], strict=True)
            if second > oldest
        )
