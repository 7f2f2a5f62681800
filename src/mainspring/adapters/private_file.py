"""Files that only their owner may read, written whole or not at all: keys, and what holds them."""

import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mainspring.ports.database import StartError

FILE_BYTES_MAX = 1 << 20
MODE = 0o600

_OTHERS = 0o077


def opener(path: str, flags: int) -> int:
    """Open, or make with mode 0600 whatever the umask: for ``open(..., opener=opener)``."""
    return os.open(path, flags, MODE)


def read(path: Path) -> bytes:
    """Return the file's bytes.

    Raises FileNotFoundError, and StartError when others may read it, when it is larger than
    ``FILE_BYTES_MAX`` or cannot be read.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_mode & _OTHERS:
                mode = stat.S_IMODE(status.st_mode)
                raise StartError(
                    f"{path}: mode {mode:04o} lets others in; it holds secrets: chmod 600 {path}"
                )
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StartError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > FILE_BYTES_MAX:
        raise StartError(f"{path}: larger than {FILE_BYTES_MAX} bytes")
    return data


def write(path: Path, data: bytes) -> None:
    """Replace the file, mode 0600: after a crash it is the old one or the new one, whole.

    Raises StartError when the directory or the disk does not let it.
    """
    with held(path) as directory:
        _replace(path, data, directory)


@contextmanager
def aside(path: Path, suffix: str) -> Iterator[tuple[IO[bytes], Path]]:
    """Make a new file beside ``path``, of mode 0600, for whoever renames it when it is whole.

    Its name begins with that of ``path`` and a full stop, and is no other's, also where several
    write at once. What is not renamed by the end is removed. Raises OSError.
    """
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=suffix, dir=path.parent)
    fresh = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file, fresh
    finally:
        fresh.unlink(missing_ok=True)


def create_once(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return the file's bytes; where there is none, write what ``make`` returns first.

    Of several processes that start at once one makes it and the others read it. Raises StartError
    as ``read`` and ``write`` do.
    """
    return change(path, lambda found: make() if found is None else found)


def change(path: Path, edit: Callable[[bytes | None], bytes]) -> bytes:
    """Replace the file by ``edit`` of its bytes (None: there is no file) while others wait."""
    with held(path) as directory:
        try:
            found: bytes | None = read(path)
        except FileNotFoundError:
            found = None
        data = edit(found)
        if data != found:
            _replace(path, data, directory)
        return data


@contextmanager
def held(path: Path) -> Iterator[int]:
    """Make the file's directory and lock it against other processes; the kernel drops the lock.

    Yields the directory's descriptor. Raises StartError when it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield directory
        finally:
            os.close(directory)
    except OSError as error:
        raise StartError(f"{path}: cannot be written: {error.strerror}") from None


def _replace(path: Path, data: bytes, directory: int) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)  # of a process that died here: the lock says nobody writes it now
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, MODE)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), MODE)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    os.fsync(directory)
