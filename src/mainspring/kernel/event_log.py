"""The event log, as services read it: a page, one event, or everything from a place on."""

import base64
import difflib
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Hashable,
    Mapping,
    Sequence,
)
from hashlib import blake2b
from typing import Generic, Protocol, TypeVar

import msgspec

from mainspring.kernel.call import Call
from mainspring.kernel.errors import FieldError, Invalid
from mainspring.kernel.event import Envelope
from mainspring.kernel.merkle import MerkleTree
from mainspring.kernel.operation import StreamItem
from mainspring.kernel.page import PAGE_BYTES_MAX
from mainspring.kernel.service import pattern_covers
from mainspring.kernel.table import Rows

CHUNK_EVENTS = 256  # events in one read, at most
CHUNK_EVENTS_FIRST = 32
SCANNED_BYTES_MAX = 32 << 20  # of bodies in one scan, found or passed by
TYPES_SUGGESTED_MAX = 5
ID_CHARS = 12  # of the database's id: enough to tell logs apart
EVENT_BYTES = 4  # of a digest of an event's id: enough to tell apart what was in one place

_decode = msgspec.json.Decoder(Envelope).decode


class BusEvent:
    """An event at its place in a partition. ``body`` is its CloudEvents JSON as readers see it.

    It is decoded when somebody first asks for its ``envelope``, once for all who hold it.
    """

    __slots__ = ("_envelope", "body", "id", "offset", "subject", "tenant", "type")

    def __init__(
        self, offset: int, id: str, tenant: str, type: str, subject: str, body: str
    ) -> None:
        self.offset = offset
        self.id = id
        self.tenant = tenant
        self.type = type
        self.subject = subject
        self.body = body
        self._envelope: Envelope | None = None

    @property
    def envelope(self) -> Envelope:
        """The event as a struct. Raises msgspec.ValidationError when the body is none."""
        if self._envelope is None:
            self._envelope = _decode(self.body)
        return self._envelope

    @property
    def key(self) -> str:
        """What it is partitioned by: events of one key keep their order."""
        return self.envelope.partitionkey or self.subject


class LogEntry(msgspec.Struct, frozen=True):
    """An event as it was hashed, with its place in the log and the leaf it has in the tree.

    ``seq`` is 0 while it has no place yet.
    """

    seq: int
    id: str
    tenant: str
    type: str
    leaf: bytes
    body: str

    @property
    def offset(self) -> int:
        """Its place on the bus that the log is."""
        return self.seq


class LogName(msgspec.Struct, frozen=True):
    """Which log it is, and how often it went back."""

    id: str
    epoch: int

    def position(self, offset: int, event_id: str = "", partition: int = 0) -> str:
        """Write a position for a caller to keep. It names the event that it comes after."""
        text = f"{self.id[:ID_CHARS]}.{self.epoch}.{partition}.{offset}"
        if event_id:
            text += f".{event_mark(event_id)}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def event_mark(event_id: str) -> str:
    """Return what a position says of an event: not its id, for its reader may not know of it."""
    return blake2b(event_id.encode(), digest_size=EVENT_BYTES).hexdigest()


class LogPositions(Protocol):
    """Places in the log as callers hold them: opaque, and good for the log that gave them only."""

    async def name(self) -> LogName:
        """Return which log this is; it writes positions."""
        ...

    async def write(self, offset: int, after: "Placed | None" = None) -> str:
        """Write a position for a caller to keep, after this event if it is at hand."""
        ...

    async def read(self, cursor: str | None, pointer: str = "/cursor") -> int:
        """Return the offset of a position, or of a bare ``seq``, which is taken as of this log.

        0 without one. Raises Invalid; PositionGone when it is of another log or epoch, or of an
        event that this log does not have in that place.
        """
        ...

    async def require_held(self, offset: int) -> None:
        """Raise PositionGone when the log does not reach to this offset."""
        ...


class Audience(Protocol):
    """What its followers want of the log and may have of it: the same for all with one ``key``.

    ``call`` is by whoever they are, and reads for them.
    """

    @property
    def key(self) -> Hashable:
        """What followers have in common: credential, caller and what they ask for."""
        ...

    @property
    def call(self) -> Call:
        """The call that judges."""
        ...

    def wanted(self, event: BusEvent) -> bool:
        """Tell whether this event is asked for, whoever asks."""
        ...

    def shows(self, event: BusEvent) -> bool | None:
        """Tell at once whether it has a wanted event as it stands in the log; None: it cannot."""
        ...

    async def item(self, event: BusEvent) -> StreamItem | None:
        """Return a wanted event as it is to see it; None where it has nothing of it."""
        ...


class LogFollower(Protocol):
    """One who follows the log. Raises PositionGone once the log does not hold what it was given."""

    async def read(self, wanted: Callable[[BusEvent], bool]) -> "Slice[BusEvent]":
        """Return the next wanted events, a few at a time; none are left where it is ``at_end``."""
        ...

    async def more(self) -> None:
        """Return once there is more to be read."""
        ...

    async def listen(self, audience: Audience) -> None:
        """Have what comes pushed to the recipient of the audience's call, until it takes no more.

        Each event is judged once for all of an audience. It returns where there is something to be
        read again: the recipient pulls, is slow, or may not be who it was.
        """
        ...


class EventLog(Protocol):
    """The event log of one database, to read. Handlers reach it with ``call.use``.

    Offsets grow in the order of the log, and every read of a chunk lets others run first. It shows
    everything: what a caller may have of it, ``Visibility`` says.
    """

    @property
    def positions(self) -> LogPositions:
        """Reads and writes offsets as callers hold them."""
        ...

    @property
    def seen(self) -> int:
        """How far this process has read: everything up to there is committed, and readable."""
        ...

    async def end(self) -> int:
        """Return the offset of the newest event, 0 where there was none."""
        ...

    async def committed(self) -> int:
        """Return an offset that holds, or comes after, all that was committed before this.

        It waits for events that have no place yet: whoever asks says for how long.
        """
        ...

    async def taken(self, consumer: str, prefix: str, offset: int) -> bool:
        """Tell whether a consumer has taken all events up to there of types that begin so.

        False too where that would take long to find out.
        """
        ...

    async def events_after(self, offset: int, limit: int) -> Rows[BusEvent]:
        """Return the next events: a chunk of them."""
        ...

    def follow(self, offset: int) -> LogFollower:
        """Return one who follows the log from an offset on, at its own pace.

        What is new is read once for all who follow; nothing is queued for one who is slow.
        """
        ...

    async def event(self, event_id: str) -> BusEvent | None:
        """Return an event that has its place in the log."""
        ...

    async def before(self, event: BusEvent, prefix: str) -> BusEvent | None:
        """Return the event before this one with its subject, of a type that begins so."""
        ...

    async def last_about(self, call: Call, subject: str, prefix: str) -> Envelope | None:
        """Return the newest event about something, of a type that begins so.

        It is read with the call's other reads, and need not have its place in the log yet.
        """
        ...

    async def events_made(self, after: str, before: str, limit: int) -> Rows[BusEvent]:
        """Return placed events with ids between two, in the order of their ids.

        Ids are made in the order of time, so a window of time is a range of them.
        """
        ...

    async def places(self, event_ids: Sequence[str]) -> Mapping[str, int | None]:
        """Return the offsets of events by id: None has no place yet, absent is not in the log."""
        ...

    async def entry(self, event_id: str) -> LogEntry | None:
        """Return an event as it was hashed."""
        ...

    async def entries_after(self, offset: int, limit: int) -> Rows[LogEntry]:
        """Return the next events as they were hashed, gapless: a chunk of them."""
        ...

    def tree(self) -> MerkleTree:
        """Return the Merkle tree over the log, for one request or pass."""
        ...


class Placed(Protocol):
    """An entry of the log, or an event of a bus, as far as a scan looks at it."""

    @property
    def id(self) -> str:
        """The event's id."""
        ...

    @property
    def offset(self) -> int:
        """Its place."""
        ...

    @property
    def body(self) -> str:
        """Its JSON."""
        ...


E = TypeVar("E", bound=Placed)


class Slice(msgspec.Struct, Generic[E], frozen=True):
    """Some wanted entries, and how far the log was read to find them.

    ``last`` is the entry at ``position``, None where nothing was read. ``at_end`` says that the log
    ended there; otherwise there may be more from ``position`` on.
    """

    entries: list[E]
    position: int
    at_end: bool
    last: E | None = None


Source = Callable[[int, int], Awaitable[Rows[E]]]  # entries after an offset, at most so many


async def scan(
    source: Source[E],
    after: int,
    *,
    limit: int,
    scanned_max: int,
    wanted: Callable[[E], bool],
    shown: Callable[[E], Awaitable[bool]] | None = None,
) -> Slice[E]:
    """Find up to ``limit`` wanted entries after ``after``, reading at most ``scanned_max``.

    Of what is wanted, ``shown`` says what the reader may have. It stops after the chunk that comes
    to SCANNED_BYTES_MAX too, however little it found.
    """
    found: list[E] = []
    found_bytes = 0
    position, last = after, None
    count = CHUNK_EVENTS_FIRST
    bytes_left = SCANNED_BYTES_MAX
    while scanned_max > 0 and bytes_left > 0:
        count = min(count, scanned_max)
        entries = await source(position, count)
        for entry in entries.items:
            bytes_left -= len(entry.body)
            if wanted(entry) and (shown is None or await shown(entry)):
                found_bytes += len(entry.body.encode())
                if found and found_bytes > PAGE_BYTES_MAX:
                    return Slice(found, position, at_end=False, last=last)
                found.append(entry)
            position, last = entry.offset, entry
            if len(found) == limit:
                at_end = not entries.more and entry is entries.items[-1]
                return Slice(found, position, at_end, last)
        if not entries.more:
            return Slice(found, position, at_end=True, last=last)
        scanned_max -= len(entries.items)
        count = min(CHUNK_EVENTS, count * 2)
    return Slice(found, position, at_end=False, last=last)


class Followed(msgspec.Struct, frozen=True):
    """An event as it came, and the position to go on from after it."""

    event: Envelope
    position: str


async def follow_events(
    call: Call, *kinds: type, subject: str | None = None, after: str | None = None
) -> AsyncIterator[Followed]:
    """Yield events of these kinds, each when it has its place in the log: for an app's own streams.

    ``kinds`` are the structs of their data; none means all. ``after`` is the position of one that
    came before, else only what is still to come is told. It waits without asking again and
    again, and holds a few events at most, whoever is slow. It shows everything: what the caller
    of a stream may see is for the stream to say. Raises Invalid, and PositionGone.
    """
    log, tenant = call.use(EventLog), call.tenant
    types = {call.event_type(kind).name for kind in kinds}

    def wanted(event: BusEvent) -> bool:
        return (
            event.tenant == tenant
            and (not types or event.type in types)
            and subject in (None, event.subject)
        )

    offset = await log.end() if after is None else await log.positions.read(after, "/after")
    follower = log.follow(offset)
    while True:
        found = await follower.read(wanted)
        for event in found.entries:
            yield Followed(event.envelope, await log.positions.write(event.offset, event))
        if found.at_end:
            await follower.more()


def require_known(patterns: Sequence[str], known: Collection[str], pointer: str) -> None:
    """Raise Invalid, pointing at each pattern that no known type of event fits."""
    errors = tuple(
        FieldError(
            pointer.format(at=at), f"no type of event fits {pattern!r}: {_nearest(pattern, known)}"
        )
        for at, pattern in enumerate(patterns)
        if pattern != "*" and not any(pattern_covers(pattern, name) for name in known)
    )
    if errors:
        raise Invalid("no such type of event", errors=errors)


def _nearest(pattern: str, known: Collection[str]) -> str:
    """Name the types and prefixes that are spelt most like a pattern, or else every service's."""
    prefixes = {".".join([*name.split(".")[:parts], "*"]) for name in known for parts in (1, 2)}
    if near := difflib.get_close_matches(pattern, sorted({*known, *prefixes}), TYPES_SUGGESTED_MAX):
        return f"do you mean {' or '.join(near)}?"
    services = sorted({name.partition(".")[0] + ".*" for name in known})
    return f"there are {', '.join(services)}"
