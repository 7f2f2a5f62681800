"""A KMS for tests that speaks AWS's protocol, local-kms: up in a tenth of a second."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

from mainspring.testing.servers.places import (
    START_TIMEOUT_S,
    STARTED,
    first_line,
    free_ports,
    private_directory,
)

REGION = "eu-west-1"
_NOBODY = "AWS4-HMAC-SHA256 Credential=x/20260101/eu-west-1/kms/aws4_request"
PROGRAM = Path(".tools/local-kms")
# Standard input closes when the test process ends, however it ends: then the server goes too.
_KEEPER = 'd=$1; shift; "$@" >"$d/log" 2>&1 & read -r _; kill -9 $!; wait $!'


class LocalKms:
    """A local-kms in a directory of its own, on a port of loopback. It looks at no signature."""

    def __init__(self, program: Path) -> None:
        STARTED.add(first_line(str(program)))
        self._program = program
        self._directory = private_directory("mainspring-kms-")
        (self.port,) = free_ports(1)
        self.start()

    def start(self) -> None:
        """Start it, again too: its keys are there yet. Returns when it takes connections."""
        directory = self._directory
        arguments = [str(self._program), f"127.0.0.1:{self.port}", str(directory)]
        self._keeper = subprocess.Popen(  # noqa: S603 -- our own script and paths
            ["/bin/sh", "-c", _KEEPER, "sh", str(directory), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt at the terminal is for the tests
        )  # fmt: skip
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), START_TIMEOUT_S).close()
            except OSError as error:
                if time.monotonic() > deadline_s:
                    log = (directory / "log").read_text(errors="replace")[-2_000:]
                    raise RuntimeError(f"local-kms does not start: {error}\n{log}") from error
                time.sleep(0.01)
            else:
                return

    @property
    def endpoint(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def url(self, key: str) -> str:
        """Return the URL of the port with one of its keys."""
        return f"aws-kms:{key}?region={REGION}&endpoint={self.endpoint}"

    def ask(self, what: str, **asked: str) -> dict[str, Any]:
        """Do what the adapter does not: ``CreateKey``, ``DisableKey``, ``UpdateAlias``, …"""
        request = urllib.request.Request(  # noqa: S310 - of loopback
            self.endpoint, json.dumps(asked).encode(),
            {"Content-Type": "application/json", "X-Amz-Target": f"TrentService.{what}",
             "Authorization": _NOBODY},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=START_TIMEOUT_S) as answer:  # noqa: S310
            return json.loads(answer.read() or b"{}")  # type: ignore[no-any-return]

    def new_key(self) -> str:
        """Make a key that encrypts, and return its ARN."""
        arn: str = self.ask("CreateKey")["KeyMetadata"]["Arn"]
        return arn

    def kill(self) -> None:
        """Kill it with SIGKILL. Returns when it is gone; its keys stay."""
        self._keeper.communicate(timeout=START_TIMEOUT_S)

    def freeze(self) -> None:
        """Stop it where it stands: connections stay, and nothing answers."""
        os.killpg(self._keeper.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.killpg(self._keeper.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it, and remove all that it held."""
        if self._keeper.poll() is None:
            self.kill()
        shutil.rmtree(self._directory)


def local_kms_program() -> Path | None:
    """Where ``make .tools/local-kms`` built it, or where MAINSPRING_TEST_KMS says; or None."""
    program = Path(os.environ.get("MAINSPRING_TEST_KMS") or PROGRAM).resolve()
    return program if program.is_file() else None
