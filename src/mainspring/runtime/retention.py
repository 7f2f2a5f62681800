"""Retention: how long is kept what nothing needs any more, and the sweep that removes it.

Each step of the sweep removes a bounded number of rows in a commit of its own.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec

from mainspring.kernel.ids import first_id_at
from mainspring.kernel.registry import Registry
from mainspring.kernel.service import Service
from mainspring.kernel.sweep import HowMany, count_of
from mainspring.kernel.table import Command, Query, Statement
from mainspring.ports.database import Database
from mainspring.runtime.events.cursors import COUNT_LEFT_CURSORS, FORGET_CURSORS, NOTE_LEFT_CURSORS
from mainspring.runtime.invoke.idempotency import ANSWER_KEPT_MS
from mainspring.runtime.jobs.key_limits import FORGET_RATES
from mainspring.runtime.jobs.other_versions import COUNT_ASIDE
from mainspring.runtime.jobs.workers import execute
from mainspring.runtime.metrics.measures import FORGET_MEASURES
from mainspring.runtime.tables import (
    FORGET_ANSWER_BODIES,
    FORGET_ANSWERS,
    FORGET_DEAD_JOBS,
    FORGET_JOBS,
    HEAL_ANSWER_BODIES,
    HEAL_ANSWERS,
    both_engines,
)

STEP_ROWS_MAX = 1_000  # that one step removes
DAY_MS = 24 * 3600 * 1000
COUNTED_MAX = 100_000  # beyond it a figure says "or more"

Days = Annotated[int, msgspec.Meta(ge=1, le=3_650)]


class RetentionSettings(msgspec.Struct, frozen=True):
    """``[retention]``: for how many days is kept what has ended.

    ``left_days`` is for what an app has left behind: the places of consumers that it has no more,
    and its former schedules.
    """

    finished_jobs_days: Days = 1
    dead_jobs_days: Days = 30
    left_days: Days = 30


FORGET_SCHEDULES = Statement(
    "runtime.forget_schedules",
    **both_engines(
        "DELETE FROM schedules WHERE next_ms < :before_ms AND name NOT IN ({each}) RETURNING 1",
        listed="names",
    ),
)


# That a queue is paused is kept while a version of the app that runs declares it, and for a time.
NOTE_LEFT_QUEUES = Statement(
    "runtime.note_left_queues",
    **both_engines(
        "UPDATE queues SET left_ms = CASE WHEN name IN ({each}) THEN NULL "
        "ELSE CAST(:now_ms AS bigint) END WHERE (left_ms IS NULL) = (name NOT IN ({each}))",
        listed="names",
    ),
)
FORGET_QUEUES = Statement(
    "runtime.forget_queues",
    "DELETE FROM queues WHERE NOT paused OR left_ms <= :before_ms RETURNING 1",
)
# What the platform itself keeps for a time, as ``mainspring doctor`` names it.
COUNTS = {
    "finished jobs": count_of("jobs", where="state IN ('done', 'cancelled')"),
    "dead jobs": count_of("jobs", "updated_ms", where="state = 'dead'"),
    "jobs that no version here can read": COUNT_ASIDE,
    "consumers left behind": COUNT_LEFT_CURSORS,
    "stored answers": count_of("idempotency"),
    "answers that stand apart": count_of("answer_bodies"),
    "starts of jobs by key": count_of("job_rates"),
    "counts of measures": count_of("measures"),
    "events taken from a bus": count_of("inbox"),
}


def counted(services: Iterable[Service]) -> dict[str, Query[HowMany]]:
    """Return what counts what is kept for a time, by its name."""
    return {
        **COUNTS,
        **{sweep.what: sweep.count for service in services for sweep in service.sweeps},
        **{what: count for service in services for what, count in service.counts.items()},
    }


async def kept(database: Database, services: Iterable[Service]) -> dict[str, HowMany]:
    """Count what is kept for a time, by its name; none of it beyond a bound."""
    found = {}
    for what, query in counted(services).items():
        (found[what],) = await database.read(query, query.sql.bind({"most": COUNTED_MAX}))
    return found


class Retention:
    """Removes from the system tables what has been kept for long enough."""

    __slots__ = ("_database", "_registry", "_settings")

    def __init__(self, database: Database, registry: Registry, settings: RetentionSettings) -> None:
        self._database = database
        self._registry = registry
        self._settings = settings

    async def sweep(self, now_ms: int) -> int:
        """Remove what is old, step by step; return how many rows went, or were set right."""
        removed = 0
        for command in self._steps(now_ms):
            while count := len(await execute(self._database, command)):
                removed += count
                if count < STEP_ROWS_MAX:
                    break
        return removed

    def _steps(self, now_ms: int) -> Iterator[Command]:
        limit = STEP_ROWS_MAX
        yield HEAL_ANSWERS(latest_ms=now_ms + ANSWER_KEPT_MS, limit=limit)
        yield HEAL_ANSWER_BODIES(latest_ms=now_ms + 2 * ANSWER_KEPT_MS, limit=limit)
        yield FORGET_ANSWERS(now_ms=now_ms, limit=limit)
        yield FORGET_ANSWER_BODIES(now_ms=now_ms, limit=limit)
        yield FORGET_RATES(now_us=now_ms * 1000, limit=limit)
        ended_ms = now_ms - self._settings.finished_jobs_days * DAY_MS
        yield FORGET_JOBS(before=first_id_at("job", ended_ms), ended_ms=ended_ms, limit=limit)
        buried_ms = now_ms - self._settings.dead_jobs_days * DAY_MS
        yield FORGET_DEAD_JOBS(before_ms=buried_ms, limit=limit)
        left_ms = now_ms - self._settings.left_days * DAY_MS
        consumers = _listed(self._registry.consumers)
        yield NOTE_LEFT_CURSORS(names=consumers, now_ms=now_ms, limit=limit)
        yield FORGET_CURSORS(names=consumers, before_ms=left_ms, limit=limit)
        schedules = _listed(schedule.name for schedule in self._registry.schedules)
        yield FORGET_SCHEDULES(names=schedules, before_ms=left_ms)
        queues = _listed(self._registry.queue_names)
        yield NOTE_LEFT_QUEUES(names=queues, now_ms=now_ms)
        yield FORGET_QUEUES(before_ms=left_ms)
        for sweep in self._registry.sweeps():
            yield sweep.remove(before_ms=now_ms - sweep.kept_ms, limit=limit)
        for measure in self._registry.measures().values():
            kept_ms = measure.keep_days * DAY_MS
            yield FORGET_MEASURES(name=measure.name, before_ms=now_ms - kept_ms, limit=limit)


def _listed(names: Iterable[str]) -> str:
    return msgspec.json.encode(list(names)).decode()
