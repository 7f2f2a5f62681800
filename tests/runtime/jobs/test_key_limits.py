"""Limits per key: never more at a time, no other key delayed, nothing left aside for ever."""

import asyncio

import msgspec

from mainspring.kernel.call import SYSTEM
from mainspring.kernel.job import Job
from mainspring.kernel.policy import PerKey
from mainspring.kernel.table import Query
from mainspring.runtime.jobs.admin import StoredJobs
from mainspring.runtime.jobs.places import Places
from mainspring.runtime.runtime import Runtime
from mainspring.runtime.tables import ClaimedJob
from mainspring.testing.clock import FakeClock
from tests.runtime import links
from tests.runtime.jobs.test_workers import enqueue, jobs_in

PARKED = Query("test.parked", "SELECT COUNT(*) FROM jobs WHERE parked", int)


def limited(runtime: Runtime, at_most: int = 2) -> Job:  # type: ignore[type-arg]
    async def call_provider(call: object, provider: str) -> None: ...

    job = Job(
        "links.call_provider", call_provider, queue="bulk", retry=links.QUICK, timeout_s=5,
        concurrency=PerKey("provider", at_most),
    )  # fmt: skip
    job.attach(call_provider)
    runtime.jobs[job.name] = job
    return job


async def backlog(runtime: Runtime, job: Job, *providers: str) -> None:  # type: ignore[type-arg]
    for provider in providers:
        await enqueue(runtime, job, provider=provider)


def providers(jobs: list[ClaimedJob]) -> list[str]:
    return [msgspec.json.decode(job.args)["provider"] for job in jobs]


async def run(runtime: Runtime, job: ClaimedJob) -> str:
    call = runtime.dispatcher.call(SYSTEM, request_id=job.id, attempt=job.attempt)
    return (await runtime.workers.run_attempt("bulk", job, call)).outcome


async def test_no_more_than_the_limit_of_a_key_run_and_no_other_key_waits(
    runtime: Runtime,
) -> None:
    job = limited(runtime)
    await backlog(runtime, job, *["slow"] * 5, "other")
    assert providers(await runtime.workers.claim("bulk", 10)) == ["slow", "slow", "other"]
    assert await runtime.workers.claim("bulk", 0) == []
    assert await runtime.workers.claim("bulk", 10) == []
    waiting = await jobs_in(runtime, "ready")
    assert [(job.attempt, job.worker) for job in waiting] == [(0, None)] * 3
    await backlog(runtime, job, "slow", "third")
    assert providers(await runtime.workers.claim("bulk", 1)) == ["third"]


async def test_each_run_that_ends_lets_the_next_of_its_key_go(runtime: Runtime) -> None:
    job = limited(runtime)
    await backlog(runtime, job, *["slow"] * 5)
    running = await runtime.workers.claim("bulk", 10)
    done = 0
    while running:
        assert len(running) <= 2
        assert await run(runtime, running.pop(0)) == "done"
        done += 1
        running += await runtime.workers.claim("bulk", 10)
    assert done == 5
    assert [job.attempt for job in await jobs_in(runtime, "done")] == [1] * 5


async def test_two_claims_at_once_share_the_limit(runtime: Runtime) -> None:
    job = limited(runtime, at_most=3)
    await backlog(runtime, job, *["slow"] * 12)
    claims = [runtime.workers.claim("bulk", 4) for _ in range(3)]
    taken = [job for claimed in await asyncio.gather(*claims) for job in claimed]
    assert len(taken) == 3
    assert len(await jobs_in(runtime, "running")) == 3


async def test_a_place_that_was_lost_with_its_worker_is_given_again(
    runtime: Runtime, clock: FakeClock
) -> None:
    job = limited(runtime, at_most=1)
    await backlog(runtime, job, "slow", "slow")
    (first,) = await runtime.workers.claim("bulk", 10)
    admin = StoredJobs(runtime.registry, runtime.workers)
    call = runtime.dispatcher.call(SYSTEM, request_id="req_1")
    admin.cancel(call, await admin.one(call, first.id))
    await runtime.dispatcher.commit(call)
    assert await runtime.workers.claim("bulk", 10) == []
    assert await runtime.database.read(PARKED, ()) == [1]
    done = await runtime.workers.run_due()
    assert [attempt.outcome for attempt in done] == ["done"]
    assert await runtime.database.read(PARKED, ()) == [0]


async def test_a_key_leaves_places_of_its_queue_to_others(runtime: Runtime) -> None:
    job = limited(runtime, at_most=8)
    await backlog(runtime, job, *["slow"] * 6, "other")
    first = await runtime.workers.claim("bulk", 4, lambda queue: Places(4))
    assert providers(first) == ["slow"] * 3
    held = [claimed.limit_key for claimed in first]
    assert providers(await runtime.workers.claim("bulk", 1, lambda queue: Places(1, held))) == [
        "other"
    ]
    # What found no place is as it was: no attempt is spent, and no claim is counted.
    waiting = await jobs_in(runtime, "ready")
    assert [(job.attempt, job.claim, job.worker) for job in waiting] == [(0, 0, None)] * 3
    assert await run(runtime, first[0]) == "done"  # the next may go, but holds too many still
    assert await runtime.workers.claim("bulk", 1, lambda queue: Places(1, held[1:])) == []
    assert await run(runtime, first[1]) == "done"
    third = await runtime.workers.claim("bulk", 2, lambda queue: Places(2, held[2:]))
    assert providers(third) == ["slow"]


async def test_a_backlog_is_stepped_over_once(runtime: Runtime) -> None:
    job = limited(runtime)
    await backlog(runtime, job, *["slow"] * 40, "other")
    assert providers(await runtime.workers.claim("bulk", 2)) == ["slow", "slow"]
    # However small the claim, it goes on until it has what may run.
    assert providers(await runtime.workers.claim("bulk", 2)) == ["other"]
    assert await runtime.database.read(PARKED, ()) == [38]


async def test_a_claim_of_one_job_steps_over_a_backlog_in_one_step(runtime: Runtime) -> None:
    job = limited(runtime, at_most=1)
    await backlog(runtime, job, *["slow"] * 40)
    assert len(await runtime.workers.claim("bulk", 1)) == 1
    assert await runtime.workers.claim("bulk", 1) == []
    assert await runtime.database.read(PARKED, ()) == [39]
    waiting = await jobs_in(runtime, "ready")
    assert {(job.claim, job.attempt) for job in waiting} == {(0, 0)}


async def test_jobs_of_one_key_keep_their_order(runtime: Runtime) -> None:
    job = limited(runtime, at_most=1)
    await backlog(runtime, job, *["slow"] * 3)
    await enqueue(runtime, job.configure(priority=9), provider="slow")
    order = []
    while running := await runtime.workers.claim("bulk", 10):
        (only,) = running
        order.append(only.priority)
        await run(runtime, only)
    assert order == [9, 0, 0, 0]


async def test_what_another_version_parked_is_left_to_a_process_that_knows_it(
    runtime: Runtime,
) -> None:
    job = limited(runtime, at_most=1)
    await backlog(runtime, job, "slow", "slow")
    await runtime.workers.claim("bulk", 10)
    del runtime.jobs[job.name]
    assert await runtime.workers.run_due() == []
    assert await runtime.database.read(PARKED, ()) == [1]


async def test_a_job_that_was_cancelled_aside_runs_when_it_is_retried(runtime: Runtime) -> None:
    job = limited(runtime, at_most=1)
    await backlog(runtime, job, "slow", "slow")
    (first,) = await runtime.workers.claim("bulk", 10)
    (aside,) = await jobs_in(runtime, "ready")
    admin = StoredJobs(runtime.registry, runtime.workers)
    for change in (admin.cancel, lambda call, job: admin.make_ready(call, job, "jobs:write")):
        call = runtime.dispatcher.call(SYSTEM, request_id="req_1")
        change(call, await admin.one(call, aside.id))
        await runtime.dispatcher.commit(call)
    assert await run(runtime, first) == "done"
    assert [job.id for job in await runtime.workers.claim("bulk", 10)] == [aside.id]
