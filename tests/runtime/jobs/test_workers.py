"""Consumers, jobs and schedules: each effect once, nothing lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec
import pytest

from mainspring.kernel.call import SYSTEM
from mainspring.kernel.job import ConfiguredJob, Job, OtherVersion, RetryAfter, Schedule, Snooze
from mainspring.kernel.table import Query, Statement, Write
from mainspring.ports.database import DatabaseTransaction, Wakes
from mainspring.runtime.events.cursors import FIND_CURSOR
from mainspring.runtime.jobs.admin import StoredJobs
from mainspring.runtime.jobs.scheduler import next_ms
from mainspring.runtime.jobs.workers import execute
from mainspring.runtime.runtime import Runtime
from mainspring.runtime.tables import JobRow
from tests.deadline import DEADLINE_S
from tests.runtime import links
from tests.runtime.invoke.test_dispatcher import count, new_link

JOB_COLUMNS = ", ".join(JobRow.__struct_fields__)
ALL_JOBS = Query("test.all_jobs", f"SELECT {JOB_COLUMNS} FROM jobs ORDER BY id", JobRow)
HITS = Query("test.all_hits", "SELECT link FROM links_hits ORDER BY id", str)
BLOCKED = Query("test.blocked", "SELECT 1 FROM pg_locks WHERE NOT granted", int)
# Another with the same key, as a commit adds one that is not to be seen yet.
_TWIN = {"id": "id || '_twin'", "state": "'ready'", "holds_key": "true"}
TWIN = Statement(
    "test.twin",
    f"INSERT INTO jobs ({JOB_COLUMNS}) SELECT "
    f"{', '.join(_TWIN.get(name, name) for name in JobRow.__struct_fields__)} "
    "FROM jobs WHERE id = :id",
)


@pytest.fixture
async def running(runtime: Runtime) -> AsyncIterator[Runtime]:
    await runtime.start()
    yield runtime
    await runtime.stop(1.0)


async def until(runtime: Runtime, holds: Callable[[], Awaitable[bool]]) -> None:
    """Look again after every commit of a consumer or a job, until it holds."""
    with runtime.board.listen("local:consumed", "local:finished") as signal:
        async with asyncio.timeout(DEADLINE_S):
            while not await holds():
                await signal.wait()
                signal.clear()


async def jobs_in(runtime: Runtime, state: str) -> list[JobRow]:
    return [job for job in await runtime.database.read(ALL_JOBS, ()) if job.state == state]


async def enqueue(runtime: Runtime, job: Job[...] | ConfiguredJob[...], **args: object) -> str:
    call = runtime.dispatcher.call(SYSTEM, request_id="req_1")
    job_id = call.enqueue(job, **args)
    await runtime.dispatcher.commit(call)
    return job_id


async def test_a_consumer_takes_every_event_once(running: Runtime) -> None:
    made = [await new_link(running, f"slug-{n}") for n in range(30)]

    async def all_counted() -> bool:
        return await count(running, links.HIT_COUNT) == 30

    await until(running, all_counted)
    assert sorted(await running.database.read(HITS, ())) == sorted(link.id for link in made)
    cursor = (await running.database.read(FIND_CURSOR, ("links.count", "log", 0)))[0]
    assert cursor.position == 30


async def test_an_event_that_fails_is_set_aside_and_the_others_go_on(running: Runtime) -> None:
    await new_link(running, "before")
    await new_link(running, "poison")
    await new_link(running, "after")

    async def others_counted_and_poison_buried() -> bool:
        dead = await jobs_in(running, "dead")
        return await count(running, links.HIT_COUNT) == 2 and len(dead) == 1

    await until(running, others_counted_and_poison_buried)
    dead = (await jobs_in(running, "dead"))[0]
    assert dead.name == "links.count.again"
    assert dead.attempt == links.QUICK.max_attempts
    assert dead.error == "ValueError: this one never works"


async def test_a_job_commits_with_its_completion(running: Runtime) -> None:
    job_id = await enqueue(running, links.rescan, link_id="link_x")

    async def done() -> bool:
        return bool(await jobs_in(running, "done"))

    await until(running, done)
    job = (await jobs_in(running, "done"))[0]
    assert (job.id, job.attempt, job.progress) == (job_id, 1, 1.0)
    assert await running.database.read(HITS, ()) == ["link_x"]


async def test_a_failing_job_is_retried_then_buried_and_leaves_nothing(running: Runtime) -> None:
    await enqueue(running, links.fail, link_id="link_x")

    async def buried() -> bool:
        return bool(await jobs_in(running, "dead"))

    await until(running, buried)
    assert (await jobs_in(running, "dead"))[0].attempt == 3
    assert await running.database.read(HITS, ()) == []


async def test_retrying_and_giving_up_keep_what_was_staged(running: Runtime) -> None:
    await enqueue(running, links.retry, link_id="x")

    async def buried() -> bool:
        return bool(await jobs_in(running, "dead"))

    await until(running, buried)
    assert await running.database.read(HITS, ()) == ["x 1", "x 2", "x 3"]
    # To ask for another attempt is no failure; to have used up the last one is.
    assert running.workers.stats["bulk"].failed == 1


async def test_a_unique_key_is_held_until_the_job_is_done(runtime: Runtime) -> None:
    for _ in range(3):
        await enqueue(runtime, links.rescan.configure(unique_key="only"), link_id="x")
    assert len(await runtime.database.read(ALL_JOBS, ())) == 1
    claimed = await runtime.workers.claim("bulk", 10)
    assert len(claimed) == 1
    await enqueue(runtime, links.rescan.configure(unique_key="only"), link_id="x")
    assert len(await runtime.database.read(ALL_JOBS, ())) == 1


def coalescing(runtime: Runtime, raised: Exception | None = None) -> Job[...]:
    async def scan(call: object, link_id: str) -> None:
        if raised is not None:
            raise raised

    job = Job("links.scan", scan, queue="bulk", retry=links.QUICK, timeout_s=1, coalesces=True)
    job.attach(scan)
    runtime.jobs[job.name] = job
    return job


@pytest.mark.parametrize(
    "raised",
    [ValueError("later"), Snooze(30), RetryAfter(30), OtherVersion("who knows")],
    ids=lambda raised: type(raised).__name__,
)
async def test_what_coalesces_and_waits_again_keeps_others_of_its_key_out(
    runtime: Runtime, raised: Exception
) -> None:
    job = coalescing(runtime, raised)
    burst = job.configure(unique_key="burst")
    first = await enqueue(runtime, burst, link_id="x")
    await runtime.workers.run_due()
    await enqueue(runtime, burst, link_id="x")
    (waiting,) = await runtime.database.read(ALL_JOBS, ())
    assert (waiting.id, waiting.unique_key, waiting.holds_key) == (first, "burst", True)
    assert waiting.state in ("scheduled", "ready")


async def test_what_coalesces_gives_way_to_one_that_came_during_its_run(runtime: Runtime) -> None:
    burst = coalescing(runtime, OtherVersion("who knows")).configure(unique_key="burst")
    first = await enqueue(runtime, burst, link_id="x")
    (claimed,) = await runtime.workers.claim("bulk", 10)
    second = await enqueue(runtime, burst, link_id="x")
    call = runtime.dispatcher.call(SYSTEM, request_id=first, attempt=1)
    assert (await runtime.workers.run_attempt("bulk", claimed, call)).outcome == "aside"
    jobs = await runtime.database.read(ALL_JOBS, ())
    assert [(job.id, job.state) for job in jobs] == [(first, "cancelled"), (second, "ready")]


async def test_what_coalesces_gives_way_to_one_whose_commit_it_meets(runtime: Runtime) -> None:
    """On SQLite there is one writer: the other has committed before it looks."""
    burst = coalescing(runtime, OtherVersion("who knows")).configure(unique_key="burst")
    first = await enqueue(runtime, burst, link_id="x")
    (claimed,) = await runtime.workers.claim("bulk", 10)
    inserted, met = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    together = not runtime.database.exclusive

    async def meanwhile(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
        await transaction.execute(TWIN(id=first))
        loop.call_soon_threadsafe(inserted.set)
        if together:
            await met.wait()
        return (), frozenset()

    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as both:
        both.create_task(runtime.database.transact(meanwhile))
        await inserted.wait()
        run = runtime.dispatcher.call(SYSTEM, request_id=first, attempt=1)
        attempt = both.create_task(runtime.workers.run_attempt("bulk", claimed, run))
        if together:
            while not await runtime.database.read(BLOCKED, ()):
                pass
        met.set()
    assert attempt.result().outcome == "aside"
    states = [job.state for job in await runtime.database.read(ALL_JOBS, ())]
    assert states == ["cancelled", "ready"]


async def test_a_coalescing_job_frees_its_key_when_it_starts(runtime: Runtime) -> None:
    job = coalescing(runtime)
    for _ in range(3):
        await enqueue(runtime, job.configure(unique_key="burst"), link_id="x")
    assert len(await runtime.workers.claim("bulk", 10)) == 1
    for _ in range(3):
        await enqueue(runtime, job.configure(unique_key="burst"), link_id="x")
    assert len(await runtime.database.read(ALL_JOBS, ())) == 2


async def test_a_worker_that_lost_its_lease_changes_nothing(
    runtime: Runtime, clock: object
) -> None:
    await enqueue(runtime, links.rescan, link_id="x")
    first = (await runtime.workers.claim("bulk", 1))[0]
    clock.move(60)  # type: ignore[attr-defined]
    await runtime.workers.leases.take_back_now()
    second = (await runtime.workers.claim("bulk", 1))[0]
    assert (first.id, first.attempt, second.attempt) == (second.id, 1, 2)
    call = runtime.dispatcher.call(SYSTEM, request_id=first.id, attempt=first.attempt)
    await runtime.workers.run_attempt("bulk", first, call)
    assert await runtime.database.read(HITS, ()) == []
    call = runtime.dispatcher.call(SYSTEM, request_id=second.id, attempt=second.attempt)
    await runtime.workers.run_attempt("bulk", second, call)
    assert await runtime.database.read(HITS, ()) == ["x"]


async def test_a_job_that_always_kills_its_worker_ends_in_the_dead_letters(
    runtime: Runtime, clock: object
) -> None:
    await enqueue(runtime, links.rescan, link_id="x")
    for _ in range(links.QUICK.max_attempts):
        assert len(await runtime.workers.claim("bulk", 1)) == 1
        clock.move(60)  # type: ignore[attr-defined]
        await runtime.workers.leases.take_back_now()
    assert (await jobs_in(runtime, "dead"))[0].error == "its worker died"


async def test_a_paused_queue_hands_out_nothing(runtime: Runtime) -> None:
    await enqueue(runtime, links.rescan, link_id="x")
    pause = Statement("test.pause", "INSERT INTO queues (name, paused) VALUES ('bulk', :paused)")
    await execute(runtime.database, pause(paused=True))
    assert await runtime.workers.claim("bulk", 1) == []


async def test_jobs_go_by_priority_then_age(runtime: Runtime) -> None:
    for name, priority in (("a", 0), ("b", 5), ("c", 5), ("d", 9)):
        await enqueue(runtime, links.rescan.configure(priority=priority), link_id=name)
    claimed = await runtime.workers.claim("bulk", 3)
    assert [msgspec.json.decode(job.args)["link_id"] for job in claimed] == ["d", "b", "c"]


async def test_a_scheduled_job_waits_for_its_time(running: Runtime, clock: object) -> None:
    run_at_ms = running.clock.now_ms() + 3_600_000
    await enqueue(running, links.rescan.configure(run_at_ms=run_at_ms), link_id="later")
    assert len(await jobs_in(running, "scheduled")) == 1
    clock.move(3600)  # type: ignore[attr-defined]
    running.board.wake(frozenset({"scheduled"}))

    async def done() -> bool:
        return bool(await jobs_in(running, "done"))

    await until(running, done)


async def test_a_schedule_fires_each_moment_once(runtime: Runtime, clock: object) -> None:
    async def tick(call: object) -> None: ...

    job = Job("links.tick", tick, queue="bulk", retry=links.QUICK, timeout_s=1)
    schedule = Schedule("tick", "*/5 * * * *", job)
    first_ms = await runtime.scheduler.fire_due(schedule)
    assert first_ms == next_ms("*/5 * * * *", runtime.clock.now_ms())
    assert await runtime.database.read(ALL_JOBS, ()) == []
    clock.move(900)  # type: ignore[attr-defined]
    for _ in range(3):
        await runtime.scheduler.fire_due(schedule)
    assert [job.name for job in await runtime.database.read(ALL_JOBS, ())] == ["links.tick"]


async def test_the_sweep_removes_old_finished_jobs_only(runtime: Runtime, clock: object) -> None:
    await enqueue(runtime, links.rescan, link_id="x")
    claimed = (await runtime.workers.claim("bulk", 1))[0]
    call = runtime.dispatcher.call(SYSTEM, request_id=claimed.id, attempt=1)
    await runtime.workers.run_attempt("bulk", claimed, call)
    await enqueue(runtime, links.rescan, link_id="y")
    assert await runtime.scheduler.sweep() == 0
    clock.move(2 * 24 * 3600)  # type: ignore[attr-defined]
    assert await runtime.scheduler.sweep() == 1
    assert [job.state for job in await runtime.database.read(ALL_JOBS, ())] == ["ready"]


async def test_a_job_that_this_process_does_not_know_waits_for_one_that_does(
    runtime: Runtime,
) -> None:
    async def later(call: object) -> None: ...

    job = Job("links.of_the_next_version", later, queue="bulk", retry=links.QUICK, timeout_s=1)
    job.attach(later)
    await enqueue(runtime, job)
    await enqueue(runtime, links.rescan, link_id="x")
    assert [claimed.name for claimed in await runtime.workers.claim("bulk", 10)] == ["links.rescan"]
    assert [waiting.name for waiting in await jobs_in(runtime, "ready")] == [job.name]
    runtime.jobs[job.name] = job
    assert [claimed.name for claimed in await runtime.workers.claim("bulk", 10)] == [job.name]


async def test_a_run_that_was_cancelled_changes_nothing_after_a_retry(runtime: Runtime) -> None:
    """The attempts begin anew with the retry; the claims do not, and they are the fence."""
    await enqueue(runtime, links.rescan, link_id="x")
    cancelled = (await runtime.workers.claim("bulk", 1))[0]
    admin = StoredJobs(runtime.registry, runtime.workers)
    for change in (
        lambda call, job: admin.cancel(call, job),
        lambda call, job: admin.make_ready(call, job, "jobs:write"),
    ):
        call = runtime.dispatcher.call(SYSTEM, request_id="req_1")
        change(call, await admin.one(call, cancelled.id))
        await runtime.dispatcher.commit(call)
    again = (await runtime.workers.claim("bulk", 1))[0]
    assert (again.id, again.attempt, cancelled.attempt) == (cancelled.id, 1, 1)
    call = runtime.dispatcher.call(SYSTEM, request_id=again.id, attempt=1)
    assert (await runtime.workers.run_attempt("bulk", cancelled, call)).outcome == "lost"
    assert await runtime.database.read(HITS, ()) == []
    call = runtime.dispatcher.call(SYSTEM, request_id=again.id, attempt=1)
    assert (await runtime.workers.run_attempt("bulk", again, call)).outcome == "done"
    assert await runtime.database.read(HITS, ()) == ["x"]
