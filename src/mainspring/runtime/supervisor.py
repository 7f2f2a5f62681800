"""Background loops that must not die quietly: a crash is logged and the loop starts again."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from mainspring.kernel.errors import Unavailable
from mainspring.ports.bus import BusAway
from mainspring.ports.listeners import described
from mainspring.runtime.invoke.containment import contained, end

log = structlog.get_logger()

RESTART_FIRST_S = 0.1
RESTART_MAX_S = 5.0
FAILURES_MIN = 2  # in a row, before a loop is said to fail
WHY_CHARS_MAX = 200
STOP_S = 10.0  # for a loop that runs user code: longer than that is given to end


class Supervisor:
    """Runs named loops until stopped. A loop that returns is done; one that raises restarts."""

    __slots__ = ("_failures", "_stopping", "_tasks")

    def __init__(self) -> None:
        self._failures: dict[str, tuple[int, float, str]] = {}
        self._stopping = False
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Run ``loop`` in the background."""
        self._stopping = False
        self._tasks[name] = asyncio.create_task(self._keep_running(name, loop), name=name)

    def failing(self) -> list[str]:
        """Name the loops that keep failing, and why: not those that failed just once.

        Nor those that only wait for a bus that is away: that is told once, and calls go on.
        """
        now_s = asyncio.get_running_loop().time()
        return [
            f"{name}: {why}"
            for name, (times, at_s, why) in self._failures.items()
            if times >= FAILURES_MIN and now_s - at_s <= RESTART_MAX_S * 1.5
        ]

    async def stop(self) -> None:
        """Cancel every loop and wait until all have ended, but not for ever."""
        self._stopping = True
        tasks = set(self._tasks.values())
        self._tasks.clear()
        await end(tasks, STOP_S)

    async def _keep_running(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        delay_s = RESTART_FIRST_S
        clock = asyncio.get_running_loop()
        while True:
            began_s = clock.time()
            try:
                await contained(loop())
            except (Exception, asyncio.CancelledError) as error:
                if self._stopping:
                    raise
                while (task := asyncio.current_task()) and task.cancelling():
                    task.uncancel()  # by its own code: nobody stops it
                if clock.time() - began_s > RESTART_MAX_S:  # not the trouble of the last restart
                    delay_s = RESTART_FIRST_S
                    self._failures.pop(name, None)
                if isinstance(error, BusAway):
                    self._failures.pop(name, None)
                else:
                    times = self._failures.get(name, (0, 0.0, ""))[0] + 1
                    self._failures[name] = (times, clock.time(), described(error)[:WHY_CHARS_MAX])
                # A part that is away tells so itself, once for all the loops that need it.
                known = isinstance(error, Unavailable)
                (log.debug if known else log.error)(
                    "loop_restarts", loop=name, delay_s=delay_s, exc_info=not known
                )
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, RESTART_MAX_S)
            else:
                return
