"""Leases: which jobs are taken back from their workers, and when nobody is to be blamed.

A lease runs by the database's time, and lasts longer than a failover of the database usually takes.
While the database is away no worker can renew one. So whoever finds that it was away, or that it
slept itself, takes nothing back until every worker that lives has had a full term to renew.
"""

from collections.abc import Sequence

from mainspring.kernel import channel
from mainspring.kernel.table import Command, Write
from mainspring.ports.database import Database, DatabaseTransaction, Wakes
from mainspring.runtime.database_clock import DatabaseClock
from mainspring.runtime.jobs.fronts import TimeFront
from mainspring.runtime.tables import HEAL_LEASES, HEAL_RETRIES, RECLAIM_JOBS

LEASE_S = 15.0
LOOK_S = 1.0  # how often expired leases are looked for
AWAY_MS = int(LEASE_S * 1000) // 3  # without a look for so long: an outage, or this process slept
START_MS = 3_000  # after a start: living workers renew within that, once the database is there
CLOCK_SLACK_MS = 60_000  # a time this far ahead of the clock was written by one that was wrong
NO_LEASE_MS = 2**63 - 1  # later than any lease ends


class Leases:
    """Takes jobs back from workers that died, and from none that live."""

    __slots__ = ("_clock", "_database", "_from_ms", "_front", "_looked_ms")

    def __init__(self, database: Database, clock: DatabaseClock) -> None:
        self._database = database
        self._clock = clock
        self._front = TimeFront()
        self._looked_ms: int | None = None
        self._from_ms = 0  # nothing is taken back before

    async def start(self) -> None:
        """Take back what no living process can hold; set right what a wrong clock wrote."""
        await self._clock.sync()
        if self._database.first:
            # Whoever held these leases is gone: no other process has been started yet.
            # However long a lease runs by the clock: that may have been set back since.
            await self._take_back(NO_LEASE_MS)
        await self._heal(self._clock.now_ms())

    async def take_back_expired(self) -> None:
        """Make jobs ready whose lease has ended, unless living workers may not have renewed it."""
        await self._clock.sync()
        now_ms, looked_ms = self._clock.now_ms(), self._looked_ms
        if looked_ms is None:
            self._from_ms = now_ms + START_MS
        elif now_ms < looked_ms - CLOCK_SLACK_MS:
            await self._heal(now_ms)
            self._from_ms = now_ms + lease_ms()
        elif now_ms - looked_ms >= AWAY_MS:
            self._from_ms = now_ms + lease_ms()
        self._looked_ms = now_ms
        if now_ms >= self._from_ms:
            look = self._front.begin()
            await self._take_back(now_ms, self._front.from_ms(look))
            self._front.end(look)
            self._front.took_all(now_ms)

    async def take_back_now(self) -> None:
        """Make jobs ready whose lease has ended; where nothing moves by itself."""
        await self._clock.sync()
        await self._take_back(self._clock.now_ms())

    async def _take_back(self, until_ms: int, from_ms: int = 0) -> None:
        reclaim = RECLAIM_JOBS(now_ms=self._clock.now_ms(), from_ms=from_ms, until_ms=until_ms)
        await make_ready(self._database, reclaim)

    async def _heal(self, now_ms: int) -> None:
        """Set right what was written by a clock that ran ahead: waits for a retry, and leases.

        A retry waits as long as it was to wait, from now. A time that a caller chose stays.
        """
        before_ms = now_ms + CLOCK_SLACK_MS
        await self._database.commit(
            [
                HEAL_RETRIES(now_ms=now_ms, before_ms=before_ms),
                HEAL_LEASES(lease_until_ms=now_ms + lease_ms(), before_ms=before_ms),
            ]
        )


def lease_ms() -> int:
    """Return how long a lease is."""
    return round(LEASE_S * 1000)


async def make_ready(database: Database, command: Command) -> None:
    """Run a statement that makes jobs ready, and wake the workers of the queues it returns."""

    async def body(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
        rows = await transaction.execute(command)
        return (), frozenset(channel.ready(row[0]) for row in rows)

    await database.transact(body)
