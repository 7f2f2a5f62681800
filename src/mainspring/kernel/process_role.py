"""Which part of the platform's work one of several processes takes."""

from enum import StrEnum
from typing import NamedTuple


class ProcessRole(StrEnum):
    """What a process does: takes calls, does the work that nobody waits for, or both."""

    ALL = "all"
    SERVE = "serve"
    WORK = "work"

    @property
    def serves(self) -> bool:
        """Whether it takes calls of operations and of mounted apps."""
        return self is not ProcessRole.WORK

    @property
    def works(self) -> bool:
        """Whether it runs jobs, consumers and schedules."""
        return self is not ProcessRole.SERVE


class Seat(NamedTuple):
    """Which of the processes of a crew one is, from 0; whoever succeeds it has the same number.

    It is ``first`` when no other has been started before.
    """

    number: int
    size: int
    first: bool = False

    def part_of(self, places: int) -> int:
        """Return how many of the crew's places are this process's: together they have them all."""
        return places // self.size + (self.number < places % self.size)


ALONE = Seat(0, 1, first=True)
