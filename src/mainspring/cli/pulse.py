"""Signs of life of the processes of a crew, in memory that they share with their parent.

A process in which nothing runs (it was stopped, its machine gives it no time, one call of a library
holds the interpreter) keeps what it holds, its turn to commit among it, and so keeps all others
from writing. One whose event loop alone stands still keeps only its own callers waiting: some code
blocks it, which may be a long job or somebody with a debugger, and has a long time to end.
"""

import asyncio
import contextlib
import mmap
from pathlib import Path

BEAT_S = 1.0  # between two beats, and between two looks at them
FROZEN_LOOKS = 10
BLOCKED_LOOKS = 300
_WORD = 8  # bytes of a count
_PLACE = 2 * _WORD  # of a process: the beats of a thread, and those of its event loop


class Pulses:
    """The memory: made before the processes are forked, a place for each."""

    def __init__(self, size: int) -> None:
        self._memory = memoryview(mmap.mmap(-1, size * _PLACE)).cast("Q")

    def of(self, number: int) -> "Pulse":
        """Return the place of a process, by its number from 0."""
        return Pulse(self._memory[2 * number : 2 * number + 2])


class Pulse:
    """The place of one process, in which it beats."""

    def __init__(self, place: memoryview) -> None:
        self._place = place
        self._loop: asyncio.AbstractEventLoop | None = None

    def follow_loop(self) -> None:
        """Have the running event loop beat from now on too."""
        self._loop = asyncio.get_running_loop()

    def beat(self) -> None:
        """Say, from a thread, that it runs, and have its event loop say that it turns."""
        self._place[0] += 1
        if self._loop is None:
            self._place[1] += 1
            return
        with contextlib.suppress(RuntimeError):  # closed: the process is about to end
            self._loop.call_soon_threadsafe(self._turned)

    def _turned(self) -> None:
        self._place[1] += 1

    def beats(self) -> tuple[int, int]:
        """Return how often a thread of it and its event loop have beaten."""
        return self._place[0], self._place[1]


class Silence:
    """What the parent makes of a pulse: it counts its own looks and not the time.

    So nobody is taken for dead after a machine, or all of a crew, slept: the parent slept as well.
    """

    def __init__(self, pulse: Pulse, pid: int) -> None:
        self._pulse = pulse
        self._pid = pid
        self._seen = pulse.beats()
        self._frozen = self._blocked = 0

    def look(self) -> str | None:
        """Look once; return what is wrong with a process that is to be killed, else None."""
        seen, before = self._pulse.beats(), self._seen
        self._seen = seen
        self._frozen = 0 if seen[0] != before[0] else self._frozen + 1
        self._blocked = 0 if seen[1] != before[1] else self._blocked + 1
        if self._frozen >= FROZEN_LOOKS:
            why = f"nothing in it ran for {FROZEN_LOOKS * BEAT_S:g} s"
        elif self._blocked >= BLOCKED_LOOKS:
            why = f"its event loop stood still for {BLOCKED_LOOKS * BEAT_S:g} s"
        else:
            return None
        self._frozen = self._blocked = 0  # of one that outlives it, as in the middle of a read
        return None if is_traced(self._pid) else why


def is_traced(pid: int) -> bool:
    """Whether a debugger holds a process; where the system does not say so, none does."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    return any(line.startswith("TracerPid:") and int(line.split()[1]) for line in lines)
