"""The event log of a database, read for services: what fills ``EventLog``, with its SQL."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from mainspring.kernel.call import Call
from mainspring.kernel.event import Envelope, envelope
from mainspring.kernel.event_log import Audience, BusEvent, LogEntry, Slice, scan
from mainspring.kernel.recipient import Pulling
from mainspring.kernel.table import Query, Rows
from mainspring.ports.database import Database
from mainspring.runtime.audit.merkle_store import Tree
from mainspring.runtime.events.audiences import POLL_S, Audiences
from mainspring.runtime.events.cursors import PARTITION
from mainspring.runtime.events.log_bus import bus_event
from mainspring.runtime.events.positions import Positions
from mainspring.runtime.events.reader import CHUNK_BYTES, SharedReader, Window
from mainspring.runtime.events.sequencer import WAITS
from mainspring.runtime.notifier import wait
from mainspring.runtime.tables import LAST_SEQ, both_engines

PLACE_POLL_S = 0.005  # while what was committed has no place yet; the sequencer takes about as long
TAKEN_SCANNED_MAX = 20_000  # events behind a consumer's place in the log
FOLLOW_EVENTS = 100  # held in memory for one who follows
FOLLOW_SCANNED_MAX = 2_000  # read between two looks at the clock

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
_EVENT_BEFORE = Query(
    "runtime.event_before",
    "SELECT seq, id, tenant, type, subject, body FROM events WHERE subject = :subject "
    "AND tenant = :tenant AND seq < :seq AND substr(type, 1, :length) = :prefix "
    "ORDER BY seq DESC LIMIT 1",
    tuple,
    long=_EVENT_COLUMNS,
    postgres="SELECT places.seq, e.id, e.tenant, e.type, e.subject, e.body FROM events AS e "
    "JOIN event_places AS places ON places.ordinal = e.ordinal WHERE e.subject = :subject "
    "AND e.tenant = :tenant "
    "AND e.ordinal < (SELECT at.ordinal FROM event_places AS at WHERE at.seq = :seq) "
    "AND substr(e.type, 1, :length) = :prefix ORDER BY e.ordinal DESC LIMIT 1",
)
_LAST_ABOUT = Query(
    "runtime.last_about",
    "SELECT body FROM events WHERE subject = :subject AND tenant = :tenant "
    "AND substr(type, 1, :length) = :prefix ORDER BY seq DESC LIMIT 1",
    str,
    postgres="SELECT body FROM events WHERE subject = :subject AND tenant = :tenant "
    "AND substr(type, 1, :length) = :prefix ORDER BY ordinal DESC LIMIT 1",
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
_PLACE_OF = Query(
    "runtime.place_of_consumer",
    "SELECT position FROM consumer_cursors "
    "WHERE consumer = :consumer AND source = 'log' AND partition = 0",
    int,
)
_NOT_TAKEN = Query(
    "runtime.not_taken",
    "SELECT 1 FROM logged_events AS e WHERE e.seq > :place AND e.seq <= :offset "
    "AND substr(e.type, 1, :length) = :prefix AND NOT EXISTS "
    "(SELECT 1 FROM inbox WHERE consumer = :consumer AND event_id = e.id) LIMIT 1",
    int,
)


class StoredLog:
    """Reads the log of a database."""

    __slots__ = ("_audiences", "_database", "_reader", "positions")

    def __init__(self, database: Database, reader: SharedReader) -> None:
        self._database = database
        self._reader = reader
        self.positions = Positions(database)
        self._audiences = Audiences(self._window, self.positions)

    def _window(self) -> Window:
        return self._reader.window(PARTITION)

    @property
    def seen(self) -> int:
        """How far this process has read."""
        return self._window().end

    async def end(self) -> int:
        """Return the offset of the newest event."""
        last: int = (await self._database.read(LAST_SEQ, ()))[0]
        return last

    async def committed(self) -> int:
        """Return an offset that holds, or comes after, all that was committed before this."""
        if self._database.dialect == "postgres":
            waiting = (await self._database.read(WAITS, ()))[0]
            newest = waiting.newest
            while waiting.oldest is not None and waiting.oldest <= newest:
                await asyncio.sleep(PLACE_POLL_S)
                waiting = (await self._database.read(WAITS, ()))[0]
        return await self.end()

    async def taken(self, consumer: str, prefix: str, offset: int) -> bool:
        """Tell whether a consumer has taken all events up to there of types that begin so."""
        places = await self._database.read(_PLACE_OF, (consumer,))
        place = places[0] if places else 0
        if place >= offset or offset - place > TAKEN_SCANNED_MAX:
            return bool(place >= offset)
        values = _NOT_TAKEN.sql.bind(
            {
                "place": place, "offset": offset, "consumer": consumer,
                "prefix": prefix, "length": len(prefix),
            }
        )  # fmt: skip
        return not await self._database.read(_NOT_TAKEN, values)

    async def events_after(self, offset: int, limit: int) -> Rows[BusEvent]:
        """Return the next events: a chunk of them."""
        await _let_others_run()
        return await self._reader.bus.read(PARTITION, offset, limit, CHUNK_BYTES)

    def follow(self, offset: int) -> "_Follower":
        """Return one who follows the log from an offset on, at its own pace."""
        return _Follower(self._window(), self.positions, self._audiences, offset)

    async def event(self, event_id: str) -> BusEvent | None:
        """Return an event that has its place in the log."""
        rows = await self._database.read(EVENT, (event_id,))
        return bus_event(*rows[0]) if rows else None

    async def before(self, event: BusEvent, prefix: str) -> BusEvent | None:
        """Return the event before this one with its subject, of a type that begins so."""
        values = _EVENT_BEFORE.sql.bind(
            {
                "subject": event.subject, "tenant": event.tenant, "seq": event.offset,
                "prefix": prefix, "length": len(prefix),
            }
        )  # fmt: skip
        rows = await self._database.read(_EVENT_BEFORE, values)
        return bus_event(*rows[0]) if rows else None

    async def last_about(self, call: Call, subject: str, prefix: str) -> Envelope | None:
        """Return the newest event about something, placed or not, of a type that begins so."""
        body = await call.find(
            _LAST_ABOUT, subject=subject, tenant=call.tenant, prefix=prefix, length=len(prefix)
        )
        return None if body is None else envelope(body)

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


class _Follower:
    """One who follows the log: it reads up to the end, and then listens.

    Whether the log still has what it was given, when it falls back, whoever asks with the position
    of that learns.
    """

    __slots__ = ("_audiences", "_last", "_losses", "_offset", "_positions", "_window")

    def __init__(
        self, window: Window, positions: Positions, audiences: Audiences, offset: int
    ) -> None:
        self._window = window
        self._losses = window.losses
        self._positions = positions
        self._audiences = audiences
        self._offset = offset
        self._last: BusEvent | None = None

    async def read(self, wanted: Callable[[BusEvent], bool]) -> Slice[BusEvent]:
        """Return the next wanted events, a few at a time; none are left where it is at the end."""
        if self._last is not None and self._offset < self._window.begin:  # it reads for itself
            await self._positions.require_there(self._last)
        found = await scan(
            self._after,
            self._offset,
            limit=FOLLOW_EVENTS,
            scanned_max=FOLLOW_SCANNED_MAX,
            wanted=wanted,
        )
        self._offset, self._last = found.position, found.last or self._last
        if self._offset > self._window.end:  # it has not read that far yet, or the log fell back
            await self._positions.require_held(self._offset)
        return found

    async def _after(self, offset: int, limit: int) -> Rows[BusEvent]:
        await _let_others_run()
        rows = await self._window.after(offset, limit)
        if self._window.losses != self._losses:
            raise await self._positions.fell_back()
        return rows

    async def more(self) -> None:
        """Return once there is more to be read."""
        with self._window.listen() as signal:
            signal.clear()
            while not (await self._after(self._offset, 1)).items:
                if not await wait(signal, POLL_S):
                    self._window.look_again()
                signal.clear()

    async def listen(self, audience: Audience) -> None:
        """Have what comes pushed to the recipient of the call, until it takes no more."""
        recipient = audience.call.recipient or Pulling()
        self._offset = await self._audiences.attend(audience, recipient, self._offset)
        self._last = None


async def _let_others_run() -> None:
    """Suspend once: where no read waits for anything, a long log would stop the whole process."""
    await asyncio.sleep(0)
