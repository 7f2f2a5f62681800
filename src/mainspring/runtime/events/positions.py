"""Positions in the log as callers hold them: opaque, and good for the log that gave them only.

One holds the id of the database, its epoch, the partition, the offset, and a mark of the event
there. A log that went back has other events at the offsets of those that it lost, and a
reader that went on there would pass them by: its position is told by the event, whoever gave it and
whether anybody has noticed. One that was said to be restored has another epoch too.
"""

import base64
import re

import msgspec

from mainspring.kernel.call import Reader
from mainspring.kernel.errors import Invalid, PositionGone
from mainspring.kernel.event_log import ID_CHARS, LogName, Placed, event_mark
from mainspring.kernel.table import Query
from mainspring.runtime.identity import FIND_IDENTITY
from mainspring.runtime.tables import LAST_SEQ

SEQ_DIGITS_MAX = 18
_POSITION = re.compile(
    r"([0-9a-f]*)\.([0-9]{1,18})\.([0-9]{1,9})\.([0-9]{1,18})(?:\.([0-9a-f]{8}))?"
)
_EVENT_AT = Query("runtime.event_at", "SELECT id FROM logged_events WHERE seq = :seq", str)


class Position(msgspec.Struct, frozen=True):
    """A position as it was written: how the log's id begins, and the mark of the event there."""

    id: str
    epoch: int
    partition: int
    offset: int
    mark: str


def parse_position(cursor: str, pointer: str) -> Position | int:
    """Read a position, or a bare ``seq``. Raises Invalid."""
    if cursor.isascii() and cursor.isdigit() and len(cursor) <= SEQ_DIGITS_MAX:
        return int(cursor)
    found = _POSITION.fullmatch(_decoded(cursor))
    if found is None:
        raise Invalid.at(
            pointer, "is not a position that a page or a stream gave, nor the seq of an event"
        )
    return Position(found[1], int(found[2]), int(found[3]), int(found[4]), found[5] or "")


class Positions:
    """Writes and reads the positions of one database's log."""

    __slots__ = ("_name", "_reader")

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._name: LogName | None = None

    async def name(self) -> LogName:
        """Return which log this is; asked of the database once."""
        if self._name is None:
            rows = await self._reader.read(FIND_IDENTITY, ())
            if not rows:
                return LogName("", 0)
            self._name = LogName(rows[0].id, rows[0].epoch)
        return self._name

    async def write(self, offset: int, after: Placed | None = None) -> str:
        """Write a position for a caller to keep, after this event if it is at hand."""
        event = after.id if after is not None else await self._event_at(offset)
        return (await self.name()).position(offset, event)

    async def read(self, cursor: str | None, pointer: str = "/cursor") -> int:
        """Return the offset of a position, or of a bare ``seq``, which is taken as of this log.

        0 without one. Raises Invalid; PositionGone when it is of another log or epoch, or of an
        event that this log does not have in that place.
        """
        if cursor is None:
            return 0
        found = parse_position(cursor, pointer)
        if isinstance(found, int):
            return found
        name = await self.name()
        if found.id != name.id[:ID_CHARS]:
            raise await self._gone("this position is of another log")
        if found.epoch != name.epoch:
            raise await self._gone("this position is from before the log was restored")
        if found.mark and found.mark != event_mark(await self._event_at(found.offset)):
            await self.require_held(found.offset)
            raise await self._gone(
                f"at {found.offset} the log has another event than the one this position comes "
                "after: it was restored to earlier, and has grown past it since"
            )
        return found.offset

    async def require_held(self, offset: int) -> None:
        """Raise PositionGone when the log does not reach to this offset.

        Nobody was ever given an offset past the end of this log, so it is one of another state of
        it: a reader that waited there would pass by what happens from now on.
        """
        if offset and offset > await self._end():
            raise await self._gone(f"the log ends before {offset}: it was restored to earlier")

    async def require_there(self, event: Placed) -> None:
        """Raise PositionGone when an event that was read is not in its place any more."""
        if await self._event_at(event.offset) != event.id:
            raise await self.fell_back()

    async def fell_back(self) -> PositionGone:
        """Make the failure of who was following the log when it fell back."""
        return await self._gone("the log fell back to an earlier state while it was followed")

    async def _event_at(self, offset: int) -> str:
        """Return the id of the event there; nothing where there is none."""
        rows = await self._reader.read(_EVENT_AT, (offset,)) if offset else ()
        return rows[0] if rows else ""

    async def _end(self) -> int:
        last: int = (await self._reader.read(LAST_SEQ, ()))[0]
        return last

    async def _gone(self, why: str) -> PositionGone:
        last = await self._end()
        position = await self.write(last)
        return PositionGone(
            f"{why}. Read what you hold anew, or go on from the log's end, {last}, with "
            f"after={position}",
            extra={"position": position},
        )


def _decoded(cursor: str) -> str:
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except ValueError:
        return ""
