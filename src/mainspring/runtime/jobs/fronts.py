"""Fronts: from where on to look for the next jobs, so that what has run is not looked at again.

PostgreSQL can remove nothing that a snapshot may still see. Under a dump of an hour every job that
ran within it has left its entries in the indexes, before those that wait, and whoever searches from
the beginning reads them all. So a search begins where the last one ended. Who comes in behind that
(a retry, a job let go, a clock that is slow) is found by a look from the very beginning, which is
taken as often as it can be in a tenth of the time: always, as long as it costs nothing.
"""

import time
from collections.abc import Callable, Sequence

import msgspec

from mainspring.kernel.ids import first_id_at
from mainspring.kernel.job import PRIORITY_MAX
from mainspring.runtime.tables import ClaimedJob

WHOLE_SHARE = 10  # a look from the beginning is so many times as long ago as it took
SLACK_MS = 2_000  # what commits so late, or by a clock so slow, is still found in its place
NOTHING_S = 0.001  # looks as short as this one are never rationed
APART_S_MAX = 10.0  # one that took minutes was that of a process that was frozen meanwhile


class Front:
    """When to look from the very beginning; ``steady_s`` is a clock that no one sets.

    It goes by the real time that a look takes, also where a test holds the time of all else.
    """

    __slots__ = ("_again_s", "_steady_s", "_whole")

    def __init__(self, steady_s: Callable[[], float] = time.monotonic) -> None:
        self._steady_s = steady_s
        self._again_s = 0.0
        self._whole = True  # whether the last look was one from the beginning

    def begin(self, *, whole: bool = False) -> tuple[bool, float]:
        """Return whether to look from the beginning now, and the moment, for ``end``.

        It is whenever that is due, or asked for with ``whole``.
        """
        started_s = self._steady_s()
        return whole or started_s >= self._again_s, started_s

    def end(self, look: tuple[bool, float]) -> None:
        """Note that a look has ended."""
        self._whole, started_s = look
        if self._whole:
            now_s = self._steady_s()
            took_s = now_s - started_s
            apart_s = min(took_s * (WHOLE_SHARE - 1), APART_S_MAX)
            self._again_s = now_s + (apart_s if took_s > NOTHING_S else 0)

    def wait_s(self, else_s: float) -> float:
        """In how many seconds to look again, of ``else_s`` at most, after one that found nothing.

        Not before a look may begin at the beginning, if the last one did not.
        """
        if self._whole:
            return else_s
        return min(max(self._again_s - self._steady_s(), 0.0), else_s)


class TimeFront(Front):
    """The front of what is taken in the order of a moment, in ms."""

    __slots__ = ("_from_ms",)

    def __init__(self, steady_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__(steady_s)
        self._from_ms = 0

    def from_ms(self, look: tuple[bool, float]) -> int:
        """Return the moment from which on to look."""
        return 0 if look[0] else self._from_ms

    def took_all(self, until_ms: int) -> None:
        """Note that everything up to a moment was taken."""
        self._from_ms = until_ms - SLACK_MS


class QueueFront(Front):
    """The front of a queue: for each priority the id after which to look."""

    __slots__ = ("_after",)

    def __init__(self, steady_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__(steady_s)
        self._after = [""] * (PRIORITY_MAX + 1)

    def after(self, look: tuple[bool, float]) -> str:
        """Return after which ids to look, as a JSON list by priority, the most urgent first."""
        found = [""] * len(self._after) if look[0] else self._after
        return msgspec.json.encode(found[::-1]).decode()

    def took(self, jobs: Sequence[ClaimedJob], limit: int, now_ms: int) -> None:
        """Note what a search has found: all there was of the more urgent, and all if not ``limit``.

        Jobs come in their order.
        """
        settled = first_id_at("job", now_ms - SLACK_MS)
        last = jobs[-1] if len(jobs) == limit else None
        for priority in range(len(self._after)):
            if last is None or priority > last.priority:
                self._after[priority] = settled
            elif priority == last.priority:
                self._after[priority] = min(last.id, settled)
