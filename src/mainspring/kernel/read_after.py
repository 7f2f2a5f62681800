"""What a caller says of how new its reads have to be: ``Read-After``, and what is answered so.

A position is where the log of the database's server was when a write had been committed. It holds
no secret: one that is made up leads to rows that are as old as those of ``any``, or to the newest.
"""

import re

import msgspec

from mainspring.kernel.errors import Malformed

ANY = "any"  # as old as the platform's bound lets it be
NEWEST = "newest"  # as whoever says nothing is answered
_POSITION = re.compile(r"([0-9a-f]{8})-([0-9a-f]{16})")


class WritePosition(msgspec.Struct, frozen=True):
    """Where a server's log was, on which of its timelines: bytes since its beginning."""

    timeline: int
    offset: int

    def __str__(self) -> str:
        return f"{self.timeline:08x}-{self.offset:016x}"


def read_position(told: str) -> WritePosition | None:
    """Read a position; None for one of the words."""
    found = _POSITION.fullmatch(told)
    return None if found is None else WritePosition(int(found[1], 16), int(found[2], 16))


def require_known(told: str) -> str:
    """Return what the header says. Raises Malformed."""
    told = told.strip(" \t")
    if told not in (ANY, NEWEST) and read_position(told) is None:
        raise Malformed(
            f"Read-After is {ANY}, {NEWEST}, or what the answer of a write said under that name"
        )
    return told
