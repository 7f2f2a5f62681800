"""Time and randomness, handed in so that a test can hold both still."""

import secrets
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Protocol

import msgspec

Instant = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


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
