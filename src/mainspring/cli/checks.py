"""What ``mainspring doctor`` looks at, one function per check."""

import asyncio
import contextlib
import importlib.metadata
import json
import os
import resource
import shutil
import socket
import stat
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from mainspring.cli.instance_file import find_running
from mainspring.cli.remote import trusting
from mainspring.interfaces.http.server_settings import ServerSettings
from mainspring.interfaces.http.tls import EdgeCertificate
from mainspring.kernel.clock import SystemClock
from mainspring.kernel.errors import Failure, Unavailable
from mainspring.kernel.process_role import ProcessRole
from mainspring.kernel.service import Service
from mainspring.kernel.sweep import HowMany
from mainspring.kernel.table import Query, Write
from mainspring.ports.blobs import Blobs
from mainspring.ports.bus import Bus, BusAway
from mainspring.ports.cache import Cache
from mainspring.ports.database import Database, DatabaseTransaction, StartError, Wakes
from mainspring.ports.limits import RateLimits
from mainspring.ports.listeners import described
from mainspring.ports.mail import Mail, MailError
from mainspring.runtime.health import PROCESS_CONNECTIONS, SERVER_ROOM, TRY_TO_WRITE
from mainspring.runtime.retention import COUNTED_MAX, DAY_MS, kept
from mainspring.services.audit.api import CheckpointRefused
from mainspring.services.audit.checkpoints import ADVICE
from mainspring.services.records.uploads import LEFT_MS, Uploads, count_uploads

PYTHON_MIN = (3, 11)
SQLITE_MIN = (3, 51, 3)  # earlier ones have a published WAL corruption bug
_SQLITE = ".".join(map(str, SQLITE_MIN))
DISK_FREE_BYTES_MIN = 500 << 20
DISK_FREE_BYTES_GOOD = 5 << 30
OPEN_FILES_GOOD = 4_096
OPEN_FILES_MIN = 256
CONNECT_TIMEOUT_S = 5.0
REPLICA_LOOKS, REPLICA_PAUSE_S = 10, 0.2
MAIL_TIMEOUT_S = 15.0
STATUS_BYTES_MAX = 1 << 20
COMPARE_TIMEOUT_S = 30.0  # of the log with what was signed
BLOBS_MAX = 20_000  # that are looked at; their order is not that of their age
UPLOADS_LATE_MS = 2 * LEFT_MS + DAY_MS // 2  # the sweep of the day after is half a day late
CLOCK_EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)
CLOCK_SLACK_S = 60.0
CERTIFICATE_LEFT_GOOD = timedelta(days=7)
_KEPT_ADVICE = "look into /v1/queues; [retention] says what is kept for how long: mainspring config"


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at, what was found, and what to do when it is not well."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def check_python() -> Check:
    """The interpreter is one we support."""
    found = f"{sys.implementation.name} {'.'.join(map(str, sys.version_info[:3]))}"
    if sys.version_info < PYTHON_MIN:
        return Check("python", Verdict.FAIL, found, "install Python 3.11 or newer")
    return Check("python", Verdict.OK, found)


def check_sqlite() -> Check:
    """The SQLite in the apsw wheel has no known corruption bug."""
    try:
        version = importlib.metadata.version("apsw")
    except importlib.metadata.PackageNotFoundError:
        return Check(
            "sqlite", Verdict.FAIL, "apsw is not installed", f"pip install 'apsw>={_SQLITE}'"
        )
    numbers = tuple(int(part) for part in version.split(".")[:3])
    if numbers < SQLITE_MIN:
        return Check("sqlite", Verdict.FAIL, version, f"pip install 'apsw>={_SQLITE}'")
    return Check("sqlite", Verdict.OK, ".".join(map(str, numbers)))


def check_data_dir(data_dir: Path) -> Check:
    """The data directory can be written, and others cannot read it."""
    if not data_dir.exists():
        parent = _existing(data_dir)
        if not os.access(parent, os.W_OK):
            return Check("data directory", Verdict.FAIL, f"{parent} is not writable",
                         "choose another with --data-dir")  # fmt: skip
        return Check("data directory", Verdict.OK, f"{data_dir} will be made")
    if not data_dir.is_dir() or not os.access(data_dir, os.W_OK | os.X_OK):
        return Check("data directory", Verdict.FAIL, f"{data_dir} is not a writable directory",
                     "give it to the user that runs mainspring")  # fmt: skip
    if data_dir.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        return Check("data directory", Verdict.WARN, f"{data_dir} is open to every user",
                     f"chmod 700 {data_dir}")  # fmt: skip
    return Check("data directory", Verdict.OK, str(data_dir))


def check_disk(data_dir: Path) -> Check:
    """There is room to write."""
    free = shutil.disk_usage(_existing(data_dir)).free
    found = f"{free / (1 << 30):.1f} GiB free"
    if free < DISK_FREE_BYTES_MIN:
        return Check("disk", Verdict.FAIL, found, "free some space: writes will fail")
    if free < DISK_FREE_BYTES_GOOD:
        return Check("disk", Verdict.WARN, found, "free some space soon")
    return Check("disk", Verdict.OK, found)


def check_secrets(data_dir: Path) -> Check:
    """Only the owner reads the files that hold keys."""
    held = [p for p in (*data_dir.glob("keyring*"), *data_dir.glob("*.key")) if p.is_file()]
    if not held:
        return Check("key files", Verdict.OK, "none yet: the first start makes them")
    loose = [p.name for p in held if p.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]
    if loose:
        return Check("key files", Verdict.FAIL, f"{', '.join(loose)} can be read by others",
                     f"cd {data_dir} && chmod 600 {' '.join(loose)}")  # fmt: skip
    return Check("key files", Verdict.OK, ", ".join(p.name for p in held))


def check_port(host: str, port: int, data_dir: Path) -> Check:
    """The address can be bound, or it is this platform that has it."""
    where = f"{host}:{port}"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if find_running(data_dir):
                return Check("port", Verdict.OK, f"{where} is taken: a platform runs here")
            return Check("port", Verdict.FAIL, f"{where}: {error.strerror or error}",
                         "choose another with --port, or stop what has it")  # fmt: skip
    return Check("port", Verdict.OK, f"{where} is free")


def check_clock(data_dir: Path) -> Check:
    """The clock is plausible and has not gone back behind what was written."""
    now = time.time()
    shown = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if now < CLOCK_EARLIEST.timestamp():
        return Check("clock", Verdict.FAIL, shown, "set the clock: tokens and ids depend on it")
    newest = max((p.stat().st_mtime for p in data_dir.glob("*")), default=0.0)
    if newest > now + CLOCK_SLACK_S:
        return Check("clock", Verdict.WARN, f"{shown}, behind files of the data directory",
                     "let NTP set the clock")  # fmt: skip
    return Check("clock", Verdict.OK, shown)


def check_open_files() -> Check:
    """The process may open enough files for its connections."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    found = "unlimited" if limit == resource.RLIM_INFINITY else f"{limit} per process"
    if limit == resource.RLIM_INFINITY or limit >= OPEN_FILES_GOOD:
        return Check("open files", Verdict.OK, found)
    verdict = Verdict.FAIL if limit < OPEN_FILES_MIN else Verdict.WARN
    return Check("open files", verdict, found, f"ulimit -n {OPEN_FILES_GOOD} before the start")


def check_role(role: ProcessRole, database_url: str) -> Check:
    """The process does what its database lets it."""
    parts = {
        "takes calls": role.serves,
        "takes calls of gateways": role is ProcessRole.OWN,
        "runs jobs, consumers and schedules": role.works,
        "brings the log to the bus": role is ProcessRole.RELAY,
    }
    found = f"{role}: {' and '.join(part for part, does in parts.items() if does)}"
    if role is not ProcessRole.ALL and database_url.startswith("sqlite:"):
        return Check("role", Verdict.FAIL, f"{found}; SQLite has one process that does everything",
                     "set [database] url to PostgreSQL, or [platform] role to all")  # fmt: skip
    return Check("role", Verdict.OK, found)


async def check_database(database: Database) -> Check:
    """The database can be opened and says which version it is."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await database.open()
            try:
                await _write_and_undo(database)
                return Check("database", Verdict.OK, await database.version())
            finally:
                await database.close()
    except TimeoutError:
        found = f"no answer within {CONNECT_TIMEOUT_S:g} s"
    except (StartError, Unavailable) as error:
        found = str(error)
    return Check("database", Verdict.FAIL, found, "check [database] url: mainspring config")


async def check_mail(open_mail: Callable[[], Mail]) -> Check:
    """The mail server answers, and takes the login."""
    try:
        async with asyncio.timeout(MAIL_TIMEOUT_S):
            return Check("mail", Verdict.OK, await open_mail().check())
    except TimeoutError:
        found = f"no answer within {MAIL_TIMEOUT_S:g} s"
    except (StartError, MailError) as error:
        found = str(error)
    return Check("mail", Verdict.FAIL, found, "check [mail]: mainspring config")


async def check_store(part: str, open_store: Callable[[], Cache | RateLimits]) -> Check:
    """What processes share beside the database answers, where a store is set; calls need none."""
    try:
        store = open_store()
        await store.open("doctor")
        away, name = store.away(), store.version()
        await store.close()
    except StartError as error:
        return Check(part, Verdict.FAIL, str(error), f"check [{part}] url: mainspring config")
    if away:
        advice = f"calls go on without it; check [{part}] url: mainspring config"
        return Check(part, Verdict.WARN, away, advice)
    return Check(part, Verdict.OK, name or "in the process")


async def check_bus(open_bus: Callable[[], Bus]) -> Check:
    """The bus answers, where one is set; calls need none."""
    try:
        return Check("bus", Verdict.OK, await open_bus().check())
    except StartError as error:
        return Check("bus", Verdict.FAIL, str(error), "check [bus] url: mainspring config")
    except BusAway as error:
        advice = "calls go on, and events wait in the log; check [bus] url: mainspring config"
        return Check("bus", Verdict.WARN, error.detail, advice)


async def check_connections(database: Database) -> Check:
    """The database server has room for one more process, and for how many in all."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await database.open()
            try:
                (room,) = await database.read(SERVER_ROOM, ())
            finally:
                await database.close()
    except (TimeoutError, StartError, Failure) as error:
        return Check("connections", Verdict.WARN, f"not counted: {described(error)}")
    if not room.most:
        return Check("connections", Verdict.OK, "none: a file has no server")
    fit = room.most // PROCESS_CONNECTIONS
    found = (
        f"{room.taken} of {room.most} taken; a process opens up to {PROCESS_CONNECTIONS}, so "
        f"{fit} {'fits' if fit == 1 else 'fit'}"
    )
    if room.most - room.taken >= PROCESS_CONNECTIONS:
        return Check("connections", Verdict.OK, found)
    advice = "raise the server's max_connections, or lower ?pool=N in [database] url"
    return Check("connections", Verdict.WARN, f"{found}; not one more does now", advice)


async def check_replicas(database: Database) -> list[Check]:
    """Each replica can be read from, and lags no more than it may."""
    if (replicas := database.replicas) is None:
        return []
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await database.open()
            try:
                for _ in range(REPLICA_LOOKS):  # the first may come before what it looks for
                    await replicas.look()
                    standing = replicas.standing()
                    if not any(one.why for one in standing):
                        break
                    await asyncio.sleep(REPLICA_PAUSE_S)
            finally:
                await database.close()
    except (TimeoutError, StartError, Failure) as error:
        return [Check("replicas", Verdict.WARN, f"not looked at: {described(error)}")]
    advice = "reads go to the primary meanwhile; look into the server, and [database] replicas"
    return [
        Check(
            "replica",
            Verdict.WARN if one.why else Verdict.OK,
            f"{one.name}: {one.why or f'rows are {one.lag_s or 0.0:.1f} s old at most'}",
            advice if one.why else "",
        )
        for one in standing
    ]


async def check_kept(database: Database, services: Sequence[Service]) -> Check:
    """What ends is removed in time: jobs, answers, the places of consumers that are no more."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await database.open()
            try:
                if not await database.applied():
                    return Check("kept", Verdict.OK, "nothing: the database is empty")
                found = await kept(database, services)
            finally:
                await database.close()
    except (TimeoutError, StartError, Failure) as error:
        return Check("kept", Verdict.WARN, f"not counted: {described(error)}", _KEPT_ADVICE)
    now_ms = time.time_ns() // 1_000_000
    said = ", ".join(_said(what, count, now_ms) for what, count in found.items() if count.rows)
    said = said or "nothing that goes in time"
    many = found["dead jobs"].rows == COUNTED_MAX
    return Check("kept", Verdict.WARN if many else Verdict.OK, said, _KEPT_ADVICE if many else "")


async def check_blobs(open_blobs: Callable[[], Blobs]) -> Check:
    """Files can be stored, read and removed."""
    try:
        async with asyncio.timeout(COMPARE_TIMEOUT_S):
            checked = await open_blobs().check()
    except (TimeoutError, StartError, Failure) as error:
        return Check("blobs", Verdict.FAIL, described(error), "check [blobs]: mainspring config")
    return Check(
        "blobs", Verdict.WARN if checked.advice else Verdict.OK, checked.found, checked.advice
    )


async def check_uploads(database: Database, open_blobs: Callable[[], Blobs]) -> Check:
    """Files that no record has are removed in time, as is what was never sent to its end."""

    async def find(query: Query[Any], **params: Any) -> Any:
        return next(iter(await database.read(query, query.sql.bind(params))), None)

    try:
        async with asyncio.timeout(COMPARE_TIMEOUT_S):
            await database.open()
            try:
                if not await database.applied():
                    return Check("uploads", Verdict.OK, "none: the database is empty")
                found = await count_uploads(open_blobs(), find, BLOBS_MAX)
            finally:
                await database.close()
    except (TimeoutError, StartError, Failure) as error:
        return Check("uploads", Verdict.WARN, f"not counted: {described(error)}")
    return say_uploads(found, time.time_ns() // 1_000_000)


def say_uploads(found: Uploads, now_ms: int) -> Check:
    """What was counted of uploads is well unless something is left that was to go long ago."""
    said = (
        f"{found.files:,}{' or more' if found.more else ''} ({_size(found.size_bytes)}), of which "
        f"{found.left:,} no record has and {found.unfinished:,} were not sent to their end "
        f"({_size(found.left_bytes)})"
    )
    if found.oldest_ms is None or now_ms - found.oldest_ms < UPLOADS_LATE_MS:
        return Check("uploads", Verdict.OK, said)
    days = (now_ms - found.oldest_ms) // DAY_MS
    advice = "they go a day after: look for the job records.sweep_files in /v1/queues/platform/dead"
    return Check("uploads", Verdict.WARN, f"{said}, the oldest for {days} days", advice)


async def check_audit_log(compared: Awaitable[str]) -> Check:
    """The log extends what the keyring remembers that its keys have signed."""
    try:
        async with asyncio.timeout(COMPARE_TIMEOUT_S):
            return Check("audit log", Verdict.OK, await compared)
    except CheckpointRefused as refused:
        return Check("audit log", Verdict.FAIL, refused.detail, ADVICE)
    except (TimeoutError, StartError, Failure) as error:
        return Check("audit log", Verdict.WARN, f"not compared: {described(error)}",
                     "mainspring audit verify checks an export of it anywhere")  # fmt: skip


def _size(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):,.1f} MiB"


def _said(what: str, count: HowMany, now_ms: int) -> str:
    text = f"{count.rows:,}{' or more' if count.rows == COUNTED_MAX else ''} {what}"
    if count.oldest_ms is None or count.oldest_ms > now_ms:
        return text
    days = (now_ms - count.oldest_ms) / DAY_MS
    return f"{text} (oldest {days:,.0f} days)" if days >= 1 else text


async def _write_and_undo(database: Database) -> None:
    """Find out whether the database takes writes, and leave nothing behind."""

    async def body(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
        await transaction.execute(TRY_TO_WRITE())
        raise _Undone

    with contextlib.suppress(_Undone):
        await database.transact(body)


class _Undone(Exception):
    """Rolls back what a check wrote."""


class _Processes(msgspec.Struct, frozen=True):
    wanted: int
    alive: int


def check_certificate(server: ServerSettings) -> Iterator[Check]:
    """The server's certificate is one that it would start with, and holds for a while."""
    if not server.tls_certificate:
        return
    try:
        not_after = EdgeCertificate(server, SystemClock()).not_after
    except StartError as error:
        yield Check("certificate", Verdict.FAIL, str(error), "see docs/howto/speak-tls.md")
        return
    left = not_after - datetime.now(UTC)
    found = f"{server.tls_certificate} holds until {not_after:%F %T} UTC"
    if left >= CERTIFICATE_LEFT_GOOD:
        yield Check("certificate", Verdict.OK, found)
    else:
        yield Check(
            "certificate", Verdict.WARN, f"{found}, {left.days} days from now", "renew it: the "
            "files are read again when they are replaced",
        )  # fmt: skip


class _Status(msgspec.Struct, frozen=True):
    """What is read of ``GET /v1/status``."""

    ready: bool
    failing: list[str]
    processes: _Processes


def check_running(url: str, certificate: str = "") -> Check:
    """The platform that runs over this data directory says that it can serve."""
    request = urllib.request.Request(url + "/v1/status")  # noqa: S310 - http, from running.json
    try:
        context = trusting(certificate) if certificate else None
        with urllib.request.urlopen(  # noqa: S310
            request, timeout=CONNECT_TIMEOUT_S, context=context
        ) as answer:
            status = msgspec.json.decode(answer.read(STATUS_BYTES_MAX), type=_Status)
    except urllib.error.HTTPError as error:
        found = f"answers {error.code}"
    except msgspec.MsgspecError as error:
        found = f"something else answers at {url}: {error}"
    except (OSError, StartError) as error:
        found = f"does not answer at {url}: {error}"
    else:
        if not status.ready:
            found = f"not ready: {'; '.join(status.failing)}"
        else:
            wanted, alive = status.processes.wanted, status.processes.alive
            ready = f"ready at {url}"
            if wanted == 1:
                return Check("platform", Verdict.OK, ready)
            if alive == wanted:
                return Check("platform", Verdict.OK, f"{ready}, {wanted} processes")
            found = f"{ready}, {alive} of {wanted} processes"
            return Check("platform", Verdict.WARN, found, "look into its log")
    return Check("platform", Verdict.FAIL, found, "look into its log")


def as_json(checks: list[Check]) -> str:
    """Write the checks as a JSON list."""
    return json.dumps(msgspec.to_builtins(checks), indent=2)


def worst(checks: list[Check]) -> Verdict:
    """Return the verdict of the check that ended worst."""
    order = list(Verdict)
    return max((check.verdict for check in checks), key=order.index)


def local_checks(data_dir: Path, host: str, port: int) -> Iterator[Check]:
    """Every check that needs nothing but this machine."""
    yield check_python()
    yield check_sqlite()
    yield check_data_dir(data_dir)
    yield check_disk(data_dir)
    yield check_secrets(data_dir)
    yield check_port(host, port, data_dir)
    yield check_clock(data_dir)
    yield check_open_files()


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
