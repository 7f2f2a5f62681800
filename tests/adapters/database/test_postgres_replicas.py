"""A streaming replica beside the primary: what is read from it, and when it is left.

That it lags is the doing of the tests: they have it replay nothing for a while.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from mainspring.adapters.database import postgres_replicas
from mainspring.adapters.database.postgres import PostgresDatabase
from mainspring.adapters.database.postgres_replicas import PostgresReplicas, apart
from mainspring.app import sections
from mainspring.cli import checks
from mainspring.cli.checks import check_replicas
from mainspring.kernel.read_after import ANY, NEWEST, WritePosition, read_position
from mainspring.kernel.table import Query
from mainspring.ports.database import ReplicaStanding, StartError
from mainspring.settings import Flag, load, serving_url
from mainspring.testing.conformance.database.fixtures import NOTE_COUNT, NOTES, SCRIPT, Note
from mainspring.testing.servers import PostgresServer, embedded_postgres
from tests.scenarios.crew import Member, crew
from tests.until import until

pytestmark = pytest.mark.xdist_group("replicas")

PATIENT_S, IMPATIENT_S = 60.0, 0.4
SERVER = Query("test.server", "SELECT current_setting('unix_socket_directories')", str)
NAME = Query("test.name", "SELECT current_database()::text", str)
# At a standby it does not come to an end.
STUCK = Query(
    "test.stuck",
    "SELECT CASE WHEN pg_is_in_recovery() THEN (SELECT 'old' FROM pg_sleep(60)) ELSE 'new' END",
    str,
)
SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"


@pytest.fixture(scope="module")
def primary() -> Iterator[PostgresServer]:
    binaries = embedded_postgres()
    if binaries is None:
        pytest.skip("needs embedded-postgres")
    server = PostgresServer(binaries)
    yield server
    server.close()


@pytest.fixture(scope="module")
def replica(primary: PostgresServer) -> Iterator[PostgresServer]:
    binaries = embedded_postgres()
    assert binaries is not None
    server = PostgresServer(binaries, replica_of=primary)
    yield server
    server.close()


def url_of(primary: PostgresServer, url: str, lag_s: float, *replicas: PostgresServer) -> str:
    name = url.partition("?")[0].rpartition("/")[2]
    told = [f"replica={quote(one.url(name), safe='')}" for one in replicas]
    return f"{url}&{'&'.join(told)}&replica_lag_s={lag_s:g}"


@asynccontextmanager
async def opened(
    primary: PostgresServer, lag_s: float, *replicas: PostgresServer
) -> AsyncIterator[PostgresDatabase]:
    """A database of its own with a table, once its replicas are read from."""
    url = await asyncio.to_thread(primary.create_database)
    database = PostgresDatabase(url_of(primary, url, lag_s, *replicas))
    await database.open()
    try:
        await database.migrate("one", SCRIPT)
        await used(database)
        yield database
    finally:
        await database.close()


@contextmanager
def replaying_nothing(replica: PostgresServer) -> Iterator[None]:
    replica.psql("SELECT pg_wal_replay_pause()")
    try:
        yield
    finally:
        replica.psql("SELECT pg_wal_replay_resume()")


def replicas_of(database: PostgresDatabase) -> PostgresReplicas:
    assert database.replicas is not None
    return database.replicas


async def looked(database: PostgresDatabase, number: int = 0) -> ReplicaStanding:
    await replicas_of(database).look()
    return replicas_of(database).standing()[number]


async def used(database: PostgresDatabase, number: int = 0) -> None:
    """Wait until a replica is read from."""

    async def holds() -> bool:
        return not (await looked(database, number)).why

    await until(holds)


async def left(database: PostgresDatabase, why: str, number: int = 0) -> None:
    """Wait until a replica is not read from, for this reason."""

    async def holds() -> bool:
        return why in (await looked(database, number)).why

    await until(holds)


async def counted(database: PostgresDatabase, after: str) -> int | None:
    """How many notes a replica has that has to have what was written before a position."""
    reader = replicas_of(database).reader(after)
    return None if reader is None else (await reader.read(NOTE_COUNT, ()))[0]


async def test_what_was_written_before_a_position_is_seen_and_what_others_wrote_may_not_be(
    primary: PostgresServer, replica: PostgresServer
) -> None:
    async with opened(primary, PATIENT_S, replica) as database:
        reader = replicas_of(database).reader(ANY)
        assert reader is not None
        assert await reader.read(SERVER, ()) == [str(replica.directory)]
        with replaying_nothing(replica):
            await database.commit([NOTES.insert(Note("a", "mine"))])
            positions = await asyncio.gather(*(replicas_of(database).position() for _ in range(9)))
            assert len(set(positions)) <= 2  # who asks meanwhile shares the next question
            mine = positions[0]
            await looked(database)
            assert await counted(database, ANY) == 0
            assert await counted(database, mine) is None  # so the primary is read
            assert await counted(database, NEWEST) is None
        await until(lambda: _has(database, mine))
        assert await counted(database, mine) == 1
        # On another timeline the same place is another one.
        at = read_position(mine)
        assert at is not None
        assert await counted(database, str(WritePosition(at.timeline + 1, 0))) is None


async def _has(database: PostgresDatabase, position: str) -> bool:
    await replicas_of(database).look()
    return replicas_of(database).reader(position) is not None


async def test_a_replica_that_lags_too_much_is_left_and_taken_back(
    primary: PostgresServer, replica: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(primary, IMPATIENT_S, replica) as database:
        (name,) = await database.read(NAME, ())
        url = url_of(primary, primary.url(name), IMPATIENT_S, replica)
        before = replicas_of(database).reader(ANY)
        assert before is not None
        with replaying_nothing(replica):
            await database.commit([NOTES.insert(Note("a", "text"))])
            await left(database, "it lags by more than 0.4 s")
            assert replicas_of(database).reader(ANY) is None
            # A call that has begun there goes on at the primary.
            assert await before.read(NOTE_COUNT, ()) == [1]
            with monkeypatch.context() as patch:
                patch.setattr(checks, "REPLICA_LOOKS", 1)
                (check,) = await check_replicas(PostgresDatabase(url))
            assert check.verdict == "warn"
        await used(database)
        (check,) = await check_replicas(PostgresDatabase(url))
        assert (check.verdict, check.name) == ("ok", "replica")
        # Nobody hears of the primary any more: how much it lags is not known then.
        monkeypatch.setattr(postgres_replicas, "LOOK", "SELECT 1 / 0")
        await left(database, "the primary was not heard of")
        assert replicas_of(database).reader(ANY) is None


async def test_a_read_that_fails_at_a_replica_is_done_at_the_primary(
    primary: PostgresServer, replica: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(primary, PATIENT_S, replica) as database:
        with monkeypatch.context() as patch:
            patch.setattr(postgres_replicas, "READ_MAX_S", 0.2)
            stuck = replicas_of(database).reader(ANY)
            assert stuck is not None
            assert await stuck.read(STUCK, ()) == ["new"]
            assert await stuck.read(SERVER, ()) == [str(primary.directory)]  # and stays there
        await used(database)
        dying = replicas_of(database).reader(ANY)
        assert dying is not None
        read = asyncio.create_task(dying.read(STUCK, ()))
        while not int(await asyncio.to_thread(replica.psql, SLEEPING)):
            pass
        await asyncio.to_thread(replica.kill)
        assert await read == ["new"]
        await left(database, "")
        assert replicas_of(database).reader(ANY) is None
        assert replicas_of(database).standing()[0].left == 2
        await asyncio.to_thread(replica.start)
        await used(database)


async def test_a_server_that_follows_another_or_none_is_not_read_from(
    primary: PostgresServer, replica: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    binaries = embedded_postgres()
    assert binaries is not None
    other = PostgresServer(binaries, replica_of=primary)
    try:
        async with opened(primary, PATIENT_S, replica, other) as database:
            await used(database, 1)
            await asyncio.to_thread(other.promote)
            await left(database, "it is not a standby", 1)
            for _ in range(4):  # they take turns
                reader = replicas_of(database).reader(ANY)
                assert reader is not None
                assert await reader.read(SERVER, ()) == [str(replica.directory)]
    finally:
        other.close()
    # Its log is as long as the primary's; only a mark shows that it is the same.
    monkeypatch.setattr(postgres_replicas, "MARK", "SELECT CAST($1 AS text)")
    url = await asyncio.to_thread(primary.create_database)
    database = PostgresDatabase(url_of(primary, url, PATIENT_S, replica))
    await database.open()
    try:
        await left(database, "it does not follow the primary")
        assert replicas_of(database).reader(ANY) is None
    finally:
        await database.close()


def test_replicas_are_taken_out_of_a_url() -> None:
    url = "postgresql://app@db/shop?pool=4&replica=postgresql%3A%2F%2Fapp%40two%2Fshop%3Fpool%3D2"
    plain, told = apart(f"{url}&replica_lag_s=0.5&sslmode=require")
    assert plain == "postgresql://app@db/shop?pool=4&sslmode=require"
    assert (told.urls, told.lag_max_s) == (("postgresql://app@two/shop?pool=2",), 0.5)
    with pytest.raises(StartError, match="9 are named, 8 at most"):
        apart("postgresql://db/shop?" + "&".join(["replica=postgresql%3A%2F%2Fx%2Fy"] * 9))
    several = "postgresql://db/shop?replica=postgresql%3A%2F%2Fone%2Ctwo%2Fshop"
    with pytest.raises(StartError, match="each names one server"):
        PostgresDatabase(several)


# Over HTTP

TEAMS = {"name": "teams", "fields": [{"name": "open", "type": "boolean"}]}
POSTS = {
    "name": "posts",
    "fields": [
        {"name": "title", "type": "text"},
        {"name": "team", "type": "relation", "collection": "teams"},
    ],
    "rules": {"list": "record.team.open", "view": "record.team.open"},
}
RECORDS = "/v1/collections/posts/records"


async def sent(
    member: Member, method: str, path: str, after: str | None, body: object = None, **more: str
) -> tuple[int, str | None, str | None, object]:
    """Ask as the administrator, or whoever else; status, two headers and the answer."""
    headers = {"Authorization": f"Bearer {more.get('key', member.admin)}"}
    if more.get("key") == "":
        headers.clear()
    if after is not None:
        headers["Read-After"] = after
    async with member.http.request(method, path, json=body, headers=headers) as answer:
        said = await answer.json(content_type=None) if answer.status != 204 else None
        told = answer.headers
        return answer.status, told.get("Read-After"), told.get("Stream-Position"), said


async def titles(member: Member, after: str | None, key: str | None = None) -> list[str]:
    more = {} if key is None else {"key": key}
    status, told, position, page = await sent(member, "GET", RECORDS, after, **more)
    assert (status, told) == (200, None), page
    assert isinstance(page, dict)
    # No stream goes on from what a replica has.
    assert (position is None) is (after == ANY)
    return sorted(item["title"] for item in page["items"])


async def test_callers_see_what_they_wrote_and_what_was_taken_from_them_is_gone(
    primary: PostgresServer, replica: PostgresServer, tmp_path: Path
) -> None:
    url = await asyncio.to_thread(primary.create_database)
    settings = {
        "database__replicas": (replica.url(url.partition("?")[0].rpartition("/")[2]),),
        "database__replica_lag_s": PATIENT_S,
    }
    async with crew(tmp_path, url, size=1, **settings) as (member,):
        database = member.instance.database
        assert isinstance(database, PostgresDatabase)
        await member.made("/v1/collections", TEAMS)
        await member.made("/v1/collections", POSTS)
        team = (await member.made("/v1/collections/teams/records", {"open": True}))["id"]
        made = await member.made("/v1/api_keys", {"name": "k", "scopes": ["records:read"]})
        first = {"title": "first", "team": team}
        status, at, _, _ = await sent(member, "POST", RECORDS, ANY, first)
        assert status == 201
        assert at is not None
        await until(lambda: _has(database, at))
        with replaying_nothing(replica):
            status, mine, _, _ = await sent(
                member, "POST", RECORDS, at, {"title": "second", "team": team}
            )
            assert status == 201
            assert mine is not None
            assert await titles(member, ANY) == ["first"]
            assert await titles(member, mine) == ["first", "second"]
            assert await titles(member, None) == ["first", "second"]
            # Who is let in by what a record belongs to is judged by the newest.
            assert await titles(member, ANY, key="") == ["first", "second"]
            path = f"/v1/collections/teams/records/{team}"
            assert (await member.ask("PATCH", path, {"open": False}))[0] == 200
            assert await titles(member, ANY, key="") == []
            # And so is who it is.
            assert await titles(member, ANY, key=made["key"]) == ["first"]
            assert (await member.ask("DELETE", f"/v1/api_keys/{made['id']}"))[0] == 204
            status, _, _, said = await sent(member, "GET", RECORDS, ANY, key=made["key"])
            assert status == 401, said
            status, _, _, said = await sent(member, "GET", RECORDS, "yesterday")
            assert status == 400
            assert isinstance(said, dict)
            assert "Read-After" in said["detail"]
        async with member.http.get("/metrics") as answer:
            shown = await answer.text()
        assert f'mainspring_replica_used{{replica="{replica.directory}' in shown
        assert 'mainspring_lagging_reads_total{where="replica"}' in shown
        assert (await member.ask("GET", "/v1/status"))[1]["degraded"] == []


def test_replicas_are_for_processes_that_answer_callers() -> None:
    def shown(role: str) -> str:
        flags = {
            "database.url": "postgresql://app@db/shop", "platform.role": role,
            "database.replicas": ("postgresql://app:hunter2@two/shop",),
        }  # fmt: skip
        loaded = load(sections(None), flags=[Flag(n, n, v) for n, v in flags.items()])
        assert "hunter2" not in str(loaded.shown())
        return serving_url(loaded)

    assert "replica=" in shown("serve")
    assert "replica=" in shown("own")
    assert shown("work") == "postgresql://app@db/shop"
