"""``python -m tests.crash.clock_ahead 5 up …``: mainspring on a machine whose clock is 5 s ahead.

Only the wall clock: the steady one, which durations go by, has no date that could be wrong.
"""

import runpy
import sys
import time

true_ns = time.time_ns
ahead_ns = int(float(sys.argv.pop(1)) * 1e9)


def time_ns() -> int:
    """Tell the time of a clock that was set wrong."""
    return true_ns() + ahead_ns


time.time_ns = time_ns
time.time = lambda: time_ns() / 1e9
runpy.run_module("mainspring", run_name="__main__", alter_sys=True)
