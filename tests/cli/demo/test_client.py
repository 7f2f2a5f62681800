"""The demo's client does go wrong, in every way it should, and still ends with one id per call."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from mainspring.cli.demo import client as client_file
from mainspring.cli.demo.client import CallFailed, DemoClient, open_session
from mainspring.cli.demo.load import at_once


class Shop:
    """A server with idempotency keys: the smallest thing that can tell what the client sent."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.made: dict[str, str] = {}
        self.refuse_first = False

    async def create(self, request: web.Request) -> web.Response:
        await request.read()
        key = request.headers["Idempotency-Key"]
        self.sent[key] += 1
        if self.refuse_first and self.sent[key] == 1:
            return web.json_response({}, status=503, headers={"Retry-After": "0"})
        await asyncio.sleep(0)
        replayed = key in self.made
        made = self.made.setdefault(key, f"rec_{len(self.made)}")
        headers = {"Idempotency-Replayed": "true"} if replayed else {}
        return web.json_response({"id": made}, status=200 if replayed else 201, headers=headers)


@pytest.fixture
async def shop() -> AsyncIterator[tuple[Shop, str]]:
    served = Shop()
    app = web.Application()
    app.router.add_post("/things", served.create)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield served, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_every_fault_happens_and_none_has_a_second_effect(
    shop: tuple[Shop, str], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_file, "FAULT_SHARE", 0.2)
    served, url = shop
    made: dict[int, str] = {}
    async with open_session(32) as session:
        client = DemoClient(session, url, "key", seed)

        async def create(number: int) -> None:
            made[number] = await client.create("/things", b"{}", f"k{number}")

        await at_once(range(400), create)
    tally = client.tally
    assert {made[n] for n in range(400)} == set(served.made.values())
    assert len(served.made) == 400
    assert tally.repeated > 20
    assert tally.dropped > 20
    assert tally.absorbed > 20
    assert tally.disagreeing == 0
    assert sum(served.sent.values()) > 440
    assert 0 < tally.percentile_ms(0.5) <= tally.percentile_ms(0.99)


async def test_a_seed_repeats_the_faults(
    shop: tuple[Shop, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_file, "FAULT_SHARE", 0.2)

    async def course(session: aiohttp.ClientSession) -> list[tuple[int, int]]:
        client = DemoClient(session, shop[1], "key", 7)
        told = []
        for number in range(100):
            await client.create("/things", b"{}", f"k{number}")
            told.append((client.tally.repeated, client.tally.dropped))
        return told

    async with open_session(1) as session:
        first, second = await course(session), await course(session)
    assert first == second
    assert min(first[-1]) > 0


async def test_a_busy_platform_is_asked_again(shop: tuple[Shop, str]) -> None:
    served, url = shop
    served.refuse_first = True
    async with open_session(1) as session:
        client = DemoClient(session, url, "key", 7)
        assert await client.post("/things", {}, "k") == {"id": "rec_0"}
    assert served.sent["k"] == 2


async def test_a_refusal_ends_the_call(shop: tuple[Shop, str]) -> None:
    async with open_session(1) as session:
        client = DemoClient(session, shop[1], "key", 7)
        with pytest.raises(CallFailed, match="POST /nowhere: 404"):
            await client.post("/nowhere", {}, "k")
        with pytest.raises(CallFailed, match="GET /things: 405"):
            await client.get("/things")
