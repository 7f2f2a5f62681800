"""Reading the log by its order: what the feed, the audit trail and an export page through."""

import difflib
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Generic, Protocol, TypeVar

import msgspec

from mainspring.kernel.call import Reader
from mainspring.kernel.errors import FieldError, Invalid
from mainspring.kernel.page import PAGE_BYTES_MAX
from mainspring.kernel.service import pattern_covers
from mainspring.kernel.table import Query, Rows

CHUNK_EVENTS = 256  # events in one read, at most
CHUNK_EVENTS_FIRST = 32
CHUNK_BYTES = 1 << 20  # of bodies in one read
TYPES_SUGGESTED_MAX = 5


class LogEntry(msgspec.Struct, frozen=True):
    """An event with its place in the log and the leaf it has in the tree."""

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


class Placed(Protocol):
    """An entry of the log, or an event of a bus, as far as a scan looks at it."""

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

    ``at_end`` says that the log ended there; otherwise there may be more from ``position`` on.
    """

    entries: list[E]
    position: int
    at_end: bool


Source = Callable[[int, int], Awaitable[Rows[E]]]  # entries after an offset, at most so many

_ENTRIES_AFTER = Query(
    "runtime.entries_after",
    "SELECT seq, id, tenant, type, leaf, body FROM events"
    " WHERE seq > :after ORDER BY seq LIMIT :limit",
    LogEntry,
)
ENTRY_BY_ID = Query(
    "runtime.entry_by_id",
    "SELECT COALESCE(seq, 0), id, tenant, type, leaf, body FROM events WHERE id = :id",
    LogEntry,
)


def source_of(reader: Reader) -> Source[LogEntry]:
    """Read straight from the database."""
    return partial(entries_after, reader)


async def entries_after(reader: Reader, after: int, limit: int) -> Rows[LogEntry]:
    """Return the next entries, gapless and in order of ``seq``: a chunk of them."""
    rows = await reader.page(_ENTRIES_AFTER, (after, limit + 1), CHUNK_BYTES)
    return rows if len(rows.items) <= limit else Rows(rows.items[:limit], more=True)


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

    Of what is wanted, ``shown`` says what the reader may have.
    """
    found: list[E] = []
    found_bytes = 0
    position = after
    count = CHUNK_EVENTS_FIRST
    while scanned_max > 0:
        count = min(count, scanned_max)
        entries = await source(position, count)
        for entry in entries.items:
            if wanted(entry) and (shown is None or await shown(entry)):
                found_bytes += len(entry.body.encode())
                if found and found_bytes > PAGE_BYTES_MAX:
                    return Slice(found, position, at_end=False)
                found.append(entry)
            position = entry.offset
            if len(found) == limit:
                return Slice(found, position, not entries.more and entry is entries.items[-1])
        if not entries.more:
            return Slice(found, position, at_end=True)
        scanned_max -= len(entries.items)
        count = min(CHUNK_EVENTS, count * 2)
    return Slice(found, position, at_end=False)


def require_known(patterns: Sequence[str], known: Collection[str], pointer: str) -> None:
    """Raise Invalid, pointing at each pattern that no known type of event fits."""
    faults = tuple(
        FieldError(
            pointer.format(at=at), f"no type of event fits {pattern!r}: {_nearest(pattern, known)}"
        )
        for at, pattern in enumerate(patterns)
        if pattern != "*" and not any(pattern_covers(pattern, name) for name in known)
    )
    if faults:
        raise Invalid("no such type of event", faults=faults)


def _nearest(pattern: str, known: Collection[str]) -> str:
    """Name the types and prefixes that are spelt most like a pattern, or else every service's."""
    prefixes = {".".join([*name.split(".")[:parts], "*"]) for name in known for parts in (1, 2)}
    if near := difflib.get_close_matches(pattern, sorted({*known, *prefixes}), TYPES_SUGGESTED_MAX):
        return f"do you mean {' or '.join(near)}?"
    services = sorted({name.partition(".")[0] + ".*" for name in known})
    return f"there are {', '.join(services)}"
