"""Streams of an app's own: they wait for events and for wakes, and end when their reader does."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import msgspec
import pytest

from mainspring import App, Call, Channel, Input, Invalid, Service, Signals, StreamItem
from mainspring import follow_events as followed
from mainspring.testing import Platform
from tests.deadline import DEADLINE_S

RANG = Channel("bells.rang")
bells = Service("bells", doc="Bells that ring.")
app = App("bells", services=[bells])
state = {"rung": 0, "closed": 0}
closings: list[asyncio.Event] = []  # of the test that runs


@bells.event("bells.bell.rung")
class BellRung(msgspec.Struct, frozen=True):
    id: str
    times: int


@bells.event("bells.bell.cast")
class BellCast(msgspec.Struct, frozen=True):
    id: str


class From(Input, frozen=True):
    after: str | None = None
    last_event_id: str | None = None


@bells.operation("POST /v1/bells/{id}:ring", scope=None)
async def ring(call: Call, id: str) -> None:
    """Ring it."""
    state["rung"] += 1
    call.emit(BellCast(id))
    call.emit(BellRung(id, state["rung"]))
    call.wake(RANG)


@bells.stream("GET /v1/bells/{id}:hear", scope=None)
async def hear(call: Call, id: str, query: From) -> AsyncIterator[StreamItem]:
    """Tell each ring."""
    try:
        after = query.last_event_id or query.after
        async for rung in followed(call, BellRung, subject=id, after=after):
            yield StreamItem(bytes(rung.event.data), id=rung.position)
    finally:
        state["closed"] += 1
        closings[0].set()


@bells.stream("GET /v1/bells:count", scope=None)
async def count(call: Call) -> AsyncIterator[StreamItem]:
    """Tell how often any rang, whenever that is more."""
    told = 0
    with call.use(Signals).listen(RANG) as rang:
        while True:
            rang.clear()
            if state["rung"] != told:
                told = state["rung"]
                yield StreamItem(b"%d" % told)
            await rang.wait()


@pytest.fixture
async def platform(platform_server: str | None) -> AsyncIterator[Platform]:
    state.update(rung=0, closed=0)
    closings[:] = [asyncio.Event()]
    async with Platform(app, database=platform_server, sockets=True, running=True) as platform:
        yield platform


async def test_events_are_told_to_a_stream_and_again_from_where_it_was(platform: Platform) -> None:
    for bell in ("one", "two", "one"):
        await platform.call(ring, bell)
    start = {"after": "0"}
    async with await platform.anonymous.stream(hear, id="one", query=start) as items:
        first = await items.next()
        assert msgspec.json.decode(first.data)["times"] == 1
        assert (await items.json())["times"] == 3
        later = asyncio.create_task(items.json())
        await platform.call(ring, "one")
        assert (await later)["times"] == 4
    assert state["closed"] == 1
    resumed = {"last_event_id": first.id}
    async with await platform.anonymous.stream(hear, id="one", query=resumed) as items:
        assert [(await items.json())["times"] for _ in range(2)] == [3, 4]
    with pytest.raises(Invalid):
        await (await platform.anonymous.stream(hear, id="one", query={"after": "x"})).next()


async def test_a_wake_has_a_stream_look_again(platform: Platform) -> None:
    async with await platform.anonymous.stream(count) as items:
        for times in range(1, 4):
            later = asyncio.create_task(items.json())
            await platform.call(ring, "any")
            assert await later == times


async def test_a_stream_is_closed_when_its_reader_leaves(platform: Platform) -> None:
    async with aiohttp.ClientSession() as session:
        url = f"{platform.url}/v1/bells/one:hear?after=0"
        await platform.call(ring, "one")
        answer = await session.get(url)
        async with asyncio.timeout(DEADLINE_S):
            await answer.content.readuntil(b"\n\n")
        answer.close()
    async with asyncio.timeout(DEADLINE_S):
        await closings[0].wait()
    assert state["closed"] == 1


async def test_a_stream_ends_when_the_server_drains(platform: Platform) -> None:
    async with aiohttp.ClientSession() as session:
        answer = await session.get(f"{platform.url}/v1/bells/one:hear")
        draining = asyncio.create_task(platform.app.server.drain(DEADLINE_S))
        async with asyncio.timeout(DEADLINE_S):
            said = await answer.content.read()
            await draining
    assert said.endswith(b"retry: 1000\n\n")
    assert state["closed"] == 1
