"""A runtime over a real database for the tests of services: short ways to call and to wait."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mainspring.adapters.keyring.file import FileKeyring
from mainspring.adapters.telemetry.rollups import Rollups
from mainspring.kernel.call import SYSTEM, Caller
from mainspring.kernel.service import Service
from mainspring.kernel.table import Query
from mainspring.ports.database import Database
from mainspring.runtime.database_clock import DatabaseClock
from mainspring.runtime.events.field_encryption import FieldEncryption
from mainspring.runtime.invoke.dispatcher import Outcome
from mainspring.runtime.runtime import Runtime
from mainspring.runtime.tables import JobRow
from mainspring.testing.clock import FakeClock, SeededEntropy

DEADLINE_S = 20.0
ALL_JOBS = Query(
    "test.all_jobs", f"SELECT {', '.join(JobRow.__struct_fields__)} FROM jobs ORDER BY id", JobRow
)


LAG = Query(
    "test.lag",
    "SELECT (SELECT COUNT(*) FROM events) - c.position FROM consumer_cursors c",
    int,
)


class Platform:
    """What a test holds: the runtime, its clock, and short ways to call operations."""

    def __init__(self, runtime: Runtime, clock: FakeClock) -> None:
        self.runtime = runtime
        self.clock = clock

    async def run(
        self, name: str, *, caller: Caller = SYSTEM, if_match: str | None = None, **args: Any
    ) -> Outcome:
        """Run an operation by its name."""
        call = self.runtime.dispatcher.call(caller, request_id="req_1", if_match=if_match)
        return await self.runtime.dispatcher.run(self.runtime.registry.operations[name], call, args)

    async def value(self, name: str, **args: Any) -> Any:
        """Run an operation and return what it answered as JSON."""
        return json.loads((await self.run(name, **args)).body or b"null")

    async def jobs(self, *states: str) -> list[JobRow]:
        rows = await self.runtime.database.read(ALL_JOBS, ())
        return [job for job in rows if not states or job.state in states]

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Look again after every commit of a consumer or a job, until it holds."""
        with self.runtime.board.listen("local:consumed", "local:finished") as signal:
            async with asyncio.timeout(DEADLINE_S):
                while not await holds():
                    await signal.wait()
                    signal.clear()

    async def idle(self) -> None:
        """Wait until every event was routed and nothing is ready or running."""

        async def nothing_moves() -> bool:
            lag = await self.runtime.database.read(LAG, ())
            return not any(lag) and not await self.jobs("ready", "running")

        await self.until(nothing_moves)

    async def pass_time(self, seconds: float) -> None:
        """Move the clock and let what is due now run."""
        self.clock.move(seconds)
        self.runtime.board.wake(frozenset({"scheduled"}))
        due_ms = self.clock.now_ms()

        async def nothing_due() -> bool:
            waiting = await self.jobs("scheduled", "ready", "running")
            return all(job.run_at_ms > due_ms for job in waiting)

        await self.until(nothing_due)


@asynccontextmanager
async def platform_of(
    services: Iterable[Service],
    database: Database,
    folder: Path,
    resources: Mapping[type, Any],
    *,
    running: bool,
    concurrency: Mapping[str, int] | None = None,
) -> AsyncIterator[Platform]:
    """Build a platform, and start what moves if it is to run."""
    # Starts at the real time: libraries that judge what we send look at their own clock.
    clock, entropy = FakeClock(time.time_ns() // 1_000_000), SeededEntropy(1)
    keyring = FileKeyring(folder / "keyring.json", clock=clock, entropy=entropy)
    await keyring.open()
    sealer = FieldEncryption(database, keyring, entropy)
    runtime = Runtime(
        database,
        services,
        keyring=keyring,
        sealer=sealer,
        resources={DatabaseClock: DatabaseClock(clock), **(resources or {})},
        telemetry=Rollups(clock),
        clock=clock,
        entropy=entropy,
        concurrency=concurrency,
    )
    await runtime.migrate()
    if running:
        await runtime.start()
    try:
        yield Platform(runtime, clock)
    finally:
        if running:
            await runtime.stop(1.0)
