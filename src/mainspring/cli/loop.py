"""The event loop commands run on."""

import asyncio
import contextlib
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import structlog

from mainspring.ports.listeners import described
from mainspring.runtime.invoke.containment import end

T = TypeVar("T")

# Objects made before Python looks for cycles among them. By default it does after 700: a body of a
# million small arrays takes four times as long to read so, while nobody else is served. After many
# more than this it is the look itself for which everybody waits: 20 ms for 50,000.
GC_OBJECTS = 10_000
END_S = 5.0  # how long what user code left running may take to end, once all else has


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


def leave(code: int) -> None:
    """End the process although threads of user code still run; return when none does."""
    deadline_s = time.monotonic() + END_S
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, deadline_s - time.monotonic()))
            if thread.is_alive():
                structlog.get_logger().error("thread_left_behind", thread=thread.name)
                flush_all()
                os._exit(code)


def flush_all() -> None:
    """Write what is buffered, as the end of a process would; whoever reads may be gone."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


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
