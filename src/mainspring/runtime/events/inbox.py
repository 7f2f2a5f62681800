"""The inbox: what a consumer has taken from a bus that is not the log, by its place in the log.

A row is committed with the effects, and says so whichever bus brings the event again: one that
repeats it, or the one that is followed next. What a consumer has taken without a gap is its place
in the log, the position of its cursor there; rows before that say nothing more and are swept.
"""

from collections.abc import Mapping, Sequence

import msgspec

from mainspring.kernel.errors import Rerun
from mainspring.kernel.table import Query, Statement, Table, Write
from mainspring.ports.bus import Bus, BusEvent
from mainspring.ports.database import NO_WAKES, Database, DatabaseTransaction, Wakes
from mainspring.runtime.events.cursors import Cursors, publisher_of
from mainspring.runtime.tables import both_engines

SWEPT_MAX = 1_000  # rows in one commit
SWEEP_EVERY_S = 60.0
NO_PLACE = (1 << 63) - 1  # of an event that is not from the log: it is never swept

_FIND_SEEN = Query(
    "runtime.inbox_seen",
    row=str,
    **both_engines(
        "SELECT event_id FROM inbox WHERE consumer = :consumer AND event_id IN ({each})",
        listed="ids",
    ),
)
_LAST = Query(
    "runtime.inbox_last", "SELECT COALESCE(MAX(seq), 0) FROM inbox WHERE consumer = :consumer", int
)
SWEEP_INBOX = Statement(
    "runtime.sweep_inbox",
    **both_engines(
        "DELETE FROM inbox WHERE consumer = :consumer AND event_id {among}SELECT event_id "
        "FROM inbox WHERE consumer = :consumer AND seq <= :place ORDER BY seq LIMIT :limit"
        "{chosen} RETURNING 1"
    ),
)


class InboxRow(msgspec.Struct, frozen=True):
    """An event that a consumer has taken, with its effects."""

    consumer: str
    event_id: str
    seq: int


INBOX = Table("inbox", InboxRow, key=("consumer", "event_id"))


class _Mark(msgspec.Struct, frozen=True):
    """Everything in the log up to ``place`` is on the bus before these ends."""

    place: int
    ends: Mapping[int, int]


class Inbox:
    """The inboxes of consumers that follow a bus other than the log, or did so before."""

    __slots__ = ("_bus", "_cursors", "_database", "_marks")

    def __init__(self, database: Database, bus: Bus, cursors: Cursors) -> None:
        self._database = database
        self._bus = bus
        self._cursors = cursors
        self._marks: dict[str, _Mark] = {}

    async def unseen(self, consumer: str, events: Sequence[BusEvent]) -> list[BusEvent]:
        """Return the events that the consumer has not taken, each once and in order."""
        first = {event.id: event for event in reversed(events)}
        ids = msgspec.json.encode(list(first)).decode()
        seen = set(await self._database.read(_FIND_SEEN, (consumer, ids)))
        # Read after the inbox: what was swept out of it meanwhile is before this place.
        place = await self._cursors.place_in_log(consumer)
        return [e for e in events if first[e.id] is e and e.id not in seen and _seq(e) > place]

    async def last(self, consumer: str) -> int:
        """Return the newest place in the log of what is in the consumer's inbox, 0 for none."""
        return (await self._database.read(_LAST, (consumer,)))[0]

    def notes(self, consumer: str, events: Sequence[BusEvent]) -> list[Write]:
        """Return the writes that note events as taken.

        They raise Rerun when another partition brought one of them meanwhile.
        """
        return [
            INBOX.insert(InboxRow(consumer, event.id, _seq(event)), on_conflict=Rerun)
            for event in events
        ]

    async def sweep(self, consumer: str) -> None:
        """Move the consumer's place in the log on where it can be, and forget what is before it.

        What was published when a bus ended somewhere was taken once the cursors are past those
        ends, in however many partitions.
        """
        if (mark := self._marks.get(consumer)) is not None:
            positions = await self._cursors.positions(consumer, self._bus.source)
            if all(positions.get(number, -1) >= end for number, end in mark.ends.items()):
                await self._cursors.advance_place_in_log(consumer, mark.place)
                mark = None
        if mark is None:
            place = await self._cursors.place_in_log(publisher_of(self._bus.source))
            # Read after the place, so that what was published before it is before these ends.
            self._marks[consumer] = _Mark(place, await self._bus.ends())
        await self.forget(consumer)

    async def forget(self, consumer: str) -> None:
        """Forget what is before the consumer's place in the log."""
        place = await self._cursors.place_in_log(consumer)
        sweep = SWEEP_INBOX(consumer=consumer, place=place, limit=SWEPT_MAX)
        swept = SWEPT_MAX

        async def body(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
            nonlocal swept
            swept = len(await transaction.execute(sweep))
            return (), NO_WAKES

        while swept == SWEPT_MAX:
            await self._database.transact(body)


def _seq(event: BusEvent) -> int:
    return event.envelope.seq or NO_PLACE
