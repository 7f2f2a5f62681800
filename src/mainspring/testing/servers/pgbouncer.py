"""PgBouncer, in front of a PostgreSQL server."""

import os
import shutil
import subprocess
import time
from urllib.parse import quote

from mainspring.testing.servers.places import (
    START_TIMEOUT_S,
    STARTED,
    first_line,
    private_directory,
)
from mainspring.testing.servers.postgres import PostgresServer

_KEEPER = '"$1" "$2/ini" & read -r _; kill -9 $!; rm -rf "$2"'


class PgBouncer:
    """A PgBouncer of its own in front of a PostgreSQL server, on a Unix socket."""

    def __init__(self, server: PostgresServer, *, pool_mode: str = "transaction") -> None:
        program = shutil.which("pgbouncer")
        if program is None:
            raise RuntimeError("no pgbouncer on PATH")
        self.directory = private_directory("mainspring-pgb-")
        (self.directory / "users").write_text('"postgres" ""\n')
        (self.directory / "ini").write_text(
            f"[databases]\n* = host={server.directory}\n"
            f"[pgbouncer]\nlisten_addr =\nunix_socket_dir = {self.directory}\n"
            f"auth_type = trust\nauth_file = {self.directory}/users\n"
            f"pool_mode = {pool_mode}\nmax_client_conn = 200\ndefault_pool_size = 16\n"
        )
        if server.as_user:
            for path in (self.directory, *self.directory.iterdir()):
                os.chown(path, server.as_user["user"], server.as_user["group"])
        self.version = first_line(program, "--version")
        self._process = subprocess.Popen(  # noqa: S603 -- our own script and paths
            ["/bin/sh", "-c", _KEEPER, "sh", program, str(self.directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            **server.as_user,
        )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not (self.directory / ".s.PGSQL.6432").exists():
            if time.monotonic() > deadline_s or self._process.poll() is not None:
                raise RuntimeError("pgbouncer does not start")
            time.sleep(0.005)
        STARTED.add(self.version)

    def url(self, database_url: str) -> str:
        """Return the URL that reaches one of the server's databases through the pooler."""
        plain, _, _ = database_url.partition("?")
        return f"{plain}?host={quote(str(self.directory), safe='')}&port=6432"

    def close(self) -> None:
        """Stop at once and remove every file."""
        self._process.communicate(timeout=START_TIMEOUT_S)
