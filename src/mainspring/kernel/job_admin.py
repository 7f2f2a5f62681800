"""Jobs, queues and schedules, as who looks after them sees and moves them."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from mainspring.kernel.call import Call
from mainspring.kernel.job import StagedJob
from mainspring.kernel.table import Rows


class KnownJob(msgspec.Struct, frozen=True):
    """A job as it stands.

    ``actor`` is the caller for whom it runs, null for a service's own; ``claim`` counts how often a
    worker took it.
    """

    id: str
    tenant: str
    queue: str
    name: str
    args: str
    state: str
    priority: int
    run_at_ms: int
    attempt: int
    max_attempts: int
    claim: int
    unique_key: str | None
    progress: float | None
    error: str | None
    correlation_id: str
    created_ms: int
    updated_ms: int
    actor: str | None


class QueueState(msgspec.Struct, frozen=True):
    """How many jobs of a queue are in each state, and since when the oldest could run."""

    name: str
    paused: bool
    scheduled: int
    ready: int
    running: int
    dead: int
    oldest_ms: int | None
    done_last_minute: int  # by the processes of this machine


class JobAdmin(Protocol):
    """The jobs of one database. Handlers reach it with ``call.use``.

    What changes something is staged in the call, and guarded: where the job moved meanwhile the
    handler runs again. It returns the job as it will be.
    """

    async def one(self, call: Call, job_id: str) -> KnownJob:
        """Return a job of the call's tenant. Raises NotFound."""
        ...

    async def alive(self, call: Call, name: str, unique_key: str) -> KnownJob | None:
        """Return the job of a name that holds a unique key: it waits or runs."""
        ...

    async def page(
        self, call: Call, *, after: str, queue: str, state: str, name: str, limit: int
    ) -> Rows[KnownJob]:
        """Return jobs in the order of their ids; an empty filter takes all."""
        ...

    async def dead(self, call: Call, queue: str, *, after: str, limit: int) -> Rows[KnownJob]:
        """Return the dead letters of a queue."""
        ...

    async def redrivable(self, call: Call, queue: str, *, limit: int) -> Rows[KnownJob]:
        """Return dead letters whose unique key no living job holds, oldest first."""
        ...

    def enqueue(self, call: Call, job: StagedJob, scope: str) -> KnownJob:
        """Stage a job on behalf of the call's caller, who needs ``scope`` when it starts too.

        Where another call takes its unique key first the handler runs again.
        """
        ...

    def cancel(self, call: Call, job: KnownJob) -> KnownJob:
        """Stage the end of a job. One that runs is not interrupted, but nothing it staged holds."""
        ...

    def make_ready(self, call: Call, job: KnownJob, scope: str) -> KnownJob:
        """Stage that a job runs now; one that had ended begins its attempts anew.

        Whoever says so answers for one that a caller had done. A service's stays the service's.
        """
        ...

    def bring_forward(self, call: Call, name: str, unique_key: str) -> None:
        """Stage that the job with this unique key runs now, if it waits for its time."""
        ...

    async def queues(self, call: Call) -> Sequence[QueueState]:
        """Return every queue that there is, or that still holds jobs, by name."""
        ...

    def has_queue(self, queue: str) -> bool:
        """Tell whether there is such a queue: one of the platform's, or one a service declares."""
        ...

    def set_paused(self, call: Call, queue: str, *, paused: bool) -> None:
        """Stage whether workers of any process start jobs of a queue."""
        ...

    async def next_firings(self, call: Call) -> Mapping[str, int]:
        """Return when each schedule fires next, by its name."""
        ...
