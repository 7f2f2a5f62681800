"""Readiness tells what is the case: the database, the loops, the disk; and outages are one line."""

import asyncio
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import apsw
import asyncpg
import pytest
import structlog

from mainspring.adapters import outage
from mainspring.adapters.database.postgres import PostgresDatabase
from mainspring.adapters.database.sqlite import SqliteDatabase
from mainspring.adapters.outage import Outage
from mainspring.kernel.call import SYSTEM
from mainspring.kernel.errors import Unavailable
from mainspring.ports.database import Database
from mainspring.runtime import health, supervisor
from mainspring.runtime.events.consumer_runner import STUCK_S
from mainspring.runtime.health import (
    ASK_EVERY_S,
    DISK_FREE_BYTES_MIN,
    PROCESS_CONNECTIONS,
    Health,
    warn_of_little_room,
)
from mainspring.runtime.runtime import Runtime
from mainspring.runtime.supervisor import Supervisor
from mainspring.testing.clock import FakeClock
from mainspring.testing.servers import PostgresServer
from tests.deadline import DEADLINE_S
from tests.runtime.slow import Called, ThingHappened, slow

Usage = namedtuple("Usage", "total used free")


class Log:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def error(self, event: str, **entry: Any) -> None:
        self.lines.append((event, entry))

    warning = error


async def test_a_sound_platform_is_ready(runtime: Runtime) -> None:
    assert await runtime.health.failing() == []


async def test_a_database_that_does_not_answer_is_named_and_recovers(
    runtime: Runtime, database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise Unavailable("the database cannot write: the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(type(database), "commit", refuse)
        assert await runtime.health.failing() == [
            "database: the database cannot write: the disk is full"
        ]
    clock.move(ASK_EVERY_S)
    assert await runtime.health.failing() == []


async def test_those_who_ask_often_write_little(runtime: Runtime, database: Database) -> None:
    written: list[int] = []
    database.on_group(written.append)
    for _ in range(20):
        await asyncio.gather(*[runtime.health.failing() for _ in range(5)])
    assert sum(written) <= 1


async def test_a_file_that_may_not_be_written_is_named(tmp_path: Path, clock: FakeClock) -> None:
    database = SqliteDatabase(tmp_path / "mainspring.db")
    await database.open()
    for connection in apsw.connections():
        if Path(connection.filename) == tmp_path / "mainspring.db":
            connection.execute("PRAGMA query_only = ON")
    assert await Health(database, clock, list).failing() != []
    await database.close()


async def test_a_full_disk_is_named(
    database: Database, tmp_path: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch,
    clock: FakeClock,
) -> None:  # fmt: skip
    free = [DISK_FREE_BYTES_MIN - 1]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 40, 0, free[0]))
    health = Health(database, clock, list, tmp_path)
    assert await health.failing() == ["disk: 15 MiB free"]
    free[0] += 1
    clock.move(ASK_EVERY_S)
    assert await health.failing() == []


@pytest.mark.parametrize("services", [[slow]])
async def test_a_consumer_that_stands_still_is_named(runtime: Runtime, clock: FakeClock) -> None:
    await runtime.start()
    call = runtime.dispatcher.call(SYSTEM, request_id="req_1")
    call.emit(ThingHappened("one"))
    await runtime.dispatcher.commit(call)
    async with asyncio.timeout(DEADLINE_S):
        await runtime.resources[Called].wait()
    assert runtime.consumer_runner.failing() == []
    clock.move(STUCK_S + 1)
    assert [line.partition(":")[0] for line in runtime.consumer_runner.failing()] == [
        "consumer slow.hang"
    ]
    await runtime.stop(1.0)


async def test_a_loop_that_keeps_failing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "RESTART_FIRST_S", 0.0)
    failed, runs = asyncio.Event(), []

    async def loop() -> None:
        runs.append(1)
        if len(runs) == 3:
            failed.set()
            await asyncio.Event().wait()
        raise ValueError("no luck")

    loops = Supervisor()
    loops.start("queue bulk", loop)
    async with asyncio.timeout(DEADLINE_S):
        await failed.wait()
    assert loops.failing() == ["queue bulk: ValueError: no luck"]
    await loops.stop()


def test_an_outage_is_a_line_when_it_begins_and_one_when_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Log()
    monkeypatch.setattr(outage, "log", log)
    part = Outage("database")
    part.worked()
    for _ in range(120):
        part.failed("the disk is full")
    part.worked()
    part.worked()
    assert [event for event, _ in log.lines] == ["part_unavailable", "part_available"]
    assert log.lines[1][1]["failures"] == 120


async def test_loops_say_nothing_of_a_part_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "RESTART_FIRST_S", 0.0)
    lines: list[str] = []

    def keep(_: Any, level: str, entry: dict[str, Any]) -> dict[str, Any]:
        lines.append(f"{level} {entry['event']}")
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    monkeypatch.setattr(supervisor, "log", structlog.get_logger())
    failed, runs = asyncio.Event(), []

    async def loop() -> None:
        runs.append(1)
        if len(runs) > 2:
            failed.set()
            await asyncio.Event().wait()
        raise Unavailable("gone")

    loops = Supervisor()
    loops.start("queue bulk", loop)
    async with asyncio.timeout(DEADLINE_S):
        await failed.wait()
    await loops.stop()
    assert set(lines) == {"debug loop_restarts"}


async def test_a_start_says_that_the_server_has_no_room_for_all_its_connections(
    postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Log()
    monkeypatch.setattr(health, "log", told)
    url = postgres_server.create_database()
    postgres, sqlite = PostgresDatabase(url), SqliteDatabase(tmp_path / "a.db")
    others = [await asyncpg.connect(url) for _ in range(80)]
    for database in (postgres, sqlite):
        await database.open()
        await warn_of_little_room(database)
        await database.close()
    for other in others:
        await other.close()
    (line,) = told.lines
    assert line[0] == "few_connections_left"
    assert 0 <= line[1]["left"] < PROCESS_CONNECTIONS
