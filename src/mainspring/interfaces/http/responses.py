"""How an outcome becomes a JSON response: entity tag, conditions, compression, cache headers."""

import asyncio
from functools import cache

from mainspring.interfaces.http import security_headers
from mainspring.interfaces.http.compression import (
    CODING,
    SIZE_BYTES_MIN,
    THREAD_BYTES_MIN,
    gzip,
)  # fmt: skip
from mainspring.interfaces.http.conditional import not_modified, with_suffix
from mainspring.interfaces.http.exchange import Exchange, field, lines_of
from mainspring.interfaces.http.streams import shrinks
from mainspring.kernel.errors import RateLimited, Unavailable
from mainspring.kernel.etag import tag_of
from mainspring.kernel.invocation import Outcome
from mainspring.kernel.pool import Pool

PACKING_MAX = 16  # large bodies being compressed at once; others go as they are
PACKING_SHARE = 4


async def answer_json(
    exchange: Exchange,
    outcome: Outcome,
    *,
    kept: security_headers.Headers | None = security_headers.REVALIDATE,
    secret: bool = False,
    packed: bytes | None = None,
    media_type: bytes | None = None,
) -> None:
    """Send JSON, with its entity tag and within the request's conditions.

    ``kept`` are the headers for who may keep it; without them nobody does, and it has no tag. What
    is ``secret`` is not compressed. ``packed`` is the body compressed already.
    ``media_type`` is that of JSON with a name of its own.
    """
    body, status, etag = outcome.body, outcome.status, outcome.etag
    lines = b"idempotency-replayed: true\r\n" if outcome.replayed else b""
    coded = (
        not secret and len(body) >= SIZE_BYTES_MIN and shrinks(exchange, body, "application/json")
    )
    headers = [field(name, text) for name, text in outcome.headers] if outcome.headers else ()
    if kept is not None and status == 200 and exchange.method in {"GET", "HEAD"}:
        lines += _written(kept)
        if etag is None:
            etag = tag_of(body)
        if_none_match = exchange.headers.get(b"if-none-match")
        if if_none_match is not None and not_modified(if_none_match.decode("latin-1"), etag):
            tag = with_suffix(etag, CODING) if coded else etag
            await exchange.answer(304, headers, b"", lines + _tagged(tag))
            return
    else:
        lines += _NO_STORE
    if coded:
        packed = packed or await _packed(exchange, body)
        if packed is not None:
            body = packed
            lines += _CODED
            etag = None if etag is None else with_suffix(etag, CODING)
    if etag is not None:
        lines += _tagged(etag)
    if media_type is not None:
        headers = [*headers, (b"content-type", media_type)]
    typed = body and media_type is None
    await exchange.answer(status, headers, body, lines + (_API_JSON if typed else _API))


_API = lines_of(security_headers.API)
_API_JSON = _API + lines_of([(b"content-type", b"application/json")])
_NO_STORE = lines_of([security_headers.NO_STORE])
_CODED = lines_of([(b"content-encoding", CODING.encode())])


@cache
def _written(kept: security_headers.Headers) -> bytes:
    """Write the headers of a policy, of which there are as many as operations declare."""
    return lines_of(kept)


def _tagged(etag: str) -> bytes:
    return lines_of([(b"etag", etag.encode("latin-1"))])


packing = Pool("compressors", PACKING_MAX, PACKING_SHARE)


async def _packed(exchange: Exchange, body: bytes) -> bytes | None:
    """Compress a body, a large one beside the event loop; None while too many others are."""
    if len(body) < THREAD_BYTES_MIN:
        return gzip(body)
    try:
        packing.take(exchange.admission.account)
    except (RateLimited, Unavailable):
        return None
    try:
        return await asyncio.to_thread(gzip, body)
    finally:
        packing.give_back(exchange.admission.account)
