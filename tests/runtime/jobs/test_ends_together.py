"""Runs that end together share a commit, each with what it staged and with a verdict of its own."""

import asyncio
from collections.abc import Sequence

import pytest

from mainspring.kernel.call import SYSTEM, Call
from mainspring.kernel.errors import Unavailable
from mainspring.kernel.job import Job
from mainspring.kernel.table import Statement, Write
from mainspring.ports.database import DatabaseTransaction, Wakes
from mainspring.runtime.jobs.workers import JobAttempt
from mainspring.runtime.runtime import Runtime
from mainspring.runtime.tables import ClaimedJob
from mainspring.testing.clock import FakeClock
from tests.runtime import links
from tests.runtime.jobs.test_key_limits import backlog, limited, providers
from tests.runtime.jobs.test_workers import HITS, jobs_in

RUNS = 60
CANCEL = Statement("test.cancel_job", "UPDATE jobs SET state = 'cancelled' WHERE id = :id")
HOLD = Statement("test.hold_job", "UPDATE jobs SET error = error WHERE id = :id")


async def run_together(runtime: Runtime, jobs: Sequence[ClaimedJob]) -> list[JobAttempt]:
    def attempt(job: ClaimedJob) -> asyncio.Future[JobAttempt]:
        call = runtime.dispatcher.call(SYSTEM, request_id=job.id, attempt=job.attempt)
        return asyncio.ensure_future(runtime.workers.run_attempt("bulk", job, call))

    return await asyncio.gather(*map(attempt, jobs))


def groups_of(runtime: Runtime) -> list[int]:
    groups: list[int] = []
    runtime.database.on_group(groups.append)
    return groups


async def enqueue_many(runtime: Runtime, job: Job, count: int) -> None:  # type: ignore[type-arg]
    call = runtime.dispatcher.call(SYSTEM, request_id="req_1")
    for number in range(count):
        call.enqueue(job, **dict.fromkeys(job.args.__struct_fields__, f"k{number}"))
    await runtime.dispatcher.commit(call)


async def test_runs_that_end_together_share_a_commit_and_no_verdict(runtime: Runtime) -> None:
    await enqueue_many(runtime, links.rescan, RUNS)
    jobs = await runtime.workers.claim("bulk", RUNS)
    await runtime.database.commit([CANCEL(id=jobs[7].id), CANCEL(id=jobs[40].id)])
    groups = groups_of(runtime)
    attempts = await run_together(runtime, jobs)
    lost = {attempt.job.id for attempt in attempts if attempt.outcome == "lost"}
    assert lost == {jobs[7].id, jobs[40].id}
    assert len(await jobs_in(runtime, "done")) == RUNS - 2
    assert len(groups) < RUNS / 2
    # What each staged is there with its end, and nothing of those that were lost.
    hits = await runtime.database.read(HITS, ())
    assert len(hits) == RUNS - 2


async def test_runs_with_a_key_share_a_commit_too(runtime: Runtime) -> None:
    job = limited(runtime, at_most=1)
    await enqueue_many(runtime, job, RUNS)
    jobs = await runtime.workers.claim("bulk", RUNS)
    groups = groups_of(runtime)
    assert {attempt.outcome for attempt in await run_together(runtime, jobs)} == {"done"}
    assert len(groups) < RUNS / 10


async def test_runs_that_enqueue_the_next_share_a_commit(runtime: Runtime) -> None:
    async def pass_on(call: Call, link_id: str) -> None:
        call.enqueue(links.rescan, link_id=link_id)

    job: Job[...] = Job("links.pass_on", pass_on, queue="bulk", retry=links.QUICK, timeout_s=5)
    job.attach(pass_on)
    runtime.jobs[job.name] = job
    await enqueue_many(runtime, job, RUNS)
    jobs = await runtime.workers.claim("bulk", RUNS)
    groups = groups_of(runtime)
    assert {attempt.outcome for attempt in await run_together(runtime, jobs)} == {"done"}
    assert len(groups) < RUNS / 10
    assert len(await jobs_in(runtime, "ready")) == RUNS


async def test_a_claim_that_was_not_committed_lets_the_next_go_later(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = limited(runtime, at_most=1)
    await backlog(runtime, job, "slow", "slow", "other", "other")
    await run_together(runtime, await runtime.workers.claim("bulk", 10))

    async def away(body: object) -> None:
        raise Unavailable("the database is away")

    with monkeypatch.context() as outage:
        outage.setattr(runtime.database, "transact", away)
        with pytest.raises(Unavailable):
            await runtime.workers.claim("bulk", 10)
    assert sorted(providers(await runtime.workers.claim("bulk", 10))) == ["other", "slow"]


async def test_what_ended_last_lets_others_go_when_the_workers_stop(runtime: Runtime) -> None:
    job = limited(runtime, at_most=1)
    await runtime.workers.start()
    await runtime.workers.stop(1.0)  # now nothing claims but this test
    await backlog(runtime, job, "slow", "slow")
    await run_together(runtime, await runtime.workers.claim("bulk", 1))
    await runtime.workers.stop(1.0)
    (waiting,) = await jobs_in(runtime, "ready")
    assert not waiting.parked


async def test_a_beat_passes_by_what_another_holds(runtime: Runtime, clock: FakeClock) -> None:
    """Its own transaction would hold the leases that others' ends wait for, and wait for theirs."""
    if runtime.database.dialect == "sqlite":
        pytest.skip("it has one writer: nobody holds a row while another writes")
    await enqueue_many(runtime, links.rescan, 2)
    held, other = await runtime.workers.claim("bulk", 2)
    before_ms = {job.id: job.lease_until_ms for job in await jobs_in(runtime, "running")}
    clock.move(1)
    call = runtime.dispatcher.call(SYSTEM, request_id="req_1")
    beat = runtime.workers.renewal([(held, call), (other, call)])

    async def body(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
        await transaction.execute(HOLD(id=held.id))
        await runtime.database.commit(beat)
        return (), frozenset()

    await runtime.database.transact(body)
    after_ms = {job.id: job.lease_until_ms for job in await jobs_in(runtime, "running")}
    assert after_ms[held.id] == before_ms[held.id]
    assert after_ms[other.id] == before_ms[other.id] + 1_000
