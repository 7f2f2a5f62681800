"""The public face of jobs and queues: operations, what they take and answer, events, errors."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mainspring import (
    PAGE_LIMIT_MAX,
    Call,
    Conflict,
    Impersonated,
    Input,
    Instant,
    Invalid,
    Page,
    PageQuery,
    Response,
    Service,
)
from mainspring.kernel.job import PRIORITY_MAX

READ, WRITE, ADMIN = "jobs:read", "jobs:write", "jobs:admin"

UNIQUE_KEY_CHARS_MAX = 255
QUEUE_CHARS_MAX = 63
AHEAD_MS_MAX = 10 * 365 * 24 * 3600 * 1000  # how far in the future a job may be planned

service = Service(
    "jobs",
    doc="Durable work outside a call: queues, retries, dead letters.",
    handlers=("mainspring.services.jobs.operations",),
)

State = Literal["scheduled", "ready", "running", "done", "dead", "cancelled"]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
QueueName = Annotated[str, Meta(min_length=1, max_length=QUEUE_CHARS_MAX)]


class NewJob(Input, frozen=True):
    """Work to do: a job that a service declares as public, and the arguments of its handler.

    ``priority`` goes from 0 to 9, higher first within a queue. While a job of that name with the
    same ``unique_key`` waits or runs, that one is answered and no other is made.
    """

    name: Name
    args: dict[str, Any] = msgspec.field(default_factory=dict)
    queue: QueueName | None = None
    priority: Annotated[int, Meta(ge=0, le=PRIORITY_MAX)] = 0
    run_at: Instant | None = None
    unique_key: Annotated[str, Meta(min_length=1, max_length=UNIQUE_KEY_CHARS_MAX)] | None = None


class JobInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A job. ``args`` are null for a job that is a service's own affair.

    Of such a job ``unique_key`` is null, and ``error`` its kind alone, for those without the
    service's ``read`` scope. ``acts_for`` is the user or key that had it done; null where a service
    did.

    ``state`` is ``scheduled`` (waits for ``run_at``), ``ready``, ``running``, ``done``, ``dead``
    (its last attempt failed) or ``cancelled``. Done and cancelled ones are forgotten after a day.
    """

    id: str
    name: str
    queue: str
    state: str
    priority: int
    args: msgspec.Raw | None
    unique_key: str | None
    run_at: Instant
    attempts: int
    max_attempts: int
    progress: float | None
    error: str | None
    correlation_id: str
    acts_for: str | None
    created_at: Instant
    updated_at: Instant


class JobQuery(PageQuery, frozen=True):
    """A page of jobs in the order they were made."""

    queue: QueueName | None = None
    state: State | None = None
    name: Name | None = None


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue: how deep it is, and how fast.

    ``latency_s`` is how long the oldest job that could run has waited, ``done_last_minute`` what
    the processes at this address have finished. Depths count every tenant's jobs.
    """

    name: str
    paused: bool
    scheduled: int
    ready: int
    running: int
    dead: int
    latency_s: float
    done_last_minute: int


class Redrive(Input, frozen=True):
    """How many dead letters to return at most, oldest first."""

    limit: Annotated[int, Meta(ge=1, le=PAGE_LIMIT_MAX)] = PAGE_LIMIT_MAX


class Redriven(msgspec.Struct, frozen=True):
    """How many dead letters are ready to run again. Fewer than asked for means: no more."""

    redriven: int


class ScheduleInfo(msgspec.Struct, frozen=True):
    """A cron line (five fields, UTC) and its job; ``next_at`` is null until it is known."""

    name: str
    cron: str
    job: str
    next_at: Instant | None


# Events: what callers did to jobs and queues. A job itself emits what its service says.


@service.event("jobs.job.cancelled")
class JobCancelled(msgspec.Struct, frozen=True):
    """A caller cancelled a job."""

    id: str
    name: str


@service.event("jobs.job.retried")
class JobRetried(msgspec.Struct, frozen=True):
    """A caller made a job run again, or at once."""

    id: str
    name: str


@service.event("jobs.queue.paused", subject="name")
class QueuePaused(msgspec.Struct, frozen=True):
    """No more jobs of a queue are started; those that run go on."""

    name: str


@service.event("jobs.queue.resumed", subject="name")
class QueueResumed(msgspec.Struct, frozen=True):
    """A queue's jobs are started again."""

    name: str


@service.event("jobs.queue.redriven", subject="name")
class QueueRedriven(msgspec.Struct, frozen=True):
    """Dead letters of a queue were returned to it."""

    name: str
    jobs: int


class NotInThatState(Conflict):
    """The job is in a state that does not allow it: done, say."""

    code, title = "job_state", "The job's state does not allow it"


# Operations


@service.contract.operation(
    "POST /v1/jobs", scope=WRITE, status=201, raises=(Invalid,), impersonated=Impersonated.REFUSED
)
async def create_job(call: Call, new: NewJob) -> Response[JobInfo | None]:
    """Have a job done. Where the ``unique_key`` is in use, answers 200 with the job that has it.

    That one is shown to those who may read jobs, others hear 204.

    It runs while its caller may have jobs done: once that key or user is gone, or lost the scope,
    it is dead instead.
    """


@service.contract.operation("GET /v1/jobs", scope=READ)
async def list_jobs(call: Call, query: JobQuery) -> Page[JobInfo]:
    """List jobs, oldest first. A filter that would read too much is refused."""


@service.contract.operation("GET /v1/jobs/{id}", scope=READ)
async def get_job(call: Call, id: str) -> JobInfo:
    """Show a job: its state, attempts, progress and last error."""


@service.contract.operation("POST /v1/jobs/{id}:cancel", scope=WRITE, raises=(NotInThatState,))
async def cancel_job(call: Call, id: str) -> Response[JobInfo | None]:
    """Cancel a job. One that runs is not interrupted, but nothing it staged takes effect.

    It is answered to those who may read jobs, others hear 204.

    A job that its service does not declare as public is that service's own affair, such as an
    erasure: this takes the service's ``write`` scope too.
    """


@service.contract.operation(
    "POST /v1/jobs/{id}:retry",
    scope=WRITE,
    raises=(NotInThatState,),
    impersonated=Impersonated.REFUSED,
)
async def retry_job(call: Call, id: str) -> Response[JobInfo | None]:
    """Run a dead or cancelled job again with all its attempts, or a waiting one now.

    It is answered to those who may read jobs, others hear 204.

    One that its service does not declare as public takes the service's ``write`` scope too. One
    that a caller had done runs for you then.
    """


@service.contract.operation("GET /v1/queues", scope=READ)
async def list_queues(call: Call) -> Page[Queue]:
    """List the queues with their depth, latency and throughput."""


@service.contract.operation("GET /v1/queues/{name}", scope=READ)
async def get_queue(call: Call, name: str) -> Queue:
    """Show a queue."""


@service.contract.operation("POST /v1/queues/{name}:pause", scope=ADMIN)
async def pause_queue(call: Call, name: str) -> Queue:
    """Start no more jobs of a name, in any process. Those that run go on."""


@service.contract.operation("POST /v1/queues/{name}:resume", scope=ADMIN)
async def resume_queue(call: Call, name: str) -> Queue:
    """Start a queue's jobs again."""


@service.contract.operation("GET /v1/queues/{queue}/dead", scope=READ)
async def list_dead_letters(call: Call, queue: str, query: PageQuery) -> Page[JobInfo]:
    """List a queue's dead letters: jobs whose last attempt failed."""


@service.contract.operation(
    "POST /v1/queues/{queue}/dead:redrive", scope=ADMIN, impersonated=Impersonated.REFUSED
)
async def redrive_dead_letters(call: Call, queue: str, batch: Redrive) -> Redriven:
    """Return dead letters to their queue, oldest first, with all their attempts.

    One whose unique key is held by a job that waits or runs stays dead. Those that callers had
    done run for you then.
    """


@service.contract.operation("GET /v1/schedules", scope=READ)
async def list_schedules(call: Call) -> Page[ScheduleInfo]:
    """List the schedules that services declare, and when each fires next."""
