"""A runtime with the webhooks service over a real database, and a real receiver to send to."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from mainspring.kernel.call import SYSTEM, Caller
from mainspring.kernel.operation import Answer
from mainspring.kernel.table import Query
from mainspring.runtime.dispatch import Outcome
from mainspring.runtime.runtime import Runtime
from mainspring.runtime.tables import JobRow
from mainspring.services.webhooks import service as webhooks
from mainspring.testing.clock import FakeClock
from tests.services.webhooks.shop import NewOrder, shop

DEADLINE_S = 20.0
ALL_JOBS = Query(
    "test.all_jobs", f"SELECT {', '.join(JobRow.__struct_fields__)} FROM jobs ORDER BY id", JobRow
)


class Received:
    """One request as the receiver got it."""

    def __init__(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.path = path
        self.headers = headers
        self.body = body

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def verify(self, secret: str) -> None:
        """Judge the signature with the library that receivers use."""
        Verifier(secret).verify(self.body, self.headers)

    def signed_by(self, secrets: set[str]) -> str:
        """Return the one of these secrets that signed it."""
        for secret in secrets:
            with suppress(WebhookVerificationError):
                self.verify(secret)
                return secret
        raise AssertionError("signed by none of them")


class Receiver:
    """A real HTTP server. ``answers`` are given in turn; the last one stays."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[Received] = asyncio.Queue()
        self.count = 0
        self.running = 0
        self.running_max = 0
        self.answers: list[tuple[int, dict[str, str], bytes]] = [(200, {}, b"ok")]
        self.held = asyncio.Event()
        self.held.set()
        self._server: TestServer | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/{tail:.*}", self._handle)
        self._server = TestServer(app, host="127.0.0.1")
        await self._server.start_server()

    async def stop(self) -> None:
        self.held.set()
        if self._server is not None:
            await self._server.close()

    def url(self, path: str = "/hook") -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.port}{path}"

    def answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.answers = [(status, headers or {}, body)]

    async def next(self) -> Received:
        async with asyncio.timeout(DEADLINE_S):
            return await self.arrived.get()

    async def _handle(self, request: web.Request) -> web.Response:
        self.count += 1
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.arrived.put_nowait(Received(request.path, headers, await request.read()))
        await self.held.wait()
        self.running -= 1
        status, extra, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.Response(status=status, headers=extra, body=body)


class Platform:
    """What a test holds: the runtime, its clock, and short ways to call operations."""

    def __init__(self, runtime: Runtime, clock: FakeClock) -> None:
        self.runtime = runtime
        self.clock = clock

    async def run(
        self, name: str, *, caller: Caller = SYSTEM, if_match: str | None = None, **args: Any
    ) -> Outcome:
        """Run an operation by its short name: of webhooks, or with its service's name."""
        full = name if "." in name else f"{webhooks.name}.{name}"
        call = self.runtime.dispatcher.call(caller, request_id="req_1", if_match=if_match)
        return await self.runtime.dispatcher.run(self.runtime.registry.operations[full], call, args)

    async def value(self, name: str, **args: Any) -> Any:
        """Run an operation and return what it answered as JSON."""
        return json.loads((await self.run(name, **args)).body or b"null")

    async def pay(self, total: int = 0, **fields: Any) -> str:
        """Have an event happen; return its id."""
        event_id: str = await self.value("shop.pay", new=NewOrder(total=total, **fields))
        return event_id

    async def jobs(self, *states: str) -> list[JobRow]:
        rows = await self.runtime.database.read(ALL_JOBS, ())
        return [job for job in rows if not states or job.state in states]

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Look again after every commit of a consumer or a job, until it holds."""
        with self.runtime.board.listen("local:consumed", "local:finished") as signal:
            async with asyncio.timeout(DEADLINE_S):
                while not await holds():
                    await signal.wait()
                    signal.clear()

    async def idle(self) -> None:
        """Wait until every event was routed and nothing is ready or running."""

        async def nothing_moves() -> bool:
            lag = await self.runtime.database.read(LAG, ())
            return not any(lag) and not await self.jobs("ready", "running")

        await self.until(nothing_moves)

    async def pass_time(self, seconds: float) -> None:
        """Move the clock and let what is due now run."""
        self.clock.move(seconds)
        self.runtime.board.wake(frozenset({"scheduled"}))
        due_ms = self.clock.now_ms()

        async def nothing_due() -> bool:
            waiting = await self.jobs("scheduled", "ready", "running")
            return all(job.run_at_ms > due_ms for job in waiting)

        await self.until(nothing_due)


LAG = Query(
    "test.lag",
    "SELECT (SELECT COUNT(*) FROM events) - c.seq FROM cursors c",
    int,
)
SERVICES = (webhooks, shop)
__all__ = ["SERVICES", "Answer", "Platform", "Received", "Receiver"]
