"""The inbox: which events of a bus that may repeat them a consumer has taken already.

A row is committed with the effects. For the log of the database the cursor says as much, and there
is no inbox. A row is kept as long as a bus may still give its event again, and then swept.
"""

from collections.abc import Sequence

import msgspec

from mainspring.kernel.clock import Clock
from mainspring.kernel.errors import Rerun
from mainspring.kernel.table import Query, Statement, Table, Write
from mainspring.ports.bus import BusEvent
from mainspring.ports.database import Database
from mainspring.runtime.tables import both_engines

KEPT_MS = 7 * 24 * 3600 * 1000  # a publisher that was away for longer may have effects repeated
SWEPT_MAX = 1_000  # rows in one commit
SWEEP_EVERY_MS = 60_000

_FIND_SEEN = Query(
    "runtime.inbox_seen",
    row=str,
    **both_engines(
        "SELECT event_id FROM inbox WHERE consumer = :consumer AND source = :source "
        "AND event_id IN ({each})",
        listed="ids",
    ),
)
_SWEEP = Statement(
    "runtime.sweep_inbox",
    "DELETE FROM inbox WHERE (consumer, source, event_id) IN (SELECT consumer, source, event_id "
    "FROM inbox WHERE taken_ms < :before_ms ORDER BY taken_ms LIMIT :limit)",
)


class InboxRow(msgspec.Struct, frozen=True):
    """An event that a consumer has taken, with its effects."""

    consumer: str
    source: str
    event_id: str
    taken_ms: int


INBOX = Table("inbox", InboxRow, key=("consumer", "source", "event_id"))


class Inbox:
    """The inboxes of consumers for one source."""

    __slots__ = ("_clock", "_database", "_source", "_swept_ms")

    def __init__(self, database: Database, source: str, clock: Clock) -> None:
        self._database = database
        self._source = source
        self._clock = clock
        self._swept_ms = 0

    async def unseen(self, consumer: str, events: Sequence[BusEvent]) -> list[BusEvent]:
        """Return the events that the consumer has not taken, each once and in order."""
        first = {event.id: event for event in reversed(events)}
        ids = msgspec.json.encode(list(first)).decode()
        seen = set(await self._database.read(_FIND_SEEN, (consumer, self._source, ids)))
        return [e for e in events if first[e.id] is e and e.id not in seen]

    def notes(self, consumer: str, events: Sequence[BusEvent]) -> list[Write]:
        """Return the writes that note events as taken, and now and then a sweep of old ones.

        They raise Rerun when another partition brought one of them meanwhile.
        """
        now_ms = self._clock.now_ms()
        notes: list[Write] = [
            INBOX.insert(InboxRow(consumer, self._source, event.id, now_ms), on_conflict=Rerun)
            for event in events
        ]
        if now_ms - self._swept_ms >= SWEEP_EVERY_MS:
            self._swept_ms = now_ms
            notes.insert(0, _SWEEP(before_ms=now_ms - KEPT_MS, limit=SWEPT_MAX))
        return notes
