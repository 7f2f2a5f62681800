"""What callers see of jobs, queues and schedules."""

import msgspec

from mainspring import Call, Registry, rfc3339
from mainspring.kernel.job import Schedule
from mainspring.kernel.job_admin import KnownJob, QueueState
from mainspring.services.jobs.api import JobInfo, Queue, ScheduleInfo


def present_job(call: Call, row: KnownJob) -> JobInfo:
    """Write a job as the caller sees it; the arguments only of jobs that callers may give some.

    Of a service's own job, key and error may say what only its readers may know: others see the
    kind of the error.
    """
    public = is_public(call, row)
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


def is_public(call: Call, row: KnownJob) -> bool:
    """Tell whether callers may have such jobs done."""
    job = call.use(Registry).jobs.get(row.name)
    return job is not None and job.public


def present_queue(call: Call, queue: QueueState) -> Queue:
    """Write a queue as callers see one."""
    waits_ms = 0 if queue.oldest_ms is None else max(0, call.now_ms - queue.oldest_ms)
    return Queue(
        name=queue.name,
        paused=queue.paused,
        scheduled=queue.scheduled,
        ready=queue.ready,
        running=queue.running,
        dead=queue.dead,
        latency_s=waits_ms / 1000,
        done_last_minute=queue.done_last_minute,
    )


def present_schedule(schedule: Schedule, next_ms: int | None) -> ScheduleInfo:
    """Write a schedule as callers see one."""
    next_at = None if next_ms is None else rfc3339(next_ms)
    return ScheduleInfo(schedule.name, schedule.cron, schedule.job.name, next_at)
