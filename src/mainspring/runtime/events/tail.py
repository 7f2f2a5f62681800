"""A tail of the log: tells this process of every event of every process, from now on.

Not a consumer: nothing is committed, and what happened before the start is not told. For caches
that must hear of changes made elsewhere.
"""

from collections.abc import Awaitable, Callable

from mainspring.kernel.clock import Clock
from mainspring.runtime.events.cursors import PARTITION
from mainspring.runtime.events.reader import CHUNK_EVENTS, SharedReader, Window
from mainspring.runtime.events.sequencer import Waiting
from mainspring.runtime.notifier import wait
from mainspring.runtime.supervisor import Supervisor

POLL_S = 0.25
ASK_EVERY_S = POLL_S / 2  # at most, however many events come

Heard = Callable[[str, str], None]  # an event's type and subject


class Tail:
    """Follows the log itself, whatever bus brings it to consumers.

    ``complete`` is told a moment of the steady clock, every ``POLL_S`` or so while the log moves:
    all that was committed before it, by whatever process, was ``heard``. It is not told where
    something that was committed by then ``waits`` for its place. ``lost`` is called when what was
    read last is not there any more: the log fell back to an earlier state, and whatever was
    concluded from it may be wrong.
    """

    __slots__ = (
        "_ask_again_s", "_clock", "_complete", "_heard", "_lost", "_mark", "_offset", "_reader",
        "_supervisor", "_waits",
    )  # fmt: skip

    def __init__(
        self,
        reader: SharedReader,
        heard: Heard,
        clock: Clock,
        waits: Callable[[], Awaitable[Waiting]],
        complete: Callable[[float], None],
        lost: Callable[[], None],
    ) -> None:
        self._reader = reader
        self._heard = heard
        self._clock = clock
        self._waits = waits
        self._complete = complete
        self._lost = lost
        self._supervisor = Supervisor()
        self._offset = 0
        self._ask_again_s = 0.0
        self._mark: tuple[float, int] | None = None  # a moment, and the newest event of it

    async def start(self) -> None:
        """Follow from the present end."""
        self._offset = (await self._reader.bus.ends())[PARTITION]
        self._supervisor.start("tail", self._follow)

    async def stop(self) -> None:
        """Stop following."""
        await self._supervisor.stop()

    async def _follow(self) -> None:
        window = self._reader.window(PARTITION)
        losses = window.losses
        with window.listen() as signal:
            while True:
                signal.clear()
                asked_s, waiting = self._clock.monotonic_s(), None
                if asked_s >= self._ask_again_s:
                    self._ask_again_s = asked_s + ASK_EVERY_S
                    # Before the log is read: what has its place by then is read.
                    waiting = await self._waits()
                    window.look_again()
                if not await self._hear(window, losses):
                    losses = window.losses
                elif waiting is not None:
                    self._conclude(asked_s, waiting)
                await wait(signal, POLL_S)

    async def _hear(self, window: Window, losses: int) -> bool:
        """Tell of all there is; return False when the log fell back instead."""
        more = True
        while more:
            rows = await window.after(self._offset, CHUNK_EVENTS)
            if window.losses != losses:
                self._offset, self._mark = window.end, None
                self._lost()
                return False
            for event in rows.items:
                self._heard(event.type, event.subject)
                self._offset = event.offset
            more = rows.more
        return True

    def _conclude(self, asked_s: float, waiting: Waiting) -> None:
        """Tell up to when everything was heard, which some look before this one may have asked."""
        if waiting.oldest is None:
            self._complete(asked_s)
            self._mark = None
            return
        if self._mark is not None and waiting.oldest > self._mark[1]:
            self._complete(self._mark[0])
            self._mark = None
        if self._mark is None:
            self._mark = asked_s, waiting.newest
