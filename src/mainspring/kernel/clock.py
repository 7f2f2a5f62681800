"""Time and randomness, handed in so that a test can hold both still."""

import re
import secrets
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Protocol

import msgspec

Instant = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


SKEW_MS = 60_000  # clocks of several machines, and calls that overlap, may differ by so much


class Clock(Protocol):
    """Wall-clock time for facts, monotonic time for durations."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds on a clock that never goes back."""
        ...


class Entropy(Protocol):
    """A source of unpredictable bytes."""

    def token(self, size_bytes: int) -> bytes:
        """Return ``size_bytes`` random bytes, fit for secrets."""
        ...


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ()

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()


def is_ahead(moment_ms: int, now_ms: int) -> bool:
    """Tell whether a moment that is past was written by a clock that was wrong then."""
    return moment_ms > now_ms + SKEW_MS


def elapsed_ms(moment_ms: int, now_ms: int) -> int:
    """How long ago something was; what a clock wrote that was far ahead counts as long ago.

    Whoever waits for a time to pass since then waits no longer for that clock's time to come.
    """
    return now_ms if is_ahead(moment_ms, now_ms) else now_ms - moment_ms


class SystemEntropy:
    """The operating system's random source."""

    __slots__ = ()

    def token(self, size_bytes: int) -> bytes:
        """Return ``size_bytes`` random bytes, fit for secrets."""
        return secrets.token_bytes(size_bytes)


@lru_cache(maxsize=4096)
def _second(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def rfc3339(epoch_ms: int) -> str:
    """Write a moment as RFC 3339 in UTC with milliseconds: ``2026-01-31T12:00:00.000Z``."""
    seconds, ms = divmod(epoch_ms, 1000)
    return f"{_second(seconds)}.{ms:03d}Z"


def as_utc(text: str) -> str:
    """Rewrite an RFC 3339 time as ``rfc3339`` does: in UTC, cut to milliseconds.

    Times so written sort as text. Raises ValueError when it is not one.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("not an RFC 3339 time such as 2026-01-31T12:00:00Z")
    day, clock, fraction, sign, hours, minutes = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}")
        if sign:
            if int(hours) > 23 or int(minutes) > 59:
                raise ValueError(text)
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            moment = moment - offset if sign == "+" else moment + offset
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:40]!r} is not a moment that exists") from None
    return f"{moment.isoformat()}.{(fraction or '')[:3]:0<3}Z"


def epoch_ms(text: str) -> int:
    """Read an RFC 3339 time as milliseconds since the epoch. Raises ValueError."""
    return round(datetime.fromisoformat(as_utc(text)).timestamp() * 1000)
