"""What is served beside the operations: health, metrics, status, and the reference."""

import re
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import msgspec

from mainspring.interfaces.http import security_headers
from mainspring.interfaces.http.compression import gzip
from mainspring.interfaces.http.conditional import not_modified
from mainspring.interfaces.http.exchange import Exchange
from mainspring.interfaces.http.hosts import is_own_machine
from mainspring.interfaces.http.proxies import is_loopback
from mainspring.interfaces.http.responses import answer_json
from mainspring.interfaces.http.streams import shrinks
from mainspring.interfaces.openapi import OpenApiDocument
from mainspring.interfaces.rest.asgi import RestApp
from mainspring.kernel.errors import Malformed, Unavailable
from mainspring.kernel.etag import tag_of
from mainspring.kernel.invocation import Outcome
from mainspring.kernel.lru_cache import LruCache
from mainspring.kernel.policy import RateClass
from mainspring.kernel.registry import Registry
from mainspring.ports.telemetry import TEXT_TYPE
from mainspring.runtime.invoke.descriptions import Descriptions, ServiceShapes

METRICS_SCOPE = "metrics:read"
DOCUMENTS_BYTES_MAX = 32 << 20  # of OpenAPI documents kept, one per set of shapes somebody may see

# Some proxy writes each of these, and so does each of their kind (X-Forwarded-Host, -Proto, …).
_PROXIED = frozenset({
    b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip", b"true-client-ip",
    b"cf-connecting-ip", b"fastly-client-ip", b"cdn-loop", b"x-request-start", b"x-envoy-peer",
    b"x-amzn-trace-id",
})  # fmt: skip
_FILES = {
    "/docs": ("index.html", b"text/html; charset=utf-8"),
    "/docs/docs.js": ("docs.js", b"text/javascript; charset=utf-8"),
    "/docs/docs.css": ("docs.css", b"text/css; charset=utf-8"),
}
_NONCE = re.compile(rb"nonce=([0-9a-f]{64})")
_encode = msgspec.json.Encoder().encode


class Pages:
    """Adds the pages to a REST app.

    ``ready`` names the parts that fail, ``degraded`` what is away that nobody needs, ``status``
    tells all, ``prove`` answers a nonce, ``descriptions`` what the data adds to operations.
    """

    def __init__(
        self,
        rest: RestApp,
        registry: Registry,
        *,
        ready: Callable[[], Awaitable[Sequence[str]]],
        degraded: Callable[[], Sequence[str]],
        status: Callable[[], Awaitable[Any]],
        prove: Callable[[str], Awaitable[str]],
        descriptions: Descriptions,
    ) -> None:
        self._rest = rest
        self._ready = ready
        self._degraded = degraded
        self._status = status
        self._prove = prove
        self._descriptions = descriptions
        # One that is larger than the whole takes the whole: writing it for each call would hold
        # up everybody, and how large it gets is bounded by how many collections there may be.
        self._documents: LruCache[tuple[bool, tuple[_Same, ...]], _Written] = LruCache(
            DOCUMENTS_BYTES_MAX, size_of=lambda one: min(one.size_bytes, DOCUMENTS_BYTES_MAX)
        )
        services = registry.services.values()
        self._document = OpenApiDocument(
            services, title="Mainspring", version=version("mainspring")
        )
        self._on_loopback = is_loopback(rest.settings.host)
        for path, handle in (
            ("/healthz", self._healthz),
            ("/readyz", self._readyz),
            ("/metrics", self._metrics),
            ("/v1/status", self._show_status),
        ):
            rest.add("GET", path, handle)
        if rest.serves:
            self._add_for_callers()

    def _add_for_callers(self) -> None:
        """Add what only who calls operations here asks for."""
        rest = self._rest
        rest.add("GET", "/v1/proof", self._show_proof)
        rest.add("GET", "/openapi.json", self._openapi)
        for path in _FILES:
            rest.add("GET", path, _file(path))
        if rest.router.find("/") is None and rest.mounts.find("/") is None:
            rest.add("GET", "/", _to_docs)

    async def _healthz(self, exchange: Exchange) -> None:
        await answer_json(exchange, Outcome(200, b'{"status":"alive"}'), kept=None)

    async def _readyz(self, exchange: Exchange) -> None:
        failing = list(await self._ready())
        if failing:
            raise Unavailable(
                f"not ready: {'; '.join(failing)}", retry_after_s=1, extra={"failing": failing}
            )
        told: dict[str, Any] = {"status": "ready"}
        if degraded := list(self._degraded()):
            told["degraded"] = degraded
        await answer_json(exchange, Outcome(200, _encode(told)), kept=None)

    async def _metrics(self, exchange: Exchange) -> None:
        scope = None if self._asked_from_here(exchange) else METRICS_SCOPE
        await self._rest.admit(exchange, scope, RateClass.UNLIMITED)
        text = await self._rest.metrics.telemetry.text()
        headers = [
            (b"content-type", TEXT_TYPE.encode()),
            security_headers.NO_STORE,
            *security_headers.API,
        ]
        await exchange.answer(200, headers, text)

    def _asked_from_here(self, exchange: Exchange) -> bool:
        """Tell whether the operator asks, on the machine itself.

        A proxy on the machine brings callers from anywhere to an address of loopback. It is known
        by the settings, by what it writes, by the name it was asked for, or by an older HTTP.
        """
        headers = exchange.headers
        return (
            self._on_loopback
            and not self._rest.proxies
            and is_loopback(exchange.wire.address)
            and exchange.version == "1.1"
            and is_own_machine(exchange.host)
            and headers.keys().isdisjoint(_PROXIED)
            and not any(name.startswith(b"x-forwarded-") for name in headers)
        )

    async def _show_status(self, exchange: Exchange) -> None:
        await self._rest.admit(exchange, None)
        await answer_json(exchange, Outcome(200, _encode(await self._status())), kept=None)

    async def _show_proof(self, exchange: Exchange) -> None:
        """Prove to who has the keyring, before a key is sent, that this is its platform."""
        await self._rest.admit(exchange, None)
        nonce = _NONCE.fullmatch(exchange.query)
        if nonce is None:
            raise Malformed("ask with ?nonce= and 64 hexadecimal digits")
        proof = await self._prove(nonce[1].decode())
        await answer_json(exchange, Outcome(200, _encode({"proof": proof})), kept=None)

    async def _openapi(self, exchange: Exchange) -> None:
        await self._rest.admit(exchange, None)
        admission = exchange.admission
        found = await self._descriptions.of(
            admission.caller, request_id=exchange.request_id, account=admission.account
        )
        written = self._document_of(found, known=admission.caller.id is not None)
        packed = written.packed if shrinks(exchange, written.plain, "application/json") else None
        await answer_json(exchange, Outcome(200, written.plain, etag=written.etag), packed=packed)

    def _document_of(self, found: Sequence[ServiceShapes], *, known: bool) -> "_Written":
        """The document with these shapes: all of them for a known caller, else what is public.

        A service gives the same list while nothing has changed, so nothing is compiled and nothing
        compared for a document that is there already. It is written at the first call that asks for
        it; nothing is awaited, so only by that one.
        """
        key = (known, tuple(map(_Same, found)))
        written = self._documents.get(key)
        if written is None:
            shown = [s for service in found for s in service.shapes if known or s.public]
            document = self._document.build(shown)
            if missing := {one.service: one.missing for one in found if one.missing}:
                document["x-incomplete"] = missing
            written = _Written(_encode(document))
            self._documents.put(key, written)
        return written


class _Same:
    """A list that a service gives again while nothing has changed: equal to itself only."""

    __slots__ = ("missing", "shapes")

    def __init__(self, description: ServiceShapes) -> None:
        self.shapes, self.missing = description.shapes, description.missing

    def __hash__(self) -> int:
        return hash((id(self.shapes), self.missing))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Same)
            and other.shapes is self.shapes
            and other.missing == self.missing
        )


class _Written:
    """A document as it is answered."""

    __slots__ = ("etag", "packed", "plain", "size_bytes")

    def __init__(self, plain: bytes) -> None:
        self.plain = plain
        self.packed = gzip(plain)
        self.etag = tag_of(plain)
        self.size_bytes = 4 * len(plain) + len(self.packed)  # what it was written from takes more


async def _to_docs(exchange: Exchange) -> None:
    """Lead whoever opens the bare address to the reference."""
    headers = [(b"location", b"/docs"), security_headers.NO_STORE, *security_headers.API]
    await exchange.answer(302, headers, b"")


def _file(path: str) -> Callable[[Exchange], Awaitable[None]]:
    name, media_type = _FILES[path]
    body = (files("mainspring.interfaces") / "docs" / name).read_bytes()
    etag = tag_of(body)

    async def serve(exchange: Exchange) -> None:
        headers = [
            (b"etag", etag.encode()), (b"cache-control", b"max-age=300"), *security_headers.PAGE,
        ]  # fmt: skip
        if_none_match = exchange.headers.get(b"if-none-match")
        if if_none_match is not None and not_modified(if_none_match.decode("latin-1"), etag):
            await exchange.answer(304, headers, b"")
            return
        headers.append((b"content-type", media_type))
        await exchange.answer(200, headers, body)

    return serve
