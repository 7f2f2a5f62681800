"""Several serving processes on one address: forks them, restarts one that dies, drains them all.

The parent only binds and watches. The first process starts alone, so that the schema and the keys
are there when the others come.
"""

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

import msgspec
import structlog

from mainspring.cli.instance_file import Announce, Running
from mainspring.cli.loop import flush_all
from mainspring.ports.database import StartError

START_TIMEOUT_S = 60.0
RESTART_S = 1.0  # between the death of a process and its successor

Serve = Callable[[socket.socket, Announce], None]


class Prefork:
    """The processes, by pid. ``serve`` runs in each and returns when it has drained."""

    def __init__(self, size: int, listener: socket.socket, serve: Serve) -> None:
        self._size = size
        self._listener = listener
        self._serve = serve
        self._pids: set[int] = set()
        self._stopping = 0

    def run(self, announce: Announce) -> None:
        """Start all, announce it, and return when a signal has drained them.

        Raises StartError when one of them does not start.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        try:
            running = self._start_one()
            for _ in range(self._size - 1):
                self._start_one()
            with announce(msgspec.structs.replace(running, pid=os.getpid())):
                self._watch()
        except StartError:
            if not self._stopping:
                raise
        finally:
            self._tell(signal.SIGTERM)
            self._reap_all()

    def _start_one(self) -> Running:
        heard, said = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(heard)
            self._be_one(said)
        os.close(said)
        self._pids.add(pid)
        return self._ready(heard)

    def _be_one(self, said: int) -> NoReturn:
        """Serve in this new process, and leave without returning to the parent's code."""
        code = 1
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)

            @contextlib.contextmanager
            def tell(running: Running) -> Iterator[None]:
                os.write(said, msgspec.json.encode(running))
                os.close(said)
                yield

            self._serve(self._listener, tell)
            code = 0
        except StartError as error:
            os.write(said, str(error).encode())
        except BaseException:  # noqa: BLE001 - logged; the parent sees the exit code
            structlog.get_logger().exception("process_failed")
        finally:
            flush_all()
            os._exit(code)

    def _ready(self, heard: int) -> Running:
        """Wait for what the process says when it serves."""
        try:
            if not select.select([heard], [], [], START_TIMEOUT_S)[0]:
                raise StartError(f"a process was not up within {START_TIMEOUT_S:g} s")
            line = os.read(heard, 65_536)
        finally:
            os.close(heard)
        try:
            return msgspec.json.decode(line, type=Running)
        except msgspec.MsgspecError:
            raise StartError(line.decode() or "a process ended before it served") from None

    def _watch(self) -> None:
        """Restart what dies, until told to stop."""
        while not self._stopping:
            pid, status = os.wait()
            self._pids.discard(pid)
            if not self._stopping:
                code = os.waitstatus_to_exitcode(status)
                structlog.get_logger().error("process_died", pid=pid, exit_code=code)
                time.sleep(RESTART_S)
                self._start_one()
                structlog.get_logger().info("process_restarted", processes=len(self._pids))

    def _reap_all(self) -> None:
        while self._pids:
            pid, _ = os.wait()
            self._pids.discard(pid)

    def _signalled(self, number: int, _: FrameType | None) -> None:
        """Drain at the first signal; at the second let nothing live on."""
        self._stopping += 1
        self._tell(signal.SIGTERM if self._stopping == 1 else signal.SIGKILL)
        if self._stopping > 1:
            os._exit(128 + number)

    def _tell(self, number: signal.Signals) -> None:
        for pid in self._pids:
            os.kill(pid, number)
