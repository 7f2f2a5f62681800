"""Turns of transactions, after some of them met in a deadlock."""

from collections.abc import Callable

TURNS_MIN = 64  # transactions that take turns after a deadlock; twice as many after each more
TURNS_MAX = 65_536


class Turns:
    """Whether transactions take turns for a while, because some of them met in a deadlock.

    Callers stage their writes in any order, and finding a deadlock takes PostgreSQL a second. Those
    that take turns hold one lock of the database, whatever process they come from, and cannot meet.
    """

    __slots__ = ("_free", "_left", "_length", "announce")

    def __init__(self) -> None:
        self._length = self._left = self._free = 0
        self.announce: Callable[[], None] = lambda: None  # to the other processes

    @property
    def taken(self) -> bool:
        """Whether a transaction that begins now takes a turn."""
        return self._left > 0

    def met(self) -> None:
        """Note a deadlock of this process, and have every process take turns."""
        self.begin()
        self.announce()

    def begin(self) -> None:
        """Take turns from now on; for longer, the sooner this comes after the last time."""
        self._length = self._left = min(max(TURNS_MIN, 2 * self._length), TURNS_MAX)
        self._free = self._length

    def passed(self) -> None:
        """Note a transaction that came through."""
        if self._left:
            self._left -= 1
        elif self._free:
            self._free -= 1
        else:
            self._length = 0
