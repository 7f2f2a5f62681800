"""The demo's webhook receiver: a plain HTTP server that believes no delivery it cannot verify."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

BODY_BYTES_MAX = 1 << 20
_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


class Event(msgspec.Struct, frozen=True):
    """What the receiver reads of a delivered CloudEvent."""

    id: str
    type: str


class Receiver:
    """Counts deliveries, verifies each with the ``standardwebhooks`` library, keeps event ids."""

    def __init__(self) -> None:
        self.deliveries = 0
        self.refused = 0
        self.events: set[str] = set()
        self.moved = asyncio.Event()
        self._webhook: Webhook | None = None
        self._decode = msgspec.json.Decoder(Event).decode

    def trust(self, secret: str) -> None:
        """Verify with this secret from now on."""
        self._webhook = Webhook(secret)

    async def receive(self, request: web.Request) -> web.Response:
        """Answer 204 to a delivery that verifies, 401 to one that does not."""
        body = await request.read()
        self.deliveries += 1
        headers = {name: request.headers.get(name, "") for name in _HEADERS}
        try:
            if self._webhook is None:
                raise WebhookVerificationError("no secret yet")
            self._webhook.verify(body, headers, json_parse=False)
            self.events.add(self._decode(body).id)
        except (WebhookVerificationError, msgspec.MsgspecError, ValueError):
            self.refused += 1
            return web.Response(status=401)
        self.moved.set()
        return web.Response(status=204)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a free port of this machine; yield the URL."""
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_post("/hook", self.receive)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        finally:
            await runner.cleanup()
