"""Jobs of other versions: what this version of the program cannot read waits for one that can.

During a deploy, and after one was taken back, processes of two versions claim from one table. The
arguments of a job fit the version that enqueued it, so where they do not fit here it is another's.
It is parked with this version's mark, out of the index that workers claim from, and costs no
attempt. So is one of a name that this version does not have, which no worker of it claims.
A process of a version that has not tried lets it go; what nobody took in time is dead.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b

import msgspec

from mainspring.kernel.job import Job
from mainspring.kernel.sweep import count_of
from mainspring.kernel.table import Command, Query, Statement
from mainspring.ports.database import Database
from mainspring.runtime.jobs.leases import make_ready
from mainspring.runtime.tables import GIVES_WAY, IS_RUN, ClaimedJob, both_engines

WAIT_MS = 24 * 3600 * 1000  # for a version that can; then it is a dead letter, and can be redriven
NAMES_LOOK_MS = 60_000  # between two looks for names that this version does not have
NAMES_MAX = 500_000  # jobs that one look goes through; what no worker claims stays in front
RELEASE_MAX = 128  # jobs let go, or given up, at a time
MARK_BYTES = 8
MARKS_MAX = 8  # versions that a job remembers; with more of them alive it is tried anew
MARKS_CHARS = MARKS_MAX * (2 * MARK_BYTES + 1)

_ASIDE = "state = 'ready' AND parked AND unread_since_ms IS NOT NULL"
_SOME_ASIDE = Query("runtime.some_job_aside", f"SELECT 1 FROM jobs WHERE {_ASIDE} LIMIT 1", int)
_SET_ASIDE = Statement(
    "runtime.set_job_aside",
    f"UPDATE jobs SET state = CASE WHEN {GIVES_WAY} THEN 'cancelled' ELSE 'ready' END, "
    "holds_key = true, parked = true, attempt = attempt - 1, worker = NULL, "
    "error = :error, updated_ms = :now_ms, "
    "unread_since_ms = COALESCE(unread_since_ms, CAST(:now_ms AS bigint)), "
    "unread_by = substr(CAST(:mark AS text) || ' ' || COALESCE(unread_by, ''), 1, :chars) "
    f"WHERE {IS_RUN}",
)
_OF_NO_NAME = (
    "name NOT IN ({each}) "
    "AND (unread_by IS NULL OR unread_by NOT LIKE '%' || CAST(:mark AS text) || '%')"
)
_SOME_OF_NO_NAME = Query(
    "runtime.some_job_of_no_name",
    row=int,
    scans=True,
    **both_engines(
        "SELECT 1 FROM (SELECT name, unread_by FROM jobs WHERE state = 'ready' AND NOT parked "
        f"LIMIT {NAMES_MAX}) AS looked WHERE {_OF_NO_NAME} LIMIT 1",
        listed="names",
    ),
)
_SET_NAMELESS_ASIDE = Statement(
    "runtime.set_jobs_of_no_name_aside",
    **both_engines(
        "UPDATE jobs SET parked = true, error = :error, updated_ms = :now_ms, "
        "unread_since_ms = COALESCE(unread_since_ms, CAST(:now_ms AS bigint)), "
        "unread_by = substr(CAST(:mark AS text) || ' ' || COALESCE(unread_by, ''), 1, :chars) "
        "WHERE id {among}SELECT id FROM jobs WHERE state = 'ready' AND NOT parked "
        f"AND {_OF_NO_NAME} LIMIT :limit {{lock}}{{chosen}} RETURNING 1",
        listed="names",
    ),
)
_NAMELESS = (
    "this version of the program has no job of that name: it waits for a version that has, and "
    "after a day it is a dead letter"
)
COUNT_ASIDE = count_of("jobs", "unread_since_ms", where=_ASIDE)
_RELEASE = Statement(
    "runtime.release_jobs_aside",
    **both_engines(
        f"UPDATE jobs SET parked = false WHERE id {{among}}SELECT id FROM jobs WHERE {_ASIDE} "
        "AND unread_by NOT LIKE '%' || CAST(:mark AS text) || '%' "
        "ORDER BY unread_since_ms LIMIT :limit {lock}{chosen} RETURNING queue"
    ),
)
_GIVE_UP = Statement(
    "runtime.give_up_jobs_aside",
    **both_engines(
        "UPDATE jobs SET state = 'dead', parked = false, updated_ms = :now_ms "
        f"WHERE id {{among}}SELECT id FROM jobs WHERE {_ASIDE} AND unread_since_ms <= :before_ms "
        "ORDER BY unread_since_ms LIMIT :limit {lock}{chosen}"
    ),
)


def mark_of(jobs: Iterable[Job[...]], operations: Iterable[str]) -> str:
    """Return what tells versions of a program apart: what they can be asked, and what jobs take."""
    takes = [(job.name, _shape(job)) for job in sorted(jobs, key=lambda job: job.name)]
    known = msgspec.json.encode((takes, sorted(operations)))
    return blake2b(known, digest_size=MARK_BYTES).hexdigest()


def _shape(job: Job[...]) -> object:
    try:
        return msgspec.json.schema(job.args)
    except TypeError:  # a default that no schema can show, such as JSON as it came
        return {name: repr(kind) for name, kind in job.args.__annotations__.items()}


class OtherVersions:
    """Sets aside what this version cannot read, and lets go what it has not tried."""

    __slots__ = ("_database", "_jobs", "_looked_ms", "_mark", "_operations")

    def __init__(
        self, database: Database, jobs: Mapping[str, Job[...]], operations: Iterable[str]
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._operations = operations
        self._mark = ""
        self._looked_ms = 0

    @property
    def mark(self) -> str:
        """The mark of this version."""
        self._mark = self._mark or mark_of(self._jobs.values(), self._operations)
        return self._mark

    def set_aside(self, job: ClaimedJob, why: str, now_ms: int) -> Command:
        """Return the write that leaves a claimed job to another version."""
        return _SET_ASIDE(
            id=job.id, claim=job.claim, error=why, mark=self.mark, chars=MARKS_CHARS, now_ms=now_ms
        )

    async def tend(self, now_ms: int) -> None:
        """Let go what this version has not tried; give up what has waited too long.

        Once a minute set aside what has a name that this version does not have.
        """
        if not 0 <= now_ms - self._looked_ms < NAMES_LOOK_MS:
            await self._set_nameless_aside(now_ms)
            self._looked_ms = now_ms
        if not await self._database.read(_SOME_ASIDE, ()):
            return
        give_up = _GIVE_UP(now_ms=now_ms, before_ms=now_ms - WAIT_MS, limit=RELEASE_MAX)
        await self._database.commit([give_up])
        await make_ready(self._database, _RELEASE(mark=self.mark, limit=RELEASE_MAX))

    async def _set_nameless_aside(self, now_ms: int) -> None:
        names = msgspec.json.encode(sorted(self._jobs)).decode()
        find = _SOME_OF_NO_NAME.sql.bind({"names": names, "mark": self.mark})
        while await self._database.read(_SOME_OF_NO_NAME, find):
            aside = _SET_NAMELESS_ASIDE(
                names=names, mark=self.mark, chars=MARKS_CHARS, error=_NAMELESS,
                now_ms=now_ms, limit=RELEASE_MAX,
            )  # fmt: skip
            await self._database.commit([aside])
