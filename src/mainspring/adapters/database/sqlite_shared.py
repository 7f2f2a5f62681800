"""One SQLite file for several processes of a machine: whose turn it is to commit, and wakes.

A parent makes what they share before it forks them. Each commits for itself: SQLite's own lock
keeps them apart, and turns are what keeps one from starving another.
"""

import asyncio
import contextlib
import fcntl
import os
import socket
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from mainspring.adapters import private_file
from mainspring.adapters.database.sqlite_file import BUSY_MS, File
from mainspring.kernel.channel import LOCAL, Channel
from mainspring.kernel.errors import Unavailable
from mainspring.kernel.process_role import Seat
from mainspring.ports.database import ALL_WAKES, Wakes

PAUSE_SCANS = Channel("scans:pause")  # has every process hold its scans; no wake of anybody
TELL_AGAIN_S = 0.05  # after somebody's inbox was full
MESSAGE_BYTES_MAX = 8_192  # one that would be longer tells them that it could be anything
_LOOK_S = (0.000_1, 0.000_5)  # between two looks whether it is one's turn: at first, and at last
_NEXT, _COMMITS = 0, 1  # bytes of the file of turns


class Turnstile:
    """Whose turn it is to commit, among processes that commit all the time.

    Two locks, like a turnstile: who waits for the second has the first, so a process that has just
    committed does not pass one that waits. The kernel takes both from a process that dies, and
    gives a fork neither.
    """

    def __init__(self, path: Path) -> None:
        self._file = private_file.opener(str(path), os.O_RDWR | os.O_CREAT)

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Commit within this. Raises Unavailable when it is not one's turn for ``BUSY_MS``."""
        until_s = time.monotonic() + BUSY_MS / 1000
        self._take(_NEXT, until_s)
        try:
            self._take(_COMMITS, until_s)
        finally:
            self._give_back(_NEXT)
        try:
            yield
        finally:
            self._give_back(_COMMITS)

    def _take(self, byte: int, until_s: float) -> None:
        look_s, longest_s = _LOOK_S
        while True:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
            except (BlockingIOError, PermissionError):
                if time.monotonic() >= until_s:
                    raise Unavailable(
                        "the database cannot write: another process holds it", retry_after_s=1
                    ) from None
                time.sleep(look_s)
                look_s = min(2 * look_s, longest_s)
            else:
                return

    def _give_back(self, byte: int) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)


class Neighbours:
    """The other processes of the file: tells them of commits, and hears of theirs.

    One whose inbox is full is told later, of everything at once, so nothing is lost to it.
    """

    def __init__(
        self,
        inbox: socket.socket,
        others: Sequence[socket.socket],
        file: "SharedFile | None" = None,
    ) -> None:
        self._file = file  # which closes the sockets when nobody holds it any more
        self._inbox = inbox
        self._untold: dict[socket.socket, set[Channel]] = {other: set() for other in others}
        self._later: asyncio.TimerHandle | None = None

    def start(self, deliver: Callable[[Wakes], None]) -> None:
        """Hand over what they tell from now on."""
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._inbox, self._hear)

    def stop(self) -> None:
        """Hear of nothing more."""
        self._loop.remove_reader(self._inbox)
        if self._later is not None:
            self._later.cancel()

    def tell(self, wakes: Wakes) -> None:
        """Tell them what they care about."""
        names = {name for name in wakes if not name.startswith(LOCAL)}
        if names:
            for other in self._untold:
                self._untold[other].update(names)
            self._tell()

    def _tell(self) -> None:
        for other, names in self._untold.items():
            if names:
                told = ",".join(names).encode()
                with contextlib.suppress(BlockingIOError):
                    other.send(told if len(told) <= MESSAGE_BYTES_MAX else ALL_WAKES.encode())
                    names.clear()
        if any(self._untold.values()) and self._later is None:
            self._later = self._loop.call_later(TELL_AGAIN_S, self._tell_again)

    def _tell_again(self) -> None:
        self._later = None
        self._tell()

    def _hear(self) -> None:
        heard: set[Channel] = set()
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.update(map(Channel, self._inbox.recv(MESSAGE_BYTES_MAX).decode().split(",")))
        if heard:
            self._deliver(frozenset(heard))


class FileSeat(NamedTuple):
    """One process's part in a shared file. It is ``first`` when nobody had the file before it."""

    turnstile: Turnstile
    neighbours: Neighbours
    first: bool


class SharedFile:
    """What a parent holds for the processes that it is about to fork: no other has the file.

    The lock is theirs as well: it lasts until the last of them has ended. Raises StartError.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._lock = File(path).lock()
        self._turnstile = Turnstile(path.with_name(path.name + ".turns"))
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(size)]
        for end in (end for pair in pairs for end in pair):
            end.setblocking(False)
        self._inboxes = [inbox for inbox, _ in pairs]
        self._ends = [end for _, end in pairs]
        weakref.finalize(self, _close, [self._lock, *self._inboxes, *self._ends])

    def seat(self, seat: Seat) -> FileSeat:
        """Return the part of one of the processes."""
        others = [end for at, end in enumerate(self._ends) if at != seat.number]
        neighbours = Neighbours(self._inboxes[seat.number], others, self)
        return FileSeat(self._turnstile, neighbours, seat.first)


def _close(files: Sequence[socket.socket | IO[bytes]]) -> None:
    for file in files:
        file.close()
