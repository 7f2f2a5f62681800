"""A time limit: free for what never waits, and blind to a commit on its way."""

import asyncio

import pytest

from mainspring.kernel.errors import DeadlineExceeded, NotFound
from mainspring.runtime.invoke.deadline import within


class Flag:
    committing = False


async def test_what_never_waits_is_answered_at_once() -> None:
    async def work() -> int:
        return 7

    assert await within(0.0, work(), Flag()) == 7


async def test_what_waits_goes_on_where_it_was() -> None:
    async def work() -> list[int]:
        seen = [1]
        await asyncio.sleep(0)
        seen.append(2)
        seen.extend(await asyncio.gather(asyncio.sleep(0, 3), asyncio.sleep(0, 4)))
        return seen

    assert await within(5, work(), Flag()) == [1, 2, 3, 4]


@pytest.mark.parametrize("waits", [False, True])
async def test_failures_come_through(waits: bool) -> None:
    async def work() -> None:
        if waits:
            await asyncio.sleep(0)
        raise NotFound("x")

    with pytest.raises(NotFound):
        await within(5, work(), Flag())


async def test_an_exception_is_thrown_to_where_the_work_waits() -> None:
    failing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> str:
        try:
            await failing
        except ValueError:
            return "caught"
        return "not"

    asyncio.get_running_loop().call_soon(failing.set_exception, ValueError())
    assert await within(5, work(), Flag()) == "caught"


async def test_past_the_limit_the_work_is_cancelled_and_cleans_up() -> None:
    cleaned = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    with pytest.raises(DeadlineExceeded):
        await within(0.01, work(), Flag())
    assert cleaned.is_set()


async def test_a_timeout_of_the_work_itself_is_not_the_deadline() -> None:
    async def work() -> None:
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await within(5, work(), Flag())


async def test_a_commit_on_its_way_is_waited_for() -> None:
    flag, verdict = Flag(), asyncio.Event()

    async def work() -> str:
        flag.committing = True
        await verdict.wait()
        flag.committing = False
        return "committed"

    running = asyncio.create_task(within(0.001, work(), flag))
    done, _ = await asyncio.wait({running}, timeout=0.1)  # many times its limit
    assert not done
    verdict.set()
    assert await running == "committed"


async def test_cancelling_from_outside_cancels_the_work() -> None:
    entered = asyncio.Event()

    async def work() -> None:
        entered.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(within(5, work(), Flag()))
    await entered.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
