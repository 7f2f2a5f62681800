"""The event log of a database, read for services: what fills ``EventLog``, with its SQL."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

import msgspec

from mainspring.kernel.event_log import BusEvent, LogEntry, scan
from mainspring.kernel.table import Query, Rows
from mainspring.ports.database import Database
from mainspring.runtime.audit.merkle_store import Tree
from mainspring.runtime.events.cursors import PARTITION
from mainspring.runtime.events.log_bus import bus_event
from mainspring.runtime.events.positions import Positions
from mainspring.runtime.events.reader import CHUNK_BYTES, SharedReader
from mainspring.runtime.notifier import wait
from mainspring.runtime.tables import LAST_SEQ, both_engines

FOLLOW_EVENTS = 100  # held in memory for one who follows
FOLLOW_SCANNED_MAX = 2_000  # read between two looks at the clock
FOLLOW_POLL_S = 5.0  # a wake can be lost with its connection; the log never is

_ENTRIES_AFTER = Query(
    "runtime.entries_after",
    "SELECT seq, id, tenant, type, leaf, body FROM logged_events"
    " WHERE seq > :after ORDER BY seq LIMIT :limit",
    LogEntry,
)
_ENTRY = Query(
    "runtime.entry_by_id",
    "SELECT COALESCE(seq, 0), id, tenant, type, leaf, body FROM logged_events WHERE id = :id",
    LogEntry,
)
_EVENT_COLUMNS = (False, True, True, True, True, True)
EVENT = Query(
    "runtime.placed_event",
    "SELECT seq, id, tenant, type, subject, body FROM logged_events "
    "WHERE id = :id AND seq IS NOT NULL",
    tuple,
    long=_EVENT_COLUMNS,
)
_EVENTS_MADE = Query(
    "runtime.events_made",
    "SELECT seq, id, tenant, type, subject, body FROM logged_events "
    "WHERE id > :after AND id < :before AND seq IS NOT NULL ORDER BY id LIMIT :limit",
    tuple,
    long=_EVENT_COLUMNS,
)
_PLACES = Query(
    "runtime.places",
    row=tuple,
    long=(True, False),
    **both_engines("SELECT id, seq FROM logged_events WHERE id IN ({each})", listed="ids"),
)


class StoredLog:
    """Reads the log of a database."""

    __slots__ = ("_database", "_reader", "positions")

    def __init__(self, database: Database, reader: SharedReader) -> None:
        self._database = database
        self._reader = reader
        self.positions = Positions(database)

    @property
    def seen(self) -> int:
        """How far this process has read."""
        return self._reader.window(PARTITION).end

    async def end(self) -> int:
        """Return the offset of the newest event."""
        last: int = (await self._database.read(LAST_SEQ, ()))[0]
        return last

    async def events_after(self, offset: int, limit: int) -> Rows[BusEvent]:
        """Return the next events: a chunk of them."""
        await _let_others_run()
        return await self._reader.bus.read(PARTITION, offset, limit, CHUNK_BYTES)

    async def follow(
        self, offset: int, wanted: Callable[[BusEvent], bool]
    ) -> AsyncGenerator[Sequence[BusEvent], None]:
        """Yield wanted events from an offset on, and wait for more at the end.

        Whether the log still has what was yielded, when it falls back, whoever asks with the
        position of that learns.
        """
        window = self._reader.window(PARTITION)
        losses = window.losses

        async def after(position: int, limit: int) -> Rows[BusEvent]:
            await _let_others_run()
            rows = await window.after(position, limit)
            if window.losses != losses:
                raise await self.positions.fell_back()
            return rows

        last: BusEvent | None = None
        with window.listen() as signal:
            while True:
                signal.clear()
                if last is not None and offset < window.begin:  # it reads for itself
                    await self.positions.require_there(last)
                found = await scan(
                    after,
                    offset,
                    limit=FOLLOW_EVENTS,
                    scanned_max=FOLLOW_SCANNED_MAX,
                    wanted=wanted,
                )
                if found.entries:
                    yield found.entries
                offset, last = found.position, found.last or last
                if offset > window.end:  # it has not read that far yet, or the log fell back
                    await self.positions.require_held(offset)
                if found.at_end and not await wait(signal, FOLLOW_POLL_S):
                    window.look_again()

    async def event(self, event_id: str) -> BusEvent | None:
        """Return an event that has its place in the log."""
        rows = await self._database.read(EVENT, (event_id,))
        return bus_event(*rows[0]) if rows else None

    async def events_made(self, after: str, before: str, limit: int) -> Rows[BusEvent]:
        """Return placed events with ids between two, in the order of their ids."""
        await _let_others_run()
        values = (after, before, limit + 1)
        rows = await self._database.page(_EVENTS_MADE, values, CHUNK_BYTES)
        events = [bus_event(*row) for row in rows.items[:limit]]
        return Rows(events, rows.more or len(rows.items) > limit)

    async def places(self, event_ids: Sequence[str]) -> Mapping[str, int | None]:
        """Return the offsets of events by id: None has no place yet, absent is not in the log."""
        ids = msgspec.json.encode(event_ids).decode()
        return dict(await self._database.read(_PLACES, (ids,)))

    async def entry(self, event_id: str) -> LogEntry | None:
        """Return an event as it was hashed."""
        rows = await self._database.read(_ENTRY, (event_id,))
        return rows[0] if rows else None

    async def entries_after(self, offset: int, limit: int) -> Rows[LogEntry]:
        """Return the next events as they were hashed, gapless: a chunk of them."""
        await _let_others_run()
        rows = await self._database.page(_ENTRIES_AFTER, (offset, limit + 1), CHUNK_BYTES)
        return rows if len(rows.items) <= limit else Rows(rows.items[:limit], more=True)

    def tree(self) -> Tree:
        """Return the Merkle tree over the log, for one request or pass."""
        return Tree(self._database)


async def _let_others_run() -> None:
    """Suspend once: where no read waits for anything, a long log would stop the whole process."""
    await asyncio.sleep(0)
