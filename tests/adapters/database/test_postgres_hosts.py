"""Several servers in one URL: the primary is found, kept to, and left when it is none any more."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from mainspring.adapters.database import postgres_hosts, postgres_pool, postgres_wakes
from mainspring.adapters.database.postgres import PostgresDatabase
from mainspring.adapters.database.postgres_hosts import PostgresHosts, watch_over
from mainspring.kernel.errors import OutcomeUnknown, Unavailable
from mainspring.kernel.table import Query
from mainspring.ports.database import StartError
from mainspring.testing.conformance.database.fixtures import NOTES, SCRIPT, Note
from mainspring.testing.servers import PostgresServer, embedded_postgres
from tests.deadline import DEADLINE_S

PID = Query("test.pid", "SELECT pg_backend_pid()", int)
SERVER = Query("test.server", "SELECT current_setting('unix_socket_directories')", str)
OURS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mainspring'"


def url_of(*places: Path, more: str = "") -> str:
    return f"postgresql://postgres@/postgres?host={quote(','.join(map(str, places)))}{more}"


def hosts_of(url: str) -> PostgresHosts:
    parts = urlsplit(url)
    query = dict(pair.split("=") for pair in parts.query.split("&") if pair)
    return PostgresHosts(parts, query)


@pytest.fixture
def pair() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary and a streaming replica, without which no commit is acknowledged."""
    binaries = embedded_postgres()
    if binaries is None:
        pytest.skip("needs embedded-postgres")
    primary = PostgresServer(binaries)
    try:
        replica = PostgresServer(binaries, replica_of=primary)
        primary.psql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.psql("SELECT pg_reload_conf()")
        deadline_s = time.monotonic() + DEADLINE_S
        while primary.psql("SELECT sync_state FROM pg_stat_replication").strip() != "sync":
            assert time.monotonic() < deadline_s
        yield primary, replica
        replica.close()
    finally:
        primary.close()


@pytest.fixture
async def silent(tmp_path: Path) -> AsyncIterator[Path]:
    """A server that takes connections and never says a word."""
    place = Path(f"/tmp/mainspring-{tmp_path.parent.name}-{tmp_path.name}"[:80])
    place.mkdir(exist_ok=True)
    path = place / ".s.PGSQL.5432"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        yield place
    path.unlink()
    place.rmdir()


async def until_committed(database: PostgresDatabase, note: str) -> None:
    """Write until it is acknowledged; a repeated one has no second effect."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await database.commit([NOTES.insert(Note(note, note), on_conflict=None)])
            except (Unavailable, OutcomeUnknown):
                await asyncio.sleep(0)


async def test_the_primary_is_found_and_followed(
    pair: tuple[PostgresServer, PostgresServer], silent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past one that is silent and a standby; then to that standby, once it was promoted."""
    monkeypatch.setattr(postgres_hosts, "HOST_TIMEOUT_S", 0.3)
    monkeypatch.setattr(postgres_wakes, "CHECK_S", 3_600.0)
    primary, replica = pair
    with pytest.raises(StartError, match="it is a standby"):
        await PostgresDatabase(url_of(replica.directory)).open()
    with pytest.raises(StartError, match=r"TimeoutError; .*it is a standby"):
        await PostgresDatabase(url_of(silent, replica.directory)).open()
    database = PostgresDatabase(url_of(silent, replica.directory, primary.directory))
    await database.open()
    try:
        await database.migrate("one", SCRIPT)
        await database.commit([NOTES.insert(Note("before", "x"))])
        assert await database.read(SERVER, ()) == [str(primary.directory)]

        # Demoted where it is, as a manager does that cannot reach it but by SQL: it answers, and
        # reads from it go well for ever.
        primary.psql("ALTER SYSTEM SET synchronous_standby_names = ''")
        primary.psql("ALTER SYSTEM SET default_transaction_read_only = on")
        primary.psql("SELECT pg_reload_conf()")
        while primary.psql("SHOW default_transaction_read_only").strip() != "on":
            pass  # each psql is a session of its own
        await asyncio.to_thread(replica.promote)
        await until_committed(database, "after")
        assert await database.read(SERVER, ()) == [str(replica.directory)]
        assert replica.psql("SELECT id FROM notes ORDER BY id").split() == ["after", "before"]
        async with asyncio.timeout(DEADLINE_S):  # the one that listens is told, and follows
            while int(await asyncio.to_thread(primary.psql, OURS)) > 1:
                pass
    finally:
        await database.close()


@pytest.mark.parametrize(("age_max_s", "made"), [(300.0, 1), (0.0, 3)])
async def test_a_connection_that_is_old_is_made_anew(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, age_max_s: float, made: int
) -> None:
    monkeypatch.setattr(postgres_pool, "AGE_MAX_S", age_max_s)
    database = PostgresDatabase(postgres_url)
    await database.open()
    try:
        assert len({pid for _ in range(3) for pid in await database.read(PID, ())}) == made
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql://app@db/shop", [("db", 5432)]),
        ("postgresql://app@one,two:6432/shop", [("one", 5432), ("two", 6432)]),
        ("postgresql://app@one,two/shop?port=6432", [("one", 6432), ("two", 6432)]),
        ("postgresql:///shop?host=/a,b&port=1,2", [("/a", 1), ("b", 2)]),
        ("postgresql://app@[::1]:6432,db/shop", [("::1", 6432), ("db", 5432)]),
        ("postgresql:///shop", []),
    ],
)
def test_every_server_of_a_url_is_named(url: str, named: list[tuple[str, int]]) -> None:
    hosts = hosts_of(url)
    assert hosts.named == named
    assert hosts.wanted == ("read-write" if len(named) > 1 else "primary")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://a/x?target_session_attrs=standby", "primary, read-write or any, not"),
        ("postgresql://a,b,c,d,e,f/x", "names 6 hosts, 5 at most"),
        ("postgresql://a,b,c/x?port=1,2", "2 ports for 3 hosts"),
        ("postgresql://a,b:0/x", "the port of b is 1 to 65535, not '0'"),
    ],
)
def test_a_url_that_names_no_servers_to_use_is_refused(url: str, why: str) -> None:
    with pytest.raises(StartError, match=why):
        hosts_of(url)


def test_the_kernel_ends_a_connection_to_what_is_gone() -> None:
    class Transport:
        def __init__(self, sock: socket.socket) -> None:
            self._sock = sock

        def get_extra_info(self, _: str) -> socket.socket:
            return self._sock

    with socket.socket() as sock:
        watch_over(Transport(sock))
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
    with socket.socket(socket.AF_UNIX) as sock:
        watch_over(Transport(sock))
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


class _Made:
    """A connection that was made to a server, as far as hosts look at it."""

    def __init__(self, host: str) -> None:
        self.host, self.ended = host, False

    def terminate(self) -> None:
        self.ended = True


async def test_a_slow_attempt_does_not_lead_back_to_a_server_that_was_left() -> None:
    hosts = hosts_of("postgresql://a,b/shop")
    slow, made = asyncio.Event(), list[_Made]()
    gone = False

    async def connect(asked: dict[str, Any], _: float) -> _Made:
        if asked["host"] == "a" and not gone:
            await slow.wait()
        elif asked["host"] == "a":
            raise ConnectionRefusedError
        made.append(_Made(asked["host"]))
        return made[-1]

    late = asyncio.create_task(hosts.connect(connect))
    await asyncio.wait([late], timeout=0)
    gone = True
    assert (await hosts.connect(connect)).host == "b"
    slow.set()
    assert (await late).host == "b"
    assert (hosts.at, hosts.moves) == (1, 1)
    assert [one.host for one in made if one.ended] == ["a"]
