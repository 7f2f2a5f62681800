"""What is looked up in the table of jobs has an index, however many of them wait."""

from typing import Any

import pytest

from mainspring.adapters.database.postgres import PostgresDatabase
from mainspring.app import BUILT_IN
from mainspring.kernel.call import SYSTEM
from mainspring.kernel.registry import Registry
from mainspring.kernel.table import Query, Sql, Statement
from mainspring.runtime.events.inbox import SWEEP_INBOX
from mainspring.runtime.jobs.admin import LIVE_BY_KEY, RUN_NOW
from mainspring.runtime.jobs.key_limits import FORGET_RATES
from mainspring.runtime.metrics.measures import FORGET_MEASURES
from mainspring.runtime.migrate import migrate
from mainspring.runtime.runtime import Runtime
from mainspring.runtime.tables import (
    CLAIM_JOBS,
    FINISH_JOB,
    FORGET_ANSWER_BODIES,
    FORGET_ANSWERS,
    FORGET_DEAD_JOBS,
    FORGET_JOBS,
    HEAL_ANSWER_BODIES,
    HEAL_ANSWERS,
    PROMOTE_JOBS,
    RECLAIM_JOBS,
    RETRY_JOB,
    SNOOZE_JOB,
)
from mainspring.services.records.store import PURGE_LINKS, PURGE_RECORDS
from tests.runtime import links

WAITING = 2_000
KEY = {"tenant": "main", "unique_key": "k7", "name": "links.rescan"}
RUN = {"id": "job_x", "claim": 1, "run_at_ms": 1, "now_ms": 1, "error": "e"}
CLAIM = {
    "queue": "bulk", "names": '["links.rescan"]', "mark": "none", "limit": 10,
    "worker": "w", "now_ms": 1, "lease_until_ms": 1, "after": '["", ""]',
}  # fmt: skip

VALUES: dict[str, object] = dict.fromkeys(
    ("limit", "now_ms", "before_ms", "latest_ms", "ended_ms", "now_us", "place", "from_ms"), 9
)
DONE_JOBS = """
INSERT INTO jobs (id, tenant, queue, name, args, state, priority, run_at_ms, attempt, max_attempts,
    lease_until_ms, coalesces, correlation_id, created_ms, updated_ms)
SELECT 'job_0' || n, 't', 'bulk', 'n', '{}', 'done', 5, 0, 1, 3, 0, false, '', 0, 0
FROM generate_series(1, 5000) AS n
"""


class Explained(Query[tuple[Any, ...]]):
    """A statement's plan, in its engine's own words."""

    def __init__(self, statement: Sql) -> None:
        super().__init__("test.explained", "SELECT 1", tuple)
        self.sql.sqlite = f"EXPLAIN QUERY PLAN {statement.sqlite}"
        self.sql.postgres = f"EXPLAIN {statement.postgres}"


@pytest.mark.parametrize(
    ("statement", "values", "index"),
    [
        (RUN_NOW.sql, {**KEY, "now_ms": 1}, "jobs_unique"),
        (LIVE_BY_KEY.sql, KEY, "jobs_unique"),
        (RETRY_JOB.sql, RUN, "jobs_unique"),
        (SNOOZE_JOB.sql, RUN, "jobs_unique"),
        (CLAIM_JOBS.sql, CLAIM, "jobs_ready"),
        (FINISH_JOB.sql, {"id": "job_x", "claim": 1, "now_ms": 1}, "(id"),
        (RECLAIM_JOBS.sql, {"until_ms": 1, "from_ms": 0, "now_ms": 1}, "jobs_running"),
        (FORGET_DEAD_JOBS.sql, {"before_ms": 1, "limit": 10}, "jobs_buried"),
    ],
    ids=lambda value: value.name if isinstance(value, Sql) else "",
)
async def test_it_scans_no_jobs_that_wait(
    runtime: Runtime, statement: Sql, values: dict[str, object], index: str
) -> None:
    at_ms = 4_000_000_000_000
    for first in range(0, WAITING, 500):
        call = runtime.dispatcher.call(SYSTEM, request_id="req_1")
        for number in range(first, first + 500):
            later = links.rescan.configure(run_at_ms=at_ms, unique_key=f"k{number}")
            call.enqueue(later, link_id="x")
        await runtime.dispatcher.commit(call)
    await runtime.database.commit([Statement("test.analyze", "ANALYZE jobs")()])
    lines = await runtime.database.read(Explained(statement), statement.bind(values))
    plan = "\n".join(str(line[-1]) for line in lines)
    assert index in plan
    if index != "jobs_running":  # which holds all that ran while a dump was made
        assert "jobs_running" not in plan
    for scan in ("SCAN jobs", "SCAN other", "Seq Scan", "jobs_scheduled"):
        assert scan not in plan


def steps() -> list[Statement]:
    """What chooses rows to remove, or to set right, by their keys: up to so many at a time."""
    return [
        *(sweep.remove for sweep in Registry(BUILT_IN).sweeps()),
        FORGET_ANSWERS, FORGET_ANSWER_BODIES, HEAL_ANSWERS, HEAL_ANSWER_BODIES, FORGET_JOBS,
        FORGET_DEAD_JOBS, FORGET_RATES, FORGET_MEASURES, SWEEP_INBOX, PROMOTE_JOBS, PURGE_RECORDS,
        PURGE_LINKS,
    ]  # fmt: skip


async def test_a_step_chooses_its_rows_once_and_joins_nothing(postgres_url: str) -> None:
    """The server last knew a table as empty, however much has come since: a join takes minutes."""
    database = PostgresDatabase(postgres_url)
    await database.open()
    try:
        await migrate(database, BUILT_IN)
        for text in (DONE_JOBS, "DELETE FROM jobs", "ANALYZE jobs", DONE_JOBS):
            await database.commit([Statement("test.step", text)()])
        assert len(steps()) > 20
        for step in steps():
            values = VALUES | {"name": "a", "consumer": "c", "collection": "c", "before": "job_1"}
            bound = step.sql.bind({name: values[name] for name in step.sql.order})
            lines = [line[0] for line in await database.read(Explained(step.sql), bound)]
            (changed,) = [line for line in lines if line.startswith("  ->")]
            assert "Scan" in changed, (step.sql.name, lines)
            assert any("InitPlan" in line for line in lines), (step.sql.name, lines)
    finally:
        await database.close()
