"""A tail of the log: tells this process of every event of every process, from now on.

Not a consumer: nothing is committed, and what happened before the start is not told. For caches
that must hear of changes made elsewhere.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from mainspring.runtime.events.reader import CHUNK_EVENTS, SharedReader, Window
from mainspring.runtime.notifier import wait
from mainspring.runtime.supervisor import Supervisor

POLL_S = 0.25

Heard = Callable[[str, str], None]  # an event's type and subject


class Tail:
    """Follows every partition of the bus, through the windows that all of the process share.

    ``alive`` is called every ``POLL_S`` or so while all that was committed is heard of: the bus was
    looked at, and what ``waits`` for its place in the log, if anything, is not what waited the last
    time. ``lost`` is called when what was read last is not there any more: the log fell back to an
    earlier state, and whatever was concluded from it may be wrong.
    """

    __slots__ = ("_alive", "_heard", "_lost", "_reader", "_supervisor", "_waits")

    def __init__(
        self,
        reader: SharedReader,
        heard: Heard,
        waits: Callable[[], Awaitable[int | None]],
        alive: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        self._reader = reader
        self._heard = heard
        self._waits = waits
        self._alive = alive
        self._lost = lost
        self._supervisor = Supervisor()

    async def start(self) -> None:
        """Follow from the present end."""
        ends = await self._reader.bus.ends()
        for partition, end in ends.items():
            following = _Following(self._reader.window(partition), end)
            self._supervisor.start(f"tail {partition}", partial(self._follow, following))

    async def _follow(self, following: "_Following") -> None:
        window = following.window
        with window.listen() as signal:
            while True:
                signal.clear()
                rows = await window.after(following.offset, CHUNK_EVENTS)
                if window.losses != following.losses:
                    following.losses, following.offset = window.losses, window.end
                    self._lost()
                    continue
                for event in rows.items:
                    self._heard(event.type, event.subject)
                    following.offset = event.offset
                if rows.more:
                    continue
                now_s = asyncio.get_running_loop().time()
                if window.looks != following.looks and now_s >= following.ask_again_s:
                    following.looks, following.ask_again_s = window.looks, now_s + POLL_S / 2
                    waited, following.waited = following.waited, await self._waits()
                    if following.waited is None or following.waited != waited:
                        self._alive()
                if not await wait(signal, POLL_S):
                    window.look_again()

    async def stop(self) -> None:
        """Stop following."""
        await self._supervisor.stop()


class _Following:
    """How far a tail has come in one partition; a restart of its loop goes on from there."""

    __slots__ = ("ask_again_s", "looks", "losses", "offset", "waited", "window")

    def __init__(self, window: Window, offset: int) -> None:
        self.window = window
        self.offset = offset
        self.looks = 0
        self.ask_again_s = 0.0
        self.waited: int | None = None  # for its place in the log, when that was asked last
        self.losses = window.losses
