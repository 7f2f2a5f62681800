"""Reading the log by its order: what the feed, the audit trail and an export page through."""

from collections.abc import Callable, Sequence

import msgspec

from mainspring.kernel.call import Reader
from mainspring.kernel.cel import Names, Type
from mainspring.kernel.errors import Fault, Invalid
from mainspring.kernel.table import Query

CHUNK_EVENTS = 256  # events in one read, at most
CHUNK_EVENTS_FIRST = 32
CHUNK_BYTES = 1 << 20  # of bodies in one read, aimed at: a chunk that was larger halves the next
PAGE_BYTES_MAX = 4 << 20  # of bodies on one page, one event more than that at most
SEQ_DIGITS_MAX = 18

# What a filter over events may name. Personal fields are sealed to it: no filter finds them out.
EVENT_NAMES = Names(
    record={
        "id": Type.TEXT,
        "type": Type.TEXT,
        "source": Type.TEXT,
        "subject": Type.TEXT,
        "time": Type.TIME,
        "actor": Type.TEXT,
        "correlationid": Type.TEXT,
        "causationid": Type.TEXT,
        "seq": Type.INT,
        "data": Type.JSON,
    }
)


class LogEntry(msgspec.Struct, frozen=True):
    """An event with its place in the log and the leaf it has in the tree."""

    seq: int
    id: str
    tenant: str
    type: str
    leaf: bytes
    body: str


class Slice(msgspec.Struct, frozen=True):
    """Some wanted entries, and how far the log was read to find them.

    ``at_end`` says that the log ended there; otherwise there may be more from ``position`` on.
    """

    entries: list[LogEntry]
    position: int
    at_end: bool


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


async def entries_after(reader: Reader, after: int, limit: int) -> list[LogEntry]:
    """Return the next entries, gapless and in order of ``seq``."""
    return await reader.read(_ENTRIES_AFTER, (after, limit))


async def scan(
    reader: Reader,
    after: int,
    *,
    limit: int,
    scanned_max: int,
    wanted: Callable[[LogEntry], bool],
) -> Slice:
    """Find up to ``limit`` wanted entries after ``after``, reading at most ``scanned_max``."""
    found: list[LogEntry] = []
    found_bytes = 0
    position = after
    count = CHUNK_EVENTS_FIRST
    while scanned_max > 0:
        count = min(count, scanned_max)
        entries = await entries_after(reader, position, count)
        for entry in entries:
            position = entry.seq
            if wanted(entry):
                found.append(entry)
                found_bytes += len(entry.body)
                if len(found) == limit or found_bytes > PAGE_BYTES_MAX:
                    at_end = entry is entries[-1] and len(entries) < count
                    return Slice(found, position, at_end)
        if len(entries) < count:
            return Slice(found, position, at_end=True)
        scanned_max -= count
        count = next_count(entries)
    return Slice(found, position, at_end=False)


def next_count(entries: Sequence[LogEntry]) -> int:
    """Return how many events to read next, from how large the last chunk was."""
    if sum(len(entry.body) for entry in entries) > CHUNK_BYTES:
        return max(1, len(entries) // 2)
    return min(CHUNK_EVENTS, len(entries) * 2)


def read_cursor(cursor: str | None, pointer: str = "/cursor") -> int:
    """Read where a page starts: a ``seq``, which is what a ``next_cursor`` is. Raises Invalid."""
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > SEQ_DIGITS_MAX:
        raise Invalid(faults=(Fault(pointer, "a seq, or the next_cursor of a page before"),))
    return int(cursor)
