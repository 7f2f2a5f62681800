"""How a process of the platform ends: what was written is out, and no thread holds it up."""

import atexit
import contextlib
import logging
import os
import sys
import threading
import time
from typing import NoReturn

END_S = 5.0  # how long what user code left running may take to end, once all else has


def leave(code: int) -> NoReturn:
    """End the process: threads of user code have ``END_S`` to end by themselves.

    The interpreter is not taken down: before Python 3.14, a thread of a library in Rust or C++ (the
    S3 client, gRPC) that comes back to it meanwhile aborts the process (pull request 4874 of PyO3).
    """
    deadline_s = time.monotonic() + END_S
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, deadline_s - time.monotonic()))
            if thread.is_alive():
                import structlog

                structlog.get_logger().error("thread_left_behind", thread=thread.name)
    atexit._run_exitfuncs()
    flush_all()
    os._exit(code)


def flush_all() -> None:
    """Write what is buffered, as the end of a process would; whoever reads may be gone."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
