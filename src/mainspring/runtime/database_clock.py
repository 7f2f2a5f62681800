"""The database's time: the one clock by which the processes of a database agree on what is due."""

from mainspring.kernel.clock import Clock
from mainspring.kernel.table import Query
from mainspring.ports.database import Database

ROUND_TRIP_MAX_S = 2.0  # an answer that took longer says too little of when it was given

NOW_SQLITE = "CAST(unixepoch('subsec') * 1000 AS integer)"
NOW_POSTGRES = "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)"

_NOW = Query("runtime.now", f"SELECT {NOW_SQLITE}", int, postgres=f"SELECT {NOW_POSTGRES}")


class DatabaseClock:
    """What time it is by the database, as far as this process knows: right to half a round trip.

    Between two answers of the database it goes by the steady clock of this process, however that
    one's date is set. Without a ``database`` it is this process's own clock: where no other process
    can be, and in tests.
    """

    __slots__ = ("_base_ms", "_clock", "_database")

    def __init__(self, clock: Clock, database: Database | None = None) -> None:
        self._clock = clock
        self._database = database
        self._base_ms: float | None = None  # the database's time when the steady clock was at zero

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC; by the own clock until it was asked once."""
        if self._base_ms is None:
            return self._clock.now_ms()
        return int(self._base_ms + self._clock.monotonic_s() * 1000)

    def monotonic_s(self) -> float:
        """Seconds on this process's steady clock."""
        return self._clock.monotonic_s()

    async def sync(self) -> None:
        """Ask the database. Raises Unavailable."""
        if self._database is None:
            return
        asked_s = self._clock.monotonic_s()
        (now_ms,) = await self._database.read(_NOW, ())
        answered_s = self._clock.monotonic_s()
        if self._base_ms is None or answered_s - asked_s <= ROUND_TRIP_MAX_S:
            self._base_ms = now_ms - (asked_s + answered_s) * 500
