"""One request and its answer: headers read in one pass, bodies read within bounds."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Sequence
from urllib.parse import quote

from mainspring.gateway.identify import ANONYMOUS_IDENTITY
from mainspring.gateway.pipeline import Admission
from mainspring.interfaces.http.hosts import Hosts
from mainspring.interfaces.http.proxies import network_of
from mainspring.interfaces.http.request import Headers, PeerGone, Request
from mainspring.kernel.errors import Malformed, Timeout, TooLarge, UnsupportedMedia
from mainspring.kernel.pool import Pool
from mainspring.runtime.invoke.deadline import waiting_at_most

BODY_BYTES_PER_S_MIN = 1_024  # of an upload, once its first silence is used up
SEND_IDLE_S = 60.0  # a reader that takes nothing for longer is cut off

# Of these a second one makes the request ambiguous; others join into one list (RFC 9110, 5.3).
_SINGLE = frozenset({
    b"authorization", b"content-length", b"content-type", b"host", b"idempotency-key",
    b"last-event-id", b"origin", b"read-after", b"traceparent",
})  # fmt: skip
_REFERENCES = frozenset({"location", "content-location", "link"})
_URI_CHARS = "".join(chr(code) for code in range(0x21, 0x7F))
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-"
                          rb"([0-9a-f]{2})(?:-.*)?")  # fmt: skip


NOT_YET_ADMITTED = Admission(ANONYMOUS_IDENTITY, None, "")


class Exchange(Request):
    """A request as the gateway sees it, and what is known of it so far."""

    request_id = ""
    route = ""  # the template of the path, once it is known
    scheme = "http"
    authorization: bytes | None = None
    correlation_id: str | None = None
    content_type: str | None = None
    idempotency_key: str | None = None
    if_match: str | None = None
    path_values: Sequence[str] = ()
    body = b""
    admission = NOT_YET_ADMITTED
    extra: tuple[tuple[bytes, bytes], ...] = ()
    trace: tuple[bytes, bytes] | None = None
    _memory: Pool | None = None
    _held: tuple[str, int] = ("", 0)

    def comes_from(self, address: str) -> None:
        """Note whose call this is, where it is not the peer's: of whom a trusted proxy names."""
        self.address = address
        self.network = network_of(address)

    def read_headers(self, hosts: Hosts) -> None:
        """Take what the gateway needs from the headers. Raises Malformed, Misdirected."""
        headers = self.headers
        if len(headers) != len(self.raw_headers):
            self.headers = headers = _joined(self.raw_headers)
        get = headers.get
        host = get(b"host")
        if host is not None:
            hosts.require(host if self.authority is None else self.authority)
        elif self.version == "1.1":
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
    def host(self) -> bytes:
        """The host that the request is for, with its port; empty where it names none."""
        return self.authority or self.headers.get(b"host", b"")

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
        if (self.declared_bytes() or 0) > size_max:
            raise _too_large(size_max)
        body = self.take_body()
        if body is not None:
            self.body_unread = False
            if len(body) > size_max:
                raise _too_large(size_max)
            return body
        chunks, more = bytearray(), True
        try:
            async with asyncio.timeout(timeout_s):
                while more:
                    chunk, more = await self._receive(timeout_s)
                    self.hold(len(chunk), memory)
                    chunks += chunk
                    if len(chunks) > size_max:
                        raise _too_large(size_max)
        except TimeoutError:
            raise Timeout(f"the body took longer than {timeout_s:g} s") from None
        self.body_unread = False
        return bytes(chunks)

    def hold(self, size: int, memory: Pool) -> None:
        """Hold ``memory`` for so many bytes more, until the call ends. Raises what that does."""
        holder, held = self._held if self._held[1] else (self.admission.account, 0)
        memory.take(holder, size)
        self._memory, self._held = memory, (holder, held + size)

    def let_go(self) -> None:
        """Give back the memory that the body held: the call is over."""
        holder, held = self._held
        if held and self._memory is not None:
            self._memory.give_back(holder, held)
            self._held = ("", 0)

    async def body_chunks(self, idle_s: float) -> AsyncIterator[bytes]:
        """Stream the body; ``idle_s`` bounds the silence between two chunks.

        How much of it to take is for whoever pulls. A body that trickles is cut off: Timeout below
        ``BODY_BYTES_PER_S_MIN`` on the whole.
        """
        size, more = 0, self.body_unread
        now_s = asyncio.get_running_loop().time
        begun_s = now_s()
        while more:
            chunk, more = await self._receive(idle_s)
            size += len(chunk)
            if now_s() - begun_s > idle_s + size / BODY_BYTES_PER_S_MIN:
                raise Timeout(f"the body came slower than {BODY_BYTES_PER_S_MIN} bytes/s")
            if chunk:
                yield chunk
        self.body_unread = False

    def declared_bytes(self) -> int | None:
        """Return how large the body is said to be. Raises Malformed."""
        length = self.headers.get(b"content-length")
        if length is None:
            return None
        if not length.isdigit():
            raise Malformed("Content-Length must be a number of bytes")
        return int(length)

    async def _receive(self, timeout_s: float) -> tuple[bytes, bool]:
        try:
            return await waiting_at_most(timeout_s, self.receive())
        except TimeoutError:
            raise Timeout(f"nothing of the body came for {timeout_s:g} s") from None

    # The answer

    def _common(self) -> bytes:
        """The header lines that every answer carries."""
        lines = b"request-id: %b\r\n%b" % (self.request_id.encode(), self.admission.limit_lines)
        if self.trace is not None:
            lines += b"%b: %b\r\n" % self.trace
        return lines + lines_of(self.extra) if self.extra else lines

    async def start(self, status: int, headers: Headers) -> None:
        """Send the status line and headers. Raises PeerGone when nobody takes it."""
        await self._sent(self.begin(status, headers, self._common()))

    def start_now(self, status: int, headers: Headers) -> None:
        """Write the status line and headers, whether or not the peer takes them by now."""
        self.begin_now(status, headers, self._common())

    async def answer(self, status: int, headers: Headers, body: bytes, also: bytes = b"") -> None:
        """Send a whole answer; nothing of the body goes out for one to HEAD.

        ``also`` are headers that are written already.
        """
        if headers:
            also += lines_of(headers)
        lines = also + self._common()
        if status not in {204, 304}:
            lines += b"content-length: %d\r\n" % len(body)
        if not self.whole(status, lines, body):
            await self._sent(self.wholly(status, lines, body))

    async def write(self, chunk: bytes, *, more: bool = True) -> None:
        """Send a part of a streamed body. Raises PeerGone when nobody takes it.

        Returns once most of it is taken, so that the next part is not made before.
        """
        await self._sent(self._write(chunk, more))

    async def _write(self, chunk: bytes, more: bool) -> None:
        await self.send(chunk, more=more)
        if more and not self.gone:
            await self.wire.writable()

    async def _sent(self, sending: Awaitable[None]) -> None:
        """Let go of a peer that takes nothing: closing would wait for it for ever."""
        try:
            await waiting_at_most(SEND_IDLE_S, sending)
        except TimeoutError:
            self.abort()
            raise PeerGone from None


def lines_of(headers: Headers) -> bytes:
    """Write headers as they go out. Raises RuntimeError for one that holds a line break."""
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    if not lines.count(b"\n") == lines.count(b"\r") == len(headers):
        raise RuntimeError("a header holds a line break")
    return lines


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
