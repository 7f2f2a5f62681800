"""TypeIDs: ``prefix_`` and a UUIDv7 in 26 base32 characters (TypeID 0.3, RFC 9562).

Ids of one prefix made by one ``IdMaker`` sort in the order they were made, so new rows land at the
end of an index.
"""

import re
import struct

from mainspring.kernel.clock import Clock, Entropy

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

_PAIRS = tuple(a + b for a in ALPHABET for b in ALPHABET)
# Of an id that is chosen elsewhere: a UUIDv7 by its version and its variant (RFC 9562).
UUID7_PATTERN = (
    "^{}_[0-7][0-9a-hjkmnp-tv-z]{{9}}[ef][0-9a-hjkmnp-tv-z]{{2}}[89abrstv][0-9a-hjkmnp-tv-z]{{12}}$"
)
_PATTERN = re.compile(r"(?:([a-z](?:[a-z_]{0,61}[a-z])?)_)([0-7][0-9a-hjkmnp-tv-z]{25})")
_NOISES = 64  # random numbers of eight bytes taken at once
_NOISE = (1 << 62) - 1
_MS_MAX = (1 << 48) - 1  # the last moment that a UUIDv7 can hold


def encode(value: int) -> str:
    """Write a 128-bit integer as 26 characters of Crockford's base32, most significant first."""
    pairs = _PAIRS
    return (
        pairs[value >> 120]
        + pairs[value >> 110 & 1023]
        + pairs[value >> 100 & 1023]
        + pairs[value >> 90 & 1023]
        + pairs[value >> 80 & 1023]
        + pairs[value >> 70 & 1023]
        + pairs[value >> 60 & 1023]
        + pairs[value >> 50 & 1023]
        + pairs[value >> 40 & 1023]
        + pairs[value >> 30 & 1023]
        + pairs[value >> 20 & 1023]
        + pairs[value >> 10 & 1023]
        + pairs[value & 1023]
    )


def first_id_at(prefix: str, epoch_ms: int) -> str:
    """Return the smallest id that could have been made at a moment, in ms since the Unix epoch.

    A moment before 1970, or after what an id can hold, is that end of time.
    """
    return f"{prefix}_{encode(min(max(epoch_ms, 0), _MS_MAX) << 80)}"


def is_id(text: str, prefix: str) -> bool:
    """Tell whether ``text`` is a well-formed TypeID with this prefix."""
    match = _PATTERN.fullmatch(text)
    return match is not None and match[1] == prefix


class IdMaker:
    """Makes UUIDv7 values that never go back, from an injected clock and random source.

    The 12 bits of ``rand_a`` hold a counter within the millisecond (RFC 9562, method 1), so ids are
    monotonic within the process. A clock that steps back does not: the last millisecond is kept.
    """

    __slots__ = ("_clock", "_counter", "_entropy", "_last_ms", "_moment", "_noises")

    def __init__(self, clock: Clock, entropy: Entropy) -> None:
        self._clock = clock
        self._entropy = entropy
        self._last_ms = 0
        self._moment = _moment(0)  # how ids of the last millisecond begin
        self._counter = 0
        self._noises: list[int] = []  # the next one last

    def uuid7(self) -> str:
        """Return the next UUIDv7 in base32: the 26 characters of an id behind its prefix."""
        now_ms = self._clock.now_ms()
        if now_ms > self._last_ms:
            self._begin(now_ms)
        else:
            self._counter += 1
            if self._counter > 0xFFF:
                self._begin(self._last_ms + 1)
        if not self._noises:
            # One system call serves 64 ids: the bytes are used once each and in order.
            noises = struct.unpack(f">{_NOISES}Q", self._entropy.token(8 * _NOISES))
            self._noises = list(reversed(noises))
        noise = self._noises.pop() & _NOISE
        # Version, counter, variant and the first two random bits are 20 bits; 60 are left.
        head = 7 << 16 | self._counter << 4 | 2 << 2 | noise >> 60
        p = _PAIRS
        return (
            f"{self._moment}{p[head >> 10]}{p[head & 1023]}{p[noise >> 50 & 1023]}"
            f"{p[noise >> 40 & 1023]}{p[noise >> 30 & 1023]}{p[noise >> 20 & 1023]}"
            f"{p[noise >> 10 & 1023]}{p[noise & 1023]}"
        )

    def new(self, prefix: str) -> str:
        """Return a new TypeID."""
        return f"{prefix}_{self.uuid7()}"

    def _begin(self, epoch_ms: int) -> None:
        self._last_ms = epoch_ms
        self._counter = 0
        self._moment = _moment(epoch_ms & _MS_MAX)


def _moment(ms: int) -> str:
    """The first 10 characters of an id: 50 bits, of which a UUID leaves the first two empty."""
    p = _PAIRS
    return (
        f"{p[ms >> 40]}{p[ms >> 30 & 1023]}{p[ms >> 20 & 1023]}{p[ms >> 10 & 1023]}{p[ms & 1023]}"
    )
