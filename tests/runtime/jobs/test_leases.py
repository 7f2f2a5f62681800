"""Leases: a job is taken back from a worker that died, and from none that could not renew it."""

import pytest

from mainspring.kernel.clock import SystemClock
from mainspring.kernel.table import Statement
from mainspring.runtime.database_clock import DatabaseClock
from mainspring.runtime.jobs.leases import AWAY_MS, LEASE_S, LOOK_S, START_MS, Leases, lease_ms
from mainspring.runtime.runtime import Runtime
from mainspring.testing.clock import FakeClock
from tests.runtime import links
from tests.runtime.jobs.test_workers import enqueue, jobs_in

RENEW = Statement("test.renew", "UPDATE jobs SET lease_until_ms = :until_ms")


@pytest.fixture
async def other(runtime: Runtime, clock: FakeClock) -> Leases:
    """Another process that looks after leases, and has done so for a while."""
    leases = Leases(runtime.database, DatabaseClock(clock))
    await leases.start()
    await look_for(leases, clock, START_MS / 1000)
    return leases


async def look_for(leases: Leases, clock: FakeClock, seconds: float) -> None:
    """Let time pass, with a look at each of its moments."""
    for _ in range(int(seconds / LOOK_S)):
        await leases.take_back_expired()
        clock.move(LOOK_S)
    await leases.take_back_expired()


async def claim(runtime: Runtime) -> None:
    await enqueue(runtime, links.rescan, link_id="x")
    assert len(await runtime.workers.claim("bulk", 1)) == 1


async def test_a_worker_that_died_loses_its_job_when_the_lease_ends(
    runtime: Runtime, other: Leases, clock: FakeClock
) -> None:
    await claim(runtime)
    await look_for(other, clock, LEASE_S - 1)
    assert len(await jobs_in(runtime, "running")) == 1
    await look_for(other, clock, 1)
    (job,) = await jobs_in(runtime, "ready")
    assert (job.attempt, job.error) == (1, "its worker died")


async def test_after_an_outage_every_lease_has_a_full_term(
    runtime: Runtime, other: Leases, clock: FakeClock
) -> None:
    await claim(runtime)
    await look_for(other, clock, 1)
    clock.move(3 * LEASE_S)  # nobody looks, nobody renews: the database is away
    await look_for(other, clock, LEASE_S - 1)
    (job,) = await jobs_in(runtime, "running")  # its lease is over, and its worker not to blame
    assert job.lease_until_ms < clock.now_ms()
    await runtime.database.commit([RENEW(until_ms=clock.now_ms() + lease_ms())])
    await look_for(other, clock, LEASE_S - 1)
    assert len(await jobs_in(runtime, "running")) == 1
    await look_for(other, clock, 1)  # a worker that did die meanwhile
    assert len(await jobs_in(runtime, "ready")) == 1


async def test_a_short_pause_is_no_outage(
    runtime: Runtime, other: Leases, clock: FakeClock
) -> None:
    await claim(runtime)
    await look_for(other, clock, LEASE_S - 2)
    clock.move(AWAY_MS / 1000 - 1)
    await other.take_back_expired()
    assert len(await jobs_in(runtime, "ready")) == 1


async def test_a_process_that_starts_blames_nobody_at_once(
    runtime: Runtime, clock: FakeClock
) -> None:
    """It cannot know whether the database was away until a moment ago."""
    await claim(runtime)
    clock.move(2 * LEASE_S)
    started = Leases(runtime.database, DatabaseClock(clock))
    await look_for(started, clock, START_MS / 1000 - 1)
    assert len(await jobs_in(runtime, "running")) == 1
    await look_for(started, clock, 1)
    assert len(await jobs_in(runtime, "ready")) == 1


async def test_a_machine_whose_clock_is_ahead_takes_no_job(
    runtime: Runtime, clock: FakeClock
) -> None:
    if runtime.database.exclusive:
        pytest.skip("no other process can have it open")
    clock.move((SystemClock().now_ms() - clock.now_ms()) / 1000)  # claimed by the database's time
    await claim(runtime)
    ahead = FakeClock(clock.now_ms() + 3_600_000)
    await Leases(runtime.database, DatabaseClock(ahead, runtime.database)).take_back_now()
    assert len(await jobs_in(runtime, "running")) == 1
