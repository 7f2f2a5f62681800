"""A real FerretDB for tests, which speaks MongoDB's protocol: up in a tenth of a second."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from mainspring.testing.servers.places import (
    START_TIMEOUT_S,
    STARTED,
    first_line,
    free_ports,
    private_directory,
)

PROGRAM = Path(".tools/ferretdb")
# Standard input closes when the test process ends, however it ends: then the server goes too.
_KEEPER = 'd=$1; shift; "$@" >"$d/log" 2>&1 & read -r _; kill -9 $!; wait $!'


class FerretServer:
    """A FerretDB on SQLite in a directory of its own, on a port of loopback."""

    def __init__(self, program: Path) -> None:
        STARTED.add(first_line(str(program)))
        self._program = program
        self._directory = private_directory("mainspring-ferretdb-")
        (self.port,) = free_ports(1)
        self._keeper: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, again too. Returns when it takes connections."""
        directory = str(self._directory)
        arguments = [str(self._program), f"127.0.0.1:{self.port}", directory]
        self._keeper = subprocess.Popen(  # noqa: S603 -- our own script and paths
            ["/bin/sh", "-c", _KEEPER, "sh", directory, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt at the terminal is for the tests
        )  # fmt: skip
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), START_TIMEOUT_S).close()
            except OSError as error:
                if time.monotonic() > deadline_s:
                    log = (self._directory / "log").read_text(errors="replace")[-2_000:]
                    raise RuntimeError(f"FerretDB does not start: {error}\n{log}") from error
                time.sleep(0.01)
            else:
                return

    @property
    def url(self) -> str:
        """What a client of MongoDB connects to."""
        return f"mongodb://127.0.0.1:{self.port}/"

    def kill(self) -> None:
        """Kill it with SIGKILL. Returns when it is gone; its files stay."""
        if self._keeper is not None:
            self._keeper.communicate(timeout=START_TIMEOUT_S)
            self._keeper = None

    def close(self) -> None:
        """End it, and all that it held with it. Returns when it is gone."""
        self.kill()
        shutil.rmtree(self._directory)


def ferretdb_program() -> Path | None:
    """Where ``make .tools/ferretdb`` built it, or where MAINSPRING_TEST_FERRETDB says; or None."""
    program = Path(os.environ.get("MAINSPRING_TEST_FERRETDB") or PROGRAM).resolve()
    return program if program.is_file() else None
