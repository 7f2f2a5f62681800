"""What has ended is kept for its time and no longer, and removed in bounded steps."""

import pytest

from mainspring.app import open_database
from mainspring.cli.checks import Verdict, check_kept
from mainspring.kernel.table import Query, Statement
from mainspring.ports.database import Database
from mainspring.runtime import retention
from mainspring.runtime.events.cursors import CURSORS, CursorRow
from mainspring.runtime.retention import DAY_MS, kept
from mainspring.runtime.runtime import Runtime
from mainspring.runtime.tables import SCHEDULES, ScheduleRow
from mainspring.testing.clock import FakeClock
from tests.runtime import links
from tests.runtime.jobs.test_workers import ALL_JOBS, enqueue, jobs_in

DAY_S = DAY_MS // 1000
CURSOR_NAMES = Query("test.cursors", "SELECT consumer FROM consumer_cursors ORDER BY consumer", str)
SCHEDULE_NAMES = Query("test.schedules", "SELECT name FROM schedules ORDER BY name", str)
RENEW = Statement(
    "test.renew", "UPDATE consumer_cursors SET lease_until_ms = :until_ms WHERE consumer = :name"
)
BURY = Statement(
    "test.bury", "UPDATE jobs SET state = 'dead', updated_ms = :now_ms WHERE state = 'ready'"
)


async def bury(runtime: Runtime, clock: FakeClock, count: int) -> None:
    for number in range(count):
        await enqueue(runtime, links.rescan, link_id=f"x{number}")
    await runtime.database.commit([BURY(now_ms=clock.now_ms())])


async def test_dead_letters_are_kept_for_thirty_days(runtime: Runtime, clock: FakeClock) -> None:
    await bury(runtime, clock, 3)
    clock.move(29 * DAY_S)
    await bury(runtime, clock, 1)
    assert await runtime.scheduler.sweep() == 0
    clock.move(1 * DAY_S + 1)
    assert await runtime.scheduler.sweep() == 3
    assert len(await jobs_in(runtime, "dead")) == 1


async def test_a_sweep_takes_as_many_steps_as_there_are(
    runtime: Runtime, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "STEP_ROWS_MAX", 2)
    await bury(runtime, clock, 7)
    clock.move(31 * DAY_S)
    assert await runtime.scheduler.sweep() == 7
    assert await runtime.database.read(ALL_JOBS, ()) == []


async def test_the_place_of_a_consumer_that_is_no_more_goes_in_time(
    runtime: Runtime, clock: FakeClock
) -> None:
    """Not before: a version that is brought back goes on where it was."""
    await runtime.prepare()
    declared = await runtime.database.read(CURSOR_NAMES, ())
    others = ["old.one", "other.version", "publisher kafka"]
    await runtime.database.commit([CURSORS.insert(CursorRow(name, "log", 0, 7)) for name in others])
    await runtime.scheduler.sweep()  # from here on it is known to be left
    for days in (29, 0):
        clock.move(days * DAY_S)
        await runtime.database.commit([RENEW(until_ms=clock.now_ms(), name="other.version")])
        await runtime.scheduler.sweep()
        assert await runtime.database.read(CURSOR_NAMES, ()) == sorted([*declared, *others])
    clock.move(2 * DAY_S)
    await runtime.scheduler.sweep()
    left = await runtime.database.read(CURSOR_NAMES, ())
    assert left == sorted([*declared, "other.version", "publisher kafka"])


async def test_a_schedule_that_is_no_more_goes_in_time(runtime: Runtime, clock: FakeClock) -> None:
    await runtime.prepare()
    declared = await runtime.database.read(SCHEDULE_NAMES, ())
    old = ScheduleRow("old.job@* * * * *", clock.now_ms())
    await runtime.database.commit([SCHEDULES.insert(old)])
    clock.move(30 * DAY_S)
    await runtime.scheduler.sweep()
    assert await runtime.database.read(SCHEDULE_NAMES, ()) == sorted([*declared, old.name])
    clock.move(1)
    await runtime.scheduler.sweep()
    assert await runtime.database.read(SCHEDULE_NAMES, ()) == declared


async def test_doctor_shows_how_much_is_kept(
    runtime: Runtime, clock: FakeClock, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bury(runtime, clock, 3)
    old = CursorRow("old.one", "log", 0, 7)
    await database.commit([CURSORS.insert(old)])
    found = await kept(database, clock.now_ms())
    assert (found.dead_jobs, found.finished_jobs, found.left_cursors) == (3, 0, 1)
    monkeypatch.setattr(retention, "COUNTED_MAX", 2)
    assert (await kept(database, clock.now_ms())).dead_jobs == 2


async def test_doctor_counts_in_a_database_of_its_own_accord(
    runtime: Runtime, clock: FakeClock, database: Database, database_url: str
) -> None:
    await bury(runtime, clock, 3)
    await database.close()
    check = await check_kept(open_database(database_url))
    await database.open()
    assert check.verdict is Verdict.OK
    assert check.found == (
        "0 finished jobs, 3 dead jobs, 0 consumers left behind, 0 stored answers"
    )
