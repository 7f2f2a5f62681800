"""Gauges that only the database knows, read when somebody scrapes."""

from collections.abc import Awaitable, Callable, Iterable

import msgspec

from mainspring.kernel.table import Query
from mainspring.ports.database import Database
from mainspring.runtime.metrics.telemetry import Metrics

_STATES = ("scheduled", "ready", "running", "dead")


class JobCount(msgspec.Struct, frozen=True):
    """How many jobs of a queue are in a state."""

    queue: str
    state: str
    jobs: int


JOB_COUNTS = Query(
    "runtime.job_counts",
    " UNION ALL ".join(
        f"SELECT queue, '{state}' AS state, COUNT(*) AS jobs FROM jobs "
        f"WHERE state = '{state}' GROUP BY queue"
        for state in _STATES
    ),
    JobCount,
    scans=True,
)


def watch(
    metrics: Metrics,
    database: Database,
    *,
    queues: Iterable[str],
    consumer_lags: Callable[[], Awaitable[dict[str, int]]],
) -> None:
    """Keep the gauges of commits, consumers and queues: each scrape reads them anew."""
    database.on_group(metrics.commit_batch.observe)
    for queue in queues:
        for state in _STATES:
            metrics.jobs.of(queue, state)

    async def refresh() -> None:
        metrics.commit_queue.set(database.waiting)
        for consumer, lag in (await consumer_lags()).items():
            metrics.event_lag.of(consumer).set(lag)
        counts = {(c.queue, c.state): c.jobs for c in await database.read(JOB_COUNTS, ())}
        for labels, _ in metrics.jobs.series():
            metrics.jobs.of(*labels).set(0)
        for labels, jobs in counts.items():
            metrics.jobs.of(*labels).set(jobs)

    metrics.telemetry.before_scrape(refresh)
