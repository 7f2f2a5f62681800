"""The SQL of the jobs API, all on the runtime's system tables."""

import msgspec

from mainspring.kernel.table import Query, Statement
from mainspring.runtime.tables import JOBS, SCHEDULES


class Depth(msgspec.Struct, frozen=True):
    """How many jobs of a queue are in a state, and since when the oldest could run."""

    queue: str
    state: str
    jobs: int
    oldest_ms: int


class QueueRow(msgspec.Struct, frozen=True):
    """A queue that somebody paused or resumed."""

    name: str
    paused: bool


_LIVE = "('scheduled', 'ready', 'running')"

JOB = Query(
    "jobs.job",
    f"SELECT {JOBS.columns} FROM jobs WHERE id = :id AND tenant = :tenant",
    JOBS,
)
LIVE_BY_KEY = Query(
    "jobs.live_by_key",
    f"SELECT {JOBS.columns} FROM jobs "
    f"WHERE tenant = :tenant AND unique_key = :unique_key AND name = :name AND state IN {_LIVE}",
    JOBS,
)
# No index serves every filter: writing one for each would cost every job. It runs beside the
# event loop and is refused when it takes too long.
PAGE = Query(
    "jobs.page",
    f"SELECT {JOBS.columns} FROM jobs WHERE tenant = :tenant AND id > :after "
    "AND (:queue = '' OR queue = :queue) AND (:state = '' OR state = :state) "
    "AND (:name = '' OR name = :name) ORDER BY id LIMIT :limit",
    JOBS,
    scans=True,
)
DEAD = Query(
    "jobs.dead",
    f"SELECT {JOBS.columns} FROM jobs WHERE state = 'dead' AND queue = :queue AND id > :after "
    "AND tenant = :tenant ORDER BY id LIMIT :limit",
    JOBS,
)
# A dead letter whose unique key is held by another job has to wait for that one's end.
REDRIVABLE = Query(
    "jobs.redrivable",
    f"SELECT {JOBS.columns} FROM jobs WHERE state = 'dead' AND queue = :queue "
    "AND tenant = :tenant AND (unique_key IS NULL OR NOT EXISTS (SELECT 1 FROM jobs AS live "
    "WHERE live.tenant = jobs.tenant AND live.unique_key = jobs.unique_key "
    f"AND live.name = jobs.name AND live.state IN {_LIVE})) ORDER BY id LIMIT :limit",
    JOBS,
    scans=True,
)
CANCEL = Statement(
    "jobs.cancel",
    "UPDATE jobs SET state = 'cancelled', worker = NULL, updated_ms = :now_ms "
    "WHERE id = :id AND state = :was AND attempt = :attempt",
)
MAKE_READY = Statement(
    "jobs.make_ready",
    "UPDATE jobs SET state = 'ready', attempt = :attempts, run_at_ms = :now_ms, worker = NULL, "
    "updated_ms = :now_ms, "
    "actor = CASE WHEN actor IS NULL THEN NULL ELSE CAST(:actor AS text) END, "
    "scope = CASE WHEN actor IS NULL THEN NULL ELSE CAST(:scope AS text) END "
    "WHERE id = :id AND state = :was",
)
DEPTHS = Query(
    "jobs.depths",
    " UNION ALL ".join(
        f"SELECT queue, '{state}' AS state, COUNT(*) AS jobs, MIN(run_at_ms) AS oldest_ms "
        f"FROM jobs WHERE state = '{state}' GROUP BY queue"
        for state in ("scheduled", "ready", "running", "dead")
    ),
    Depth,
    scans=True,
)
QUEUES = Query("jobs.queues", "SELECT name, paused FROM queues", QueueRow)
SET_PAUSED = Statement(
    "jobs.set_paused",
    "INSERT INTO queues (name, paused) VALUES (:name, :paused) "
    "ON CONFLICT (name) DO UPDATE SET paused = excluded.paused",
)
NEXT_FIRINGS = Query("jobs.next_firings", f"SELECT {SCHEDULES.columns} FROM schedules", SCHEDULES)
