"""Where a platform runs: what ``up`` prints, and leaves for other commands to find."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

RUNNING_FILE = "running.json"


class Running(msgspec.Struct, frozen=True):
    """Where a platform is, for people, for programs, and for commands beside it."""

    url: str
    docs: str
    data_dir: str
    admin_key: str
    database: str
    pid: int
    version: str

    def text(self, *, as_json: bool) -> str:
        """One line of JSON, or a few lines a person can act on."""
        if as_json:
            return msgspec.json.encode(self).decode()
        return (
            f"Mainspring {self.version} is up at {self.url}\n"
            f"  reference  {self.docs}\n"
            f"  data       {self.data_dir} ({self.database})\n"
            f"  admin key  {self.admin_key}\n"
            f"Ctrl+C stops it."
        )


@contextlib.contextmanager
def told(data_dir: Path, running: Running) -> Iterator[None]:
    """Keep a file that tells other commands where this platform listens."""
    file = data_dir / RUNNING_FILE
    half = file.with_suffix(".tmp")
    half.write_bytes(msgspec.json.encode(running))
    half.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def find_running(data_dir: Path) -> Running | None:
    """Return where a platform over this directory listens; None when none is alive."""
    try:
        running = msgspec.json.decode((data_dir / RUNNING_FILE).read_bytes(), type=Running)
        os.kill(running.pid, 0)
    except (OSError, msgspec.MsgspecError):
        return None
    return running


Announce = Callable[[Running], contextlib.AbstractContextManager[None]]
