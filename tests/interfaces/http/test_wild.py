"""Wild input at the wire: whatever is sent is answered, never with a 5xx, and then life goes on."""

import asyncio
import contextlib
import random
import re

import pytest

from tests.deadline import DEADLINE_S
from tests.interfaces.conftest import Site, Start
from tests.interfaces.http.test_protocol import GET, KEY, Wire

ROUNDS = 400
METHODS = [b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT",
           b"QUERY", b"get", b"M-SEARCH", b"PRI", b"\x00", b""]  # fmt: skip
TARGETS = b"""
    /v1/notes /v1/notes/x /v1/anything /v1/files/a /v1/ticks /v1/login /openapi.json /metrics /l/x
    /v1/notes/x:shout * / // /% /v1/notes/%00 /v1/notes/%ff http://x/v1/public http:// x:1 /..
    /v1/public#x /v1/notes?limit=9e9 /v1/ticks?after= /l/%0d%0aX:y
""".split()
NAMES = [b"Host", b"Content-Length", b"Transfer-Encoding", b"Content-Type", b"Accept", b"Expect",
         b"Accept-Encoding", b"Authorization", b"If-Match", b"If-None-Match", b"Idempotency-Key",
         b"Traceparent", b"Content-Disposition", b"Content-Encoding", b"Connection", b"Upgrade",
         b"Origin", b"Access-Control-Request-Method", b"Last-Event-ID", b"Forwarded", b"Range",
         b"X-Forwarded-For", b"X-Forwarded-Proto", b"Cookie", b"Te", b"Trailer"]  # fmt: skip
VALUES = [b"", b"x", b"1", b"-1", b"99999999999999999999", b"chunked", b"gzip, chunked", b"*/*",
          b"identity", b"100-continue", b"application/json", b"text/plain; charset=\xff", b"*",
          b'"', b'W/"1"', b'"a", "b"', b"Bearer", b"Bearer msk_writer", b"Bearer a.b.c", b"Basic x",
          b"close", b"keep-alive, Upgrade", b"h2c", b"null", b"https://x.example", b"\xff\xfe",
          b"attachment; filename*=utf-8''%ff", b'attachment; filename="\xc3', b"for=[::1];proto=x",
          b"00-" + b"0" * 32 + b"-" + b"1" * 16 + b"-01", b"bytes=0-", b"(" * 100, b"\t \t",
          b"x" * 5_000]  # fmt: skip
BODIES = [b"", b"{}", b"[]", b"null", b'{"title":"x"}', b'{"title":"\\ud800"}', b'{"title":1e999}',
          b'{"title":"\\u0000"}', b"[" * 2_000, b"\xff", b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n",
          b"0\r\nX: y\r\n\r\n", b"ffffffffffffffff\r\n", b'{"title":"x","title":2}']  # fmt: skip


def wild(chance: random.Random) -> bytes:
    """A request that is nearly one."""
    lines = [b"%b %b HTTP/%b" % (
        chance.choice(METHODS), chance.choice(TARGETS),
        chance.choice([b"1.1"] * 8 + [b"1.0", b"0.9", b"2.0", b"1.2", b"", b"x"]),
    )]  # fmt: skip
    if chance.random() < 0.9:
        lines.append(b"Host: x")
    if chance.random() < 0.6:
        lines.append(KEY.strip())
    headers = range(chance.randrange(5))
    lines += [chance.choice(NAMES) + b": " + chance.choice(VALUES) for _ in headers]
    body = chance.choice(BODIES)
    if chance.random() < 0.7:
        lines.append(b"Content-Length: %d" % len(body))
    sent = bytearray(b"\r\n".join(lines) + b"\r\n\r\n" + body)
    for _ in range(chance.choice([0, 0, 0, 1, 3])):
        at = chance.randrange(len(sent))
        sent[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
    return bytes(sent)


@pytest.mark.parametrize("proxied", [False, True])
async def test_wild_requests_are_answered_without_a_5xx(
    start: Start, seed: int, *, proxied: bool
) -> None:
    site: Site = await start(
        server={"body_timeout_s": 0.2, "header_timeout_s": 0.2,
                "trusted_proxies": ("127.0.0.0/8",) if proxied else ()},
        limits={"anonymous": "100000/s", "login": "100000/s"},
        cors={"origins": ("https://*.example",)},
    )  # fmt: skip
    site.gates.opened.set()
    chance = random.Random(seed)
    for _ in range(ROUNDS):
        sent = wild(chance)
        wire = await Wire.to(site)
        wire.writer.write(sent)
        wire.writer.write_eof()
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(DEADLINE_S):
                answers = await wire.reader.read()
        wire.writer.close()
        for status in re.findall(rb"^HTTP/1\.1 (\d{3})", answers, re.MULTILINE):
            assert status < b"500", (sent, answers)
    wire = await Wire.to(site)
    await wire.say(GET + b"\r\n")
    assert (await wire.answer())[0] == 200
