"""Answers that are written piece by piece: server-sent events, NDJSON, and raw bodies."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from enum import Enum

from mainspring.gateway.pipeline import Gateway
from mainspring.interfaces.http import security_headers
from mainspring.interfaces.http.compression import (
    CODING,
    SIZE_BYTES_MIN,
    accepts_gzip,
    compressible,
    gzip,
)  # fmt: skip
from mainspring.interfaces.http.conditional import not_modified
from mainspring.interfaces.http.exchange import SEND_IDLE_S, Exchange, field
from mainspring.interfaces.http.request import Headers, chunk
from mainspring.kernel.caller import Caller
from mainspring.kernel.errors import Failure, NotAcceptable, RangeNotSatisfiable
from mainspring.kernel.invocation import Opened
from mainspring.kernel.operation import StreamItem

CHECK_S = 5.0  # how often an open stream's caller is identified again
KEEP_ALIVE_CHECKS = 3  # silent checks between two comments that keep proxies from closing
RETRY_MS = 1_000  # when a follower of a server that stops may come again
FIRST_ITEM_S = 0.1  # how long a stream may take to fail with a status of its own

SSE = b"text/event-stream"
NDJSON = b"application/x-ndjson"

FAREWELL = b": the server stops\nretry: %d\n\n" % RETRY_MS

REFUSED = StreamItem(
    b'{"end":"unauthenticated","detail":"this key or token is not good for this any more: open the '
    b'stream with another one, after the last item"}',
    event="end",
)

_OF_THE_BODY = frozenset({
    b"content-type", b"content-length", b"content-disposition", b"content-range",
})  # fmt: skip
_NO_REFERRER = (b"referrer-policy", b"no-referrer")
_HELD_ALREADY = frozenset({200, 206, 416})  # RFC 9110, 13.2.2: asked before Range is
_LINES = re.compile(rb"\r\n|\r|\n")


async def answer_raw(
    exchange: Exchange, raw: Opened, kept: security_headers.Headers | None = None
) -> None:
    """Send what a raw operation answers; its own headers stand before the defaults.

    ``kept`` are the headers for who may keep it; without them, and of a failure, nobody does.
    """
    headers = [field(name, text) for name, text in raw.headers]
    named = {name for name, _ in headers}
    if b"content-type" not in named and raw.body:
        headers.append((b"content-type", raw.media_type.encode("latin-1")))
    if raw.replayed:
        headers.append((b"idempotency-replayed", b"true"))
    caching = kept if kept is not None and raw.status < 400 else (security_headers.NO_STORE,)
    if b"cache-control" not in named:
        headers.extend(caching)
    headers.extend(header for header in security_headers.API if header[0] not in named)
    if raw.status in _HELD_ALREADY and _has_already(exchange, headers):
        await exchange.answer(304, [h for h in headers if h[0] not in _OF_THE_BODY], b"")
        return
    if raw.elsewhere is not None and exchange.method == "GET":
        # Kept by nobody: it ends before long, and the right to it may end before that.
        location = (b"location", raw.elsewhere.encode("latin-1"))
        sent = [location, security_headers.NO_STORE, _NO_REFERRER, *security_headers.API]
        await exchange.answer(307, sent, b"")
        return
    if raw.status == RangeNotSatisfiable.status:
        said = {n: v for n, v in raw.headers if n.lower() in {"accept-ranges", "content-range"}}
        raise RangeNotSatisfiable("the range is beyond the end", headers=said)
    if isinstance(raw.body, bytes):
        body = raw.body
        if not named & {b"content-encoding", b"etag"} and shrinks(exchange, body, raw.media_type):
            body = gzip(body)
            headers.append((b"content-encoding", CODING.encode()))
            if all(name != b"vary" for name, _ in headers):
                headers.append((b"vary", b"Accept-Encoding"))
        await exchange.answer(raw.status, headers, body)
        return
    if exchange.method == "HEAD":
        await exchange.start(raw.status, headers)
    else:
        chunks = aiter(raw.body)
        try:
            first = await anext(chunks, b"")  # a failure before the first byte has its own status
            await exchange.start(raw.status, headers)
            await exchange.write(first)
            async for chunk in chunks:
                await exchange.write(chunk)
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()
    await exchange.write(b"", more=False)


def _has_already(exchange: Exchange, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Tell whether ``If-None-Match`` names the tag that a raw answer brings."""
    if_none_match = exchange.headers.get(b"if-none-match")
    etag = dict(headers).get(b"etag")
    if if_none_match is None or etag is None:
        return False
    return not_modified(if_none_match.decode("latin-1"), etag.decode("latin-1"))


def shrinks(exchange: Exchange, body: bytes, media_type: str) -> bool:
    """Tell whether to compress this answer: it pays, and the caller takes it."""
    accepted = exchange.headers.get(b"accept-encoding")
    return (
        accepted is not None
        and len(body) >= SIZE_BYTES_MIN
        and compressible(media_type)
        and accepts_gzip(accepted.decode("latin-1"))
    )


class Lasting:
    """The caller of an answer that lasts, and pulls it. A ``Recipient``."""

    __slots__ = ("_exchange", "_gateway")

    def __init__(self, exchange: Exchange, gateway: Gateway) -> None:
        self._exchange = exchange
        self._gateway = gateway

    @property
    def credential(self) -> Hashable:
        """What it came with."""
        return self._exchange.admission.credential

    def holds(self) -> bool:
        """Tell at once whether it is sure to be who it was."""
        return self._gateway.is_sure(self._exchange.admission)

    async def renew(self) -> Caller | None:
        """Return who it is by now."""
        return await self._gateway.identify_again(self._exchange.admission)

    def push(self, item: StreamItem) -> bool:
        """Take nothing: it pulls."""
        return False


class Over(Enum):
    """Why a stream ends before its items do."""

    GONE = 1  # its peer
    DRAINED = 2  # the server
    REFUSED = 3  # its caller may not go on


class StreamAnswer(Lasting):
    """A stream on its way to its peer, by no other task than that of its exchange.

    Items are pulled, or pushed while the next one is waited for. It ends with its items, its peer
    or its caller's rights, and when the server drains: its follower resumes at another, or after
    the start.
    """

    __slots__ = (
        "_asking", "_begun", "_encoders", "_headers", "_loop", "_over", "_scope", "_sending",
        "_silent", "_stuck_s", "_timer", "_writes",
    )  # fmt: skip

    def __init__(
        self, exchange: Exchange, gateway: Gateway, scope: str | None, encoders: "Encoders"
    ) -> None:
        super().__init__(exchange, gateway)
        self._scope = scope
        self._encoders = encoders
        self._headers: Headers = ()
        self._writes: Encoder | None = None  # items as they are pushed, once it has begun
        self._loop = asyncio.get_running_loop()
        self._begun = self._sending = False
        self._over: Over | None = None
        self._silent = 0  # checks since something was sent
        self._stuck_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None

    def push(self, item: StreamItem) -> bool:
        """Send an item at once; False where the peer takes no more for now."""
        exchange = self._exchange
        if self._writes is None or self._over is not None or exchange.wire.writing_paused:
            return False
        exchange.wire.transport.write(self._writes(item))
        self._silent = 0
        return True

    @property
    def _task(self) -> asyncio.Task[None]:
        """The exchange's: it is not kept, for with its context it would hold what holds this."""
        task = self._exchange.task
        assert task is not None  # as long as it runs
        return task

    async def send(self, opened: Opened) -> None:
        """Send items as they come, until the stream is over."""
        assert not isinstance(opened.body, bytes)  # a stream's is pulled
        exchange, items = self._exchange, opened.body
        media_type = _media_type(exchange.headers.get(b"accept", b"*/*"))
        self._headers = (
            (b"content-type", media_type), security_headers.NO_STORE, *security_headers.API,
            (b"x-accel-buffering", b"no"),
        )  # fmt: skip
        if exchange.method == "HEAD":
            await exchange.start(200, self._headers)
            await exchange.write(b"", more=False)
            return
        encode = as_sse if media_type is SSE else as_ndjson
        self._sending = True
        exchange.lasts_until(self._end_it)
        self._timer = self._loop.call_later(FIRST_ITEM_S, self._begin_late)
        try:
            await self._send_all(items, encode)
        except asyncio.CancelledError:
            if self._over is None or self._task.uncancel():
                raise
        else:
            if self._over is not None and self._task.cancelling():
                self._task.uncancel()  # the items took note of it and ended
        finally:
            self._sending = False
            self._timer.cancel()
            self._timer = None  # its context holds the call, which holds this
            if self._asking is not None:
                self._asking.cancel()
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()
        await self._say_the_end(encode, farewell=FAREWELL if media_type is SSE else b"")

    async def _send_all(
        self, items: AsyncIterator[StreamItem], encode: Callable[[StreamItem], bytes]
    ) -> None:
        exchange = self._exchange
        while self._over is None and not exchange.gone:
            item = await anext(items, None)
            if not self._begun:
                self._begun = True
                await exchange.start(200, self._headers)
                self._now_pushed()
            if not (self.holds() or await self._still_allowed()):
                self._over = self._over or Over.REFUSED
            if item is None or self._over is not None:
                break
            await exchange.write(encode(item))
            self._silent = 0

    async def _say_the_end(self, encode: Callable[[StreamItem], bytes], *, farewell: bytes) -> None:
        if self._over is Over.GONE or self._exchange.gone:
            return
        if not self._exchange.started:
            await self._exchange.start(200, self._headers)
        said = b""
        if self._over is Over.DRAINED:
            said = farewell
        elif self._over is Over.REFUSED:
            said = encode(REFUSED)
        await self._exchange.write(said, more=False)

    # What happens meanwhile

    def _end_it(self) -> None:
        """Take note that the peer has left, or that the server wants to end."""
        self._end(Over.GONE if self._exchange.gone else Over.DRAINED)

    def _end(self, over: Over) -> None:
        if self._over is None or over is Over.GONE:
            first, self._over = self._over is None, over
            # What the task itself finds out, it sees for itself.
            if first and self._sending and asyncio.current_task() is not self._task:
                self._task.cancel()

    def _begin_late(self) -> None:
        """Send the head of a stream that has nothing to say yet; from now on look at its caller."""
        self._timer = self._loop.call_later(CHECK_S, self._check)
        if not self._begun:
            self._begun = True
            self._exchange.start_now(200, self._headers)
            self._now_pushed()

    def _now_pushed(self) -> None:
        self._writes = self._encoders.of(self._headers[0][1], chunked=self._exchange.chunked)

    def _check(self) -> None:
        """See to it that the caller is who it was, the peer takes something, and proxies wait."""
        self._timer = self._loop.call_later(CHECK_S, self._check)
        if self._asking is None and not self.holds():
            self._asking = asyncio.create_task(self._ask_again())
        self._silent += 1
        if self._exchange.wire.writing_paused:
            self._stuck_s += CHECK_S
            if self._stuck_s >= SEND_IDLE_S:
                self._exchange.abort()
            return
        self._stuck_s = 0.0
        is_due = self._silent % KEEP_ALIVE_CHECKS == 0 and self._headers[0][1] is SSE
        if is_due and self._writes is not None and self._over is None:
            self._exchange.send_now(b": still here\n\n", more=True)

    async def _ask_again(self) -> None:
        try:
            allowed = await self._still_allowed()
        except Failure:
            allowed = False
        finally:
            self._asking = None
        if not allowed:
            self._end(Over.REFUSED)

    async def _still_allowed(self) -> bool:
        caller = await self.renew()
        return caller is not None and (self._scope is None or caller.allows(self._scope))


class Encoder:
    """Writes items as they are sent; the last one is kept, for many are sent the same."""

    __slots__ = ("_bytes", "_item", "_write")

    def __init__(self, write: Callable[[StreamItem], bytes]) -> None:
        self._write = write
        self._item: StreamItem | None = None
        self._bytes = b""

    def __call__(self, item: StreamItem) -> bytes:
        """Return the item as it goes out."""
        if item is not self._item:
            self._bytes = self._write(item)
            self._item = item
        return self._bytes


class Encoders:
    """The encoders that the streams of one server share."""

    __slots__ = ("_of",)

    def __init__(self) -> None:
        self._of = {
            (SSE, False): Encoder(as_sse),
            (SSE, True): Encoder(lambda item: chunk(as_sse(item))),
            (NDJSON, False): Encoder(as_ndjson),
            (NDJSON, True): Encoder(lambda item: chunk(as_ndjson(item))),
        }

    def of(self, media_type: bytes, *, chunked: bool) -> Encoder:
        """Return what writes items of this type, as chunks or not."""
        return self._of[media_type, chunked]


def _media_type(accept: bytes) -> bytes:
    accept = accept.lower()
    if b"ndjson" in accept or b"jsonl" in accept:
        return NDJSON
    if any(kind in accept for kind in (SSE, b"text/*", b"*/*")):
        return SSE
    raise NotAcceptable(
        "this stream is sent as text/event-stream or application/x-ndjson: accept one of them"
    )


def as_sse(item: StreamItem) -> bytes:
    """Write one event of the stream (HTML standard, section 9.2)."""
    lines = []
    if item.id is not None:
        lines.append(b"id: " + _one_line(item.id))
    if item.event is not None:
        lines.append(b"event: " + _one_line(item.event))
    lines.extend(b"data: " + line for line in _lines(item.data))
    return b"\n".join(lines) + b"\n\n"


def _lines(data: bytes) -> list[bytes]:
    """Split at every end of a line. JSON has none, and a thousand may follow one large event."""
    return _LINES.split(data) if b"\n" in data or b"\r" in data else [data]


def _one_line(text: str) -> bytes:
    return text.replace("\r", " ").replace("\n", " ").replace("\0", " ").encode()


def as_ndjson(item: StreamItem) -> bytes:
    """Write one item as a line."""
    return item.data.replace(b"\n", b" ") + b"\n"
