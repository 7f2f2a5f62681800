"""The public face of jobs and queues: what callers send and get, events and errors."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mainspring.kernel.clock import Instant
from mainspring.kernel.errors import Conflict
from mainspring.kernel.job import PRIORITY_MAX
from mainspring.kernel.operation import Input
from mainspring.kernel.page import PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX, Cursor, Limit
from mainspring.kernel.service import Service

UNIQUE_KEY_CHARS_MAX = 255
QUEUE_CHARS_MAX = 63
AHEAD_MS_MAX = 10 * 365 * 24 * 3600 * 1000  # how far in the future a job may be planned

service = Service("jobs", doc="Durable work outside a call: queues, retries, dead letters.")

State = Literal["scheduled", "ready", "running", "done", "dead", "cancelled"]
Name = Annotated[str, Meta(max_length=200)]
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


class ListJobs(Input, frozen=True):
    """A page of jobs in the order they were made."""

    limit: Limit = PAGE_LIMIT_DEFAULT
    cursor: Cursor | None = None
    queue: QueueName | None = None
    state: State | None = None
    name: Name | None = None


class ListDead(Input, frozen=True):
    """A page of a queue's dead letters in the order they were made."""

    limit: Limit = PAGE_LIMIT_DEFAULT
    cursor: Cursor | None = None


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue: how deep it is, and how fast.

    ``latency_s`` is how long the oldest job that could run has waited, ``done_last_minute`` what
    the process that answers has finished. Depths count every tenant's jobs.
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
