"""Limits per key: of the jobs that share a key, so many run at a time, in all processes together.

A claim that took more parks the rest, out of the index that workers claim from: a backlog of one
key is read once and delays no other. Each run that ends lets the next of its key go. What is lost
that way (its worker died, its job was cancelled) a sweep makes good.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from mainspring.kernel.table import Command, Query, Statement
from mainspring.ports.database import Database, DatabaseTransaction
from mainspring.runtime.tables import ClaimedJob, both_engines

SWEEP_KEYS = 500  # keys with parked jobs that one sweep looks at

AtMost = Callable[[str], int]  # given the name of a job


class ParkedKey(msgspec.Struct, frozen=True):
    """A key with parked jobs, the name of one of them, and how many of it run."""

    limit_key: str
    name: str
    running: int


# Two claims of one key count one after the other; SQLite has one writer anyway.
_LOCK_KEYS = Statement(
    "runtime.lock_job_keys",
    "SELECT CAST(:keys AS text)",
    postgres="SELECT pg_advisory_xact_lock(hashtextextended(key, 0)) FROM "
    "(SELECT key FROM jsonb_array_elements_text(CAST(:keys AS text)::jsonb) AS key ORDER BY key) "
    "AS sorted",
)
_RUNNING_OF = Statement(
    "runtime.running_of_keys",
    **both_engines(
        "SELECT limit_key, COUNT(*) FROM jobs WHERE state = 'running' AND limit_key IS NOT NULL "
        "AND limit_key IN ({each}) GROUP BY limit_key",
        listed="keys",
    ),
)
_PARK_JOBS = Statement(
    "runtime.park_jobs",
    **both_engines(
        "UPDATE jobs SET state = 'ready', parked = true, attempt = attempt - 1, worker = NULL "
        "WHERE id IN ({each})",
        listed="ids",
    ),
)
_LET_NEXT_GO = Statement(
    "runtime.let_next_job_go",
    **both_engines(
        "UPDATE jobs SET parked = false WHERE id = (SELECT id FROM jobs "
        "WHERE state = 'ready' AND parked AND limit_key = :limit_key "
        "ORDER BY priority DESC, id LIMIT 1 {lock})"
    ),
)
# From key to key by the index, however many jobs each has parked.
_PARKED_KEYS = Query(
    "runtime.parked_keys",
    """
WITH RECURSIVE keys(limit_key) AS (
    SELECT MIN(limit_key) FROM jobs WHERE state = 'ready' AND parked AND limit_key > :after
    UNION ALL
    SELECT (SELECT MIN(jobs.limit_key) FROM jobs
            WHERE state = 'ready' AND parked AND jobs.limit_key > keys.limit_key)
    FROM keys WHERE keys.limit_key IS NOT NULL
)
SELECT limit_key,
    (SELECT name FROM jobs WHERE state = 'ready' AND parked AND jobs.limit_key = keys.limit_key
     ORDER BY priority DESC, id LIMIT 1),
    (SELECT COUNT(*) FROM jobs WHERE state = 'running' AND jobs.limit_key IS NOT NULL
     AND jobs.limit_key = keys.limit_key)
FROM keys WHERE limit_key IS NOT NULL LIMIT :limit""",
    ParkedKey,
)


class KeyLimits:
    """Parks what a claim took over the limit of its key, and lets the next go."""

    __slots__ = ("_after", "_at_most", "_database")

    def __init__(self, database: Database, at_most: AtMost) -> None:
        self._database = database
        self._at_most = at_most
        self._after = ""

    async def keep(
        self, transaction: DatabaseTransaction, claimed: Sequence[ClaimedJob]
    ) -> list[ClaimedJob]:
        """Return what may run of the jobs that this transaction claimed; park the rest.

        They are given in the order in which they are to run.
        """
        limited = [job for job in claimed if job.limit_key is not None]
        if not limited:
            return list(claimed)
        keys = msgspec.json.encode(sorted({job.limit_key for job in limited})).decode()
        await transaction.execute(_LOCK_KEYS(keys=keys))
        running = Counter(dict(await transaction.execute(_RUNNING_OF(keys=keys))))
        over = set()
        for job in reversed(limited):  # the last to run go first
            if running[job.limit_key] > self._at_most(job.name):
                running[job.limit_key] -= 1
                over.add(job.id)
        if over:
            await transaction.execute(_PARK_JOBS(ids=msgspec.json.encode(sorted(over)).decode()))
        return [job for job in claimed if job.id not in over]

    def after(self, job: ClaimedJob) -> tuple[Command, ...]:
        """Return what belongs into the commit that ends a run."""
        return () if job.limit_key is None else (_LET_NEXT_GO(limit_key=job.limit_key),)

    async def restore(self) -> int:
        """Let jobs go whose key has room though none of it ended here; return how many."""
        keys = await self._database.read(
            _PARKED_KEYS, _PARKED_KEYS.sql.bind({"after": self._after, "limit": SWEEP_KEYS})
        )
        self._after = keys[-1].limit_key if len(keys) == SWEEP_KEYS else ""
        free = [key for key in keys if key.running < self._at_most(key.name)]
        if free:
            await self._database.commit([_LET_NEXT_GO(limit_key=key.limit_key) for key in free])
        return len(free)
