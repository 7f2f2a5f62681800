import asyncio
from contextlib import AsyncExitStack

import pytest

from mainspring.services.webhooks import lanes as module
from mainspring.services.webhooks.lanes import TURN_S_MAX, Busy, Lanes


async def test_places_are_given_back_and_empty_lanes_forgotten() -> None:
    lanes = Lanes()
    async with lanes.enter("a", 2, 0.0), lanes.enter("a", 2, 0.0), lanes.enter("b", 2, 0.0):
        assert len(lanes) == 2
    assert len(lanes) == 0


async def test_a_delivery_waits_for_a_place_that_is_about_to_be_free() -> None:
    lanes = Lanes()
    entered = asyncio.Event()

    async def second() -> None:
        async with lanes.enter("a", 1, 0.0):
            entered.set()

    async with asyncio.timeout(5):
        async with lanes.enter("a", 1, 0.0):
            task = asyncio.create_task(second())
            await asyncio.sleep(0)
            assert not entered.is_set()
        await task
    assert len(lanes) == 0


async def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    lanes = Lanes()
    async with lanes.enter("a", 1, 0.0):
        with pytest.raises(Busy):
            async with lanes.enter("a", 1, 0.0):
                raise AssertionError("there was a place")
    assert len(lanes) == 0


async def test_a_slow_lane_gives_turns_further_and_further_apart() -> None:
    lanes = Lanes()
    async with AsyncExitStack() as stack:
        for _ in range(4):
            lane = await stack.enter_async_context(lanes.enter("slow", 4, 100.0))
        for _ in range(50):
            lane.took(8.0)
        turns = []
        for _ in range(60):
            with pytest.raises(Busy) as caught:
                await stack.enter_async_context(lanes.enter("slow", 4, 100.0))
            turns.append(caught.value.delay_s)
        assert turns[1] - turns[0] == pytest.approx(2.0, rel=0.01)  # 8 s over 4 places
        assert turns == sorted(turns)
        assert turns[-1] == TURN_S_MAX
        # The one who is refused later is not sent behind those whose turn has passed.
        with pytest.raises(Busy) as caught:
            await stack.enter_async_context(lanes.enter("slow", 4, 1000.0))
        assert caught.value.delay_s < 3


async def test_a_cancelled_wait_takes_no_place() -> None:
    lanes = Lanes()

    async def wait() -> None:
        async with lanes.enter("a", 1, 0.0):
            raise AssertionError("there was a place")

    async with lanes.enter("a", 1, 0.0):
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
    async with lanes.enter("a", 1, 0.0):
        pass
    assert len(lanes) == 0
