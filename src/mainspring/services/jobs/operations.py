"""What callers do with jobs, queues and schedules."""

from typing import Any

import msgspec

from mainspring.kernel.call import Call
from mainspring.kernel.clock import epoch_ms, rfc3339
from mainspring.kernel.errors import FieldError, Forbidden, Invalid, NotFound, Rerun
from mainspring.kernel.field_errors import collect
from mainspring.kernel.job import QUEUES, Job, JobState, StagedJob
from mainspring.kernel.operation import Response
from mainspring.kernel.page import Page, PageQuery
from mainspring.kernel.registry import Registry
from mainspring.kernel.service import handles
from mainspring.kernel.table import Rows
from mainspring.runtime.invoke.dispatcher import job_row
from mainspring.runtime.jobs.workers import Workers
from mainspring.runtime.tables import JOBS, JobRow
from mainspring.services.jobs import api, store
from mainspring.services.jobs.api import (
    ADMIN,
    AHEAD_MS_MAX,
    READ,
    WRITE,
    JobCancelled,
    JobInfo,
    JobRetried,
    ListJobs,
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

_SCHEDULED, _READY = JobState.SCHEDULED.value, JobState.READY.value
_DEAD, _CANCELLED = JobState.DEAD.value, JobState.CANCELLED.value


@handles(api.enqueue)
async def enqueue(call: Call, new: NewJob) -> Response[JobInfo | None]:
    job = _public_job(call, new.name)
    queue = new.queue or job.queue
    if queue not in _queue_names(call):
        raise _fault("/queue", f"there is no queue {queue!r}")
    args = job.encode(_arguments(job, new.args))
    run_at_ms = _moment(call, new.run_at)
    if new.unique_key is not None:
        there = await call.find(
            store.LIVE_BY_KEY, tenant=call.tenant, unique_key=new.unique_key, name=job.name
        )
        if there is not None:
            return _answer_to(call, there)
    staged = StagedJob(
        job, call.new_id("job"), args, queue, new.priority, run_at_ms, new.unique_key
    )
    # Another call may take the unique key first: then this one runs again and finds its job.
    row = msgspec.structs.replace(job_row(call, staged), **_on_behalf(call, WRITE))
    call.write(JOBS.insert(row, on_conflict=Rerun))
    call.wake("scheduled" if run_at_ms > call.now_ms else f"jobs:{queue}")
    return Response(shown(call, row))


@handles(api.list_all)
async def list_all(call: Call, query: ListJobs) -> Page[JobInfo]:
    rows = await call.page(
        store.PAGE,
        tenant=call.tenant,
        after=query.cursor or "",
        queue=query.queue or "",
        state=query.state or "",
        name=query.name or "",
        limit=query.limit,
    )
    return _page(call, rows)


@handles(api.get)
async def get(call: Call, job_id: str) -> JobInfo:
    return shown(call, await call.one(store.JOB, id=job_id, tenant=call.tenant))


@handles(api.cancel)
async def cancel(call: Call, job_id: str) -> Response[JobInfo | None]:
    row = await call.one(store.JOB, id=job_id, tenant=call.tenant)
    _require_say(call, row)
    if row.state == _CANCELLED:
        return _answer_to(call, row)
    if row.state == JobState.DONE:
        raise NotInThatState("the job is done")
    command = store.CANCEL(id=row.id, was=row.state, attempt=row.attempt, now_ms=call.now_ms)
    call.write(command.expect(1, Rerun))
    call.emit(JobCancelled(row.id, row.name))
    after = msgspec.structs.replace(row, state=_CANCELLED, worker=None, updated_ms=call.now_ms)
    return _answer_to(call, after)


@handles(api.retry)
async def retry(call: Call, job_id: str) -> Response[JobInfo | None]:
    row = await call.one(store.JOB, id=job_id, tenant=call.tenant)
    _require_say(call, row)
    if row.state not in (_DEAD, _CANCELLED, _SCHEDULED):
        raise NotInThatState(f"the job is {row.state}")
    after = _make_ready(call, row, WRITE)
    call.emit(JobRetried(row.id, row.name))
    return _answer_to(call, after)


@handles(api.list_queues)
async def list_queues(call: Call) -> Page[Queue]:
    return Page(await _queues(call))


@handles(api.get_queue)
async def get_queue(call: Call, queue: str) -> Queue:
    for found in await _queues(call):
        if found.name == queue:
            return found
    raise NotFound()


@handles(api.pause)
async def pause(call: Call, queue: str) -> Queue:
    return await _set_paused(call, queue, paused=True)


@handles(api.resume)
async def resume(call: Call, queue: str) -> Queue:
    return await _set_paused(call, queue, paused=False)


@handles(api.list_dead)
async def list_dead(call: Call, queue: str, query: PageQuery) -> Page[JobInfo]:
    _require_queue(call, queue)
    rows = await call.page(
        store.DEAD,
        tenant=call.tenant,
        queue=queue,
        after=query.cursor or "",
        limit=query.limit,
    )
    return _page(call, rows)


@handles(api.redrive)
async def redrive(call: Call, queue: str, batch: Redrive) -> Redriven:
    _require_queue(call, queue)
    rows = await call.page(store.REDRIVABLE, queue=queue, tenant=call.tenant, limit=batch.limit)
    keys: set[tuple[str, str]] = set()
    redriven = 0
    for row in rows.items:
        if row.unique_key is not None:
            if (row.name, row.unique_key) in keys:
                continue
            keys.add((row.name, row.unique_key))
        _make_ready(call, row, ADMIN)
        redriven += 1
    if redriven:
        call.emit(QueueRedriven(queue, redriven))
    return Redriven(redriven)


@handles(api.list_schedules)
async def list_schedules(call: Call) -> Page[ScheduleInfo]:
    next_ms = {row.name: row.next_ms for row in await call.all(store.NEXT_FIRINGS)}
    return Page(
        [
            ScheduleInfo(
                schedule.name,
                schedule.cron,
                schedule.job.name,
                rfc3339(next_ms[schedule.name]) if schedule.name in next_ms else None,
            )
            for schedule in sorted(call.use(Registry).schedules, key=lambda s: s.name)
        ]
    )


def _answer_to(call: Call, row: JobRow) -> Response[JobInfo | None]:
    """Answer a write with the job it left, to those who may read jobs; else with nothing."""
    if not call.caller.allows(READ):
        return Response(None, status=204)
    return Response(shown(call, row), status=200)


def _is_public(call: Call, row: JobRow) -> bool:
    job = call.use(Registry).jobs.get(row.name)
    return job is not None and job.public


def _require_say(call: Call, row: JobRow) -> None:
    """Raise Forbidden unless the caller may decide about this job."""
    scope = f"{row.name.partition('.')[0]}:write"
    if not _is_public(call, row) and not call.caller.allows(scope):
        raise Forbidden(f"{row.name} is its service's own affair: this takes {scope} too")


def shown(call: Call, row: JobRow) -> JobInfo:
    """A job as callers see it; the arguments only of jobs that callers may give some.

    Of a service's own job, key and error may say what only its readers may know: others see the
    kind of the error.
    """
    public = _is_public(call, row)
    open_ = public or call.caller.allows(f"{row.name.partition('.')[0]}:read")
    error = row.error if open_ or row.error is None else row.error.partition(":")[0]
    return JobInfo(
        id=row.id,
        name=row.name,
        queue=row.queue,
        state=row.state,
        priority=row.priority,
        args=msgspec.Raw(row.args.encode()) if public else None,
        unique_key=row.unique_key if open_ else None,
        run_at=rfc3339(row.run_at_ms),
        attempts=row.attempt,
        max_attempts=row.max_attempts,
        progress=row.progress,
        error=error,
        correlation_id=row.correlation_id,
        acts_for=row.actor,
        created_at=rfc3339(row.created_ms),
        updated_at=rfc3339(row.updated_ms),
    )


def _page(call: Call, rows: Rows[JobRow]) -> Page[JobInfo]:
    return Page.of(rows, lambda row: shown(call, row), lambda row: row.id)


def _public_job(call: Call, name: str) -> Job[...]:
    job = call.use(Registry).jobs.get(name)
    if job is None or not job.public:
        raise _fault("/name", f"there is no public job {name!r}")
    return job


def _arguments(job: Job[...], args: dict[str, Any]) -> dict[str, Any]:
    try:
        return msgspec.structs.asdict(msgspec.convert(args, job.args))
    except msgspec.ValidationError as error:
        faults = collect(error, job.args, args, at="/args")
        raise Invalid("the arguments do not fit the job", faults=faults) from None


def _moment(call: Call, text: str | None) -> int:
    if text is None:
        return call.now_ms
    try:
        moment_ms = epoch_ms(text)
    except ValueError as error:
        raise _fault("/run_at", str(error)) from None
    if moment_ms > call.now_ms + AHEAD_MS_MAX:
        raise _fault("/run_at", "is more than ten years ahead")
    return max(moment_ms, call.now_ms)


def _fault(pointer: str, detail: str) -> Invalid:
    return Invalid(detail, faults=(FieldError(pointer, detail),))


def _on_behalf(call: Call, scope: str) -> dict[str, str | None]:
    """For whom a job runs that this call has done, and what that caller is asked for then."""
    if call.caller.kind == "system":
        return {"actor": None, "scope": None}
    return {"actor": call.caller.actor, "scope": scope}


def _make_ready(call: Call, row: JobRow, scope: str) -> JobRow:
    """Stage that a job runs now; one that had ended begins its attempts anew.

    Whoever says so answers for one that a caller had done. A service's stays the service's.
    """
    attempts = row.attempt if row.state == _SCHEDULED else 0
    behalf = _on_behalf(call, scope)
    command = store.MAKE_READY(
        id=row.id, was=row.state, attempts=attempts, now_ms=call.now_ms, **behalf
    )
    call.write(command.expect(1, Rerun))
    call.wake(f"jobs:{row.queue}")
    after = msgspec.structs.replace(
        row, state=_READY, attempt=attempts, run_at_ms=call.now_ms, updated_ms=call.now_ms
    )
    return after if row.actor is None else msgspec.structs.replace(after, **behalf)


def _queue_names(call: Call) -> set[str]:
    """Every queue that has workers, or that a declared job uses."""
    declared = {job.queue for job in call.use(Registry).jobs.values()}
    return {*QUEUES, *declared, *call.use(Workers).stats}


def _require_queue(call: Call, queue: str) -> None:
    if queue not in _queue_names(call):
        raise NotFound()


async def _queues(call: Call) -> list[Queue]:
    paused = {row.name: row.paused for row in await call.all(store.QUEUES)}
    depths = {(row.queue, row.state): row for row in await call.all(store.DEPTHS)}
    stats = call.use(Workers).stats
    queues = []
    for name in sorted(_queue_names(call).union(queue for queue, _ in depths)):
        counts = {
            state: depths[name, state].jobs if (name, state) in depths else 0
            for state in (_SCHEDULED, _READY, JobState.RUNNING.value, _DEAD)
        }
        oldest = depths.get((name, _READY))
        queues.append(
            Queue(
                name=name,
                paused=paused.get(name, False),
                **counts,
                latency_s=max(0, call.now_ms - oldest.oldest_ms) / 1000 if oldest else 0.0,
                done_last_minute=stats[name].last_minute.count(call.now_ms) if name in stats else 0,
            )
        )
    return queues


async def _set_paused(call: Call, queue: str, *, paused: bool) -> Queue:
    _require_queue(call, queue)
    (shown,) = [found for found in await _queues(call) if found.name == queue]
    if shown.paused != paused:
        call.write(store.SET_PAUSED(name=queue, paused=paused))
        call.emit(QueuePaused(queue) if paused else QueueResumed(queue))
        call.wake(f"jobs:{queue}")
    return msgspec.structs.replace(shown, paused=paused)
