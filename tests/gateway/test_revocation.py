"""What one process revokes, another on PostgreSQL takes for good for a second at most: proved."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from mainspring.app import SILENCE_MAX_S, Instance
from mainspring.gateway.pipeline import Admission
from mainspring.kernel.call import SYSTEM
from mainspring.kernel.errors import Unauthenticated
from mainspring.ports.bus import Bus, BusEvent
from mainspring.ports.database import ALL_WAKES
from mainspring.runtime.events import publisher
from mainspring.runtime.events.sequencer import Waiting
from mainspring.runtime.events.tail import ASK_EVERY_S, Tail
from mainspring.services.users.api.structs import NewApiKey
from mainspring.testing import Client, Platform, PostgresServer
from tests.deadline import DEADLINE_S
from tests.runtime.events.memory_bus import MemoryBus

ADDRESS = "192.0.2.1"


async def nothing() -> None:
    pass


class Elsewhere:
    """Another process over the same database, which hears of the first one by the log alone.

    Time passes when it is told to. ``meanwhile`` happens while what waits is asked for, after the
    database has looked and before its answer is there.
    """

    def __init__(self, platform: Platform, process: Instance) -> None:
        self.platform, self.process = platform, process
        self.meanwhile: Callable[[], Awaitable[None]] = nothing
        self._asked = asyncio.Event()
        identities = process.gateway.identities
        self.tail = Tail(
            process.runtime.reader, process.gateway.revoke, platform.clock,
            self._waits, identities.heard, identities.forget_all,
        )  # fmt: skip

    async def _waits(self) -> Waiting:
        waiting = await self.process.runtime.sequencer.waits()
        await self.meanwhile()
        self._asked.set()
        return waiting

    async def look(self, times: int = 3) -> None:
        """Have it look at the log; each time takes as long as it may between two looks."""
        for _ in range(times):
            self.platform.clock.move(ASK_EVERY_S)
            self._asked.clear()
            self.process.runtime.board.wake(frozenset({ALL_WAKES}))
            async with asyncio.timeout(DEADLINE_S):
                await self._asked.wait()

    async def admit(self, caller: Client) -> Admission:
        return await self.process.gateway.admit(await header(caller), ADDRESS)

    async def remembers(self, caller: Client) -> bool:
        now_ms = self.platform.clock.now_ms()
        return self.process.gateway.identities.recall(await header(caller), now_ms) is not None


async def header(caller: Client) -> bytes:
    return f"Bearer {await caller.credential()}".encode()


async def revoke(platform: Platform, key: Client) -> None:
    """Revoke a key in the first process, and give the event of it no place."""
    dispatcher = platform.app.runtime.dispatcher
    call = dispatcher.call(SYSTEM, request_id="req")
    await dispatcher.run(platform.operation("users.delete_api_key"), call, {"id": key.id})


async def emit_unplaced(platform: Platform) -> None:
    dispatcher = platform.app.runtime.dispatcher
    call = dispatcher.call(SYSTEM, request_id="req")
    new = NewApiKey(name="another", scopes=["records:read"])
    await dispatcher.run(platform.operation("users.create_api_key"), call, {"new": new})


@pytest.fixture
async def platform(postgres_server: PostgresServer) -> AsyncIterator[Platform]:
    async with Platform(database=postgres_server) as platform:
        yield platform


@pytest.fixture
async def elsewhere(platform: Platform) -> AsyncIterator[Elsewhere]:
    elsewhere = Elsewhere(platform, await platform.another_process())
    await elsewhere.tail.start()
    yield elsewhere
    await elsewhere.tail.stop()


async def test_it_is_forgotten_as_soon_as_the_log_tells(
    platform: Platform, elsewhere: Elsewhere
) -> None:
    key = await platform.as_key("records:*")
    await elsewhere.look()
    await elsewhere.admit(key)
    assert await elsewhere.remembers(key)
    await revoke(platform, key)
    await platform.place_events()
    await elsewhere.look(2)
    with pytest.raises(Unauthenticated):
        await elsewhere.admit(key)
    await elsewhere.admit(platform.admin)
    assert await elsewhere.remembers(platform.admin)


class HangingBus(MemoryBus):
    """It takes events, and never says so."""

    async def publish(self, events: Sequence[BusEvent]) -> None:
        await asyncio.Event().wait()


async def test_a_bus_that_hangs_holds_up_no_revocation_and_is_told(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "PUBLISH_SLOW_S", 0.0)
    ports: dict[type, Any] = {Bus: HangingBus()}
    async with Platform(database=postgres_server, ports=ports) as platform:
        elsewhere = Elsewhere(platform, await platform.another_process())
        key = await platform.as_key("records:*")
        runtime = platform.app.runtime
        (publishing,) = runtime.publishers
        await elsewhere.tail.start()
        await publishing.start()
        try:
            await elsewhere.look()
            await elsewhere.admit(key)
            await revoke(platform, key)
            await platform.place_events()
            await elsewhere.look(2)
            assert not await elsewhere.remembers(key)
            async with asyncio.timeout(DEADLINE_S):
                while not (waiting := publishing.waiting()):
                    await elsewhere.look(1)
        finally:
            await publishing.stop()
            await elsewhere.tail.stop()
        assert "publisher memory: the bus has not taken a batch" in waiting[0]
        assert publishing.failing() == []
        behind = (await publishing.behind())["publisher memory"]
        assert behind.events == len(await platform.events())


async def test_while_nobody_numbers_events_it_is_not_taken_for_longer_than_the_bound(
    platform: Platform, elsewhere: Elsewhere
) -> None:
    key = await platform.as_key("records:*")
    await elsewhere.look()
    await elsewhere.admit(key)
    await elsewhere.admit(platform.admin)
    await revoke(platform, key)
    revoked_s = platform.clock.monotonic_s()
    while platform.clock.monotonic_s() - revoked_s <= SILENCE_MAX_S:
        await elsewhere.look(1)
        await emit_unplaced(platform)  # others wait as well
    assert (await platform.app.runtime.sequencer.waits()).oldest is not None
    assert not await elsewhere.remembers(key)
    with pytest.raises(Unauthenticated):
        await elsewhere.admit(key)
    await elsewhere.look()
    await elsewhere.admit(platform.admin)
    await platform.place_events()
    await elsewhere.look()
    assert await elsewhere.remembers(platform.admin)


async def test_an_answer_that_took_long_says_nothing_of_the_time_it_took(
    platform: Platform, elsewhere: Elsewhere
) -> None:
    """A key that was revoked behind the database's back, and an answer from before that."""
    key = await platform.as_key("records:*")
    await elsewhere.look()
    await elsewhere.admit(key)

    async def revoked_meanwhile() -> None:
        elsewhere.meanwhile = nothing
        await revoke(platform, key)
        platform.clock.move(SILENCE_MAX_S)

    elsewhere.meanwhile = revoked_meanwhile
    await elsewhere.look(1)
    await elsewhere.look(1)
    assert not await elsewhere.remembers(key)
    with pytest.raises(Unauthenticated):
        await elsewhere.admit(key)
