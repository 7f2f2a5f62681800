"""``mainspring`` with a thread beside its event loop that notes each stall, and what held the loop.

Started in place of ``python -m mainspring``; at the end it writes what it noted to the file that
STALLS names. A sign of life is asked of the loop every few milliseconds, and while none comes the
thread looks where the loop is.
"""

import asyncio
import gc
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import msgspec

from mainspring.cli import main as mainspring
from mainspring.runtime.invoke import containment

ASK_EVERY_S = 0.002
NOTED_S = 0.005  # shorter ones are nobody's stall
FRAMES = 6
NOTED_MAX = 100_000


class Stall(msgspec.Struct):
    """When the loop did not turn, on the machine's clock, and our innermost frames that held it.

    ``worked_s`` is what its thread had of a processor meanwhile: the rest it waited, for a
    processor or for the system.
    """

    at_s: float
    seconds: float
    worked_s: float
    held_by: str


class _Watch:
    def __init__(self) -> None:
        self.stalls: list[Stall] = []
        self._turned = threading.Event()
        self._collecting_s = 0.0
        self._collected = ""

    def start(self) -> None:
        """Watch the running loop, which is that of the calling thread."""
        gc.callbacks.append(self._collects)
        loop, owner = asyncio.get_running_loop(), threading.get_ident()
        threading.Thread(target=self._watch, args=(loop, owner), daemon=True).start()

    def _collects(self, phase: str, about: dict[str, int]) -> None:
        if phase == "start":
            self._collecting_s = time.perf_counter()
        elif time.perf_counter() - self._collecting_s >= NOTED_S:
            self._collected = f"garbage collection, generation {about['generation']}"

    def _watch(self, loop: asyncio.AbstractEventLoop, owner: int) -> None:
        clock = time.pthread_getcpuclockid(owner)
        while True:
            time.sleep(ASK_EVERY_S)
            self._turned.clear()
            asked_s = time.perf_counter()
            try:
                loop.call_soon_threadsafe(self._turned.set)
            except RuntimeError:  # closed
                return
            self._collected = ""
            worked_s, held_by = -time.clock_gettime(clock), ""
            while not self._turned.wait(NOTED_S):
                held_by = _where(owner) or held_by
            took_s = time.perf_counter() - asked_s
            worked_s += time.clock_gettime(clock)
            if took_s >= NOTED_S and len(self.stalls) < NOTED_MAX:
                self.stalls.append(Stall(asked_s, took_s, worked_s, self._collected or held_by))


def _where(thread_id: int) -> str:
    frame = sys._current_frames().get(thread_id)
    frames = traceback.extract_stack(frame) if frame is not None else []
    ours = [f for f in frames if "/mainspring/" in f.filename] or frames
    return " < ".join(
        f"{Path(f.filename).parent.name}/{Path(f.filename).name}:{f.lineno} {f.name}"
        for f in reversed(ours[-FRAMES:])
    )


def main() -> None:
    """Run a command with its loop watched."""
    watch, start = _Watch(), containment.Watchdog.start

    def both(dog: Any) -> None:
        start(dog)
        watch.start()

    containment.Watchdog.start = both  # type: ignore[method-assign, assignment]
    try:
        mainspring()
    finally:
        Path(os.environ["STALLS"]).write_bytes(msgspec.json.encode(watch.stalls))


if __name__ == "__main__":
    main()
