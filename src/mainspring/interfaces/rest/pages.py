"""What is served beside the operations: health, metrics, status, and the reference."""

from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import msgspec

from mainspring.gateway import secure
from mainspring.gateway.address import is_loopback
from mainspring.gateway.conditional import not_modified
from mainspring.interfaces.openapi import Document
from mainspring.interfaces.rest.app import RestApp, answer
from mainspring.interfaces.rest.exchange import Exchange
from mainspring.kernel.errors import Unavailable
from mainspring.kernel.operation import Shape
from mainspring.kernel.policy import RateClass
from mainspring.runtime.dispatch import Outcome
from mainspring.runtime.registry import Registry
from mainspring.runtime.runtime import Runtime
from mainspring.runtime.telemetry import TEXT_TYPE

METRICS_SCOPE = "metrics:read"
DOCUMENTS_MAX = 64  # OpenAPI documents kept, one per set of shapes somebody may see

_FORWARDED = frozenset({b"forwarded", b"via", b"x-forwarded-for"})  # written by proxies
_FILES = {
    "/docs": ("index.html", b"text/html; charset=utf-8"),
    "/docs/docs.js": ("docs.js", b"text/javascript; charset=utf-8"),
    "/docs/docs.css": ("docs.css", b"text/css; charset=utf-8"),
}
_encode = msgspec.json.Encoder().encode


class Pages:
    """Adds the pages to a REST app. ``ready`` names the parts that fail, ``status`` tells all."""

    def __init__(
        self,
        rest: RestApp,
        registry: Registry,
        runtime: Runtime,
        *,
        ready: Callable[[], Awaitable[Sequence[str]]],
        status: Callable[[], Awaitable[Any]],
        title: str = "Mainspring",
    ) -> None:
        self._rest = rest
        self._registry = registry
        self._runtime = runtime
        self._ready = ready
        self._status = status
        self._documents: dict[bytes, bytes] = {}
        services = registry.services.values()
        self._document = Document(services, title=title, version=version("mainspring"))
        self._on_loopback = is_loopback(rest.settings.host)
        for path, handle in (
            ("/healthz", self._healthz),
            ("/readyz", self._readyz),
            ("/metrics", self._metrics),
            ("/v1/status", self._show_status),
            ("/openapi.json", self._openapi),
        ):
            rest.add("GET", path, handle)
        for path in _FILES:
            rest.add("GET", path, _file(path))
        if rest.router.find("/") is None and rest.mounts.find("/") is None:
            rest.add("GET", "/", _to_docs)

    async def _healthz(self, exchange: Exchange) -> None:
        await answer(exchange, Outcome(200, b'{"status":"alive"}'), fresh=True)

    async def _readyz(self, exchange: Exchange) -> None:
        failing = list(await self._ready())
        if failing:
            raise Unavailable(
                f"not ready: {'; '.join(failing)}", retry_after_s=1, extra={"failing": failing}
            )
        await answer(exchange, Outcome(200, b'{"status":"ready"}'), fresh=True)

    async def _metrics(self, exchange: Exchange) -> None:
        # A proxy on the machine brings callers from anywhere to an address of loopback.
        near = self._on_loopback and exchange.headers.keys().isdisjoint(_FORWARDED)
        scope = None if near else METRICS_SCOPE
        await self._rest.gateway.admit(exchange, scope, RateClass.UNLIMITED)
        text = await self._rest.metrics.text()
        headers = [(b"content-type", TEXT_TYPE.encode()), secure.NO_STORE, *secure.API]
        await exchange.answer(200, headers, text)

    async def _show_status(self, exchange: Exchange) -> None:
        await self._rest.gateway.admit(exchange, None)
        await answer(exchange, Outcome(200, _encode(await self._status())), fresh=True)

    async def _openapi(self, exchange: Exchange) -> None:
        await self._rest.gateway.admit(exchange, None)
        shapes = await self._shapes(exchange)
        key = blake2b(_encode(shapes), digest_size=16).digest()
        document = self._documents.get(key)
        if document is None:
            if len(self._documents) >= DOCUMENTS_MAX:
                self._documents.clear()
            document = self._documents[key] = _encode(self._document.build(shapes))
        await answer(exchange, Outcome(200, document))

    async def _shapes(self, exchange: Exchange) -> list[Shape]:
        """What the data adds: all of it for a known caller, else what is public."""
        call = self._rest.gateway.call(exchange)
        shapes: list[Shape] = []
        for service in self._registry.services.values():
            if service.describe is not None:
                shapes.extend(await service.describe(call))
        if call.caller.id is None:
            shapes = [shape for shape in shapes if shape.public]
        return shapes


async def _to_docs(exchange: Exchange) -> None:
    """Lead whoever opens the bare address to the reference."""
    headers = [(b"location", b"/docs"), secure.NO_STORE, *secure.API]
    await exchange.answer(302, headers, b"")


def _file(path: str) -> Callable[[Exchange], Awaitable[None]]:
    name, media_type = _FILES[path]
    body = (files("mainspring.interfaces") / "docs" / name).read_bytes()
    etag = f'"{blake2b(body, digest_size=12).hexdigest()}"'

    async def serve(exchange: Exchange) -> None:
        headers = [
            (b"etag", etag.encode()), (b"cache-control", b"max-age=300"), *secure.PAGE,
        ]  # fmt: skip
        if_none_match = exchange.headers.get(b"if-none-match")
        if if_none_match is not None and not_modified(if_none_match.decode("latin-1"), etag):
            await exchange.answer(304, headers, b"")
            return
        headers.append((b"content-type", media_type))
        await exchange.answer(200, headers, body)

    return serve
