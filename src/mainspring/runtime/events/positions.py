"""Positions in the log as callers hold them: opaque, and good for the log that gave them only.

One holds the id of the database, its epoch, the partition and the offset. A database that was
restored has another epoch: what happened since has the offsets of what is gone, and a reader that
went on there would pass it by.
"""

import base64
import re

import msgspec

from mainspring.kernel.call import Reader
from mainspring.kernel.errors import Invalid, PositionGone
from mainspring.kernel.event_log import ID_CHARS, LogName
from mainspring.runtime.identity import FIND_IDENTITY
from mainspring.runtime.tables import LAST_SEQ

SEQ_DIGITS_MAX = 18
_POSITION = re.compile(r"([0-9a-f]*)\.([0-9]{1,18})\.([0-9]{1,9})\.([0-9]{1,18})")


class Position(msgspec.Struct, frozen=True):
    """A position as it was written; ``id`` is how the log's begins."""

    id: str
    epoch: int
    partition: int
    offset: int


def parse_position(cursor: str, pointer: str) -> Position | int:
    """Read a position, or a bare ``seq``. Raises Invalid."""
    if cursor.isascii() and cursor.isdigit() and len(cursor) <= SEQ_DIGITS_MAX:
        return int(cursor)
    found = _POSITION.fullmatch(_decoded(cursor))
    if found is None:
        raise Invalid.at(
            pointer, "is not a position that a page or a stream gave, nor the seq of an event"
        )
    return Position(found[1], int(found[2]), int(found[3]), int(found[4]))


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

    async def read(self, cursor: str | None, pointer: str = "/cursor") -> int:
        """Return the offset of a position, or of a bare ``seq``, which is taken as of this log.

        0 without one. Raises Invalid, and PositionGone when it is of another log or epoch.
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
        return found.offset

    async def require_held(self, offset: int) -> None:
        """Raise PositionGone when the log does not reach to this offset.

        Nobody was ever given an offset past the end of this log, so it is one of another state of
        it: a reader that waited there would pass by what happens from now on.
        """
        if offset and offset > await self._end():
            raise await self._gone(f"the log ends before {offset}: it was restored to earlier")

    async def _end(self) -> int:
        last: int = (await self._reader.read(LAST_SEQ, ()))[0]
        return last

    async def _gone(self, why: str) -> PositionGone:
        last = await self._end()
        position = (await self.name()).position(last)
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
