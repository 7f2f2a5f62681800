"""A cache in the process: bounded in bytes, the least recently used goes first."""

from mainspring.adapters.in_process import InProcess
from mainspring.kernel.clock import Clock
from mainspring.kernel.lru_cache import ExpiringCache
from mainspring.ports.cache import VALUE_BYTES_MAX
from mainspring.ports.database import StartError
from mainspring.ports.opening import SYSTEM_SOURCES, Sources

BYTES_MAX = 16 << 20
ENTRY_BYTES = 512  # about what an entry takes beside its value


def open(url: str, sources: Sources = SYSTEM_SOURCES) -> "MemoryCache":
    """Keep in this process: ``memory:``, or ``memory:16777216`` bytes. Raises StartError."""
    _, _, size = url.partition(":")
    if size and not (size.isascii() and size.isdigit() and int(size)):
        raise StartError(f"{url!r}: write memory:, or memory:{BYTES_MAX} for how many bytes")
    return MemoryCache(sources.clock, bytes_max=int(size or BYTES_MAX))


class MemoryCache(InProcess):
    """Fills the cache port; never asks anybody."""

    def __init__(self, clock: Clock, *, bytes_max: int = BYTES_MAX) -> None:
        self._clock = clock
        self._kept: ExpiringCache[str, bytes] = ExpiringCache(
            bytes_max, size_of=lambda value: ENTRY_BYTES + len(value)
        )

    def get(self, key: str) -> bytes | None:
        """Return what is kept under a key, and None once its time is over."""
        return self._kept.get(key, self._clock.monotonic_s())

    def put(self, key: str, value: bytes, *, kept_s: float) -> None:
        """Keep a value for so long, instead of what was there."""
        now_s = self._clock.monotonic_s()
        if len(value) > VALUE_BYTES_MAX:
            self._kept.pop(key)
        else:
            self._kept.put(key, value, now_s, now_s + kept_s)
