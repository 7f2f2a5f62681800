"""Range requests (RFC 9110, section 14): which part of a body is wanted."""

import re

import msgspec

_BYTES = re.compile(r"\s*bytes\s*=\s*([0-9]*)\s*-\s*([0-9]*)\s*", re.IGNORECASE)
_DIGITS_MAX = 18  # a larger number is as good as this many nines: beyond the end of anything


class BytePart(msgspec.Struct, frozen=True):
    """A part of a body: where it begins, and how long it is; without a byte in it there is none."""

    offset: int
    size_bytes: int


class WantedRange(msgspec.Struct, frozen=True):
    """``Range`` and ``If-Range`` as they came."""

    range: str
    if_range: str | None = None

    def of(self, size_bytes: int, etag: str | None) -> BytePart | None:
        """Return the part that is wanted of a body; None where that is all of it.

        Several ranges, other units and what cannot be read are answered with all of it, and so is
        who has another version: ``If-Range`` is compared with the strong tag, and no date fits. A
        range that has no byte of the body is empty.
        """
        match = _BYTES.fullmatch(self.range)
        if match is None or (self.if_range is not None and self.if_range.strip() != etag):
            return None
        first, last = (_number(digits) for digits in match.groups())
        if first is None:
            if last is None:
                return None
            size = min(last, size_bytes)
            return BytePart(size_bytes - size, size)
        if last is not None and last < first:
            return None
        end = size_bytes if last is None else min(last + 1, size_bytes)
        return BytePart(first, max(0, end - first))


def _number(digits: str) -> int | None:
    if not digits:
        return None
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= _DIGITS_MAX else 10**_DIGITS_MAX
