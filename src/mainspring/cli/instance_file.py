"""Where a platform runs: what ``up`` prints, and leaves for other commands to find."""

import asyncio
import contextlib
import fcntl
import hmac
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from mainspring.kernel.process_role import ProcessRole
from mainspring.ports.database import StartError

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
    new: bool = False
    role: ProcessRole = ProcessRole.ALL
    processes: int = 1
    certificate: str = ""  # the file that its server shows, where it speaks TLS

    def text(self, *, as_json: bool) -> str:
        """One line of JSON, or a few lines a person can act on."""
        if as_json:
            return msgspec.json.encode(self).decode()
        begun = f"New platform in {self.data_dir}: an empty database, new keys.\n"
        reference = f"  reference  {self.docs}\n" if self.role.serves else ""
        processes = f"  processes  {self.processes}\n" if self.processes > 1 else ""
        return (
            f"Mainspring {self.version} is up at {self.url}\n"
            f"{begun if self.new else ''}"
            f"{reference}"
            f"  role       {self.role}\n"
            f"{processes}"
            f"  data       {self.data_dir} ({self.database})\n"
            f"  admin key  {self.admin_key}\n"
            f"Ctrl+C stops it."
        )


@contextlib.contextmanager
def told(data_dir: Path, running: Running) -> Iterator[None]:
    """Keep a file that tells other commands where this platform listens.

    It is locked as long as the platform lives, which the kernel sees to: what a killed one left
    behind is told by that, so that nobody's key is sent to who has the port now.
    """
    file = data_dir / RUNNING_FILE
    # Of a name that no other has: processes over PostgreSQL may start over one directory.
    descriptor, half = tempfile.mkstemp(prefix=f"{RUNNING_FILE}.", suffix=".tmp", dir=data_dir)
    with os.fdopen(descriptor, "wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write(msgspec.json.encode(running))
        held.flush()
        Path(half).replace(file)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # somebody has removed it
                if file.samefile(f"/dev/fd/{held.fileno()}"):
                    file.unlink()


def find_running(data_dir: Path) -> Running | None:
    """Return where a platform over this directory listens; None when none is alive."""
    try:
        with (data_dir / RUNNING_FILE).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return msgspec.json.decode(file.read(), type=Running)
    except (OSError, msgspec.MsgspecError):
        return None
    return None


def reach_running(data_dir: Path) -> Running | None:
    """Return the platform over this directory once it has proved to have the same keyring.

    A lock is seen by whoever shares the directory, an address only on the machine that listens:
    from another container it may lead to anybody, who must not be sent a key. Raises StartError.
    """
    from mainspring.cli.offline import prove
    from mainspring.cli.remote import Remote

    running = find_running(data_dir)
    if running is None:
        return None
    nonce = secrets.token_hex(32)
    answer = Remote(running.url, None, running.certificate).call("GET", f"/v1/proof?nonce={nonce}")
    proof = answer.get("proof") if isinstance(answer, dict) else None
    wanted = asyncio.run(prove(data_dir, nonce, running.url))
    if not isinstance(proof, str) or not hmac.compare_digest(proof.encode(), wanted.encode()):
        raise StartError(
            f"a platform runs over {data_dir}, and what answers at {running.url} is not it: ask "
            "on the machine, or in the container, that it runs in, or say where it is with --url"
        )
    return running


Announce = Callable[[Running], contextlib.AbstractContextManager[None]]
