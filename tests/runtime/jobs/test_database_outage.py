"""The database goes away for longer than a lease, and the workers live."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from mainspring import App, Call, Service
from mainspring.kernel.clock import SystemClock
from mainspring.kernel.errors import Unavailable
from mainspring.kernel.table import Query
from mainspring.runtime.database_clock import DatabaseClock
from mainspring.runtime.jobs import leases, workers
from mainspring.runtime.notifier import wait
from mainspring.testing import Platform
from mainspring.testing.servers import PostgresServer, embedded_postgres
from tests.deadline import DEADLINE_S

LEASE_S = 1.5
POLL_S = 0.1


class Held(msgspec.Struct, frozen=True):
    """A job and its lease."""

    state: str
    attempt: int
    lease_until_ms: int


HELD = Query("test.held", "SELECT state, attempt, lease_until_ms FROM jobs", Held)


async def held(platform: Platform) -> Held | None:
    """The only job there is; None while the database is away."""
    try:
        return (await platform.rows(HELD))[0]
    except Unavailable:
        return None


async def look(other: leases.Leases) -> None:
    """Look for expired leases as soon as the database answers."""
    while True:
        try:
            return await other.take_back_expired()
        except Unavailable:
            continue


@pytest.mark.parametrize("ends", ["while it is away", "after it is back"])
async def test_a_job_of_one_attempt_outlives_it(monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    binaries = embedded_postgres()
    if binaries is None:
        pytest.skip("needs embedded-postgres")
    monkeypatch.setattr(leases, "LEASE_S", LEASE_S)
    monkeypatch.setattr(leases, "AWAY_MS", 500)
    monkeypatch.setattr(leases, "START_MS", 0)
    monkeypatch.setattr(workers, "LOOK_S", 10 * DEADLINE_S)  # it looks when the test says so
    started, go_on, never = asyncio.Event(), asyncio.Event(), asyncio.Event()
    shop, runs = Service("shop", doc="A shop."), []

    @shop.job(queue="bulk", max_attempts=1)
    async def hold(call: Call) -> None:
        runs.append(call.attempt)
        started.set()
        await go_on.wait()

    server = PostgresServer(binaries)
    time: dict[type, Any] = {DatabaseClock: DatabaseClock(SystemClock())}
    try:
        async with (
            asyncio.timeout(DEADLINE_S),
            Platform(App("shop", services=[shop]), database=server, ports=time) as platform,
            AsyncExitStack() as cleanup,
        ):
            runtime = platform.app.runtime
            other = (await platform.another_process()).runtime.workers.leases
            await runtime.workers.start()
            cleanup.push_async_callback(runtime.workers.stop, 1.0)
            await platform.enqueue(hold)
            await started.wait()
            await other.take_back_expired()
            await asyncio.to_thread(server.stop)
            with pytest.raises(Unavailable):
                await other.take_back_expired()
            if ends == "while it is away":
                go_on.set()
            await wait(never, LEASE_S + 1.0)
            await asyncio.to_thread(server.start)
            await look(other)  # before the worker could renew
            if ends == "after it is back":
                while (job := await held(platform)) is None or (
                    job.lease_until_ms <= SystemClock().now_ms()
                ):
                    assert job is None or (job.state, job.attempt) == ("running", 1)
                    await wait(never, POLL_S)
                go_on.set()
            while (job := await held(platform)) is None or job.state == "running":
                await wait(never, POLL_S)
    finally:
        server.close()
    assert (job.state, job.attempt, runs) == ("done", 1, [1])
