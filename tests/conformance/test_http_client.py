"""Every HTTP client against the conformance suite that ships with Mainspring."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mainspring.adapters.http_client import lazy
from mainspring.ports.http_client import ANSWER_BYTES_MAX, HttpClient
from mainspring.testing.conformance.http_client import CHECKS, EchoServer, MakeClient


class Echo:
    """The receiver that the suite describes."""

    def __init__(self) -> None:
        self.url = ""
        self.count = 0
        self.over = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        self.count += 1
        if request.path == "/never":
            await self.over.wait()
        if request.path == "/moved":
            return web.Response(status=302, headers={"Location": "/echo"})
        if request.path == "/long":
            return web.Response(body=b"x" * (ANSWER_BYTES_MAX + 1))
        if request.path == "/cookie":
            answer = web.Response(text=request.headers.get("Cookie", ""))
            answer.set_cookie("seen", "yes")
            return answer
        sent = {"X-Sent": request.headers.get("X-Test", "")}
        return web.Response(body=await request.read(), headers=sent)


@pytest.fixture
async def receiver() -> AsyncIterator[Echo]:
    echo = Echo()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", echo.handle)
    async with TestServer(app, host="127.0.0.1") as server:
        echo.url = str(server.make_url("")).rstrip("/")
        yield echo
        echo.over.set()


def make(*, private: bool) -> HttpClient:
    return lazy.open("direct:private" if private else "direct:")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_http_client(
    check: Callable[[MakeClient, EchoServer], Awaitable[None]], receiver: Echo
) -> None:
    await check(make, receiver)
