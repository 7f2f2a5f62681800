"""A time limit that costs nothing for a call that never waits, and never cuts off a commit."""

import asyncio
import types
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, Protocol, TypeVar

from mainspring.kernel.errors import DeadlineExceeded

T = TypeVar("T")

COMMIT_POLL_S = 0.02  # how often a call past its limit is asked whether its commit has ended


class Committing(Protocol):
    """Something that says whether its commit is on its way."""

    @property
    def committing(self) -> bool:
        """True from handing the commit over until its verdict is known."""
        ...


async def within(seconds: float, work: Coroutine[Any, Any, T], call: Committing) -> T:
    """Run a coroutine; when it takes longer, cancel it and raise DeadlineExceeded.

    A commit on its way cannot be called back, so it is waited for: DeadlineExceeded means that
    nothing was committed. The first step runs before any timer is set; most reads end with it.
    """
    try:
        waits_for = work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    loop = asyncio.get_running_loop()
    limit = asyncio.timeout(None)
    timer: asyncio.TimerHandle

    def expire() -> None:
        nonlocal timer
        if call.committing:
            timer = loop.call_later(COMMIT_POLL_S, expire)
        else:
            limit.reschedule(loop.time())

    timer = loop.call_later(seconds, expire)
    try:
        async with limit:
            return await _rest(work, waits_for)
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlineExceeded(f"the time limit of {seconds:g} s passed") from None
    finally:
        timer.cancel()


async def waiting_at_most(seconds: float, work: Awaitable[T]) -> T:
    """Await what often need not wait at all; no timer is set until it does. Raises TimeoutError."""
    steps = work.__await__()
    try:
        waits_for = next(steps)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    async with asyncio.timeout(seconds):
        return await _rest(steps, waits_for)


@types.coroutine
def _rest(
    work: Coroutine[Any, Any, T] | Generator[Any, Any, T], waits_for: Any
) -> Generator[Any, Any, T]:
    """Drive a coroutine that was begun already, as ``await`` would."""
    try:
        while True:
            try:
                sent = yield waits_for
            except BaseException as error:  # noqa: BLE001 - it is the coroutine's to handle
                waits_for = work.throw(error)
            else:
                waits_for = work.send(sent)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
