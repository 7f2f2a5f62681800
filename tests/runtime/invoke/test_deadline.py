"""A time limit: free for what never waits, and blind to a commit on its way."""

import asyncio

import pytest

from mainspring.kernel.errors import DeadlineExceeded, NotFound
from mainspring.runtime.invoke.deadline import TimeLimit


async def test_what_never_waits_is_answered_at_once() -> None:
    async def work() -> int:
        return 7

    assert await TimeLimit(0.0).run(work()) == 7


async def test_what_waits_goes_on_where_it_was() -> None:
    async def work() -> list[int]:
        seen = [1]
        await asyncio.sleep(0)
        seen.append(2)
        seen.extend(await asyncio.gather(asyncio.sleep(0, 3), asyncio.sleep(0, 4)))
        return seen

    assert await TimeLimit(5).run(work()) == [1, 2, 3, 4]


@pytest.mark.parametrize("waits", [False, True])
async def test_failures_come_through(waits: bool) -> None:
    async def work() -> None:
        if waits:
            await asyncio.sleep(0)
        raise NotFound("x")

    with pytest.raises(NotFound):
        await TimeLimit(5).run(work())


async def test_an_exception_is_thrown_to_where_the_work_waits() -> None:
    failing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> str:
        try:
            await failing
        except ValueError:
            return "caught"
        return "not"

    asyncio.get_running_loop().call_soon(failing.set_exception, ValueError())
    assert await TimeLimit(5).run(work()) == "caught"


async def test_past_the_limit_the_work_is_cancelled_and_cleans_up() -> None:
    cleaned = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    with pytest.raises(DeadlineExceeded):
        await TimeLimit(0.01).run(work())
    assert cleaned.is_set()


async def test_a_timeout_of_the_work_itself_is_not_the_deadline() -> None:
    async def work() -> None:
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await TimeLimit(5).run(work())


async def test_a_commit_on_its_way_is_waited_for() -> None:
    limit, passed, verdict = TimeLimit(0.001), asyncio.Event(), asyncio.Event()

    async def work() -> str:
        await limit.commit(_until(verdict))
        return "committed"

    running = asyncio.create_task(limit.run(work()))
    asyncio.get_running_loop().call_later(0.05, passed.set)  # many times its limit
    await passed.wait()
    assert not running.done()
    verdict.set()
    assert await running == "committed"


async def test_what_follows_a_commit_that_took_too_long_is_cut_off() -> None:
    limit, verdict = TimeLimit(0.001), asyncio.Event()

    async def work() -> None:
        await limit.commit(_until(verdict))
        await asyncio.Event().wait()

    running = asyncio.create_task(limit.run(work()))
    asyncio.get_running_loop().call_later(0.05, verdict.set)
    with pytest.raises(DeadlineExceeded):
        await running


async def test_no_commit_begins_once_the_limit_has_passed() -> None:
    """A guard that failed after the limit would run the handler again, and commit it."""
    limit, verdict, begun = TimeLimit(0.001), asyncio.Event(), []

    async def commit() -> None:
        begun.append(1)
        await verdict.wait()

    async def work() -> None:
        await limit.commit(commit())
        await limit.commit(commit())

    running = asyncio.create_task(limit.run(work()))
    asyncio.get_running_loop().call_later(0.05, verdict.set)
    with pytest.raises(DeadlineExceeded, match=r"0\.001 s"):
        await running
    assert begun == [1]


async def _until(event: asyncio.Event) -> None:
    await event.wait()


async def test_cancelling_from_outside_cancels_the_work() -> None:
    entered = asyncio.Event()

    async def work() -> None:
        entered.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(TimeLimit(5).run(work()))
    await entered.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
