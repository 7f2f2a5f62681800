"""What a process knows to be lost of the log: it held these events, and they are there no more.

A server took over that lacked commits, or an older copy came back. Nothing inside the database can
tell, since it went back with the rest; a process that lives can, as far as it had read. It says so
until it ends, which is when an operator who has looked starts it again.
"""

from collections.abc import Sequence

import msgspec
import structlog

from mainspring.kernel.metric import Counter
from mainspring.kernel.table import Query
from mainspring.ports.bus import Bus, BusEvent
from mainspring.ports.database import Database
from mainspring.ports.telemetry import Telemetry
from mainspring.runtime.tables import EACH, EACH_POSTGRES

log = structlog.get_logger()

NAMED_MAX = 50  # of the events that are lost, in one line of the log
LOST_EVENTS = Counter(
    "mainspring_log_lost_events_total",
    "Events that this process had read in the log and that are not there any more, as after a "
    "failover to a server that lacked them: what they told of was acknowledged, and is lost.",
)
ADVICE = "stop every process, run mainspring admin restored, and start them again"
_THERE = Query(
    "runtime.events_there",
    f"SELECT id FROM events WHERE id IN ({EACH.format('ids')})",
    str,
    postgres=f"SELECT id FROM events WHERE id = ANY (ARRAY({EACH_POSTGRES.format('ids')}))",
)


class Losses:
    """Hears when the log fell back, and says what of it is lost."""

    __slots__ = ("_count", "_database", "_lost", "_times")

    def __init__(self, database: Database, telemetry: Telemetry) -> None:
        self._database = database
        self._count = telemetry.counter(LOST_EVENTS).of()
        self._lost = 0
        self._times = 0

    async def fell_back(self, _: Bus, held: Sequence[BusEvent], ends_at: int) -> None:
        """Look which events that were read are not there, and log it.

        Where an event is has no part in it: one that the server has, and had not given its place
        yet, is given another and is not lost.
        """
        ids = msgspec.json.encode([event.id for event in held]).decode()
        there = set(await self._database.read(_THERE, (ids,)))
        lost = [event for event in held if event.id not in there]
        self._times += 1
        self._lost += len(lost)
        self._count.add(len(lost))
        log.error(
            "log_fell_back",
            was_at=held[-1].offset if held else None,
            log_ends_at=ends_at,
            lost_known=len(lost),  # what this process has not read it does not know of
            lost=[f"{event.type} {event.id}" for event in lost[:NAMED_MAX]],
            advice=ADVICE,
        )

    def told(self) -> list[str]:
        """Say that the log fell back, since this process began; nothing where it did not."""
        if not self._times:
            return []
        return [f"log: it fell back, and lacks {self._lost} events that were read: {ADVICE}"]
