"""Which part of the platform's work one of several processes takes."""

from enum import StrEnum


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
