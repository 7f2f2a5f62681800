"""A time limit that costs nothing for a call that never waits, and never cuts off a commit."""

import asyncio
import math
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar

from mainspring.kernel.errors import DeadlineExceeded

T = TypeVar("T")


class TimeLimit:
    """How long one call may take. Made for one ``run``.

    A commit on its way cannot be called back, so its verdict is waited for: DeadlineExceeded means
    that nothing was committed.
    """

    __slots__ = ("_committing", "_end", "_passed", "_until_s", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._committing = self._passed = False
        self._until_s = math.inf  # on the loop's clock, once the work has waited
        self._end: Callable[[], None] | None = None  # cancels the work, once it can be

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine; when it takes longer, cancel it and raise DeadlineExceeded.

        No timer is set before it waits for something that can be called back: most reads wait for
        nothing, and most writes for their commit.
        """
        try:
            waits_for = work.send(None)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        loop = asyncio.get_running_loop()
        self._until_s = loop.time() + self.seconds
        if self._committing:
            ended, found = await _driven(work, waits_for, lambda: self._committing)
            if ended:
                return found  # type: ignore[no-any-return]
            waits_for = found
        limit = asyncio.timeout(None)
        self._end = lambda: limit.reschedule(loop.time())
        timer = loop.call_at(self._until_s, self._pass)
        try:
            async with limit:
                return await _rest(work, waits_for)
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._exceeded() from None
        finally:
            timer.cancel()

    def _pass(self) -> None:
        self._passed = True
        if not self._committing and self._end is not None:
            self._end()

    async def commit(self, commit: Coroutine[Any, Any, None]) -> None:
        """Await a commit, which the limit does not cut off; what follows it is bounded again.

        Raises DeadlineExceeded without beginning it when the limit has passed.
        """
        if self._passed or asyncio.get_running_loop().time() > self._until_s:
            commit.close()
            raise self._exceeded()
        self._committing = True
        try:
            await commit
        finally:
            self._committing = False
            if self._passed and self._end is not None:
                self._end()

    def _exceeded(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"the time limit of {self.seconds:g} s passed")


async def waiting_at_most(seconds: float, work: Awaitable[T]) -> T:
    """Await what often need not wait at all; no timer is set until it does. Raises TimeoutError."""
    steps = work.__await__()
    try:
        waits_for = next(steps)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    async with asyncio.timeout(seconds):
        return await _rest(steps, waits_for)


async def _rest(work: Coroutine[Any, Any, T] | Generator[Any, Any, T], waits_for: Any) -> T:
    """Drive a coroutine that was begun already to its end."""
    _, result = await _driven(work, waits_for, lambda: True)
    return result  # type: ignore[no-any-return]


@types.coroutine
def _driven(
    work: Coroutine[Any, Any, T] | Generator[Any, Any, T],
    waits_for: Any,
    goes_on: Callable[[], bool],
) -> Generator[Any, Any, tuple[bool, Any]]:
    """Drive a coroutine that was begun already, as ``await`` would, as long as it ``goes_on``.

    Return whether it has ended, with its result, or with what it waits for now.
    """
    try:
        while goes_on():
            try:
                sent = yield waits_for
            except BaseException as error:  # noqa: BLE001 - it is the coroutine's to handle
                waits_for = work.throw(error)
            else:
                waits_for = work.send(sent)
    except StopIteration as done:
        return True, done.value
    return False, waits_for
