"""Where servers of tests lie: directories, ports, and what was started of them."""

import contextlib
import os
import socket
import subprocess
import tempfile
from pathlib import Path

STARTED: set[str] = set()  # "PostgreSQL 18.6": what this process ran its tests against
START_TIMEOUT_S = 60
_MEMORY = Path("/dev/shm")  # noqa: S108 -- each server makes a directory of its own there
_ROOMY_BYTES = 4 << 30
_SOCKET_PATH_MAX_BYTES = 90  # the kernel takes 107, of which PostgreSQL adds ".s.PGSQL.5432"


def free_ports(count: int) -> list[int]:
    """Return so many ports of loopback that nobody listens on, each once."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def private_directory(prefix: str, place: Path | None = None) -> Path:
    """Make a directory (0700) whose path is short enough to hold a Unix socket.

    It is one that the user whom root gives it to can reach. With a ``place`` it lies there.
    """
    directory = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    short = len(os.fsencode(directory)) <= _SOCKET_PATH_MAX_BYTES
    if place or (short and (os.geteuid() != 0 or open_to_others(directory.parent))):
        return directory
    directory.rmdir()
    return Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))


def memory() -> Path | None:
    """Where files lie in memory, if a server has room and may run programs there."""
    try:
        found = os.statvfs(_MEMORY)
    except OSError:
        return None
    room = found.f_bavail * found.f_frsize >= _ROOMY_BYTES
    usable = os.access(_MEMORY, os.W_OK) and not found.f_flag & os.ST_NOEXEC
    return _MEMORY if room and usable else None


def open_to_others(directory: Path) -> bool:
    """Tell whether users other than its owner can reach a directory."""
    return all(path.stat().st_mode & 0o001 for path in [directory, *directory.parents])


def first_line(program: str, *arguments: str) -> str:
    """Return the first line of what a program says."""
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout.splitlines()[0]
