"""Catching up: hearing of what other processes of a crew revoked, before the next call.

A process that has committed such an event says so in memory that all of them share, before it
answers whoever asked for it. The others look there at each call, and where something was said they
read which events were committed meanwhile.
"""

import asyncio
import mmap
from collections.abc import Callable, Container, Sequence

from mainspring.kernel.call import Call
from mainspring.kernel.event import StagedEvent
from mainspring.kernel.table import Query
from mainspring.ports.database import Database
from mainspring.runtime.supervisor import Supervisor
from mainspring.runtime.tables import LAST_SEQ

POLL_S = 1.0  # a process may die between its commit and its word
EVENTS_MAX = 4_096  # heard one by one; after more of them, whatever was concluded may be wrong
_WORD = 8  # bytes of a count

_SINCE = Query(
    "runtime.events_since",
    "SELECT seq, type, subject FROM logged_events WHERE seq > :after ORDER BY seq LIMIT :limit",
    tuple,
)


class Bulletin:
    """Memory of a crew in which each process has a place, and counts how often it had news."""

    __slots__ = ("_begin", "_count", "_end", "_memory")

    def __init__(self, memory: mmap.mmap, number: int) -> None:
        self._memory = memory
        self._begin, self._end = number * _WORD, (number + 1) * _WORD
        # A successor goes on where the one before it was.
        self._count = int.from_bytes(memory[self._begin : self._end], "little")

    def post(self) -> None:
        """Have every process see that there is news, before this returns."""
        self._count += 1
        self._memory[self._begin : self._end] = self._count.to_bytes(_WORD, "little")

    def look(self) -> bytes:
        """Return what is another when somebody has had news since."""
        return self._memory[:]


def share(size: int) -> Callable[[int], Bulletin]:
    """Make a bulletin for processes that are forked from now on; each has a number, from 0."""
    memory = mmap.mmap(-1, size * _WORD)
    return lambda number: Bulletin(memory, number)


class CatchUp:
    """Tells this process of events that others committed, before its next call.

    ``heard`` is given the type and the subject of each; ``lost`` is called instead when there are
    too many. ``urgent`` are the types that nobody may learn of late.
    """

    __slots__ = (
        "_bulletin",
        "_database",
        "_heard",
        "_hearing",
        "_lost",
        "_seen",
        "_seq",
        "_supervisor",
        "_urgent",
    )  # fmt: skip

    def __init__(
        self,
        database: Database,
        bulletin: Bulletin,
        urgent: Container[str],
        heard: Callable[[str, str], None],
        lost: Callable[[], None],
    ) -> None:
        self._database = database
        self._bulletin = bulletin
        self._urgent = urgent
        self._heard = heard
        self._lost = lost
        self._seen = b""
        self._seq = 0
        self._hearing = asyncio.Lock()
        self._supervisor = Supervisor()

    async def start(self) -> None:
        """Hear of what is committed from now on, also where nobody gave word of it."""
        self._seen = self._bulletin.look()
        self._seq = (await self._database.read(LAST_SEQ, ()))[0]
        self._supervisor.start("catching up", self._follow)

    async def stop(self) -> None:
        """Follow no longer."""
        await self._supervisor.stop()

    def on_commit(self, _: Call, events: Sequence[StagedEvent]) -> None:
        """Give the others word of what a call of this process has committed."""
        if any(event.type.name in self._urgent for event in events):
            self._bulletin.post()

    @property
    def behind(self) -> bool:
        """Whether somebody gave word that was not heard yet."""
        return self._bulletin.look() != self._seen

    async def hear(self) -> None:
        """Hear what was committed until now, before this returns. Raises Unavailable."""
        async with self._hearing:
            seen = self._bulletin.look()
            events = await self._database.read(_SINCE, (self._seq, EVENTS_MAX))
            if len(events) == EVENTS_MAX:
                self._lost()
            else:
                for _, event_type, subject in events:
                    self._heard(event_type, subject)
            if events:
                self._seq = events[-1][0]
            self._seen = seen

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            await self.hear()
