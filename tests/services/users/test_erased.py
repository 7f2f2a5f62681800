"""What is left of an erased person: looked for in every file, every table, every answer."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from mainspring import app, settings
from mainspring.kernel.table import Query
from tests.deadline import DEADLINE_S

NAME, EMAIL = "Ada Byron Lovelace", "ada.lovelace@example.com"
TABLES = Query(
    "test.tables",
    "SELECT name FROM sqlite_master WHERE type = 'table'",
    str,
    postgres="SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()",
)
OPEN_JOBS = Query(
    "test.open_jobs",
    "SELECT COUNT(*) FROM jobs WHERE name IN ('users.forget_mail', 'users.scrub') "
    "AND state IN ('ready', 'running')",
    int,
)


@pytest.fixture
async def platform(database_url: str, tmp_path: Path) -> AsyncIterator[app.Instance]:
    environ = {
        "MAINSPRING_PLATFORM__DATA_DIR": str(tmp_path / "data"),
        "MAINSPRING_DATABASE__URL": database_url,
        "MAINSPRING_SERVER__PORT": "0",
    }
    found = await app.build(settings.load(app.sections(None), environ=environ))
    await found.start()
    yield found
    await found.drain(5.0)


def files_with(folder: Path, *words: str) -> list[str]:
    return [
        str(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and any(word.encode() in file.read_bytes() for word in words)
    ]


async def tables_with(platform: app.Instance, *words: str) -> list[str]:
    found = []
    for table in await platform.database.read(TABLES, ()):
        rows = await platform.database.read(
            Query(f"test.all_of_{table}", f'SELECT * FROM "{table}"', tuple), ()
        )
        found += [table for row in rows if any(word in str(row) for word in words)]
    return found


async def test_nothing_that_was_stored_tells_of_an_erased_person(
    platform: app.Instance, tmp_path: Path
) -> None:
    admin = (tmp_path / "data/admin.key").read_text().strip()
    headers = {"Authorization": f"Bearer {admin}"}
    async with aiohttp.ClientSession(platform.url, headers=headers) as session:

        async def ask(method: str, path: str, body: object, key: str) -> tuple[int, str]:
            keyed = {"Idempotency-Key": key}
            async with session.request(method, path, json=body, headers=keyed) as response:
                return response.status, await response.text()

        new = {"email": EMAIL, "password": "a long enough password", "display_name": NAME}
        rename = {"display_name": NAME}
        status, made = await ask("POST", "/v1/users", new, "sign-up")
        assert status == 201
        user = made.partition('"id":"')[2].partition('"')[0]
        other_new = {**new, "email": "bob@example.com", "display_name": "Bob"}
        _, other = await ask("POST", "/v1/users", other_new, "other")
        path = f"/v1/users/{user}"
        calls = [
            ("POST", "/v1/users", new, "sign-up"),
            ("PATCH", path, rename, "no change"),
            ("PATCH", path, {"display_name": NAME + "!"}, "a change"),
        ]
        for call in calls:
            _, first = await ask(*call)
            assert NAME in first
            assert (await ask(*call)) == (200, first)
        status, _ = await ask("DELETE", path + "?erase=true", None, "erase")
        assert status == 204
        for call in calls:
            status, answer = await ask(*call)
            assert NAME not in answer
            assert EMAIL not in answer
            assert status in (404, 410), answer
        assert (await ask("POST", "/v1/users", other_new, "other")) == (200, other)
    with platform.runtime.board.listen("local:finished") as signal:
        async with asyncio.timeout(DEADLINE_S):
            while await platform.database.read(OPEN_JOBS, ()) != [0]:
                await signal.wait()
                signal.clear()
    assert await tables_with(platform, NAME, EMAIL) == []
    assert files_with(tmp_path, NAME, EMAIL) == []
