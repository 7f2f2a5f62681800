"""The doctor's checks, each on a machine that is well and on one that is not."""

import os
import resource
import shutil
import socket
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import msgspec
import pytest

from mainspring.adapters.database.postgres import LANES, SCANNERS, WRITERS, PostgresDatabase
from mainspring.adapters.database.postgres_pool import PostgresTarget
from mainspring.adapters.database.sqlite import SqliteDatabase
from mainspring.cli import checks
from mainspring.cli.checks import Check, Verdict
from mainspring.cli.instance_file import Running, told
from mainspring.engines import opened
from mainspring.kernel.process_role import ProcessRole
from mainspring.runtime.health import PROCESS_CONNECTIONS
from mainspring.testing.servers import PostgresServer, ValkeyServer


def test_this_machine_runs_it(tmp_path: Path) -> None:
    found = list(checks.local_checks(tmp_path / "new", "127.0.0.1", 0))
    assert [c.name for c in found] == [
        "python", "sqlite", "data directory", "disk", "key files", "port", "clock", "open files",
    ]  # fmt: skip
    assert checks.worst(found) is not Verdict.FAIL
    assert not (tmp_path / "new").exists()
    assert msgspec.json.decode(checks.as_json(found))[0]["name"] == "python"


async def test_a_store_that_is_away_is_a_warning_and_one_that_refuses_us_is_none(
    own_valkey: ValkeyServer,
) -> None:
    url = own_valkey.url()
    for part in ("cache", "limits"):
        found = await checks.check_store(part, partial(opened, part, url))
        assert found == Check(part, Verdict.OK, own_valkey.version)
    own_valkey.command("CONFIG", "SET", "requirepass", "s3cret")
    found = await checks.check_store("cache", partial(opened, "cache", url))
    assert found.verdict is Verdict.FAIL
    assert "refuses us: " in found.found
    own_valkey.kill()
    found = await checks.check_store("limits", partial(opened, "limits", url))
    assert found.verdict is Verdict.WARN
    assert "calls go on without it" in found.advice


def test_an_old_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    assert checks.check_python().verdict is Verdict.FAIL


def test_an_old_sqlite_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "3.46.1.0")
    assert checks.check_sqlite().verdict is Verdict.FAIL


def test_a_data_dir_open_to_all_is_a_warning(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert checks.check_data_dir(tmp_path).verdict is Verdict.WARN
    tmp_path.chmod(0o700)
    assert checks.check_data_dir(tmp_path).verdict is Verdict.OK


def test_a_file_is_no_data_dir(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert checks.check_data_dir(file).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("free", "verdict"), [(1 << 20, Verdict.FAIL), (1 << 30, Verdict.WARN), (1 << 40, Verdict.OK)]
)
def test_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, verdict: Verdict) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert checks.check_disk(tmp_path / "a" / "b").verdict is verdict


def test_key_files_that_others_can_read_fail(tmp_path: Path) -> None:
    for name in ("admin.key", "keyring.json"):
        (tmp_path / name).touch(mode=0o600)
    assert checks.check_secrets(tmp_path).verdict is Verdict.OK
    (tmp_path / "keyring.json").chmod(0o640)
    check = checks.check_secrets(tmp_path)
    assert check.verdict is Verdict.FAIL
    assert check.advice.endswith("chmod 600 keyring.json")


def test_a_taken_port_fails_unless_it_is_ours(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert checks.check_port("127.0.0.1", port, tmp_path).verdict is Verdict.FAIL
        with told(tmp_path, Running("", "", "", "", "", os.getpid(), "")):
            assert checks.check_port("127.0.0.1", port, tmp_path).verdict is Verdict.OK
        assert checks.check_port("127.0.0.1", port, tmp_path).verdict is Verdict.FAIL


def test_a_clock_behind_the_data_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "db"
    file.touch()
    assert checks.check_clock(tmp_path).verdict is Verdict.OK
    future = file.stat().st_mtime + 3600
    os.utime(file, (future, future))
    assert checks.check_clock(tmp_path).verdict is Verdict.WARN


def test_a_clock_before_our_time_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert checks.check_clock(tmp_path).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [(64, Verdict.FAIL), (1024, Verdict.WARN), (4096, Verdict.OK),
     (resource.RLIM_INFINITY, Verdict.OK)],
)  # fmt: skip
def test_open_files(monkeypatch: pytest.MonkeyPatch, limit: int, verdict: Verdict) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert checks.check_open_files().verdict is verdict


def test_the_worst_decides() -> None:
    ok, warn, fail = (Check("x", verdict, "") for verdict in Verdict)
    assert checks.worst([ok, warn]) is Verdict.WARN
    assert checks.worst([warn, fail, ok]) is Verdict.FAIL


def test_a_role_is_told_and_must_fit_the_database() -> None:
    sqlite, postgres = "sqlite:/data/mainspring.db", "postgresql://localhost/shop"
    assert checks.check_role(ProcessRole.ALL, sqlite).verdict is Verdict.OK
    found = checks.check_role(ProcessRole.WORK, postgres)
    assert (found.verdict, found.found) == (
        Verdict.OK,
        "work: runs jobs, consumers and schedules",
    )
    refused = checks.check_role(ProcessRole.SERVE, sqlite)
    assert refused.verdict is Verdict.FAIL
    assert refused.found == "serve: takes calls; SQLite has one process that does everything"
    assert "[platform] role" in refused.advice


async def test_it_says_how_many_processes_a_server_has_room_for(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    url = postgres_server.create_database()
    database = PostgresDatabase(url)
    pools = LANES + WRITERS + SCANNERS + PostgresTarget(url).pool_size
    assert pools + 2 == PROCESS_CONNECTIONS  # one that tells of wakes, and one that hears them
    check = await checks.check_connections(database)
    assert check.verdict is Verdict.OK
    assert check.found.endswith("of 97 taken; a process opens up to 20, so 4 fit")
    others = [await asyncpg.connect(url) for _ in range(80)]
    check = await checks.check_connections(PostgresDatabase(url))
    for other in others:
        await other.close()
    assert check.verdict is Verdict.WARN
    assert check.found.endswith("so 4 fit; not one more does now")
    check = await checks.check_connections(SqliteDatabase(tmp_path / "a.db"))
    assert check == Check("connections", Verdict.OK, "none: a file has no server")
