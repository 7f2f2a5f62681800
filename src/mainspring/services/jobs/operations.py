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
from mainspring.services.jobs.api import (
    ADMIN,
    AHEAD_MS_MAX,
    READ,
    WRITE,
    JobCancelled,
    JobInfo,
    JobQuery,
    JobRetried,
    NewJob,
    NotInThatState,
    Queue,
    QueuePaused,
    QueueRedriven,
    QueueResumed,
    Redrive,
    Redriven,
    ScheduleInfo,
)
from mainspring.services.jobs.presenter import (
    is_public,
    present_job,
    present_queue,
    present_schedule,
)

_SCHEDULED, _READY = JobState.SCHEDULED.value, JobState.READY.value
_DEAD, _CANCELLED = JobState.DEAD.value, JobState.CANCELLED.value


@handles(api.create_job)
async def create_job(call: Call, new: NewJob) -> Response[JobInfo | None]:
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
    return Response(present_job(call, jobs.enqueue(call, staged, WRITE)))


@handles(api.list_jobs)
async def list_jobs(call: Call, query: JobQuery) -> Page[JobInfo]:
    rows = await call.use(JobAdmin).page(
        call,
        after=query.cursor or "",
        queue=query.queue or "",
        state=query.state or "",
        name=query.name or "",
        limit=query.limit,
    )
    return _page(call, rows)


@handles(api.get_job)
async def get_job(call: Call, id: str) -> JobInfo:
    return present_job(call, await call.use(JobAdmin).one(call, id))


@handles(api.cancel_job)
async def cancel_job(call: Call, id: str) -> Response[JobInfo | None]:
    row = await call.use(JobAdmin).one(call, id)
    _require_say(call, row)
    if row.state == _CANCELLED:
        return _answer_to(call, row)
    if row.state == JobState.DONE:
        raise NotInThatState("the job is done: nothing is left to cancel")
    call.emit(JobCancelled(row.id, row.name))
    return _answer_to(call, call.use(JobAdmin).cancel(call, row))


@handles(api.retry_job)
async def retry_job(call: Call, id: str) -> Response[JobInfo | None]:
    row = await call.use(JobAdmin).one(call, id)
    _require_say(call, row)
    if row.state not in (_DEAD, _CANCELLED, _SCHEDULED):
        raise NotInThatState(
            f"the job is {row.state}: one that is dead, cancelled or scheduled can be run again"
        )
    call.emit(JobRetried(row.id, row.name))
    return _answer_to(call, call.use(JobAdmin).make_ready(call, row, WRITE))


@handles(api.list_queues)
async def list_queues(call: Call) -> Page[Queue]:
    return Page(await _queues(call))


@handles(api.get_queue)
async def get_queue(call: Call, name: str) -> Queue:
    for found in await _queues(call):
        if found.name == name:
            return found
    raise NotFound()


@handles(api.pause_queue)
async def pause_queue(call: Call, name: str) -> Queue:
    return await _set_paused(call, name, paused=True)


@handles(api.resume_queue)
async def resume_queue(call: Call, name: str) -> Queue:
    return await _set_paused(call, name, paused=False)


@handles(api.list_dead_letters)
async def list_dead_letters(call: Call, queue: str, query: PageQuery) -> Page[JobInfo]:
    _require_queue(call, queue)
    rows = await call.use(JobAdmin).dead(call, queue, after=query.cursor or "", limit=query.limit)
    return _page(call, rows)


@handles(api.redrive_dead_letters)
async def redrive_dead_letters(call: Call, queue: str, batch: Redrive) -> Redriven:
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
        jobs.make_ready(call, row, ADMIN)
        redriven += 1
    if redriven:
        call.emit(QueueRedriven(queue, redriven))
    return Redriven(redriven)


@handles(api.list_schedules)
async def list_schedules(call: Call) -> Page[ScheduleInfo]:
    next_ms = await call.use(JobAdmin).next_firings(call)
    schedules = sorted(call.use(Registry).schedules, key=lambda schedule: schedule.name)
    return Page([present_schedule(each, next_ms.get(each.name)) for each in schedules])


def _answer_to(call: Call, row: KnownJob) -> Response[JobInfo | None]:
    """Answer a write with the job it left, to those who may read jobs; else with nothing."""
    return Response.shown_if(call.caller.allows(READ), present_job(call, row), status=200)


def _require_say(call: Call, row: KnownJob) -> None:
    """Raise Forbidden unless the caller may decide about this job."""
    scope = f"{row.name.partition('.')[0]}:write"
    if not is_public(call, row) and not call.caller.allows(scope):
        raise Forbidden(
            f"{row.name} is an internal job of its service: this needs the scope {scope} too"
        )


def _page(call: Call, rows: Rows[KnownJob]) -> Page[JobInfo]:
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
    if moment_ms > call.now_ms + AHEAD_MS_MAX:
        raise Invalid.at("/run_at", "is more than ten years ahead: choose an earlier time")
    return max(moment_ms, call.now_ms)


def _require_queue(call: Call, queue: str) -> None:
    if not call.use(JobAdmin).has_queue(queue):
        raise NotFound()


async def _queues(call: Call) -> list[Queue]:
    return [present_queue(call, queue) for queue in await call.use(JobAdmin).queues(call)]


async def _set_paused(call: Call, queue: str, *, paused: bool) -> Queue:
    _require_queue(call, queue)
    (found,) = [each for each in await _queues(call) if each.name == queue]
    if found.paused != paused:
        call.use(JobAdmin).set_paused(call, queue, paused=paused)
        call.emit(QueuePaused(queue) if paused else QueueResumed(queue))
    return msgspec.structs.replace(found, paused=paused)
