"""A platform whose app does its worst, and whose log cannot be written: it answers, and ends."""

import asyncio
import os
from pathlib import Path

import msgspec
import pytest

from tests.cli.site import lines_of, site
from tests.deadline import DEADLINE_S


async def test_an_app_that_exits_everywhere_takes_nobody_with_it(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        async with site(tmp_path, log) as running:
            assert (await running.ask("POST", "/v1/hostile/exit"))[0] == 500
            status, job = await running.ask("POST", "/v1/jobs", {"name": "hostile.leave"})
            assert status == 201
            async with asyncio.timeout(DEADLINE_S):
                while job["state"] != "dead":
                    _, job = await running.ask("GET", f"/v1/jobs/{job['id']}")
            assert job["error"] == "Escaped: it raised SystemExit: 3"
            for _ in range(3):
                assert (await running.ask("POST", "/v1/hostile/task"))[0] in (200, 204)
            assert (await running.ask("GET", "/readyz"))[0] == 200
            assert await running.end() == 0
    lines = [msgspec.json.decode(line) for line in (tmp_path / "log").read_bytes().splitlines()]
    assert [line for line in lines if line["message"] == "loop_broken_off"]
    defects = [line for line in lines if line["message"] == "defect"]
    assert [line["path"] for line in defects] == ["/v1/hostile/exit"]


async def test_what_an_operation_does_to_its_own_answer_is_logged(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        async with site(tmp_path, log) as running:
            for path, status in (("cancel", 503), ("odd", 500), ("half", 500)):
                found, problem = await running.ask("POST", f"/v1/hostile/{path}")
                assert (found, problem["status"]) == (status, status), path
            assert (await running.ask("GET", "/readyz"))[0] == 200
            assert await running.end() == 0
    defects = [line for line in lines_of(tmp_path / "log") if line["message"] == "defect"]
    assert [line["path"] for line in defects] == [
        "/v1/hostile/cancel", "/v1/hostile/odd", "/v1/hostile/half",
    ]  # fmt: skip


async def test_tasks_and_threads_without_an_end_are_left_behind(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        async with site(tmp_path, log) as running:
            assert (await running.ask("POST", "/v1/hostile/stay"))[0] in (200, 204)
            assert await running.end() == 0
    said = (tmp_path / "log").read_bytes()
    assert b"task_left_behind" in said
    assert b"thread_left_behind" in said


@pytest.mark.parametrize("where", ["closed pipe", "full disk", "pipe nobody reads"])
async def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path, where: str) -> None:
    if where == "full disk":
        log = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, log = os.pipe()
    async with site(tmp_path, log) as running:
        os.close(log)
        if where == "closed pipe":
            os.close(reader)
        for _ in range(20):
            status, problem = await running.ask("POST", "/v1/hostile/defect")
            assert (status, problem["code"]) == (500, "internal")
        status, job = await running.ask("POST", "/v1/jobs", {"name": "hostile.leave"})
        assert status == 201
        async with asyncio.timeout(DEADLINE_S):
            while job["state"] != "dead":
                _, job = await running.ask("GET", f"/v1/jobs/{job['id']}")
        if where != "pipe nobody reads":
            assert await running.metric("mainspring_log_lines_dropped_total") >= 20
        assert await running.end() == 0
    if where == "pipe nobody reads":
        os.close(reader)
