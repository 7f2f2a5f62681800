"""Rates per key: never more starts in a time, in all processes together, and no other key waits."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from mainspring import App, Call, PerKey, RatePerKey, Service
from mainspring.kernel.call import SYSTEM
from mainspring.kernel.clock import SystemClock
from mainspring.kernel.table import Query
from mainspring.ports.database import Database, StartError
from mainspring.runtime.database_clock import DatabaseClock
from mainspring.runtime.jobs.admin import StoredJobs
from mainspring.runtime.jobs.key_limits import KeyLimit
from mainspring.runtime.runtime import Runtime
from mainspring.testing import Platform
from mainspring.testing.clock import FakeClock
from tests.deadline import DEADLINE_S

RATES = Query("test.rates", "SELECT COUNT(*) FROM job_rates", int)
PARKED = Query("test.parked", "SELECT COUNT(*) FROM jobs WHERE parked", int)


class ProviderSettings(msgspec.Struct, frozen=True):
    """``[providers]``"""

    rate: str = "5/s"


providers = Service("providers", doc="Calls of providers.", settings=ProviderSettings)
STARTED: list[tuple[str, int, float]] = []


@providers.job(queue="bulk", rate=RatePerKey("provider", lambda settings: settings.rate))
async def ask(call: Call, provider: str, number: int = 0) -> None:
    STARTED.append((provider, number, call.now_ms / 1000))


@providers.job(queue="bulk", rate=RatePerKey("provider", "50/s", burst=1))
async def ask_evenly(call: Call, provider: str, number: int = 0) -> None:
    STARTED.append((provider, number, SystemClock().monotonic_s()))


@providers.job(queue="bulk", concurrency=PerKey("provider", 2), rate=RatePerKey("provider", "3/m"))
async def ask_with_care(call: Call, provider: str) -> None: ...


app = App("providers", services=[providers])


@pytest.fixture
async def platform(platform_server: str | None) -> AsyncIterator[Platform]:
    STARTED.clear()
    async with Platform(app, database=platform_server) as platform:
        yield platform


async def backlog(platform: Platform, job: Any, provider: str, jobs: int) -> None:
    for number in range(jobs):
        await platform.enqueue(job, provider=provider, number=number)


def started(provider: str) -> list[int]:
    return [number for name, number, _ in STARTED if name == provider]


async def test_so_many_of_a_key_start_and_no_other_key_waits(platform: Platform) -> None:
    await backlog(platform, ask, "slow", 12)
    await backlog(platform, ask, "other", 2)
    await platform.drain()
    assert (started("slow"), started("other")) == ([0, 1, 2, 3, 4], [0, 1])
    await platform.pass_time(seconds=0.19)
    assert len(started("slow")) == 5
    await platform.pass_time(seconds=0.01)  # one fifth of a second: one more
    assert len(started("slow")) == 6
    await platform.pass_time(seconds=10)
    assert started("slow") == list(range(12))
    waiting = [job.attempts for job in await platform.jobs(ask, state="done")]
    assert waiting == [1] * 14  # to wait costs no attempt


async def test_each_starts_at_its_own_moment(platform: Platform) -> None:
    await backlog(platform, ask, "slow", 9)
    await platform.drain()
    begun_s = STARTED[0][2]
    await platform.pass_time(minutes=1)
    late = [round(at_s - begun_s, 3) for _, _, at_s in STARTED[5:]]
    assert late == [0.2, 0.4, 0.6, 0.8]


async def test_processes_share_a_rate(platform: Platform) -> None:
    other = await platform.another_process()
    await backlog(platform, ask, "slow", 12)
    claims = [
        process.runtime.workers.claim("bulk", 4)
        for process in (platform.app, other, platform.app, other)
    ]
    taken = [job.id for claimed in await asyncio.gather(*claims) for job in claimed]
    assert len(taken) == len(set(taken)) == 5
    platform.clock.move(1.0)
    for process in (other, platform.app):
        await process.runtime.run_due()
    assert len(started("slow")) == 5  # the next five, of whichever process
    assert await platform.rows(PARKED) == [2]


async def test_whoever_waits_longest_starts_first(platform: Platform) -> None:
    await backlog(platform, ask, "slow", 8)
    await platform.drain()
    platform.clock.move(1.0)
    await platform.enqueue(ask, provider="slow", number=99)
    claimed = await platform.app.runtime.workers.claim("bulk", 10)
    assert claimed == []  # a turn is free, and belongs to those aside
    await platform.drain()
    assert started("slow") == [0, 1, 2, 3, 4, 5, 6, 7, 99]


async def test_what_waits_holds_no_worker(platform_server: str | None) -> None:
    """With workers that run: the backlog of one key takes its time, all others go at once."""
    STARTED.clear()
    settings, time = {"queues.bulk": 1}, {DatabaseClock: DatabaseClock(SystemClock())}
    async with Platform(app, database=platform_server, settings=settings, ports=time) as platform:
        runtime = platform.app.runtime
        await backlog(platform, ask_evenly, "slow", 11)
        await backlog(platform, ask_evenly, "other", 1)
        await runtime.workers.start()
        try:
            with runtime.board.listen("local:finished") as signal:
                async with asyncio.timeout(DEADLINE_S):
                    while len(STARTED) < 12:
                        await signal.wait()
                        signal.clear()
        finally:
            await runtime.workers.stop(1.0)
    at_s = [at for name, _, at in STARTED if name == "slow"]
    assert started("slow") == list(range(11))
    assert at_s[-1] - at_s[0] >= 10 * 0.02 - 0.015
    assert [name for name, *_ in STARTED].index("other") < 11


async def test_both_limits_of_a_key_hold(platform: Platform) -> None:
    workers = platform.app.runtime.workers
    for _ in range(5):
        await platform.enqueue(ask_with_care, provider="slow")
    running = await workers.claim("bulk", 10)
    assert len(running) == 2  # so many at a time
    for job in running:
        call = platform.app.runtime.dispatcher.call(SYSTEM, request_id=job.id, attempt=job.attempt)
        await workers.run_attempt("bulk", job, call)
    assert len(await workers.claim("bulk", 10)) == 1  # and three in a minute
    platform.clock.move(19)
    assert await workers.claim("bulk", 10) == []
    await platform.pass_time(minutes=2)
    assert {job.state for job in await platform.jobs(ask_with_care)} == {"done"}


async def test_a_paused_queue_keeps_its_jobs_and_not_the_turn(platform: Platform) -> None:
    await backlog(platform, ask, "slow", 6)
    await platform.drain()
    runtime = platform.app.runtime
    call = runtime.dispatcher.call(SYSTEM, request_id="req_1")
    StoredJobs(runtime.registry, runtime.workers).set_paused(call, "bulk", paused=True)
    await runtime.dispatcher.commit(call)
    await platform.enqueue(ask.configure(queue="default"), provider="slow", number=7)
    await platform.pass_time(seconds=5)
    assert started("slow") == [0, 1, 2, 3, 4, 7]


async def test_rows_of_rates_go_when_they_say_nothing(platform: Platform) -> None:
    await backlog(platform, ask, "slow", 1)
    await platform.drain()
    assert await platform.rows(RATES) == [1]
    await platform.pass_time(minutes=5)
    assert await platform.rows(RATES) == [0]


async def test_a_rate_that_the_settings_spell_wrong_is_refused_at_the_start() -> None:
    with pytest.raises(StartError, match=r"job providers\.ask.*'5/week' is not a rate"):
        await Platform(app, settings={"providers.rate": "5/week"}).__aenter__()


def test_an_arrival_time_of_another_rate_is_held_in_bounds() -> None:
    limit, now_us = KeyLimit(step_us=100_000, burst=10), 10**15
    written_by_an_hourly_rate_us = now_us + 3_600_000_000
    assert limit.next_us(written_by_an_hourly_rate_us, now_us) == now_us + 100_000
    assert limit.starts(written_by_an_hourly_rate_us, now_us) == 0
    assert limit.starts(0, now_us) == 10


async def test_time_is_the_databases_however_the_own_clock_is_set(database: Database) -> None:
    wrong = FakeClock(1_000_000)
    time = DatabaseClock(wrong, database)
    await time.sync()
    assert abs(time.now_ms() - SystemClock().now_ms()) < 60_000
    before_ms = time.now_ms()
    wrong.move(2.5)
    assert time.now_ms() - before_ms == 2_500


async def test_one_process_alone_goes_by_its_own_clock(runtime: Runtime, clock: FakeClock) -> None:
    assert runtime.resources[DatabaseClock].now_ms() == clock.now_ms()
