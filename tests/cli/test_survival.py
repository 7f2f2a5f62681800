"""A platform whose app does its worst, and whose log cannot be written: it answers, and ends."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import aiohttp
import msgspec
import pytest

from mainspring.cli.demo.process import environment
from mainspring.cli.running import Running

APP = Path(__file__).parent / "hostile_app.py"
DEADLINE_S = 40.0


class Site:
    """A process of ``mainspring up``, and a session with its administrator's key."""

    def __init__(
        self, process: asyncio.subprocess.Process, running: Running, http: aiohttp.ClientSession
    ) -> None:
        self.process = process
        self._url = running.url
        self._http = http

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        async with self._http.request(method, self._url + path, json=body) as answer:
            return answer.status, msgspec.json.decode(await answer.read() or b"null")

    async def metric(self, name: str) -> float:
        async with self._http.get(self._url + "/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return float(next(line for line in lines if line.startswith(name)).split()[-1])

    async def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.wait()


@asynccontextmanager
async def site(folder: Path, log: IO[bytes] | int) -> AsyncIterator[Site]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mainspring", "up", str(APP), "--port", "0", "--json",
        env=environment(platform__drain_s="2"), cwd=folder,
        stdout=asyncio.subprocess.PIPE, stderr=log,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            running = msgspec.json.decode(await process.stdout.readline(), type=Running)
        key = Path(running.admin_key).read_text().strip()
        timeout = aiohttp.ClientTimeout(DEADLINE_S)
        async with aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {key}"}, timeout=timeout
        ) as http:
            yield Site(process, running, http)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


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
