"""A platform that goes to another engine and back, with everything that it ever promised."""

import asyncio
import re
import sqlite3
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from mainspring import App, Service, Statement
from mainspring.app import build, sections
from mainspring.cli import EXIT_START, offline
from mainspring.cli.demo.process import environment
from mainspring.kernel.errors import Unavailable
from mainspring.kernel.table import Write
from mainspring.ports.database import Database, StartError
from mainspring.runtime import identity
from mainspring.runtime.move import copying
from mainspring.runtime.move.mover import Differs, Moved
from mainspring.settings import Flag, Settings, load
from tests.deadline import DEADLINE_S
from tests.scenarios.crew import Member

POSTS = {
    "name": "posts",
    "fields": [
        {"name": "title", "type": "text", "required": True},
        {"name": "slug", "type": "text", "unique": True},
        {"name": "stars", "type": "number"},
        {"name": "seen", "type": "boolean"},
    ],
    "indexes": [["stars"]],
}
RECORDS = "/v1/collections/posts/records"
NOTES = {
    "name": "notes",
    "fields": [
        {"name": "post", "type": "relation", "collection": "posts"},
        {"name": "answers", "type": "relation", "collection": "notes"},
    ],
}
ALL_NOTES = "/v1/collections/notes/records"
ANN = {"email": "ann@example.com", "password": "a violet in the snow"}
MANY = 40


NEW_ROOM = Statement("test.room", "INSERT INTO shelves_rooms (id) VALUES (:id)")
NEW_BOARD = Statement("test.board", "INSERT INTO shelves_boards VALUES (:id, true, 0.1, :room)")
LOSE_ROOM = Statement("test.lose_room", "DELETE FROM shelves_rooms WHERE id = :id")
LOSE_BOARD = Statement("test.lose_board", "DELETE FROM shelves_boards WHERE id = :id")


def settings_of(folder: Path, url: str, *more: Flag) -> Settings:
    flags = [
        Flag("data_dir", "platform.data_dir", str(folder / "data")),
        Flag("url", "database.url", url),
        *more,
    ]
    return load(sections(None), flags=flags)


async def moved(folder: Path, source: str, target: str, *, ahead: bool = False) -> Moved | None:
    settings = settings_of(folder, source)
    done: list[tuple[int, int | None]] = []
    found = await offline.move(
        settings, None, target, lambda _, rows, total: done.append((rows, total)), ahead=ahead
    )
    assert {total for _, total in done} == {sum(rows for rows, _ in done)}  # it came to the end
    return found


@asynccontextmanager
async def serving(folder: Path, url: str) -> AsyncIterator[Member]:
    flags = [Flag("port", "server.port", 0)]
    instance = await build(settings_of(folder, url, *flags))
    await instance.start()
    try:
        admin = (folder / "data" / "admin.key").read_text().strip()
        async with aiohttp.ClientSession(instance.url) as http:
            yield Member(instance, http, admin)
    finally:
        await instance.drain(1.0)


@pytest.fixture
def here(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path / 'here.db'}"


async def fill(member: Member) -> dict[str, Any]:
    """Do a little of everything; return what must hold ever after."""
    await member.made("/v1/collections", POSTS)
    for n in range(MANY):
        post = {"title": f"é{n}", "slug": f"s{n}", "stars": n / 4, "seen": n % 2 == 0}
        await member.made(RECORDS, post)
    status, kept = await member.ask("POST", RECORDS, {"title": "kept"}, key="once")
    assert status == 201
    # Their links are guarded by triggers, and their schema is one that is not any more.
    await member.made("/v1/collections", NOTES)
    note = await member.made(ALL_NOTES, {"post": kept["id"]})
    await member.made(ALL_NOTES, {"answers": note["id"]})
    longer = {"fields": [*NOTES["fields"], {"name": "text", "type": "text"}]}
    status, _ = await member.ask("PATCH", "/v1/collections/notes", longer)
    assert status == 200
    await member.made("/v1/users", ANN)
    tokens = await member.made("/v1/sessions", ANN)
    key = await member.made("/v1/api_keys", {"name": "k", "scopes": ["records:read"]})
    async with member.http.post(  # of which nothing can be written: a run has a report of it
        f"{RECORDS}:import?format=ndjson",
        data=b"[]\n" * 300,
        headers={"Authorization": f"Bearer {member.admin}"},
    ) as begun:
        run = f"/v1/record_runs/{(await begun.json())['id']}"
    async with asyncio.timeout(DEADLINE_S):
        while (await member.ask("GET", run))[1]["reported"] < 300:
            pass
    gone = await member.made("/v1/users", ANN | {"email": "bob@example.com"})
    await member.ask("DELETE", f"/v1/users/{gone['id']}?erase=true")
    _, page = await member.ask("GET", "/v1/events?limit=10")
    _, checkpoint = await member.ask("GET", "/v1/audit/checkpoint")
    return {
        "kept": kept, "token": tokens["access_token"], "key": key["key"],
        "cursor": page["next_cursor"], "size": checkpoint["size"], "root": checkpoint["root"],
    }  # fmt: skip


async def everything(member: Member) -> list[Any]:
    """What a reader sees of it."""
    paths = (
        f"{RECORDS}?limit=100&sort=-stars", f"{ALL_NOTES}?expand=post,answers",
        "/v1/users?limit=100", "/v1/collections", "/v1/api_keys", "/v1/webhooks", "/v1/record_runs",
    )  # fmt: skip
    seen = []
    for path in paths:
        status, said = await member.ask("GET", path)
        assert status == 200, (path, said)
        said.pop("next_cursor", None)
        seen.append(said)
    return seen


async def still_holds(member: Member, told: dict[str, Any]) -> None:
    """What was given out before is good here."""
    status, again = await member.ask("POST", RECORDS, {"title": "kept"}, key="once")
    assert (status, again) == (200, told["kept"])
    assert (await member.ask("GET", "/v1/users/me", as_=told["token"]))[0] == 200
    assert (await member.ask("GET", RECORDS, as_=told["key"]))[0] == 200
    status, page = await member.ask("GET", f"/v1/events?after={told['cursor']}&limit=100")
    assert status == 200
    assert page["items"]
    _, now = await member.ask("GET", "/v1/audit/checkpoint")
    query = f"first={told['size']}&second={now['size']}"
    status, proof = await member.ask("GET", f"/v1/audit/consistency?{query}")
    assert status == 200
    assert proof
    status, found = await member.ask("GET", f"{RECORDS}?filter=stars%20%3E%205.0&limit=100")
    assert status == 200
    assert len(found["items"]) == MANY - 21
    assert (await member.ask("POST", RECORDS, {"title": "x", "slug": "s1"}))[0] == 409


async def test_all_is_there_after_a_move_and_after_the_way_back(
    tmp_path: Path, here: str, postgres_url: str
) -> None:
    async with serving(tmp_path, here) as member:
        told = await fill(member)
    done = await moved(tmp_path, here, postgres_url)
    assert done is not None
    assert done.events > MANY
    assert {table.name for table in done.tables} >= {"records_records", "users_users", "events"}
    with pytest.raises(StartError, match="was moved to postgresql"):
        async with serving(tmp_path, here):
            pass
    connection = await asyncpg.connect(postgres_url)
    off = "SELECT count(*) FILTER (WHERE tgenabled = 'D'), count(*) FROM pg_trigger"
    (off, there) = await connection.fetchrow(f"{off} WHERE NOT tgisinternal")
    await connection.close()
    assert (off, there > 0) == (0, True)  # guards that a copy passes by are back
    async with serving(tmp_path, postgres_url) as member:
        await still_holds(member, told)
        for n in range(5):
            await member.made(RECORDS, {"title": f"new {n}", "slug": f"new{n}"})
        await member.ask("DELETE", f"{RECORDS}/{told['kept']['id']}")
        seen = await everything(member)
    back = await moved(tmp_path, postgres_url, here)
    assert back is not None
    assert back.events > done.events
    events = next(table for table in back.tables if table.name == "events")
    assert (events.removed, events.added) == (0, back.events - done.events)
    with pytest.raises(StartError, match="was moved to sqlite"):
        async with serving(tmp_path, postgres_url):
            pass
    async with serving(tmp_path, here) as member:
        assert await everything(member) == seen
        assert (await member.ask("POST", RECORDS, {"title": "kept"}, key="once"))[0] == 200
        await member.made(RECORDS, {"title": "and on"})
    # Once more: places in the log go on where they were, on a server that has numbers of its own.
    again = await moved(tmp_path, here, postgres_url)
    assert again is not None
    async with serving(tmp_path, postgres_url) as member:
        await member.made(RECORDS, {"title": "and on again"})
        _, page = await member.ask("GET", "/v1/events?type=records.record.created&limit=100")
        places = [int(event["seq"]) for event in page["items"]]
        assert places == sorted(set(places))


async def test_most_is_copied_while_the_platform_runs(
    tmp_path: Path, here: str, postgres_url: str
) -> None:
    async with serving(tmp_path, here) as member:
        await fill(member)
        assert await moved(tmp_path, here, postgres_url, ahead=True) is None
        _, page = await member.ask("GET", f"{RECORDS}?limit=3&sort=slug&filter=slug != null")
        one, other, third = page["items"]
        # Two values of a unique field change places, which no order of single updates allows.
        for record, slug in ((one, "aside"), (other, one["slug"]), (one, other["slug"])):
            status, _ = await member.ask("PATCH", f"{RECORDS}/{record['id']}", {"slug": slug})
            assert status == 200
        await member.ask("DELETE", f"{RECORDS}/{third['id']}")
        with pytest.raises(StartError, match="another process uses"):
            await moved(tmp_path, here, postgres_url)
        with pytest.raises(StartError, match="was not finished"):
            async with serving(tmp_path, postgres_url):
                pass
        seen = await everything(member)
    done = await moved(tmp_path, here, postgres_url)
    assert done is not None
    records = next(table for table in done.tables if table.name == "records_records")
    assert (records.removed, records.added) == (3, 2)
    async with serving(tmp_path, postgres_url) as member:
        assert await everything(member) == seen


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let so many commits to the target pass, then have the next one raise."""

    def after(commits: int, error: BaseException) -> None:
        left = commits
        write = copying.write

        async def cut_off(database: Database, writes: Sequence[Write]) -> None:
            nonlocal left
            if writes:
                if not left:
                    raise error
                left -= 1
            await write(database, writes)

        monkeypatch.setattr(copying, "write", cut_off)

    return after


@pytest.mark.parametrize("commits", [0, 2, 9])
async def test_a_move_that_is_cut_leaves_the_source_in_use_and_goes_on(
    tmp_path: Path, here: str, postgres_url: str, commits: int, cut: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    async with serving(tmp_path, here) as member:
        told = await fill(member)
    cut(commits, Unavailable("the server went away"))
    with pytest.raises(Unavailable):
        await moved(tmp_path, here, postgres_url)
    monkeypatch.undo()
    async with serving(tmp_path, here) as member:
        await member.made(RECORDS, {"title": "meanwhile"})
    assert await moved(tmp_path, here, postgres_url) is not None
    async with serving(tmp_path, postgres_url) as member:
        await still_holds(member, told)
        status, page = await member.ask("GET", f"{RECORDS}?limit=100")
        assert (status, len(page["items"])) == (200, MANY + 2)


async def test_a_killed_move_is_finished_or_called_off(
    tmp_path: Path, here: str, postgres_url: str
) -> None:
    async with serving(tmp_path, here) as member:
        told = await fill(member)
    await moved(tmp_path, here, postgres_url, ahead=True)
    file = here.removeprefix("sqlite:")
    stands = "UPDATE identity SET standing = ?, other_end = ?"
    with sqlite3.connect(file) as connection:  # as a kill in the middle leaves it
        connection.execute(stands, ("leaving", offline.shown(postgres_url)))
    with pytest.raises(StartError, match="is being moved to"):
        async with serving(tmp_path, here):
            pass
    await offline.stay(settings_of(tmp_path, here))
    async with serving(tmp_path, here) as member:
        await still_holds(member, told)
    await moved(tmp_path, here, postgres_url, ahead=True)
    with sqlite3.connect(file) as connection:  # and a kill before the very last step
        connection.execute(stands, ("left", offline.shown(postgres_url)))
    with pytest.raises(StartError, match="was moved to"):
        await offline.stay(settings_of(tmp_path, here))
    assert await moved(tmp_path, here, postgres_url) is not None
    async with serving(tmp_path, postgres_url) as member:
        await still_holds(member, told)


async def test_a_copy_that_is_not_the_same_is_not_switched_to(
    tmp_path: Path, here: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, here) as member:
        await fill(member)
    write = copying.write

    async def loses_one(database: Database, writes: Sequence[Write]) -> None:
        await write(database, writes[:-1])

    monkeypatch.setattr(copying, "write", loses_one)
    with pytest.raises(Differs, match="rows here and"):
        await moved(tmp_path, here, postgres_url)
    async with serving(tmp_path, here) as member:
        await member.made(RECORDS, {"title": "still here"})


async def test_tables_of_an_app_move_with_what_they_refer_to(
    tmp_path: Path, here: str, postgres_url: str
) -> None:
    migrations = tmp_path / "migrations"
    migrations.mkdir()
    shelves = Service("shelves", doc="For this test.", migrations=migrations)
    app = App("shelves", services=[shelves])
    (migrations / "0001_shelves.sql").write_text(
        "CREATE TABLE shelves_rooms (id text NOT NULL PRIMARY KEY);\n"
        "CREATE TABLE shelves_boards (id text NOT NULL PRIMARY KEY, filled boolean NOT NULL, "
        "height double precision, room text NOT NULL REFERENCES shelves_rooms (id));\n"
    )
    for url, other in ((here, postgres_url), (postgres_url, here)):
        settings = settings_of(tmp_path, url, Flag("port", "server.port", 0))
        instance = await build(settings, app)
        await instance.start()
        name = "a" if url == here else "b"
        await instance.database.commit([NEW_ROOM(id=name), NEW_BOARD(id=name, room=name)])
        if url != here:
            await instance.database.commit([LOSE_BOARD(id="a"), LOSE_ROOM(id="a")])
        await instance.drain(1.0)
        done = await offline.move(settings, app, other, lambda *_: None, ahead=False)
        assert done is not None
        found = {table.name: table for table in done.tables}
        assert found["shelves_boards"].digest.rows == found["shelves_rooms"].digest.rows == 1
    with sqlite3.connect(here.removeprefix("sqlite:")) as connection:
        assert connection.execute("SELECT * FROM shelves_boards").fetchall() == [("b", 1, 0.1, "b")]


async def test_nobody_comes_between(
    tmp_path: Path, here: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has come before the source is left is ended; who comes then is refused."""
    async with serving(tmp_path, postgres_url) as member:
        await fill(member)
    stand, write = identity.stand, copying.write
    begun, go = asyncio.Event(), asyncio.Event()
    came: list[Any] = []

    async def comes_first(database: Database, *how: Any) -> None:
        name = {"application_name": "mainspring"}
        came.append(await asyncpg.connect(postgres_url, server_settings=name))
        monkeypatch.setattr(identity, "stand", stand)
        await stand(database, *how)

    async def waits(database: Database, writes: Sequence[Write]) -> None:
        begun.set()
        await go.wait()
        await write(database, writes)

    monkeypatch.setattr(identity, "stand", comes_first)
    monkeypatch.setattr(copying, "write", waits)
    moving = asyncio.create_task(moved(tmp_path, postgres_url, here))
    async with asyncio.timeout(DEADLINE_S):
        await begun.wait()
        with pytest.raises(StartError, match="is being moved to sqlite"):
            async with serving(tmp_path, postgres_url):
                pass
        go.set()
        assert await moving is not None
        assert came[0].is_closed()


async def test_the_command_moves_and_says_what_is_the_same(
    tmp_path: Path, here: str, postgres_url: str
) -> None:
    async with serving(tmp_path, here) as member:
        await fill(member)
    places = {"MAINSPRING_DATABASE__URL": here, "MAINSPRING_MOVE_TO": postgres_url}

    async def run(*more: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mainspring", "move", "--data-dir", str(tmp_path / "data"), *more,
            env=environment() | places, stdout=PIPE, stderr=STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(DEADLINE_S):
            said, _ = await process.communicate()
        return process.returncode, said.decode()

    code, said = await run("--ahead")
    assert (code, said) == (
        0,
        "copied ahead: stop the platform, and run the same without --ahead\n",
    )
    code, said = await run()
    assert code == 0, said
    assert re.search(rf"^records_records +{MANY + 3}  [0-9a-f]{{64}}$", said, re.MULTILINE)
    assert "the same in both: " in said
    assert re.search(r"^audit log: \d+ events, root [0-9a-f]{64}$", said, re.MULTILINE)
    code, said = await run("--cancel")
    assert code == EXIT_START
    assert "this platform was moved to postgresql://" in said


async def test_what_is_no_place_to_move_to_is_refused(
    tmp_path: Path, here: str, postgres_url: str
) -> None:
    async with serving(tmp_path, here) as member:
        await fill(member)
    with pytest.raises(StartError, match="where the platform is already"):
        await moved(tmp_path, here, here)
    async with serving(tmp_path / "other", postgres_url) as other:
        with pytest.raises(StartError, match="another platform's database"):
            await moved(tmp_path, here, postgres_url)
        # A platform that runs on a server is not moved from under its calls.
        with pytest.raises(StartError, match="stop them all, then move"):
            await moved(tmp_path / "other", postgres_url, f"sqlite:{tmp_path / 'there.db'}")
        assert (await other.ask("GET", "/v1/users"))[0] == 200
    with sqlite3.connect(here.removeprefix("sqlite:")) as connection:
        connection.execute("CREATE TABLE strange (id text PRIMARY KEY)")
    with pytest.raises(StartError, match="the table strange is of no service"):
        await moved(tmp_path, here, f"sqlite:{tmp_path / 'there.db'}")
