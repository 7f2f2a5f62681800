"""One request and its answer: headers read in one pass, bodies read within bounds."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from typing import Any
from urllib.parse import quote

from mainspring.gateway.identify import ANONYMOUS_IDENTITY
from mainspring.gateway.pipeline import Admission
from mainspring.interfaces.http.hosts import Hosts
from mainspring.interfaces.http.proxies import network_of
from mainspring.kernel.errors import Malformed, Timeout, TooLarge, UnsupportedMedia
from mainspring.kernel.pool import Pool
from mainspring.runtime.invoke.deadline import waiting_at_most

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

# The scope's key for what our server knows of the request: it writes a whole answer at once
# (``whole``), cuts the connection off (``abort``), and says when it drains (``draining``).
CYCLE = "mainspring.cycle"
AUTHORITY = "mainspring.authority"  # the scope's key for the host that a whole URI as target names
BODY_BYTES_PER_S_MIN = 1_024  # of an upload, once its first silence is used up
SEND_IDLE_S = 60.0  # a reader that takes nothing for longer is cut off

# Of these a second one makes the request ambiguous; others join into one list (RFC 9110, 5.3).
_SINGLE = frozenset({
    b"authorization", b"content-length", b"content-type", b"host", b"idempotency-key",
    b"last-event-id", b"origin", b"traceparent",
})  # fmt: skip
_REFERENCES = frozenset({"location", "content-location", "link"})
_URI_CHARS = "".join(chr(code) for code in range(0x21, 0x7F))
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-"
                          rb"([0-9a-f]{2})(?:-.*)?")  # fmt: skip


NOT_YET_ADMITTED = Admission(ANONYMOUS_IDENTITY, None, "")


class PeerGone(Exception):
    """The peer went away, or reads nothing any more. Nobody is left to be answered."""


class Exchange:
    """An HTTP request and the way to answer it. ``target`` is the raw path."""

    __slots__ = (
        "_held", "_memory", "address", "admission", "authorization", "body", "body_unread",
        "content_type", "correlation_id", "extra", "headers", "idempotency_key", "if_match",
        "method", "network", "path", "path_values", "peer", "query", "receive", "request_id",
        "route", "scheme", "scope", "send", "started_s", "status", "target", "trace",
    )  # fmt: skip

    def __init__(self, scope: Message, receive: Receive, send: Send, request_id: str) -> None:
        self.request_id = request_id
        self.correlation_id: str | None = None
        self.authorization: bytes | None = None
        self.path_values: Sequence[str] = ()
        self.content_type: str | None = None
        self.body = b""
        self.idempotency_key: str | None = None
        self.if_match: str | None = None
        self.admission = NOT_YET_ADMITTED
        self.scope = scope
        self.receive = receive
        self.send = send
        self.status = 0
        self.route = ""  # the template of the path, once it is known
        self.extra: Headers = ()
        self._memory: Pool | None = None
        self._held: tuple[str, int] = ("", 0)
        self.trace: tuple[bytes, bytes] | None = None
        self.method: str = scope["method"]
        self.query: bytes = scope["query_string"]
        self.target: bytes = scope["raw_path"]
        self.path: str = scope["path"]
        self.scheme: str = scope["scheme"]
        client = scope["client"]
        self.peer: str = client[0] if client else ""
        self.comes_from(self.peer)
        raw = scope["headers"]
        self.headers: dict[bytes, bytes] = dict(raw)
        # A body is announced by one of these, or there is none (RFC 9112, section 6.3).
        self.body_unread = b"content-length" in self.headers or b"transfer-encoding" in self.headers

    def comes_from(self, address: str) -> None:
        """Note whose call this is: the peer's, or that of whom a trusted proxy names."""
        self.address = address
        self.network = network_of(address)

    def read_headers(self, hosts: Hosts) -> None:
        """Take what the gateway needs from the headers. Raises Malformed, Misdirected."""
        headers = self.headers
        raw = self.scope["headers"]
        if len(headers) != len(raw):
            self.headers = headers = _joined(raw)
        get = headers.get
        host = get(b"host")
        if host is not None:
            hosts.require(self.scope.get(AUTHORITY, host))
        elif self.scope["http_version"] == "1.1":
            raise Malformed("an HTTP/1.1 request needs a Host header")  # RFC 9112, section 3.2
        self.authorization = get(b"authorization")
        content_type = get(b"content-type")
        if content_type is not None:
            self.content_type = content_type.decode("latin-1")
        key = get(b"idempotency-key")
        if key is not None:
            self.idempotency_key = key.decode("latin-1")
        if_match = get(b"if-match")
        if if_match is not None:
            self.if_match = if_match.decode("latin-1")
        parent = get(b"traceparent")
        if parent is not None:
            self._join_trace(parent)

    def _join_trace(self, parent: bytes) -> None:
        """Continue the caller's trace (W3C Trace Context); what cannot be read is ignored."""
        match = _TRACEPARENT.fullmatch(parent)
        if match is None:
            return
        self.correlation_id = match[1].decode()
        # The tail of the request's id is as random as a span id must be, and unique with it.
        span = int.from_bytes(self.request_id[-12:].encode(), "big") & 0xFFFF_FFFF_FFFF_FFFF
        self.trace = (b"traceparent", b"00-%b-%016x-%b" % (match[1], span or 1, match[2]))

    @property
    def authority(self) -> bytes:
        """The host that the request is for, with its port; empty where it names none."""
        found: bytes = self.scope.get(AUTHORITY) or self.headers.get(b"host", b"")
        return found

    def text(self, name: bytes) -> str | None:
        """Return a header as text; None when it is absent."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    # The body

    def check_coding(self) -> None:
        """Raise UnsupportedMedia when the body is compressed: its size could not be bounded."""
        coding = self.headers.get(b"content-encoding", b"identity")
        if coding.strip().lower() not in {b"identity", b""}:
            raise UnsupportedMedia("send the body without Content-Encoding",
                                   headers={"Accept-Encoding": "identity"})  # fmt: skip

    async def read_body(self, size_max: int, timeout_s: float, memory: Pool) -> bytes:
        """Return the whole body. Raises TooLarge, unread where its length says so, and Timeout.

        One that takes a while to come holds ``memory`` until the call ends; raises what that does.
        """
        if not self.body_unread:
            return b""
        self._check_length(size_max)
        message = await self._receive(timeout_s)
        if not message.get("more_body", False):
            body: bytes = message.get("body", b"")
            self.body_unread = False
            if len(body) > size_max:
                raise _too_large(size_max)
            return body
        chunks = bytearray(message.get("body", b""))
        self._memory = memory
        self._hold(len(chunks))
        try:
            async with asyncio.timeout(timeout_s):
                while message.get("more_body", False):
                    if len(chunks) > size_max:
                        raise _too_large(size_max)
                    message = await self._receive(timeout_s)
                    chunk = message.get("body", b"")
                    self._hold(len(chunk))
                    chunks += chunk
        except TimeoutError:
            raise Timeout(f"the body took longer than {timeout_s:g} s") from None
        self.body_unread = False
        if len(chunks) > size_max:
            raise _too_large(size_max)
        return bytes(chunks)

    def _hold(self, size: int) -> None:
        assert self._memory is not None  # whoever reads a body sets it
        holder, held = self._held if self._held[1] else (self.admission.account, 0)
        self._memory.take(holder, size)
        self._held = (holder, held + size)

    def let_go(self) -> None:
        """Give back the memory that the body held: the call is over."""
        holder, held = self._held
        if held and self._memory is not None:
            self._memory.give_back(holder, held)
            self._held = ("", 0)

    async def body_chunks(self, size_max: int, idle_s: float) -> AsyncIterator[bytes]:
        """Stream the body; ``idle_s`` bounds the silence between two chunks.

        A body that trickles is cut off too: Timeout below ``BODY_BYTES_PER_S_MIN`` on the whole.
        """
        self._check_length(size_max)
        size, more = 0, self.body_unread
        now_s = asyncio.get_running_loop().time
        begun_s = now_s()
        while more:
            message = await self._receive(idle_s)
            chunk: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            size += len(chunk)
            if size > size_max:
                raise _too_large(size_max)
            if now_s() - begun_s > idle_s + size / BODY_BYTES_PER_S_MIN:
                raise Timeout(f"the body came slower than {BODY_BYTES_PER_S_MIN} bytes/s")
            if chunk:
                yield chunk
        self.body_unread = False

    def _check_length(self, size_max: int) -> None:
        length = self.headers.get(b"content-length")
        if length is None:
            return
        if not length.isdigit():
            raise Malformed("Content-Length must be a number of bytes")
        if int(length) > size_max:
            raise _too_large(size_max)

    async def _receive(self, timeout_s: float) -> Message:
        try:
            message = await waiting_at_most(timeout_s, self.receive())
        except TimeoutError:
            raise Timeout(f"nothing of the body came for {timeout_s:g} s") from None
        if message["type"] == "http.disconnect":
            raise PeerGone
        return message

    # The answer

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Note the status, and add the headers that every answer carries."""
        self.status = status
        headers.append((b"request-id", self.request_id.encode()))
        if self.trace is not None:
            headers.append(self.trace)
        headers.extend(self.admission.rate_limit_headers)
        headers.extend(self.extra)

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the status line and headers."""
        self._begin(status, headers)
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole answer; the server drops the body of one to HEAD."""
        if status not in {204, 304}:
            headers.append((b"content-length", b"%d" % len(body)))
        self._begin(status, headers)
        cycle = self.scope.get(CYCLE)
        if cycle is not None and cycle.whole(status, headers, body):
            return
        try:
            async with asyncio.timeout(SEND_IDLE_S):
                await self.send(
                    {"type": "http.response.start", "status": status, "headers": headers}
                )
                await self.send({"type": "http.response.body", "body": body})
        except TimeoutError:
            raise self._cut_off() from None

    async def write(self, chunk: bytes, *, more: bool = True) -> None:
        """Send a part of a streamed body. Raises Gone when nobody takes it.

        Returns once most of it is taken, so that the next part is not made before.
        """
        cycle = self.scope.get(CYCLE)
        try:
            async with asyncio.timeout(SEND_IDLE_S):
                await self.send({"type": "http.response.body", "body": chunk, "more_body": more})
                if more and cycle is not None:
                    await cycle.taken()
        except TimeoutError:
            raise self._cut_off() from None

    @property
    def may_be_cancelled(self) -> bool:
        """Whether the server may have cancelled this: it drains, or does not say."""
        cycle = self.scope.get(CYCLE)
        return cycle is None or bool(cycle.drains)

    async def draining(self) -> None:
        """Wait until the server drains; for ever where it does not say."""
        cycle = self.scope.get(CYCLE)
        await (asyncio.Event().wait() if cycle is None else cycle.draining())

    def _cut_off(self) -> PeerGone:
        """Let go of a peer that takes nothing: closing would wait for it for ever."""
        cycle = self.scope.get(CYCLE)
        if cycle is not None:
            cycle.abort()
        return PeerGone()


def field(name: str, text: str) -> tuple[bytes, bytes]:
    """Encode a header that a handler wrote.

    A URI reference is percent-encoded where it is no ASCII (RFC 3987, section 3.1); other text goes
    as UTF-8, and a control character, which could begin another header, as a space.
    """
    name = name.lower()
    if not (text.isascii() and text.isprintable()):
        if name in _REFERENCES:
            text = quote(text, safe=_URI_CHARS)
        text = "".join(char if char.isprintable() or char > "\x9f" else " " for char in text)
    return name.encode("ascii"), text.encode()


def _joined(raw: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    values: dict[bytes, list[bytes]] = {}
    for name, value in raw:
        values.setdefault(name, []).append(value)
    for name in _SINGLE & values.keys():
        if len(values[name]) > 1:
            raise Malformed(f"the header {name.decode('latin-1')} was sent twice: send it once")
    return {name: b", ".join(parts) for name, parts in values.items()}


def _too_large(size_max: int) -> TooLarge:
    return TooLarge(f"the body has at most {size_max} bytes here")
