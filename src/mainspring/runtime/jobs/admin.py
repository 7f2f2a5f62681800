"""The jobs of a database for who looks after them: what fills ``JobAdmin``, with its SQL."""

from collections.abc import Mapping

import msgspec

from mainspring.kernel import channel
from mainspring.kernel.call import Call
from mainspring.kernel.errors import Rerun
from mainspring.kernel.job import JobState, StagedJob
from mainspring.kernel.job_admin import KnownJob, QueueState
from mainspring.kernel.registry import Registry
from mainspring.kernel.table import Query, Rows, Statement
from mainspring.runtime.crew import CrewBoard
from mainspring.runtime.invoke.dispatcher import job_row
from mainspring.runtime.tables import JOBS, SCHEDULES


class QueueDepth(msgspec.Struct, frozen=True):
    """How many jobs of a queue are in a state, and since when the oldest could run."""

    queue: str
    state: str
    jobs: int
    oldest_ms: int


class PausedQueue(msgspec.Struct, frozen=True):
    """A queue that somebody paused or resumed."""

    name: str
    paused: bool


_SHOWN = ", ".join(KnownJob.__struct_fields__)
_COUNTED = tuple(
    state.value for state in (JobState.SCHEDULED, JobState.READY, JobState.RUNNING, JobState.DEAD)
)
_LIVE = "('scheduled', 'ready', 'running')"

_JOB = Query(
    "runtime.job",
    f"SELECT {_SHOWN} FROM jobs WHERE id = :id AND tenant = :tenant",
    KnownJob,
)
LIVE_BY_KEY = Query(
    "runtime.jobs_live_by_key",
    f"SELECT {_SHOWN} FROM jobs "
    f"WHERE tenant = :tenant AND unique_key = :unique_key AND name = :name AND holds_key "
    f"AND state IN {_LIVE}",
    KnownJob,
)
# No index serves every filter: writing one for each would cost every job. It runs beside the
# event loop and is refused when it takes too long.
_PAGE = Query(
    "runtime.jobs_page",
    f"SELECT {_SHOWN} FROM jobs WHERE tenant = :tenant AND id > :after "
    "AND (:queue = '' OR queue = :queue) AND (:state = '' OR state = :state) "
    "AND (:name = '' OR name = :name) ORDER BY id LIMIT :limit",
    KnownJob,
    scans=True,
)
_DEAD = Query(
    "runtime.jobs_dead",
    f"SELECT {_SHOWN} FROM jobs WHERE state = 'dead' AND queue = :queue AND id > :after "
    "AND tenant = :tenant ORDER BY id LIMIT :limit",
    KnownJob,
)
# A dead letter whose unique key is held by another job has to wait for that one's end.
_REDRIVABLE = Query(
    "runtime.jobs_redrivable",
    f"SELECT {_SHOWN} FROM jobs WHERE state = 'dead' AND queue = :queue "
    "AND tenant = :tenant AND (unique_key IS NULL OR NOT EXISTS (SELECT 1 FROM jobs AS live "
    "WHERE live.tenant = jobs.tenant AND live.unique_key = jobs.unique_key "
    f"AND live.name = jobs.name AND live.holds_key AND live.state IN {_LIVE})) "
    "ORDER BY id LIMIT :limit",
    KnownJob,
    scans=True,
)
_CANCEL = Statement(
    "runtime.jobs_cancel",
    "UPDATE jobs SET state = 'cancelled', worker = NULL, updated_ms = :now_ms "
    "WHERE id = :id AND state = :was AND claim = :claim",
)
_MAKE_READY = Statement(
    "runtime.jobs_make_ready",
    "UPDATE jobs SET state = 'ready', parked = false, unread_since_ms = NULL, "
    "unread_by = NULL, holds_key = true, attempt = :attempts, run_at_ms = :now_ms, "
    "worker = NULL, updated_ms = :now_ms, "
    "actor = CASE WHEN actor IS NULL THEN NULL ELSE CAST(:actor AS text) END, "
    "scope = CASE WHEN actor IS NULL THEN NULL ELSE CAST(:scope AS text) END "
    "WHERE id = :id AND state = :was AND claim = :claim",
)
_DEPTHS = Query(
    "runtime.jobs_depths",
    " UNION ALL ".join(
        f"SELECT queue, '{state}' AS state, COUNT(*) AS jobs, MIN(run_at_ms) AS oldest_ms "
        f"FROM jobs WHERE state = '{state}' GROUP BY queue"
        for state in _COUNTED
    ),
    QueueDepth,
    scans=True,
)
_QUEUES = Query("runtime.jobs_queues", "SELECT name, paused FROM queues", PausedQueue)
_SET_PAUSED = Statement(
    "runtime.jobs_set_paused",
    "INSERT INTO queues (name, paused) VALUES (:name, :paused) "
    "ON CONFLICT (name) DO UPDATE SET paused = excluded.paused, left_ms = NULL",
)
_NEXT_FIRINGS = Query(
    "runtime.jobs_next_firings", f"SELECT {SCHEDULES.columns} FROM schedules", SCHEDULES
)
# A retry that waits is not made twice: it is made now.
RUN_NOW = Statement(
    "runtime.jobs_run_now",
    "UPDATE jobs SET run_at_ms = :now_ms, updated_ms = :now_ms "
    "WHERE tenant = :tenant AND unique_key = :unique_key AND name = :name AND holds_key "
    f"AND state IN {_LIVE} AND state = 'scheduled'",  # as the index has it: it holds few of a key
)


class StoredJobs:
    """The jobs of one database, and what the workers of a crew have done of them."""

    __slots__ = ("_crew", "_registry")

    def __init__(self, registry: Registry, crew: CrewBoard) -> None:
        self._registry = registry
        self._crew = crew

    # Looking

    async def one(self, call: Call, job_id: str) -> KnownJob:
        """Return a job of the call's tenant. Raises NotFound."""
        return await call.one(_JOB, id=job_id, tenant=call.tenant)

    async def alive(self, call: Call, name: str, unique_key: str) -> KnownJob | None:
        """Return the job of a name that holds a unique key."""
        return await call.find(LIVE_BY_KEY, tenant=call.tenant, unique_key=unique_key, name=name)

    async def page(
        self, call: Call, *, after: str, queue: str, state: str, name: str, limit: int
    ) -> Rows[KnownJob]:
        """Return jobs in the order of their ids; an empty filter takes all."""
        return await call.page(
            _PAGE, tenant=call.tenant, after=after, queue=queue, state=state, name=name,
            limit=limit,
        )  # fmt: skip

    async def dead(self, call: Call, queue: str, *, after: str, limit: int) -> Rows[KnownJob]:
        """Return the dead letters of a queue."""
        return await call.page(_DEAD, tenant=call.tenant, queue=queue, after=after, limit=limit)

    async def redrivable(self, call: Call, queue: str, *, limit: int) -> Rows[KnownJob]:
        """Return dead letters whose unique key no living job holds, oldest first."""
        return await call.page(_REDRIVABLE, tenant=call.tenant, queue=queue, limit=limit)

    def has_queue(self, queue: str) -> bool:
        """Tell whether there is such a queue: one of the platform's, or one a service declares."""
        return queue in self._registry.queue_names

    async def queues(self, call: Call) -> list[QueueState]:
        """Return every queue that there is, or that still holds jobs, by name."""
        paused = {row.name: row.paused for row in await call.all(_QUEUES)}
        depths = {(row.queue, row.state): row for row in await call.all(_DEPTHS)}

        def state(name: str) -> QueueState:
            counts = {
                state: depths[name, state].jobs if (name, state) in depths else 0
                for state in _COUNTED
            }
            oldest = depths.get((name, JobState.READY))
            return QueueState(
                name,
                paused.get(name, False),
                **counts,
                oldest_ms=oldest.oldest_ms if oldest else None,
                done_last_minute=self._crew.done_last_minute(name, call.now_ms),
            )

        names = self._registry.queue_names.union(queue for queue, _ in depths)
        return [state(name) for name in sorted(names)]

    async def next_firings(self, call: Call) -> Mapping[str, int]:
        """Return when each schedule fires next, by its name."""
        return {row.name: row.next_ms for row in await call.all(_NEXT_FIRINGS)}

    # Staging

    def enqueue(self, call: Call, job: StagedJob, scope: str) -> KnownJob:
        """Stage a job on behalf of the call's caller, who needs ``scope`` when it starts too."""
        row = msgspec.structs.replace(job_row(call, job), **_on_behalf(call, scope))
        call.write(JOBS.insert(row, on_conflict=Rerun))
        waits = row.state == JobState.SCHEDULED
        call.wake(channel.SCHEDULED if waits else channel.ready(row.queue))
        return msgspec.convert(row, KnownJob, from_attributes=True)

    def cancel(self, call: Call, job: KnownJob) -> KnownJob:
        """Stage the end of a job. One that runs is not interrupted, but nothing it staged holds."""
        command = _CANCEL(id=job.id, was=job.state, claim=job.claim, now_ms=call.now_ms)
        call.write(command.expect(1, Rerun))
        return msgspec.structs.replace(job, state=JobState.CANCELLED.value, updated_ms=call.now_ms)

    def make_ready(self, call: Call, job: KnownJob, scope: str) -> KnownJob:
        """Stage that a job runs now; one that had ended begins its attempts anew."""
        attempts = job.attempt if job.state == JobState.SCHEDULED else 0
        behalf = _on_behalf(call, scope)
        command = _MAKE_READY(
            id=job.id,
            was=job.state,
            claim=job.claim,
            attempts=attempts,
            now_ms=call.now_ms,
            **behalf,
        )
        call.write(command.expect(1, Rerun))
        call.wake(channel.ready(job.queue))
        return msgspec.structs.replace(
            job,
            state=JobState.READY.value,
            attempt=attempts,
            run_at_ms=call.now_ms,
            updated_ms=call.now_ms,
            actor=job.actor and behalf["actor"],
        )

    def bring_forward(self, call: Call, name: str, unique_key: str) -> None:
        """Stage that the job with this unique key runs now, if it waits for its time."""
        call.write(
            RUN_NOW(tenant=call.tenant, unique_key=unique_key, name=name, now_ms=call.now_ms)
        )
        call.wake(channel.SCHEDULED)

    def set_paused(self, call: Call, queue: str, *, paused: bool) -> None:
        """Stage whether workers of any process start jobs of a queue."""
        call.write(_SET_PAUSED(name=queue, paused=paused))
        call.wake(channel.ready(queue))


def _on_behalf(call: Call, scope: str) -> dict[str, str | None]:
    """For whom a job runs that this call has done, and what that caller is asked for then."""
    if call.caller.kind == "system":
        return {"actor": None, "scope": None}
    return {"actor": call.caller.actor, "scope": scope}
