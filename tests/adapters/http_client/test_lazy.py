"""The late web: what it is not asked for is not loaded, and then it is the real one."""

import asyncio
import subprocess
import sys

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mainspring.adapters.http_client.lazy import LazyHttpClient
from mainspring.ports.http_client import WebError


def test_a_platform_starts_without_aiohttp() -> None:
    program = "import sys, mainspring.app; sys.exit('aiohttp' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


async def test_the_first_requests_load_it_once() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=await request.text())

    app = web.Application()
    app.router.add_post("/", answer)
    late = LazyHttpClient(allow_private=True)
    await late.open()
    async with TestServer(app, host="127.0.0.1") as server:
        url = str(server.make_url("/"))
        answers = await asyncio.gather(
            *(late.post(url, str(n).encode(), {}, timeout_s=10) for n in range(8))
        )
    assert [answer.body for answer in answers] == [str(n).encode() for n in range(8)]
    await late.close()
    await late.close()


async def test_addresses_are_checked_before_and_after_loading() -> None:
    late = LazyHttpClient()
    assert late.check("https://Example.com/x") == "https://example.com/x"
    with pytest.raises(WebError, match="address_refused"):
        late.check("http://127.0.0.1/")
    with pytest.raises(WebError, match="address_refused"):
        await late.post("http://127.0.0.1/", b"", {}, timeout_s=1)
    await late.close()
