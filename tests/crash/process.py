"""The platform as a process that can be hurt, and the receiver that outlives it."""

import asyncio
import os
import random
import select
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import aiohttp
from aiohttp import web
from standardwebhooks import Webhook

from mainspring.cli import EXIT_START
from mainspring.testing.servers import free_ports
from tests.cli.test_up import children

READY_DEADLINE_S = 60.0
PAUSE_S = 0.02
LEDGER = Path(__file__).parent / "ledger.py"


class Platform:
    """``mainspring up`` on one data directory: started, killed, frozen, over and over.

    Its machine's clock is ``clock_ahead_s`` ahead of this one; ``environ`` is on top of this
    process's own. Of several ``workers`` each can be hurt, as well as their parent.
    ``notes`` is where its log goes and what its jobs did outside, by default beside the directory.
    """

    def __init__(
        self,
        directory: Path,
        database_url: str | None,
        *,
        clock_ahead_s: float = 0.0,
        environ: Mapping[str, str] | None = None,
        notes: Path | None = None,
        workers: int = 1,
    ) -> None:
        self.directory = directory
        self.workers = workers
        self.notes = notes or directory.parent
        self.log = self.notes / "platform.log"
        self.begun = self.notes / "begun"
        self.port = free_ports(1)[0]  # the same one serves every restart
        self.url = f"http://127.0.0.1:{self.port}"
        self.starts = 0
        self._killed_workers = 0  # since the last start
        self.clock_ahead_s = clock_ahead_s
        self.environ = {
            **os.environ,
            "MAINSPRING_HTTP_CLIENT__ALLOW_PRIVATE_ADDRESSES": "true",
            "MAINSPRING_WEBHOOKS__RETRY_AFTER_S": "[0, 0.2, 0.5, 1, 1, 2, 2, 5, 5, 5]",
            "LEDGER_BEGUN": str(self.begun),
            **(environ or {}),
        }
        if database_url:
            self.environ["MAINSPRING_DATABASE__URL"] = database_url
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process of now."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start, and return when it is on its way."""
        self.starts += 1
        self._killed_workers = 0
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.command(), env=self.environ, stdout=log, stderr=log
            )

    def python(self) -> Sequence[str]:
        """What runs Mainspring."""
        ahead = ("tests.crash.clock_ahead", str(self.clock_ahead_s)) if self.clock_ahead_s else ()
        return sys.executable, "-m", *(ahead or ("mainspring",))

    def command(self) -> Sequence[str]:
        """What is started."""
        return (
            *self.python(), "up", str(LEDGER), "--port", str(self.port),
            "--data-dir", str(self.directory), "--workers", str(self.workers),
        )  # fmt: skip

    async def ready(self) -> None:
        """Wait for ``/readyz``. Raises with the log's end when the process died.

        A crew whose first process is killed before it serves ends and says so: whoever runs it
        starts it again.
        """
        async with asyncio.timeout(READY_DEADLINE_S), aiohttp.ClientSession() as session:
            while True:
                assert self._process is not None
                if self._process.returncode == EXIT_START and self._killed_workers:
                    await self.start()
                elif self._process.returncode is not None:
                    raise RuntimeError(f"the platform died:\n{self.log_tail()}")
                try:
                    async with session.get(f"{self.url}/readyz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    await pause()

    async def kill(self) -> None:
        """SIGKILL, now; its workers end by themselves when they hear of it."""
        assert self._process is not None
        open_ends = [os.pidfd_open(worker) for worker in children(self.pid)]
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()
        for end in open_ends:
            await asyncio.to_thread(select.select, [end], [], [])
            os.close(end)

    def kill_worker(self, choose: random.Random) -> bool:
        """SIGKILL one of its workers, now. Returns whether there was one."""
        workers = sorted(children(self.pid))
        if workers:
            os.kill(choose.choice(workers), signal.SIGKILL)
            self._killed_workers += 1
        return bool(workers)

    async def died(self) -> int:
        """Wait until it has ended by itself; return its exit code."""
        assert self._process is not None
        return await self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: it lives, holds its connections, and does nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on as if nothing had been."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def stop(self) -> int:
        """SIGTERM, and return its exit code."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.terminate()
            self.thaw()
        return await self._process.wait()

    def admin_key(self) -> str:
        """The key that the first start wrote."""
        return (self.directory / "admin.key").read_text().strip()

    def begun_by(self) -> list[tuple[str, int]]:
        """What its jobs and consumers began, with the process that did, in order."""
        lines = self.begun.read_text().splitlines() if self.begun.exists() else []
        return [(task, int(pid)) for task, pid in (line.split("\t") for line in lines)]

    def log_tail(self) -> str:
        """What the platform said last."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
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
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=PAUSE_S)
