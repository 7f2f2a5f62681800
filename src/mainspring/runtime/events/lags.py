"""How far those who follow events are behind: how many events, and for how long the next waits."""

import msgspec

from mainspring.kernel.clock import Clock, epoch_ms
from mainspring.ports.bus import Bus


class Behind(msgspec.Struct, frozen=True):
    """How many events somebody has yet to take, and where the next of them is.

    Of several partitions that is the one with most of them. ``bus`` is None where all was taken.
    """

    events: int
    bus: Bus | None = None
    partition: int = 0
    position: int = 0


class Lag(msgspec.Struct, frozen=True):
    """``seconds`` is how long ago the next event to take happened; 0 where there is none."""

    events: int
    seconds: float


class Lags:
    """Finds when the next event happened; who stands still is asked of once."""

    __slots__ = ("_clock", "_known")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, tuple[tuple[str, int, int], int]] = {}  # one for each name

    async def of(self, name: str, behind: Behind) -> Lag:
        """Return the lag of who is so far behind. Raises Unavailable."""
        if behind.bus is None:
            self._known.pop(name, None)
            return Lag(0, 0.0)
        at = behind.bus.source, behind.partition, behind.position
        known_at, time_ms = self._known.get(name, (None, 0))
        if known_at != at:
            rows = await behind.bus.read(behind.partition, behind.position, 1, 1)
            if not rows.items:  # taken meanwhile, or messages that are not ours
                return Lag(behind.events, 0.0)
            time_ms = epoch_ms(rows.items[0].envelope.time)
            self._known[name] = at, time_ms
        return Lag(behind.events, max(0, self._clock.now_ms() - time_ms) / 1000)
