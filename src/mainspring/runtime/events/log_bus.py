"""The event log as a bus: one partition, whose offset is ``seq``. Nothing is copied to it."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from mainspring.kernel import channel
from mainspring.kernel.clock import epoch_ms
from mainspring.kernel.event import with_seq, without_seq
from mainspring.kernel.table import Query, Rows
from mainspring.ports.bus import BusEvent
from mainspring.ports.database import Database
from mainspring.runtime.events.cursors import PARTITION, SOURCE
from mainspring.runtime.events.log import leaf_of
from mainspring.runtime.notifier import Notifier
from mainspring.runtime.tables import EVENTS, LAST_SEQ, EventRow

_AFTER = Query(
    "runtime.bus_events_after",
    "SELECT seq, id, tenant, type, subject, body FROM logged_events "
    "WHERE seq > :after ORDER BY seq LIMIT :limit",
    tuple,
    long=(False, True, True, True, True, True),
)


class LogBus:
    """Reads the log of a database. An event is on it once it has its ``seq``."""

    __slots__ = ("_board", "_database", "_wake")

    source = SOURCE

    def __init__(self, database: Database, board: Notifier) -> None:
        self._database = database
        self._board = board
        # On SQLite the commit gives ``seq``; elsewhere there is nothing to read before its wake.
        self._wake = channel.EVENTS if database.dialect == "sqlite" else channel.SEQUENCED

    async def open(self) -> None:
        """Nothing to do: whoever opened the database opened it."""

    async def check(self) -> str:
        """Say what it is."""
        return "the log of the database"

    async def close(self) -> None:
        """Nothing to do."""

    def away(self) -> str:
        """Nothing to say: without its database nothing is ready."""
        return ""

    async def partitions(self) -> Sequence[int]:
        """There is one."""
        return (PARTITION,)

    async def begins(self) -> Mapping[int, int]:
        """Return 0: the log holds everything."""
        return {PARTITION: 0}

    async def ends(self) -> Mapping[int, int]:
        """Return the newest ``seq``."""
        return {PARTITION: (await self._database.read(LAST_SEQ, ()))[0]}

    async def read(self, partition: int, after: int, limit: int, bytes_max: int) -> Rows[BusEvent]:
        """Return the next events, gapless and in order of ``seq``."""
        rows = await self._database.page(_AFTER, (after, limit + 1), bytes_max)
        events = [bus_event(*row) for row in rows.items[:limit]]
        return Rows(events, rows.more or len(rows.items) > limit)

    async def publish(self, events: Sequence[BusEvent]) -> None:
        """Add events of another log to this one; those that are in it already stay as they are."""
        rows = [_row(event) for event in events]
        await self._database.commit(
            [EVENTS.insert(row, on_conflict=None) for row in rows], frozenset({channel.EVENTS})
        )

    def listen(self) -> AbstractContextManager[asyncio.Event]:
        """Yield a signal of new places in the log."""
        return self._board.listen(self._wake)


def bus_event(seq: int, id: str, tenant: str, type: str, subject: str, body: str) -> BusEvent:
    """Make an event of its columns in the log."""
    return BusEvent(seq, id, tenant, type, subject, with_seq(body, seq))


def _row(event: BusEvent) -> EventRow:
    envelope = event.envelope
    body = without_seq(event.body, envelope.seq)
    return EventRow(
        event.id,
        event.tenant,
        event.type,
        event.subject,
        epoch_ms(envelope.time),
        leaf_of(body.encode()),
        body,
    )
