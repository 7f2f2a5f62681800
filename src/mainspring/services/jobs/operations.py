"""What callers do with jobs, queues and schedules."""

from typing import Any

import msgspec

from mainspring import (
    Call,
    Forbidden,
    Invalid,
    Job,
    JobAdmin,
    NotFound,
    Page,
    PageQuery,
    Registry,
    Response,
    Rows,
    epoch_ms,
    handles,
    read_at,
)
from mainspring.kernel.field_errors import collect
from mainspring.kernel.job import PLATFORM_QUEUES, JobState, StagedJob
from mainspring.kernel.job_admin import KnownJob
from mainspring.services.jobs import api
from mainspring.services.jobs.presenter import (
    is_public,
    present_job,
    present_queue,
    present_schedule,
)

_RUN_AGAIN = (JobState.DEAD, JobState.CANCELLED, JobState.SCHEDULED)


@handles(api.create_job)
async def create_job(call: Call, new: api.NewJob) -> Response[api.JobInfo | None]:
    job = _public_job(call, new.name)
    queue = new.queue or job.queue
    jobs = call.use(JobAdmin)
    if not jobs.has_queue(queue):
        raise Invalid.at("/queue", f"there is no queue {queue!r}")
    if queue != job.queue and queue in PLATFORM_QUEUES:
        raise Invalid.at("/queue", f"the platform keeps the queue {queue!r} for itself")
    args = job.encode(_arguments(job, new.args))
    run_at_ms = _moment(call, new.run_at)
    if new.unique_key is not None:
        there = await jobs.alive(call, job.name, new.unique_key)
        if there is not None:
            return _answer_to(call, there)
    staged = StagedJob(
        job, call.new_id("job"), args, queue, new.priority, run_at_ms, new.unique_key
    )
    # Another call may take the unique key first: then this one runs again and finds its job.
    return Response(present_job(call, jobs.enqueue(call, staged, api.WRITE)))


@handles(api.list_jobs)
async def list_jobs(call: Call, query: api.JobQuery) -> Page[api.JobInfo]:
    rows = await call.use(JobAdmin).page(
        call,
        after=query.after_id("job"),
        queue=query.queue or "",
        state=query.state or "",
        name=query.name or "",
        limit=query.limit,
    )
    return _page(call, rows)


@handles(api.get_job)
async def get_job(call: Call, id: str) -> api.JobInfo:
    return present_job(call, await call.use(JobAdmin).one(call, id))


@handles(api.cancel_job)
async def cancel_job(call: Call, id: str) -> Response[api.JobInfo | None]:
    row = await call.use(JobAdmin).one(call, id)
    _require_say(call, row)
    if row.state == JobState.CANCELLED:
        return _answer_to(call, row)
    if row.state == JobState.DONE:
        raise api.NotInThatState("the job is done: nothing is left to cancel")
    call.emit(api.JobCancelled(row.id, row.name))
    return _answer_to(call, call.use(JobAdmin).cancel(call, row))


@handles(api.retry_job)
async def retry_job(call: Call, id: str) -> Response[api.JobInfo | None]:
    row = await call.use(JobAdmin).one(call, id)
    _require_say(call, row)
    if row.state not in _RUN_AGAIN:
        raise api.NotInThatState(
            f"the job is {row.state}: one that is dead, cancelled or scheduled can be run again"
        )
    call.emit(api.JobRetried(row.id, row.name))
    return _answer_to(call, call.use(JobAdmin).make_ready(call, row, api.WRITE))


@handles(api.list_queues)
async def list_queues(call: Call) -> Page[api.Queue]:
    return Page(await _queues(call))


@handles(api.get_queue)
async def get_queue(call: Call, name: str) -> api.Queue:
    for found in await _queues(call):
        if found.name == name:
            return found
    raise NotFound()


@handles(api.pause_queue)
async def pause_queue(call: Call, name: str) -> api.Queue:
    return await _set_paused(call, name, paused=True)


@handles(api.resume_queue)
async def resume_queue(call: Call, name: str) -> api.Queue:
    return await _set_paused(call, name, paused=False)


@handles(api.list_dead_letters)
async def list_dead_letters(call: Call, queue: str, query: PageQuery) -> Page[api.JobInfo]:
    _require_queue(call, queue)
    after = query.after_id("job")
    rows = await call.use(JobAdmin).dead(call, queue, after=after, limit=query.limit)
    return _page(call, rows)


@handles(api.redrive_dead_letters)
async def redrive_dead_letters(call: Call, queue: str, batch: api.Redrive) -> api.Redriven:
    _require_queue(call, queue)
    jobs = call.use(JobAdmin)
    rows = await jobs.redrivable(call, queue, limit=batch.limit)
    keys: set[tuple[str, str]] = set()
    redriven = 0
    for row in rows.items:
        if row.unique_key is not None:
            if (row.name, row.unique_key) in keys:
                continue
            keys.add((row.name, row.unique_key))
        jobs.make_ready(call, row, api.ADMIN)
        redriven += 1
    if redriven:
        call.emit(api.QueueRedriven(queue, redriven))
    return api.Redriven(redriven)


@handles(api.list_schedules)
async def list_schedules(call: Call) -> Page[api.ScheduleInfo]:
    next_ms = await call.use(JobAdmin).next_firings(call)
    schedules = sorted(call.use(Registry).schedules, key=lambda schedule: schedule.name)
    return Page([present_schedule(each, next_ms.get(each.name)) for each in schedules])


def _answer_to(call: Call, row: KnownJob) -> Response[api.JobInfo | None]:
    """Answer a write with the job it left, to those who may read jobs; else with nothing."""
    return Response.shown_if(call.caller.allows(api.READ), present_job(call, row), status=200)


def _require_say(call: Call, row: KnownJob) -> None:
    """Raise Forbidden unless the caller may decide about this job."""
    scope = f"{row.name.partition('.')[0]}:write"
    if not is_public(call, row) and not call.caller.allows(scope):
        raise Forbidden(
            f"{row.name} is an internal job of its service: this needs the scope {scope} too"
        )


def _page(call: Call, rows: Rows[KnownJob]) -> Page[api.JobInfo]:
    return Page.of(rows, lambda row: present_job(call, row), lambda row: row.id)


def _public_job(call: Call, name: str) -> Job[...]:
    job = call.use(Registry).jobs.get(name)
    if job is None or not job.public:
        raise Invalid.at("/name", f"there is no public job {name!r}")
    return job


def _arguments(job: Job[...], args: dict[str, Any]) -> dict[str, Any]:
    try:
        return msgspec.structs.asdict(msgspec.convert(args, job.args))
    except msgspec.ValidationError as error:
        errors = collect(error, job.args, args, at="/args")
        raise Invalid("the arguments do not fit the job", errors=errors) from None


def _moment(call: Call, text: str | None) -> int:
    if text is None:
        return call.now_ms
    moment_ms = read_at("/run_at", epoch_ms, text)
    if moment_ms > call.now_ms + api.AHEAD_MS_MAX:
        raise Invalid.at("/run_at", "is more than ten years ahead: choose an earlier time")
    return max(moment_ms, call.now_ms)


def _require_queue(call: Call, queue: str) -> None:
    if not call.use(JobAdmin).has_queue(queue):
        raise NotFound()


async def _queues(call: Call) -> list[api.Queue]:
    return [present_queue(call, queue) for queue in await call.use(JobAdmin).queues(call)]


async def _set_paused(call: Call, queue: str, *, paused: bool) -> api.Queue:
    _require_queue(call, queue)
    (found,) = [each for each in await _queues(call) if each.name == queue]
    if found.paused != paused:
        call.use(JobAdmin).set_paused(call, queue, paused=paused)
        call.emit(api.QueuePaused(queue) if paused else api.QueueResumed(queue))
    return msgspec.structs.replace(found, paused=paused)
