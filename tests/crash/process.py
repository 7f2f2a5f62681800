"""The platform as a process that can be killed, and the receiver that outlives it."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import aiohttp
from aiohttp import web
from standardwebhooks import Webhook

READY_DEADLINE_S = 30.0
LEDGER = Path(__file__).parent / "ledger.py"


def free_port() -> int:
    """A loopback port that was free a moment ago; the same one serves every restart."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Platform:
    """``mainspring up`` on one data directory, started and killed over and over."""

    def __init__(self, directory: Path, database_url: str | None) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.starts = 0
        self._process: asyncio.subprocess.Process | None = None
        self._environment = {
            **os.environ,
            "MAINSPRING_HTTP_CLIENT__ALLOW_PRIVATE_ADDRESSES": "true",
            "MAINSPRING_WEBHOOKS__RETRY_AFTER_S": "[0, 0.2, 0.5, 1, 1, 2, 2, 5, 5, 5]",
        }
        if database_url:
            self._environment["MAINSPRING_DATABASE__URL"] = database_url

    async def start(self) -> None:
        """Start and return when it is ready."""
        self.starts += 1
        with (self.directory.parent / "platform.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "mainspring", "up", str(LEDGER),
                "--port", str(self.port), "--data-dir", str(self.directory),
                env=self._environment, stdout=log, stderr=log,
            )  # fmt: skip

    async def ready(self) -> None:
        """Wait for ``/readyz``. Raises with the log's end when the process died."""
        async with asyncio.timeout(READY_DEADLINE_S), aiohttp.ClientSession() as session:
            while True:
                assert self._process is not None
                if self._process.returncode is not None:
                    raise RuntimeError(f"the platform died:\n{self.log_tail()}")
                try:
                    async with session.get(f"{self.url}/readyz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    await pause()

    async def kill(self) -> None:
        """SIGKILL, now."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM, and return its exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.terminate()
        return await self._process.wait()

    def admin_key(self) -> str:
        """The key that the first start wrote."""
        return (self.directory / "admin.key").read_text().strip()

    def log_tail(self) -> str:
        """What the platform said last."""
        text = (self.directory.parent / "platform.log").read_text(errors="replace")
        return text[-3_000:]


class Receiver:
    """Takes webhooks and verifies each; notes which events came and how often."""

    def __init__(self) -> None:
        self.secret: str | None = None
        self.events: dict[str, int] = {}
        self.refused = 0
        self.url = ""

    async def start(self) -> None:
        """Listen on loopback."""
        app = web.Application()
        app.router.add_post("/hook", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}/hook"

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.secret is None:
            return web.Response(status=503)
        try:
            event = Webhook(self.secret).verify(body, dict(request.headers))
        except Exception:  # noqa: BLE001 - any reason not to verify is counted, and fails the round
            self.refused += 1
            return web.Response(status=400)
        assert isinstance(event, dict)
        self.events[event["id"]] = self.events.get(event["id"], 0) + 1
        return web.Response(status=204)


async def pause() -> None:
    """Let the platform get on for a moment: nothing outside it can be waited on."""
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.02, future.set_result, None)
    await future
