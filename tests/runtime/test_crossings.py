"""What crosses a call or a job on its way: re-runs, lost answers, refusals, moved clocks."""

import asyncio

import pytest

from mainspring.kernel.call import SYSTEM, Call, Transaction
from mainspring.kernel.errors import Conflict, KeyReused, Rerun, Unavailable
from mainspring.kernel.job import Job, JobState, Schedule, Snooze
from mainspring.kernel.service import Service
from mainspring.kernel.table import Query, Statement
from mainspring.ports.database import StartError
from mainspring.runtime.jobs.scheduler import Scheduler
from mainspring.runtime.retention import Retention, RetentionSettings
from mainspring.runtime.runtime import Runtime
from mainspring.runtime.tables import ClaimedJob
from mainspring.testing.clock import FakeClock
from tests.deadline import DEADLINE_S
from tests.runtime import links
from tests.runtime.invoke.test_dispatcher import EVENT_COUNT, count, key, new_link, run
from tests.runtime.jobs.test_workers import HITS, enqueue, jobs_in, until
from tests.runtime.slow import ThingHappened, slow

ADD_HIT = Statement("test.add_hit", "INSERT INTO links_hits (id, link) VALUES (:id, :link)")
TOUCH = Statement("test.touch", "UPDATE links_links SET hits = hits WHERE id = :id")
LEASE = Query("test.lease", "SELECT lease_until_ms FROM jobs WHERE id = :id", int)


# The second form


async def test_the_second_form_stages_anew_when_it_runs_again(runtime: Runtime) -> None:
    service, runs = Service("inner", doc="For one test."), 0

    @service.transaction("POST /v1/inner", scope=None)
    async def emit_first(call: Transaction) -> int:
        nonlocal runs
        runs += 1
        call.emit(links.LinkCreated("link_1", "early", 0))
        await call.execute(TOUCH(id="nobody").expect(0 if runs > 1 else 1, Rerun))
        return runs

    outcome = await run(runtime, emit_first)
    assert outcome.value == 2
    assert await count(runtime, EVENT_COUNT) == 1


async def test_a_repeat_of_the_second_form_that_fails_late_gets_the_first_answer(
    runtime: Runtime,
) -> None:
    """The first call commits after the repeat looked for its answer and before the repeat runs."""
    service = Service("inner", doc="For one test.")

    @service.transaction("POST /v1/inner", scope=None)
    async def take_last(call: Transaction) -> str:
        if await call.all(HITS):
            raise Conflict("none is left")
        await call.execute(ADD_HIT(id=call.new_id("hit"), link="last"))
        return "yours"

    both = await asyncio.gather(*[run(runtime, take_last, key("k")) for _ in range(2)])
    assert [outcome.body for outcome in both] == [b'"yours"'] * 2
    assert await runtime.database.read(HITS, ()) == ["last"]


# Keys of calls that change nothing


async def test_a_call_that_changes_nothing_is_remembered_by_its_key(runtime: Runtime) -> None:
    """Else its repetition would take effect over what others did since."""
    service, current = Service("inner", doc="For one test."), "open"

    @service.operation("POST /v1/inner", scope=None)
    async def set_open(call: Call) -> str:
        if current == "open":
            return "was open"
        call.write(links.HITS.insert(links.Hit(call.new_id("hit"), "opened")))
        return "opened"

    first = await run(runtime, set_open, key("k"))
    current = "closed"
    again = await run(runtime, set_open, key("k"))
    assert (first.replayed, again.replayed, again.body) == (False, True, first.body)
    assert await runtime.database.read(HITS, ()) == []
    with pytest.raises(KeyReused):
        await run(runtime, set_open, key("k", "another request"))


# Jobs


def job_of(runtime: Runtime, handler: object, name: str = "links.probe") -> Job:
    job = Job(name, handler, queue="bulk", retry=links.QUICK, timeout_s=DEADLINE_S)  # type: ignore[arg-type]
    job.attach(handler)  # type: ignore[arg-type]
    runtime.jobs[name] = job
    return job


async def claim(runtime: Runtime) -> ClaimedJob:
    (job,) = await runtime.workers.claim("bulk", 1)
    return job


async def attempt(runtime: Runtime, job: ClaimedJob) -> str:
    call = runtime.dispatcher.call(SYSTEM, request_id=job.id, attempt=job.attempt)
    return (await runtime.workers.run_attempt("bulk", job, call)).outcome


async def test_a_cancelled_job_that_is_retried_while_it_runs_keeps_no_slot(
    runtime: Runtime,
) -> None:
    started, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def probe(call: Call) -> None:
        started.release()
        await go_on.wait()
        call.write(links.HITS.insert(links.Hit(call.new_id("hit"), "once")))

    await enqueue(runtime, job_of(runtime, probe))
    slots = asyncio.Semaphore(2)
    workers = runtime.workers
    again = Statement("test.again", "UPDATE jobs SET state = 'ready', attempt = 0")
    runs = Statement("test.runs", "UPDATE jobs SET state = 'running', attempt = 1")
    async with asyncio.timeout(DEADLINE_S):
        for _ in range(2):
            job = await claim(runtime)
            await slots.acquire()
            workers.run_in_background("bulk", job, slots)
            await started.acquire()
            await runtime.database.commit([again()])
        await runtime.database.commit([runs()])
        go_on.set()
        for _ in range(2):
            await slots.acquire()
    assert workers.stats["bulk"].running == 0
    assert await runtime.database.read(HITS, ()) == ["once"]


async def test_only_what_runs_keeps_its_lease(runtime: Runtime, clock: FakeClock) -> None:
    """A job whose claim or completion was lost on its way must not be held for ever."""
    for name in ("runs", "lost"):
        await enqueue(runtime, links.rescan, link_id=name)
    runs, lost = await claim(runtime), await claim(runtime)
    clock.move(60)
    call = runtime.dispatcher.call(SYSTEM, request_id=runs.id, attempt=1)
    await runtime.database.commit(runtime.workers.renewal([(runs, call)]))
    leases = [(await runtime.database.read(LEASE, (job.id,)))[0] for job in (runs, lost)]
    assert leases[0] > clock.now_ms() > leases[1]


async def test_a_process_that_slept_takes_no_job_from_itself(
    runtime: Runtime, clock: FakeClock
) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def probe(call: Call) -> None:
        started.set()
        await go_on.wait()

    await enqueue(runtime, job_of(runtime, probe))
    slots = asyncio.Semaphore(0)
    await runtime.workers.leases.take_back_expired()
    runtime.workers.run_in_background("bulk", await claim(runtime), slots)
    async with asyncio.timeout(DEADLINE_S):
        await started.wait()
        clock.move(60)
        await runtime.workers.leases.take_back_expired()
        assert [job.attempt for job in await jobs_in(runtime, "running")] == [1]
        go_on.set()
        await slots.acquire()
    assert len(await jobs_in(runtime, "done")) == 1


async def test_a_job_that_meets_an_outage_is_retried_by_its_policy(runtime: Runtime) -> None:
    async def probe(call: Call) -> None:
        raise Unavailable("not now")

    await enqueue(runtime, job_of(runtime, probe))
    assert await attempt(runtime, await claim(runtime)) == "failed"
    assert (await jobs_in(runtime, "scheduled"))[0].error == "Unavailable: not now"


async def test_a_completion_that_was_lost_on_its_way_is_not_taken_back(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit happened and its answer did not arrive: the effect stays, and stays once."""
    await enqueue(runtime, links.rescan, link_id="x")
    job, commit = await claim(runtime), runtime.dispatcher.commit

    async def lose_the_answer(*args: object, **kwargs: object) -> None:
        monkeypatch.undo()
        await commit(*args, **kwargs)  # type: ignore[arg-type]
        raise Unavailable("the connection broke")

    monkeypatch.setattr(type(runtime.dispatcher), "commit", staticmethod(lose_the_answer))
    assert await attempt(runtime, job) == "lost"
    assert len(await jobs_in(runtime, "done")) == 1
    assert await runtime.database.read(HITS, ()) == ["x"]


async def test_a_snooze_whose_marks_cannot_be_kept_runs_again(runtime: Runtime) -> None:
    made = await new_link(runtime)

    async def probe(call: Call) -> None:
        link = await call.one(links.BY_ID, id=made.id)
        if call.attempt == 1:
            await run(runtime, links.hit, id=made.id)
        call.write(links.LINKS.update(link, slug="marked"))
        raise Snooze(0.0)

    await enqueue(runtime, job_of(runtime, probe))
    assert await attempt(runtime, await claim(runtime)) == "failed"
    (job,) = await jobs_in(runtime, JobState.SCHEDULED)
    assert job.error == "ConcurrentUpdate: what it staged could not be kept: Rerun"


async def test_an_error_no_engine_stores_is_written_all_the_same(runtime: Runtime) -> None:
    async def probe(call: Call) -> None:
        raise ValueError("\0 and \ud800")

    await enqueue(runtime, job_of(runtime, probe))
    assert await attempt(runtime, await claim(runtime)) == "failed"
    assert (await jobs_in(runtime, "scheduled"))[0].error == "ValueError: \ufffd and ?"


async def test_the_only_process_takes_every_lease_back_though_the_clock_was_set_back(
    runtime: Runtime, clock: FakeClock
) -> None:
    if not runtime.database.exclusive:
        pytest.skip("another process may hold leases here")
    await enqueue(runtime, links.rescan, link_id="x")
    await claim(runtime)
    clock.move(-3600)
    await runtime.start()
    try:

        async def done() -> bool:
            return bool(await jobs_in(runtime, "done"))

        await until(runtime, done)
    finally:
        await runtime.stop(1.0)
    assert (await jobs_in(runtime, "done"))[0].attempt == 2


async def test_a_unique_key_holds_for_jobs_of_its_name_only(runtime: Runtime) -> None:
    """A caller may choose the keys of public jobs, and must not block another's with them."""
    for job in (links.rescan, links.fail, links.rescan):
        await enqueue(runtime, job.configure(unique_key="shared"), link_id="x")
    assert [job.name for job in await jobs_in(runtime, "ready")] == ["links.rescan", "links.fail"]


async def test_a_job_is_remembered_for_a_day_after_its_end(
    runtime: Runtime, clock: FakeClock
) -> None:
    await enqueue(runtime, links.rescan, link_id="x")
    clock.move(7 * 24 * 3600)
    await attempt(runtime, await claim(runtime))
    assert await runtime.scheduler.sweep() == 0
    clock.move(25 * 3600)
    assert await runtime.scheduler.sweep() == 1


# Consumers and schedules


@pytest.mark.parametrize("services", [[slow]])
async def test_an_event_whose_handler_hangs_is_set_aside(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainspring.runtime.events.consumer_runner.HANDLE_TIMEOUT_S", 0.001)
    await runtime.prepare()
    call = runtime.dispatcher.call(SYSTEM, request_id="req_1")
    call.emit(ThingHappened("one"))
    await runtime.dispatcher.commit(call)
    await runtime.sequencer.sequence()
    assert await runtime.consumer_runner.run_due() == 1
    assert [job.name for job in await jobs_in(runtime, "scheduled")] == ["slow.hang.again"]


async def test_a_schedule_without_a_moment_is_named_at_the_start(runtime: Runtime) -> None:
    scheduler = Scheduler(
        runtime.database,
        runtime.dispatcher,
        [Schedule("leap", "0 0 30 2 *", links.rescan)],
        runtime.board,
        runtime.clock,
        Retention(runtime.database, runtime.registry, RetentionSettings()),
    )
    with pytest.raises(StartError, match="schedule 'leap'"):
        await scheduler.start()
