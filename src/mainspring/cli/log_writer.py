"""Where log lines go: a thread writes them, so that nothing that logs waits or fails.

What it cannot write is counted: more than fits while a reader is slow, and what a full disk or a
closed pipe refuses. Once lines go through again, one of them says how many were lost.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import ClassVar

from mainspring.kernel.metric import Counter
from mainspring.ports.telemetry import Telemetry

PENDING_BYTES_MAX = 8 << 20  # lines that wait for the thread
LINE_BYTES_MAX = 256 << 10  # of one line; the rest is cut off
FLUSH_S = 2.0  # how long the end of the process waits for lines that were not written yet
BUSY_S = 0.05  # between two attempts at a stream that takes nothing just now


LINES_DROPPED = Counter(
    "mainspring_log_lines_dropped",
    "Log lines that could not be written: the reader was slow or gone, the disk full.",
)


class LogWriter:
    """Writes lines to a file descriptor, in their order, from any thread and after a fork."""

    dropped: ClassVar[int] = 0  # of the process, whose log may begin before its telemetry
    on_drop: ClassVar[Callable[[], None]] = staticmethod(lambda: None)

    def __init__(self, descriptor: int, lost: Callable[[int], bytes]) -> None:
        self._descriptor = descriptor
        self._lost = lost
        self._unsaid = 0
        self._start_anew()
        os.register_at_fork(after_in_child=self._start_anew)

    def _start_anew(self) -> None:
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._changed = threading.Condition(threading.RLock())
        self._thread: threading.Thread | None = None

    def put(self, line: str) -> None:
        """Have a line written soon. Never waits, never raises."""
        data = line.encode("utf-8", "backslashreplace")[:LINE_BYTES_MAX] + b"\n"
        with self._changed:
            if self._pending_bytes + len(data) > PENDING_BYTES_MAX:
                self._drop(1)
                return
            self._pending.append(data)
            self._pending_bytes += len(data)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._write_forever, name="mainspring-log", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()

    def flush(self, timeout_s: float = FLUSH_S) -> bool:
        """Wait until all lines are written or lost, at most so long. Tells whether they are."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while self._pending:
                if (left_s := deadline_s - time.monotonic()) <= 0:
                    return False
                self._changed.wait(left_s)
        return True

    def _write_forever(self) -> None:
        while True:
            with self._changed:
                while not self._pending:
                    self._changed.wait()
                data = self._pending[0]
            written = self._write(data)
            if written and self._unsaid:
                self._write(self._lost(self._unsaid))
                self._unsaid = 0
            with self._changed:
                self._pending.popleft()
                self._pending_bytes -= len(data)
                if not written:
                    self._drop(1)
                self._changed.notify_all()

    def _drop(self, lines: int) -> None:
        self._unsaid += lines
        LogWriter.dropped += lines
        LogWriter.on_drop()

    def _write(self, data: bytes) -> bool:
        """Write all of it, however long the reader takes; False when it is refused."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # somebody who shares the stream made it so
                time.sleep(BUSY_S)
            except OSError:
                return False
        return True


def show_dropped(telemetry: Telemetry) -> None:
    """Have what the process dropped of its log counted, from its beginning."""
    series = telemetry.counter(LINES_DROPPED).of()
    shown = 0

    def count() -> None:
        nonlocal shown
        dropped = LogWriter.dropped
        series.add(dropped - shown)
        shown = dropped

    LogWriter.on_drop = staticmethod(count)
    count()
