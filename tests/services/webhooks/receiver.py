"""A real receiver to send webhooks to, and the platform that sends them."""

import asyncio
import json
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from mainspring.kernel.call import SYSTEM, Caller
from mainspring.runtime.invoke.dispatcher import Outcome
from mainspring.services.webhooks import service as webhooks
from tests.deadline import DEADLINE_S
from tests.services.running import Platform
from tests.services.webhooks.shop import NewOrder


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


class Shop(Platform):
    """The platform of a shop: operations of webhooks are called by their short names."""

    async def run(
        self, name: str, /, *, caller: Caller = SYSTEM, if_match: str | None = None, **args: Any
    ) -> Outcome:
        """Run an operation, of webhooks unless its name says otherwise."""
        full = name if "." in name else f"{webhooks.name}.{name}"
        return await super().run(full, caller=caller, if_match=if_match, **args)

    async def pay(self, total: int = 0, **fields: Any) -> str:
        """Have an event happen; return its id."""
        event_id: str = await self.value("shop.pay", new=NewOrder(total=total, **fields))
        return event_id
