"""What the processes of a crew know of each other: memory in which each of them has a part.

How many jobs each has done lately, and what fails in it: whichever is asked tells of all of them.
"""

import mmap
from collections.abc import Callable, Collection, Iterable

import msgspec

from mainspring.kernel.process_role import ALONE, Seat
from mainspring.runtime.metrics.sliding_window import WINDOW_WORDS, SlidingWindow

TELL_S = 1.0  # between two words of a process on what fails in it
OLD_S = 5.0  # after which its word counts no longer: it has died, and its successor says its own
TOLD_BYTES_MAX = 4_096  # what fails; the rest is left out

_WORD = 8
_WHICH, _FIRST_TOLD = 0, 1  # words: where it has told last, of two places in turns
_TOLD_WORDS = 2 + TOLD_BYTES_MAX // _WORD  # when, how long, and what
_HEAD_WORDS = _FIRST_TOLD + 2 * _TOLD_WORDS


class CrewBoard:
    """One process's view of it: it writes to its own part, and reads all of them.

    Times are seconds of a clock that the processes of a machine have in common.
    """

    def __init__(self, memory: memoryview, seat: Seat, queues: Collection[str]) -> None:
        self.seat = seat
        self._part_words = _part_words(len(queues))
        self._memory = memory
        self._words = memory.cast("q")
        self._seconds = memory.cast("d")
        self._places = {queue: at for at, queue in enumerate(sorted(queues))}
        self._done = {queue: self._window(seat.number, queue) for queue in self._places}
        self._all_done = {
            queue: [self._window(number, queue) for number in range(seat.size)]
            for queue in self._places
        }

    def done(self, queue: str, now_ms: int) -> None:
        """Count a job that this process has done."""
        self._done[queue].add(now_ms)

    def done_last_minute(self, queue: str, now_ms: int) -> int:
        """Return how many jobs of a queue all of them have done; 0 for one that nobody runs."""
        return sum(window.count(now_ms) for window in self._all_done.get(queue, ()))

    def tell(self, failing: Iterable[str], now_s: float) -> None:
        """Have the others know what fails here."""
        told: list[str] = []
        for why in failing:
            if len(msgspec.json.encode([*told, why])) > TOLD_BYTES_MAX:
                break
            told.append(why)
        text = msgspec.json.encode(told)
        own = self.seat.number * self._part_words
        which = 1 - self._words[own + _WHICH]
        at = own + _FIRST_TOLD + which * _TOLD_WORDS
        self._seconds[at] = now_s
        self._words[at + 1] = len(text)
        self._memory[(at + 2) * _WORD : (at + 2) * _WORD + len(text)] = text
        self._words[own + _WHICH] = which

    def alive(self, now_s: float) -> int:
        """Return how many of them have said something of late, this one among them."""
        others = (number for number in range(self.seat.size) if number != self.seat.number)
        return 1 + sum(self._read(number, now_s) is not None for number in others)

    def failing_elsewhere(self, now_s: float) -> list[str]:
        """Return what the others have said to fail in them of late."""
        return [
            f"process {number}: {why}"
            for number in range(self.seat.size)
            if number != self.seat.number
            for why in self._read(number, now_s) or ()
        ]

    def _read(self, number: int, now_s: float) -> list[str] | None:
        """Return what one has said to fail in it; None where it has said nothing of late."""
        part = number * self._part_words
        at = part + _FIRST_TOLD + self._words[part + _WHICH] * _TOLD_WORDS
        length = self._words[at + 1]
        if not length or now_s - self._seconds[at] > OLD_S:
            return None
        text = self._memory[(at + 2) * _WORD : (at + 2) * _WORD + length]
        return msgspec.json.decode(text, type=list[str])

    def _window(self, number: int, queue: str) -> SlidingWindow:
        begin = number * self._part_words + _HEAD_WORDS + self._places[queue] * WINDOW_WORDS
        return SlidingWindow(self._words[begin : begin + WINDOW_WORDS])


def share(size: int, queues: Collection[str]) -> Callable[[Seat], CrewBoard]:
    """Make the board of processes that are forked from now on."""
    memory = memoryview(mmap.mmap(-1, size * _part_words(len(queues)) * _WORD))
    return lambda seat: CrewBoard(memory, seat, queues)


def alone(queues: Collection[str]) -> CrewBoard:
    """Make the board of a process that is no other's."""
    return share(1, queues)(ALONE)


def _part_words(queues: int) -> int:
    return _HEAD_WORDS + queues * WINDOW_WORDS
