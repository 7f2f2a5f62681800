"""Catching up: hearing what other processes committed, before anything is done for a caller.

Only where the database sees their commits at once. Who asks pays for a look whether anything was
committed; where something was, its events are read by their place in the log, and told of.
"""

from collections.abc import Callable

from mainspring.kernel import channel
from mainspring.kernel.table import Query
from mainspring.ports.database import Database
from mainspring.runtime.notifier import Notifier, wait
from mainspring.runtime.supervisor import Supervisor
from mainspring.runtime.tables import LAST_SEQ

POLL_S = 1.0  # a wake can be lost
EVENTS_MAX = 4_096  # heard one by one; after more of them, whatever was concluded may be wrong

_SINCE = Query(
    "runtime.events_since",
    "SELECT seq, type, subject FROM logged_events WHERE seq > :after ORDER BY seq LIMIT :limit",
    tuple,
)


class CatchUp:
    """Tells this process of every event, whatever process committed it, before its next call.

    ``heard`` is given the type and the subject of each; ``lost`` is called instead when there are
    too many.
    """

    __slots__ = ("_board", "_database", "_heard", "_lost", "_seq", "_supervisor")

    def __init__(
        self,
        database: Database,
        board: Notifier,
        heard: Callable[[str, str], None],
        lost: Callable[[], None],
    ) -> None:
        self._database = database
        self._board = board
        self._heard = heard
        self._lost = lost
        self._seq = 0
        self._supervisor = Supervisor()

    async def start(self) -> None:
        """Hear of what is committed from now on, also while nobody calls."""
        self._seq = (await self._database.read(LAST_SEQ, ()))[0]
        self._supervisor.start("catching up", self._follow)

    async def stop(self) -> None:
        """Follow no longer."""
        await self._supervisor.stop()

    def __call__(self) -> None:
        """Hear what was committed until now, before this returns. Raises Unavailable."""
        events = self._database.news(_SINCE, (self._seq, EVENTS_MAX))
        if not events:
            return
        self._seq = events[-1][0]
        if len(events) == EVENTS_MAX:
            self._lost()
            return
        for _, event_type, subject in events:
            self._heard(event_type, subject)

    async def _follow(self) -> None:
        with self._board.listen(channel.EVENTS) as signal:
            while True:
                signal.clear()
                self()
                await wait(signal, POLL_S)
