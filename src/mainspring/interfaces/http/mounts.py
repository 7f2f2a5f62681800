"""ASGI apps beside the operations, behind the same gateway."""

import asyncio
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

from mainspring.gateway.pipeline import Admission, Gateway
from mainspring.interfaces.http.exchange import Exchange
from mainspring.interfaces.http.request import PeerGone
from mainspring.kernel.authority import authorise
from mainspring.kernel.errors import Unauthenticated
from mainspring.kernel.impersonation import Impersonated, require_in_person
from mainspring.kernel.user_app import Asgi
from mainspring.runtime.invoke.containment import contained

Message = MutableMapping[str, Any]  # of ASGI 3

_READING = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110, 9.2.1
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
            admission = self._gateway.admit(
                exchange.authorization, exchange.network, address=exchange.address
            )
            if not isinstance(admission, Admission):
                admission = await admission
            exchange.admission = admission
            authorise(mount.scope, admission.caller)
            if exchange.method not in _READING:  # who only looks as a user changes nothing here
                require_in_person(Impersonated.WRITES, admission.caller)
        except Unauthenticated:
            if mount.scope is not None:
                raise
        whole = gone = False

        async def receive() -> Message:
            nonlocal gone
            try:
                body, more = await exchange.receive()
            except PeerGone:
                gone = True
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": body, "more_body": more}

        async def send(message: Message) -> None:
            nonlocal whole
            if message["type"] == "http.response.start":
                await exchange.start(message["status"], list(message.get("headers", ())))
            elif message["type"] == "http.response.body":
                more = message.get("more_body", False)
                await exchange.send(message.get("body", b""), more=more)
                whole = not more
            else:
                kind = message["type"]
                raise RuntimeError(f"{mount.prefix}: {kind!r} is not a part of an HTTP answer")

        await contained(mount.asgi(_scope(mount, exchange), receive, send))
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


def _scope(mount: Mount, exchange: Exchange) -> Message:
    """Describe a request as ASGI does (HTTP connection scope, version 2.3)."""
    peer, server = exchange.wire.peer, exchange.wire.server
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": exchange.version,
        "server": server,
        "client": peer,
        "scheme": exchange.scheme,
        "method": exchange.method,
        "root_path": mount.prefix,
        "path": exchange.path,
        "raw_path": exchange.target,
        "query_string": exchange.query,
        "headers": exchange.raw_headers,
        "state": {} if mount.lifespan is None else dict(mount.lifespan.state),
        CALLER: exchange.admission.caller,
    }


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
