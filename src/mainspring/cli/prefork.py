"""Several serving processes on one address: forks them, starts again what dies, drains them all.

The parent only binds and watches. The first process starts alone, so that the schema and the keys
are there when the others come. Each reads from a pipe that the parent alone could write to: where
that ends, the parent has died without a word, and its processes leave the address to another.
Each gives a sign of life every second; the parent kills one that gives none.
"""

import contextlib
import gc
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NamedTuple, NoReturn

import msgspec
import structlog

from mainspring.cli.instance_file import Announce, Running
from mainspring.cli.loop import loop_factory
from mainspring.cli.process_end import flush_all
from mainspring.cli.pulse import BEAT_S, Pulse, Pulses, Silence
from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.process_role import Seat
from mainspring.ports.database import StartError
from mainspring.settings import SettingsError

START_TIMEOUT_S = 60.0
RESTART_S = 1.0  # between the death of a process and its successor
RESTART_S_MAX = 30.0  # it doubles for each that did not live so long, as while the database is away
SAID_BYTES_MAX = 65_536

_STOPPING = (signal.SIGTERM, signal.SIGINT)


Serve = Callable[[socket.socket, Announce, Seat], None]


class _Refusal(msgspec.Struct, frozen=True):
    """Why a process does not start; ``usage`` when it is how it was called or declared."""

    why: str
    usage: bool = False


class _Process:
    """One of them. ``restart_s`` is how long its predecessor's death was ago when it began."""

    def __init__(self, pid: int, seat: Seat, heard: int, restart_s: float, pulse: Pulse) -> None:
        self.pid = pid
        self.seat = seat
        self.silence = Silence(pulse, pid)
        self.begun_s = time.monotonic()
        self.restart_s = restart_s
        self.serves = False
        self.said = b""
        self.heard: int | None = heard
        os.set_blocking(heard, False)

    def hear(self) -> None:
        """Take what it says once: that it serves, or why it does not."""
        if self.heard is None:
            return
        with contextlib.suppress(BlockingIOError):  # a child of its own has the other end still
            self.said = os.read(self.heard, SAID_BYTES_MAX)
        self.close()

    def close(self) -> None:
        """Listen no longer."""
        if self.heard is not None:
            os.close(self.heard)
            self.heard = None

    def running(self) -> Running:
        """Return where it serves. Raises StartError with what it said instead."""
        try:
            running = msgspec.json.decode(self.said, type=Running)
        except msgspec.MsgspecError:
            raise self.refusal() from None
        self.serves = True
        return running

    def refusal(self) -> StartError:
        """Return why it does not serve, as far as it has said."""
        try:
            refusal = msgspec.json.decode(self.said, type=_Refusal)
        except msgspec.MsgspecError:
            refusal = _Refusal("a process ended before it served")
        return (SettingsError if refusal.usage else StartError)(refusal.why)

    @property
    def late_s(self) -> float:
        """When it is to serve at the latest."""
        return self.begun_s + START_TIMEOUT_S

    def successor_s(self) -> float:
        """How long after its death the next begins."""
        lived_s = time.monotonic() - self.begun_s
        if not self.restart_s or lived_s >= RESTART_S_MAX:
            return RESTART_S
        return min(2 * self.restart_s, RESTART_S_MAX)


class _Due(NamedTuple):
    """When a successor begins, and how long after the death of the one before."""

    at_s: float
    restart_s: float
    seat: Seat


class Prefork:
    """The processes. ``serve`` runs in each and returns when it has drained.

    One whose parent is gone ends after ``end_s`` although it has not drained.
    """

    def __init__(self, size: int, listener: socket.socket, serve: Serve, end_s: float) -> None:
        self._size = size
        self._listener = listener
        self._serve = serve
        self._end_s = end_s
        self._processes: dict[int, _Process] = {}
        self._due: list[_Due] = []
        self._stopping: list[int] = []
        self._pulses = Pulses(size)
        self._look_s = 0.0  # when the parent looks for signs of life again
        self._alive, self._held = os.pipe()  # the parent lives as long as ``_held`` is open
        self._woken, self._wakes = os.pipe()

    def run(self, announce: Announce) -> None:
        """Start all, announce it, and return when a signal has drained them.

        Raises StartError when the first does not start, or another says why it does not. Who dies
        later is started again, and so is another that died without a word.
        """
        for end in (self._woken, self._wakes):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # it wakes the parent
        for number in _STOPPING:
            signal.signal(number, self._signalled)
        loop_factory()
        gc.freeze()  # a process that looked at what it shares with the others would copy it
        try:
            first = self._start_one(Seat(0, self._size, first=True))
            self._wait_for(first)
            running = first.running()
            for process in [self._start_one(Seat(at, self._size)) for at in range(1, self._size)]:
                self._wait_for(process)
                if process.said:
                    process.running()
            with announce(msgspec.structs.replace(running, pid=os.getpid(), processes=self._size)):
                self._watch()
        except StartError:
            if not self._stopping:
                raise
        finally:
            self._listener.close()  # nobody is to wait at it once the processes have left it
            self._tell(self._stopping[0] if self._stopping else signal.SIGTERM)
            self._reap_all()

    def _wait_for(self, process: _Process) -> None:
        """Wait for what one says when it serves, or for its end. Raises StartError."""
        assert process.heard is not None
        if not select.select([process.heard], [], [], START_TIMEOUT_S)[0]:
            raise StartError(f"a process was not up within {START_TIMEOUT_S:g} s")
        process.hear()

    def _start_one(self, seat: Seat, restart_s: float = 0.0) -> _Process:
        heard, said = os.pipe()
        pulse = self._pulses.of(seat.number)
        pid = os.fork()
        if pid == 0:
            os.close(heard)
            self._be_one(seat, said, pulse)
        os.close(said)
        process = self._processes[pid] = _Process(pid, seat, heard, restart_s, pulse)
        return process

    # In a process

    def _be_one(self, seat: Seat, said: int, pulse: Pulse) -> NoReturn:
        """Serve in this new process, and leave without returning to the parent's code."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, *_STOPPING):
                signal.signal(number, signal.SIG_DFL)
            for end in (self._held, self._woken, self._wakes):
                os.close(end)
            for sibling in self._processes.values():
                sibling.close()
            structlog.contextvars.bind_contextvars(process=seat.number)  # in each line of its log
            threading.Thread(
                target=self._outlive, args=(pulse,), name="parent-watch", daemon=True
            ).start()

            @contextlib.contextmanager
            def tell(running: Running) -> Iterator[None]:
                pulse.follow_loop()
                os.write(said, msgspec.json.encode(running))
                os.close(said)
                yield

            self._serve(self._listener, tell, seat)
            code = 0
        except (StartError, Misdeclared) as error:
            usage = isinstance(error, SettingsError | Misdeclared)
            os.write(said, msgspec.json.encode(_Refusal(str(error), usage)))
        except BaseException:  # noqa: BLE001 - logged; the parent sees the exit code
            structlog.get_logger().exception("process_failed")
        finally:
            flush_all()
            os._exit(code)

    def _outlive(self, pulse: Pulse) -> None:
        """Give signs of life until the parent dies, then drain: a successor wants the address."""
        while not select.select([self._alive], [], [], BEAT_S)[0]:
            pulse.beat()
        structlog.get_logger().error("parent_died")
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(self._end_s)
        os._exit(1)

    # In the parent

    def _watch(self) -> None:
        """Start again what dies, while the others go on, until told to stop."""
        while not self._stopping:
            self._wait()
            self._look_after_all()
            while (ended := self._ended()) is not None:
                self._bury(*ended)
            now_s = time.monotonic()
            begins = [due for due in self._due if due.at_s <= now_s]
            self._due = [due for due in self._due if due.at_s > now_s]
            for due in begins:
                if not self._stopping:
                    self._start_one(due.seat, due.restart_s)

    def _wait(self) -> None:
        """Wait until a process says something or ends, a signal comes, or something is due.

        Looking for signs of life always is.
        """
        starting = [process for process in self._processes.values() if process.heard is not None]
        due_s = [self._look_s, *(due.at_s for due in self._due)]
        due_s += [process.late_s for process in starting]
        timeout_s = max(0.0, min(due_s) - time.monotonic())
        said = [process.heard for process in starting if process.heard is not None]
        ready, _, _ = select.select([self._woken, *said], [], [], timeout_s)
        if self._woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._woken, SAID_BYTES_MAX)
        for process in starting:
            if process.heard in ready:
                process.hear()

    def _look_after_all(self) -> None:
        """Look after each; kill those that have shown no sign of life for too long."""
        for process in list(self._processes.values()):
            self._look_after(process)
        if time.monotonic() < self._look_s:
            return
        self._look_s = time.monotonic() + BEAT_S
        for process in self._processes.values():
            if (why := process.silence.look()) is not None:
                structlog.get_logger().error("process_frozen", pid=process.pid, why=why)
                os.kill(process.pid, signal.SIGKILL)

    def _look_after(self, process: _Process) -> None:
        """Note that a successor serves; end one that does not get so far."""
        if process.heard is None and process.said and not process.serves:
            with contextlib.suppress(StartError):  # why is told when it has ended
                process.running()
                serving = sum(other.serves for other in self._processes.values())
                structlog.get_logger().info("process_restarted", processes=serving)
        elif process.heard is not None and time.monotonic() >= process.late_s:
            late = _Refusal(f"it was not up within {START_TIMEOUT_S:g} s")
            process.said = msgspec.json.encode(late)
            process.close()
            os.kill(process.pid, signal.SIGKILL)

    def _ended(self) -> tuple[int, int] | None:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:  # none is left: all wait for their successors
            return None
        return (pid, os.waitstatus_to_exitcode(status)) if pid else None

    def _bury(self, pid: int, exit_code: int) -> None:
        """Say that one has ended, and have its successor begin a while later."""
        process = self._processes.pop(pid)
        process.hear()
        restart_s = process.successor_s()
        why = {} if process.serves else {"error": str(process.refusal())}
        structlog.get_logger().error(
            "process_died", pid=pid, exit_code=exit_code, restart_s=restart_s, **why
        )
        seat = process.seat._replace(first=False)
        self._due.append(_Due(time.monotonic() + restart_s, restart_s, seat))

    def _reap_all(self) -> None:
        """Wait until all have ended. One that is frozen does not, and is killed."""
        self._due.clear()
        while True:
            while (ended := self._ended()) is not None:
                self._processes.pop(ended[0]).close()
            if not self._processes:
                return
            self._wait()
            self._look_after_all()

    def _signalled(self, number: int, _: FrameType | None) -> None:
        """Drain at the first signal; at the second let nothing live on."""
        self._stopping.append(number)
        self._tell(number if len(self._stopping) == 1 else signal.SIGKILL)
        if len(self._stopping) > 1:
            os._exit(128 + number)

    def _tell(self, number: int) -> None:
        for pid in list(self._processes):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
