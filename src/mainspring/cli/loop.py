"""The event loop commands run on."""

import asyncio
import contextlib
import gc
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import structlog

from mainspring.cli.process_end import END_S
from mainspring.ports.listeners import described
from mainspring.runtime.invoke.containment import end

T = TypeVar("T")

# Objects made before Python looks for cycles among them. By default it does after 700: a body of a
# million small arrays takes four times as long to read so, while nobody else is served. After many
# more than this it is the look itself for which everybody waits: 20 ms for 50,000.
GC_OBJECTS = 10_000


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, on uvloop where there is one."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)


def serve_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run a server to its end, whatever user code does to the loop meanwhile.

    A task or callback of user code that raises SystemExit, or stops the loop, breaks the loop off:
    that is logged, and the loop goes on. ``main`` catches the signals that are meant for it. What
    user code leaves running at the end is left behind after ``END_S``, its threads included.
    """
    gc.set_threshold(GC_OBJECTS, *gc.get_threshold()[1:])
    factory = loop_factory()
    loop = factory() if factory is not None else asyncio.new_event_loop()
    threads = ThreadPoolExecutor(thread_name_prefix="mainspring-thread")
    loop.set_default_executor(threads)
    asyncio.set_event_loop(loop)
    task = loop.create_task(main)
    try:
        while True:
            try:
                loop.run_until_complete(task)
                break
            except (SystemExit, KeyboardInterrupt, RuntimeError) as error:
                if task.done():
                    raise
                structlog.get_logger().error(
                    "loop_broken_off", error=described(error), exc_info=True
                )
    finally:
        _close(loop, threads)


def _close(loop: asyncio.AbstractEventLoop, threads: ThreadPoolExecutor) -> None:
    with contextlib.suppress(RuntimeError):  # stopped again
        loop.run_until_complete(end(asyncio.all_tasks(loop), END_S))
    threads.shutdown(wait=False, cancel_futures=True)
    asyncio.set_event_loop(None)
    loop.close()


def loop_factory() -> Any:
    """Return what makes an event loop: that of uvloop where there is one, else None."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    return new_event_loop
