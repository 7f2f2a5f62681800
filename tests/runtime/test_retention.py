"""What has ended is kept for its time and no longer, and removed in bounded steps."""

import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mainspring.app import BUILT_IN
from mainspring.cli.checks import Verdict, check_kept
from mainspring.engines import open_database
from mainspring.kernel.sweep import HowMany
from mainspring.kernel.table import Query, Statement
from mainspring.ports.database import Database
from mainspring.runtime import retention
from mainspring.runtime.events.cursors import CURSORS, CursorRow
from mainspring.runtime.retention import DAY_MS, counted, kept
from mainspring.runtime.runtime import Runtime
from mainspring.runtime.tables import SCHEDULES, ScheduleRow
from mainspring.testing import Platform
from mainspring.testing.clock import FakeClock
from tests.runtime import links
from tests.runtime.jobs.test_workers import ALL_JOBS, enqueue, jobs_in

DAY_S = DAY_MS // 1000
SETTINGS_PAGE = Path(__file__).parents[2] / "docs/reference/settings.md"
SQLITE_TABLES = Query("test.tables", "SELECT name FROM sqlite_master WHERE type = 'table'", str)
POSTGRES_TABLES = Query(
    "test.tables", "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()", str
)
PAUSE = Statement("test.pause", "INSERT INTO queues (name, paused) VALUES (:name, :paused)")
PAUSED = Query("test.paused", "SELECT name FROM queues ORDER BY name", str)
AGE = Statement("test.age", "UPDATE jobs SET updated_ms = :updated_ms")
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


async def test_a_queue_that_is_no_more_forgets_that_it_was_paused(
    runtime: Runtime, clock: FakeClock
) -> None:
    for name, paused in (("bulk", True), ("default", False), ("gone", True)):
        await runtime.database.commit([PAUSE(name=name, paused=paused)])
    for days, left in ((0, ["bulk", "gone"]), (29, ["bulk", "gone"]), (2, ["bulk"])):
        clock.move(days * DAY_S)
        await runtime.scheduler.sweep()
        assert await runtime.database.read(PAUSED, ()) == left


async def test_doctor_shows_how_much_is_kept(
    runtime: Runtime, clock: FakeClock, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bury(runtime, clock, 3)
    old = CursorRow("old.one", "log", 0, 7)
    await database.commit([CURSORS.insert(old)])
    found = await kept(database, [])
    assert found["dead jobs"] == HowMany(3, clock.now_ms())
    assert found["finished jobs"] == HowMany(0, None)
    assert found["consumers left behind"] == HowMany(1, None)
    monkeypatch.setattr(retention, "COUNTED_MAX", 2)
    assert (await kept(database, []))["dead jobs"].rows == 2


async def test_doctor_counts_in_a_database_of_its_own_accord(
    runtime: Runtime, clock: FakeClock, database: Database, database_url: str
) -> None:
    await bury(runtime, clock, 3)
    await database.commit([AGE(updated_ms=time.time_ns() // 1_000_000 - 5 * DAY_MS)])
    await database.close()
    check = await check_kept(open_database(database_url), [])
    await database.open()
    assert check.verdict is Verdict.OK
    assert check.found == "3 dead jobs (oldest 5 days)"


@pytest.fixture
async def platform(platform_server: str | None) -> AsyncIterator[Platform]:
    async with Platform(database=platform_server) as platform:
        yield platform


async def test_it_is_said_of_every_table_how_long_it_is_kept(
    platform: Platform, engine: str
) -> None:
    """Whoever adds a table says there whether it is somebody's data, or when it goes."""
    database = platform.app.runtime.database
    tables = set(await database.read(SQLITE_TABLES if engine == "sqlite" else POSTGRES_TABLES, ()))
    section = SETTINGS_PAGE.read_text().partition("## What is kept")[2]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| ")]
    assert tables - {"sqlite_sequence"} <= set(re.findall(r"`(\w+)`", section))
    said = {table.strip(" `") for _, table, *_ in rows} & tables
    assert {"job_rates", "users_gone", "queues"} <= said
    figures = {row[-1].strip() for row in rows[1:]} - {""}
    assert figures == {*counted(BUILT_IN), "the check `uploads`"}


async def test_doctor_counts_what_each_service_keeps(platform: Platform) -> None:
    reader = {"email": "reader@example.com", "password": "correct horse battery 9"}
    (await platform.admin.post("/v1/users", reader)).expect(201)
    (await platform.admin.post("/v1/sessions", reader)).expect(201)
    found = await kept(platform.app.runtime.database, BUILT_IN)
    assert found["sessions"].rows == 1
    assert found["API keys that expire"].rows == 0
