"""Answers that are written piece by piece: server-sent events, NDJSON, and raw bodies."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from enum import Enum
from typing import Any

from mainspring.interfaces.http import security_headers
from mainspring.interfaces.http.compression import (
    CODING,
    SIZE_BYTES_MIN,
    accepts_gzip,
    compressible,
    gzip,
)  # fmt: skip
from mainspring.interfaces.http.conditional import not_modified
from mainspring.interfaces.http.exchange import Exchange, field
from mainspring.interfaces.http.request import PeerGone
from mainspring.kernel.errors import NotAcceptable
from mainspring.kernel.invocation import Opened
from mainspring.kernel.operation import StreamItem

CHECK_S = 5.0  # how often an open stream's caller is identified again
KEEP_ALIVE_CHECKS = 3  # silent checks between two comments that keep proxies from closing
RETRY_MS = 1_000  # when a follower of a server that stops may come again
FIRST_ITEM_S = 0.1  # how long a stream may take to fail with a status of its own

SSE = b"text/event-stream"
NDJSON = b"application/x-ndjson"

FAREWELL = b": the server stops\nretry: %d\n\n" % RETRY_MS

_OF_THE_BODY = frozenset({b"content-type", b"content-length", b"content-disposition"})
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
    if raw.status == 200 and _has_already(exchange, headers):
        await exchange.answer(304, [h for h in headers if h[0] not in _OF_THE_BODY], b"")
        return
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
        first = await anext(chunks, b"")  # a failure before the first byte has its own status
        await exchange.start(raw.status, headers)
        await exchange.write(first)
        async for chunk in chunks:
            await exchange.write(chunk)
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


async def answer_stream(
    exchange: Exchange, still_holds: Callable[[], Awaitable[bool]], opened: Opened
) -> None:
    """Send items as they come, until the stream ends, the peer goes or its access does.

    When the server drains the stream ends too: its follower resumes at another, or after the start.
    """
    assert not isinstance(opened.body, bytes)  # a stream's is pulled
    items = opened.body
    media_type = _media_type(exchange.headers.get(b"accept", b"*/*"))
    headers = [(b"content-type", media_type), security_headers.NO_STORE, *security_headers.API]
    headers.append((b"x-accel-buffering", b"no"))
    if exchange.method == "HEAD":
        await exchange.start(200, headers)
        await exchange.write(b"", more=False)
        return
    encode = as_sse if media_type is SSE else _ndjson
    left = asyncio.create_task(_until_over(exchange))
    coming = asyncio.create_task(_next(items))
    try:
        await asyncio.wait(
            {coming, left}, timeout=FIRST_ITEM_S, return_when=asyncio.FIRST_COMPLETED
        )
        if coming.done():
            coming.result()  # a failure before the first byte has a status of its own
        await exchange.start(200, headers)
        silent = 0
        while not left.done():
            await _first_of(coming, left, CHECK_S)
            if left.done() or not await still_holds():
                break
            if not coming.done():
                silent += 1
                if media_type is SSE and silent % KEEP_ALIVE_CHECKS == 0:
                    await exchange.write(b": still here\n\n")
                continue
            item = coming.result()
            if item is None:
                break
            silent = 0
            await exchange.write(encode(item))
            coming = asyncio.create_task(_next(items))
        if not left.done():
            await exchange.write(b"", more=False)
        elif left.result() is _Over.DRAINED:
            await exchange.write(FAREWELL if media_type is SSE else b"", more=False)
    finally:
        await _stop(left, coming)
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()


async def _next(items: AsyncIterator[StreamItem]) -> StreamItem | None:
    return await anext(items, None)


class _Over(Enum):
    """Why a stream ends before its items do."""

    GONE = 1
    DRAINED = 2


async def _until_over(exchange: Exchange) -> _Over:
    """Wait until the peer has gone or the server drains."""
    gone = asyncio.create_task(_until_gone(exchange))
    drained = asyncio.create_task(exchange.draining())
    try:
        await asyncio.wait({gone, drained}, return_when=asyncio.FIRST_COMPLETED)
        return _Over.GONE if gone.done() else _Over.DRAINED
    finally:
        await _stop(gone, drained)


async def _until_gone(exchange: Exchange) -> None:
    with contextlib.suppress(PeerGone):
        while True:
            await exchange.receive()


async def _first_of(one: asyncio.Task[Any], other: asyncio.Task[Any], timeout_s: float) -> None:
    await asyncio.wait({one, other}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)


async def _stop(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


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


def _ndjson(item: StreamItem) -> bytes:
    return item.data.replace(b"\n", b" ") + b"\n"
