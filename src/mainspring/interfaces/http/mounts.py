"""ASGI apps beside the operations, behind the same gateway."""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from mainspring.gateway.pipeline import Gateway
from mainspring.interfaces.http.exchange import Exchange, Message, Receive, Send
from mainspring.kernel.authority import authorise
from mainspring.kernel.errors import Unauthenticated
from mainspring.kernel.user_app import Asgi
from mainspring.runtime.invoke.containment import contained

LIFESPAN_S = 30.0  # how long a mounted app may take to start or to stop
_MESSAGES_MAX = 2  # of the lifespan protocol each way: startup and shutdown
CALLER = "mainspring.caller"  # the scope's key for who is calling: a kernel Caller


class Mount:
    """An ASGI app under a path prefix; callers need ``scope``."""

    __slots__ = ("asgi", "lifespan", "prefix", "scope")

    def __init__(self, prefix: str, asgi: Asgi, scope: str | None) -> None:
        self.prefix = prefix
        self.asgi = asgi
        self.scope = scope
        self.lifespan: _Lifespan | None = None


class Mounts:
    """The mounted apps. Each is identified, limited and authorised like an operation."""

    __slots__ = ("_gateway", "_mounts")

    def __init__(self, mounts: Mapping[str, tuple[Asgi, str | None]], gateway: Gateway) -> None:
        longest_first = sorted(mounts, key=len, reverse=True)
        self._mounts = [Mount(prefix, *mounts[prefix]) for prefix in longest_first]
        self._gateway = gateway

    def find(self, path: str) -> Mount | None:
        """Return the app that a path belongs to."""
        for mount in self._mounts:
            if path == mount.prefix or path.startswith(mount.prefix + "/"):
                return mount
        return None

    async def serve(self, mount: Mount, exchange: Exchange) -> None:
        """Hand a request over with ``mainspring.caller`` in its scope.

        An app that needs no scope may have credentials of its own: ones that are not ours make the
        caller anonymous instead of being refused.
        """
        try:
            exchange.admission = await self._gateway.admit(exchange.authorization, exchange.network)
            authorise(mount.scope, exchange.admission.caller)
        except Unauthenticated:
            if mount.scope is not None:
                raise
        scope = dict(exchange.scope)
        scope["root_path"] = scope.get("root_path", "") + mount.prefix
        scope[CALLER] = exchange.admission.caller
        if mount.lifespan is not None:
            scope["state"] = {**scope.get("state", {}), **mount.lifespan.state}

        whole = gone = False

        async def receive() -> Message:
            nonlocal gone
            message = await exchange.receive()
            gone = gone or message["type"] == "http.disconnect"
            return message

        async def send(message: Message) -> None:
            nonlocal whole
            if message["type"] != "http.response.start":
                await exchange.send(message)
                whole = not message.get("more_body", False)
                return
            await exchange.start(message["status"], list(message.get("headers", ())))

        await contained(mount.asgi(scope, receive, send))
        if not (whole or gone):
            raise RuntimeError(f"{mount.prefix}: the app returned before its answer was whole")

    async def start(self) -> None:
        """Run the start of every app that has one. Raises RuntimeError when one fails."""
        for mount in self._mounts:
            mount.lifespan = _Lifespan(mount)
            await mount.lifespan.start()

    async def stop(self) -> None:
        """Run the end of every app that started, the last one first."""
        for mount in reversed(self._mounts):
            if mount.lifespan is not None:
                await mount.lifespan.stop()
                mount.lifespan = None

    async def lifespan(self, receive: Receive, send: Send) -> None:
        """Serve the lifespan protocol of whatever server runs us."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return


class _Lifespan:
    """The ASGI lifespan of one mounted app; an app that has none is left alone."""

    def __init__(self, mount: Mount) -> None:
        self._mount = mount
        self._inbox: asyncio.Queue[Message] = asyncio.Queue(_MESSAGES_MAX)
        self._outbox: asyncio.Queue[Message] = asyncio.Queue(_MESSAGES_MAX)
        self._task: asyncio.Task[None] | None = None
        self.state: dict[str, Any] = {}

    async def start(self) -> None:
        scope: Message = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": self.state}
        self._task = asyncio.ensure_future(
            contained(self._mount.asgi(scope, self._inbox.get, self._outbox.put))
        )
        answer = await self._ask("lifespan.startup")
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            raise RuntimeError(f"{self._mount.prefix}: {answer.get('message') or 'did not start'}")

    async def stop(self) -> None:
        if self._task is not None and not self._task.done():
            await self._ask("lifespan.shutdown")
            self._task.cancel()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _ask(self, kind: str) -> Message | None:
        """Send a message and wait for its answer; None when the app ends instead."""
        assert self._task is not None  # start made it
        await self._inbox.put({"type": kind})
        answering = asyncio.ensure_future(self._outbox.get())
        done, _ = await asyncio.wait(
            {self._task, answering}, timeout=LIFESPAN_S, return_when=asyncio.FIRST_COMPLETED
        )
        if answering in done:
            return answering.result()
        answering.cancel()
        if self._task in done:
            log = structlog.get_logger("mainspring.rest")
            log.debug("a mounted app has no lifespan", prefix=self._mount.prefix)
            return None
        raise RuntimeError(f"{self._mount.prefix}: no answer to {kind} in {LIFESPAN_S:g} s")
