"""A fuzzer that reads ``/openapi.json`` finds nothing, whoever it is and on either engine."""

import asyncio
import sys

import pytest

from mainspring.testing import Platform
from tests.deadline import DEADLINE_S

pytestmark = [pytest.mark.more, pytest.mark.timeout(10 * DEADLINE_S)]

ALL = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
FIELDS = [
    {"name": "title", "type": "text", "required": True, "max": 200},
    {"name": "views", "type": "integer", "default": 0},
    {"name": "score", "type": "number"},
    {"name": "open", "type": "boolean"},
    {"name": "due", "type": "datetime"},
    {"name": "mail", "type": "email"},
    {"name": "site", "type": "url"},
    {"name": "kind", "type": "select", "values": ["a", "b"]},
    {"name": "meta", "type": "json"},
    {"name": "doc", "type": "file"},
    {"name": "slug", "type": "text", "max": 40, "unique": True},
    {"name": "tags", "type": "text", "max": 20, "many": True},
    {"name": "owner", "type": "relation", "collection": "users", "stamp": "caller.user"},
]
# What a schema cannot say is refused with 422: a cursor that was not given out, a rule that is no
# CEL, a relation to nothing. That all which fits the schema is taken is therefore not asked.
CHECKS = ("--exclude-checks", "positive_data_acceptance")
# It may not take away what it calls with, or what it is asked about.
SPARED = ("--exclude-method", "DELETE")


@pytest.mark.parametrize("who", ["an administrator", "a user"])
async def test_a_fuzzer_finds_nothing(engine: str, platform_server: str | None, who: str) -> None:
    if engine == "oldest-postgres":
        pytest.skip("no statement of another version is asked for")
    async with Platform(database=platform_server, sockets=True, running=True) as platform:
        posts = {"name": "posts", "fields": FIELDS, "rules": ALL, "indexes": [["views"]]}
        (await platform.admin.post("/v1/collections", posts)).expect(201)
        to_post = {"name": "post", "type": "relation", "collection": "posts"}
        notes = {"name": "notes", "fields": [to_post]}  # only keys with the scope get at them
        (await platform.admin.post("/v1/collections", notes)).expect(201)
        for slug in "ab":
            post = {"title": slug, "slug": slug}
            (await platform.admin.post("/v1/collections/posts/records", post)).expect(201)
        caller = await platform.as_user("ann@example.com") if who == "a user" else platform.admin
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli", "run", f"{platform.url}/openapi.json",
            "-H", f"Authorization: Bearer {await caller.credential()}", "--max-examples", "1",
            "--no-color", "--phases", "coverage", *CHECKS, *SPARED,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        assert " selected" in output.decode().lower()
