"""An app whose code tries to take the platform with it."""

import asyncio
import sys
import threading
from typing import Any

import structlog

from mainspring import App, Call, RetryPolicy, Service

hostile = Service("hostile", doc="Whatever can go wrong, for tests.")
app = App("hostile", services=[hostile])
ONCE = RetryPolicy(max_attempts=1)


@hostile.job(public=True, retry=ONCE)
async def leave(call: Call) -> None:
    sys.exit(3)


@hostile.job(public=True)
async def work(call: Call) -> None:
    """Do nothing, and so succeed."""


@hostile.operation("POST /v1/hostile/task", scope=None)
async def task(call: Call) -> None:
    """Leave from a task of its own, a callback, and by stopping the loop."""

    async def go() -> None:
        sys.exit(3)

    loop = asyncio.get_running_loop()
    loop.create_task(go())  # noqa: RUF006 - on purpose
    loop.call_soon(sys.exit, 3)
    loop.stop()


@hostile.operation("POST /v1/hostile/stay", scope=None)
async def stay(call: Call) -> None:
    """Leave behind a task that takes no end, and a thread."""

    async def never() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    loop = asyncio.get_running_loop()
    loop.create_task(never())  # noqa: RUF006 - on purpose
    loop.run_in_executor(None, threading.Event().wait)


@hostile.operation("POST /v1/hostile/defect", scope=None)
async def defect(call: Call) -> None:
    """Raise, with a line too long for a pipe that nobody reads."""
    structlog.get_logger().warning("long", text="x" * 10_000, odd="\ud800")
    raise ValueError("half \ud800 a letter")


@hostile.operation("POST /v1/hostile/cancel", scope=None)
async def cancel(call: Call) -> None:
    """Cancel the task that answers."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


@hostile.operation("POST /v1/hostile/odd", scope=None)
async def odd(call: Call) -> dict[str, Any]:
    """Return what no JSON can say."""
    return {"half": "\ud800 a letter", "thing": object()}


@hostile.operation("POST /v1/hostile/half", scope=None)
async def half(call: Call) -> dict[str, str]:
    """Return text that no UTF-8 can say."""
    return {"half": "\ud800 a letter"}


@hostile.operation("POST /v1/hostile/exit", scope=None)
async def exits(call: Call) -> None:
    sys.exit(3)
