"""A clock and a random source that a test holds in its hand."""

import random
from collections.abc import Callable

START_MS = 1_800_000_000_000  # 2027-01-15T08:00:00Z


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self._now_ms = now_ms
        self._listeners: list[Callable[[], None]] = []

    def on_move(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever the clock was moved: what waits for a time looks again."""
        self._listeners.append(listener)

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""
        return self._now_ms

    def monotonic_s(self) -> float:
        """Seconds on a clock that never goes back."""
        return self._now_ms / 1000

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self._set(self._now_ms + round(seconds * 1000))

    def move_to(self, epoch_ms: int) -> None:
        """Let time pass until a moment; one that has passed changes nothing."""
        self._set(max(self._now_ms, epoch_ms))

    def _set(self, now_ms: int) -> None:
        self._now_ms = now_ms
        for listener in self._listeners:
            listener()


class SeededEntropy:
    """The same bytes for the same seed. Not fit for secrets."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - said above

    def token(self, size_bytes: int) -> bytes:
        """Return ``size_bytes`` bytes of the sequence."""
        return self._random.randbytes(size_bytes)
