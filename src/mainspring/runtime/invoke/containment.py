"""Containment: what user code raises ends its own call, job or stream, and nothing beside it.

An event loop passes SystemExit and KeyboardInterrupt on to whoever runs it, which would end the
process, and takes CancelledError for somebody's wish. Here they become ``Escaped``, a defect like
any other. A real cancellation, which the task knows of, passes.
"""

import asyncio
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog

from mainspring.ports.listeners import described, is_cancelled

T = TypeVar("T")
log = structlog.get_logger()

CANCEL_GRACE_S = 5.0  # how long what was cancelled may take to end before it is left behind
BEAT_S = 0.1
BLOCKED_S = 5.0  # the event loop has not turned for that long: who holds it is logged
STACK_FRAMES_MAX = 12


class Escaped(RuntimeError):
    """User code raised what is meant to end a program or a task."""


async def contained(work: Awaitable[T]) -> T:
    """Await user code; what is no ``Exception`` is raised as ``Escaped``."""
    try:
        return await work
    except Exception:
        raise
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and is_cancelled():
            raise
        raise Escaped(f"it raised {described(error)}") from error


async def contained_items(items: AsyncIterator[T]) -> AsyncIterator[T]:
    """Pass a stream's items on, each awaited as ``contained`` does; close it at the end."""
    nothing = object()
    try:
        while (item := await contained(anext(items, nothing))) is not nothing:
            yield item  # type: ignore[misc]
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await contained(close())


async def attempt(work: Coroutine[Any, Any, T], timeout_s: float, name: str) -> T:
    """Run user code as a task of its own, which may do to itself what it likes.

    Raises TimeoutError when it takes longer, also when it does not stop then: it is left behind,
    and nothing it stages is committed. Raises Escaped when it cancelled itself.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(contained(work), name=name)
    over = loop.create_future()  # the task ended, or its time did

    def wake(_: object = None) -> None:
        if not over.done():
            over.set_result(None)

    task.add_done_callback(wake)
    timer = loop.call_later(timeout_s, wake)
    try:
        await over
    except asyncio.CancelledError:
        task.add_done_callback(_look_at)
        await end({task}, CANCEL_GRACE_S)
        raise
    finally:
        timer.cancel()
    if not task.done():
        task.add_done_callback(_look_at)
        left = await end({task}, CANCEL_GRACE_S)
        still = " and did not stop when it was told to" if left else ""
        raise TimeoutError(f"it took longer than {timeout_s:g} s{still}")
    if task.cancelled():
        raise Escaped("it cancelled its own task")
    return task.result()


async def end(tasks: "set[asyncio.Task[Any]]", grace_s: float) -> int:
    """Cancel tasks and wait for them; return how many did not end in time and were left behind."""
    for task in tasks:
        task.cancel()
    if not tasks:
        return 0
    _, left = await asyncio.wait(tasks, timeout=grace_s)
    for task in left:
        log.error("task_left_behind", task=task.get_name(), waited_s=grace_s)
    return len(left)


def _look_at(task: "asyncio.Task[Any]") -> None:
    """Take note of how a task ended, for one that nobody waits for any more."""
    if not task.cancelled():
        task.exception()


class Watchdog:
    """A thread that asks the event loop for a sign of life, and logs who holds it when none comes.

    One line per stall, and one when the loop turns again. ``late`` is told ten times a second how
    many seconds too late the loop came to something that was due.
    """

    def __init__(
        self, blocked_s: float = BLOCKED_S, late: Callable[[float], object] | None = None
    ) -> None:
        self._late = late
        self._beat: asyncio.TimerHandle | None = None
        self._blocked_s = blocked_s
        self._stopped = threading.Event()
        self._turned = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Watch the running loop, which is that of the calling thread."""
        loop, owner = asyncio.get_running_loop(), threading.get_ident()
        self._thread = threading.Thread(
            target=self._watch, args=(loop, owner), name="mainspring-watchdog", daemon=True
        )
        self._thread.start()
        if self._late is not None:
            self._beat_in(loop)

    def _beat_in(self, loop: asyncio.AbstractEventLoop) -> None:
        due_s = loop.time() + BEAT_S
        self._beat = loop.call_at(due_s, self._beats, loop, due_s)

    def _beats(self, loop: asyncio.AbstractEventLoop, due_s: float) -> None:
        assert self._late is not None  # or it would not beat
        self._late(max(0.0, loop.time() - due_s))
        self._beat_in(loop)

    def stop(self) -> None:
        """Stop watching."""
        if self._beat is not None:
            self._beat.cancel()
        self._stopped.set()
        self._turned.set()

    def _watch(self, loop: asyncio.AbstractEventLoop, owner: int) -> None:
        while not self._stopped.wait(self._blocked_s / 5):
            self._turned.clear()
            try:
                loop.call_soon_threadsafe(self._turned.set)
            except RuntimeError:  # closed
                return
            if not self._turned.wait(self._blocked_s):
                task = asyncio.current_task(loop)
                log.error(
                    "loop_blocked",
                    blocked_s=self._blocked_s,
                    task=task.get_name() if task is not None else None,
                    frames=_frames_of(owner),  # "stack" is a text to a terminal
                )
                self._turned.wait()
                log.warning("loop_turns_again")


def _frames_of(thread_id: int) -> list[str]:
    """Where a thread is now, the innermost frames last."""
    frame = sys._current_frames().get(thread_id)
    if frame is None:
        return []
    summary = traceback.extract_stack(frame)[-STACK_FRAMES_MAX:]
    return [f"{f.filename}:{f.lineno} {f.name}" for f in summary]
