"""Retention: how long is kept what nothing needs any more, and the sweep that removes it.

Each step of the sweep removes a bounded number of rows in a commit of its own.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec

from mainspring.kernel.ids import first_id_at
from mainspring.kernel.registry import Registry
from mainspring.kernel.table import Command, Query, Statement
from mainspring.ports.database import Database
from mainspring.runtime.events.cursors import FORGET_CURSORS, NOTE_LEFT_CURSORS
from mainspring.runtime.invoke.idempotency import ANSWER_KEPT_MS
from mainspring.runtime.jobs.key_limits import FORGET_RATES
from mainspring.runtime.jobs.workers import execute
from mainspring.runtime.metrics.measures import FORGET_MEASURES
from mainspring.runtime.tables import (
    FORGET_ANSWER_BODIES,
    FORGET_ANSWERS,
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


FORGET_DEAD_JOBS = Statement(
    "runtime.forget_dead_jobs",
    "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE state = 'dead' "
    "AND updated_ms < :before_ms ORDER BY updated_ms LIMIT :limit) RETURNING 1",
)
FORGET_SCHEDULES = Statement(
    "runtime.forget_schedules",
    **both_engines(
        "DELETE FROM schedules WHERE next_ms < :before_ms AND name NOT IN ({each}) RETURNING 1",
        listed="names",
    ),
)


class Kept(msgspec.Struct, frozen=True):
    """How many rows there are of what goes some day; none of them is counted beyond a bound."""

    finished_jobs: int
    dead_jobs: int
    left_cursors: int
    answers: int


KEPT = Query(
    "runtime.kept",
    "SELECT "
    + ", ".join(
        f"(SELECT COUNT(*) FROM (SELECT 1 FROM {rows} LIMIT :most) AS counted)"
        for rows in (
            "jobs WHERE state IN ('done', 'cancelled')",
            "jobs WHERE state = 'dead'",
            "consumer_cursors WHERE lease_until_ms < :day_ago_ms "
            "AND consumer NOT LIKE 'publisher %'",
            "idempotency",
        )
    ),
    Kept,
    scans=True,
)


async def kept(database: Database, now_ms: int) -> Kept:
    """Count what is kept. A consumer that nobody took further for a day is left behind."""
    bounds = {"most": COUNTED_MAX, "day_ago_ms": now_ms - DAY_MS}
    (found,) = await database.read(KEPT, KEPT.sql.bind(bounds))
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
        for measure in self._registry.measures().values():
            kept_ms = measure.keep_days * DAY_MS
            yield FORGET_MEASURES(name=measure.name, before_ms=now_ms - kept_ms, limit=limit)


def _listed(names: Iterable[str]) -> str:
    return msgspec.json.encode(list(names)).decode()
