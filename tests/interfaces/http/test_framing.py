"""How an answer is cut into HTTP/1.1, whatever the app behind it says of that."""

import asyncio
from typing import Any

import pytest

from mainspring.kernel.user_app import Asgi
from tests.deadline import DEADLINE_S
from tests.interfaces.conftest import Start
from tests.interfaces.http.test_protocol import Wire

Headers = list[tuple[bytes, bytes]]


def app_with(headers: Headers, *parts: bytes) -> Asgi:
    """Make an ASGI app that answers with these headers and parts of a body."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


async def said(start: Start, app: Asgi, asked: bytes = b"GET /a HTTP/1.1\r\nHost: x\r\n") -> bytes:
    """Ask once, and return all that came until the connection was closed."""
    wire = await Wire.to(await start(mounts={"/a": (app, None)}))
    await wire.say(asked + b"Connection: close\r\n\r\n")
    async with asyncio.timeout(DEADLINE_S):
        return await wire.reader.read()


async def test_without_a_length_it_is_chunked(start: Start) -> None:
    head, _, body = (await said(start, app_with([], b"abc", b"", b"de"))).partition(b"\r\n\r\n")
    assert b"\r\ntransfer-encoding: chunked\r\n" in head
    assert body == b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"


async def test_with_a_length_it_goes_as_it_is(start: Start) -> None:
    app = app_with([(b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")], b"abc", b"de")
    head, _, body = (await said(start, app)).partition(b"\r\n\r\n")
    assert b"\r\ncontent-length: 5\r\n" in head
    assert b"transfer-encoding" not in head
    assert body == b"abcde"


async def test_an_older_client_is_sent_no_chunks(start: Start) -> None:
    asked = b"GET /a HTTP/1.0\r\nHost: x\r\n"
    head, _, body = (await said(start, app_with([], b"abc", b"de"), asked)).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert body == b"abcde"


async def test_nothing_of_the_body_goes_out_for_a_head(start: Start) -> None:
    asked = b"HEAD /a HTTP/1.1\r\nHost: x\r\n"
    for headers in ([], [(b"content-length", b"3")]):
        found = await said(start, app_with(headers, b"abc"), asked)
        assert found.endswith(b"\r\n\r\n")
        assert found.count(b"\r\n\r\n") == 1


@pytest.mark.parametrize("parts", [(b"abc",), (b"abc", b"def")], ids=["short", "long"])
async def test_a_body_of_another_length_breaks_the_connection_off(
    start: Start, parts: tuple[bytes, ...]
) -> None:
    """The client must not take what it got for whole, nor what follows for the next answer."""
    _, _, body = (await said(start, app_with([(b"content-length", b"5")], *parts))).partition(
        b"\r\n\r\n"
    )
    assert body == b"abc"


@pytest.mark.parametrize(
    "header",
    [(b"x-a", b"b\r\nset-cookie: c=d"), (b"x-a", b"b\nc"), (b"x a", b"b"), (b"", b"b"),
     (b"x-a\r\nx-b", b"c"), (b"x-a:", b"b")],
)  # fmt: skip
async def test_a_header_that_would_be_another_is_not_sent(
    start: Start, header: tuple[bytes, bytes]
) -> None:
    found = await said(start, app_with([header], b"abc"))
    assert found.startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in found


async def test_an_apps_own_date_counts(start: Start) -> None:
    found = await said(start, app_with([(b"Date", b"Thu, 01 Jan 1970 00:00:00 GMT")]))
    assert found.lower().count(b"\r\ndate: ") == 1
    assert b"\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n" in found
