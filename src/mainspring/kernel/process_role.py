"""Which part of the platform's work one of several processes takes."""

from enum import StrEnum
from typing import NamedTuple


class ProcessRole(StrEnum):
    """What a process does: takes calls, does the work that nobody waits for, or both.

    Of a platform whose services are split, a ``gateway`` takes the calls of callers and has no
    database, and ``own`` takes calls of some services from gateways; ``relay`` brings the log to
    the bus, and does nothing else.
    """

    ALL = "all"
    SERVE = "serve"
    WORK = "work"
    OWN = "own"
    RELAY = "relay"
    GATEWAY = "gateway"

    @property
    def serves(self) -> bool:
        """Whether it takes calls of operations and of mounted apps from callers."""
        return self in (ProcessRole.ALL, ProcessRole.SERVE, ProcessRole.GATEWAY)

    @property
    def works(self) -> bool:
        """Whether it runs jobs, consumers and schedules."""
        return self in (ProcessRole.ALL, ProcessRole.WORK)

    @property
    def publishes(self) -> bool:
        """Whether it brings the log to the bus, where there is one."""
        return self.works or self is ProcessRole.RELAY


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
