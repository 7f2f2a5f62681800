"""A process of ``mainspring up`` that tests ask, look at and end."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import IO, Any

import aiohttp
import msgspec

from mainspring.cli.demo.process import environment
from mainspring.cli.instance_file import Running
from tests.deadline import DEADLINE_S

APP = Path(__file__).parent / "hostile_app.py"


class Site:
    """The process, and a session with its administrator's key."""

    def __init__(
        self, process: asyncio.subprocess.Process, running: Running, http: aiohttp.ClientSession
    ) -> None:
        self.process = process
        self.url = running.url
        self.http = http

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        status, _, answer = await self.asked(method, path, body)
        return status, answer

    async def asked(self, method: str, path: str, body: object = None) -> tuple[int, Any, Any]:
        """Return status, headers and body."""
        async with self.http.request(method, self.url + path, json=body) as answer:
            decoded = msgspec.json.decode(await answer.read() or b"null")
            return answer.status, answer.headers, decoded

    async def until_ready(self, status: int) -> Any:
        """Ask ``/readyz`` until it answers so; return what it says."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                found, said = await self.ask("GET", "/readyz")
                if found == status:
                    return said

    async def until(self, path: str, name: str, value: object) -> None:
        """Ask until a field of the answer has this value."""
        async with asyncio.timeout(DEADLINE_S):
            while (await self.ask("GET", path))[1][name] != value:
                pass

    async def metric(self, name: str) -> float:
        async with self.http.get(self.url + "/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return float(next(line for line in lines if line.startswith(name)).split()[-1])

    async def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.wait()


@asynccontextmanager
async def started(
    folder: Path, log: IO[bytes] | int, *command: str, **settings: str
) -> AsyncIterator[Site]:
    """Start a process of a platform in a folder, and yield it when it listens.

    ``command`` is what follows ``mainspring``. Whatever has no administrator's key is asked as
    nobody in particular.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mainspring", *command, "--port", "0", "--json",
        env=environment(platform__drain_s="2", **settings), cwd=folder,
        stdout=asyncio.subprocess.PIPE, stderr=log,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            running = msgspec.json.decode(await process.stdout.readline(), type=Running)
        key = Path(running.admin_key)
        headers = {"Authorization": f"Bearer {key.read_text().strip()}"} if key.is_file() else {}
        timeout = aiohttp.ClientTimeout(DEADLINE_S)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as http:
            yield Site(process, running, http)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def site(folder: Path, log: IO[bytes] | int, **settings: str) -> AbstractAsyncContextManager[Site]:
    """Start a platform of the hostile app in a folder, as ``started`` does."""
    return started(folder, log, "up", str(APP), **settings)


def lines_of(log: Path) -> list[dict[str, Any]]:
    """What a process said, line by line; a line that is no JSON fails the test."""
    return [msgspec.json.decode(line) for line in log.read_bytes().splitlines()]
