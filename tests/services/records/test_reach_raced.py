"""What a rule asks of other records holds when the write that it allowed is committed."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from mainspring import testing
from mainspring.kernel.errors import Failure
from mainspring.kernel.table import Query
from mainspring.services.records import reach
from mainspring.testing.servers import PostgresServer
from tests.deadline import DEADLINE_S
from tests.services.records.platform import ANNA, BERT, Platform

OWN_NAME = Query("test.own_name", "SELECT current_database()", str)
WAITING = (
    "SELECT count(*) FROM pg_locks WHERE NOT granted "
    "AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())"
)
RULE = "record.team.owner == caller.id || record.team.members.exists(m, m.user == caller.id)"


async def _teams(platform: Platform) -> tuple[str, str]:
    """A team of Anna's with Bert as a member, and a project of it."""
    text = {"type": "text", "max": 40}
    team = {"name": "team", "type": "relation", "collection": "teams"}
    await platform.make("teams", {"name": "owner", **text}, rules={"view": "true"})
    await platform.make("members", team, {"name": "user", **text})
    rules = dict.fromkeys(("create", "update", "delete", "view"), RULE)
    await platform.make("projects", team, {"name": "title", **text}, rules=rules)
    red = await platform.add("teams", owner=ANNA.id)
    await platform.add("members", team=red["id"], user=BERT.id)
    project = await platform.add("projects", team=red["id"], title="old")
    return red["id"], project["id"]


async def _lose(platform: Platform, caller: Any, team: str) -> None:
    """Take from somebody what the rule lets them in by."""
    if caller is ANNA:
        body = {"owner": "user_other"}
        await platform.run("update_record", collection="teams", id=team, body=body)
        return
    (member,) = await platform.everything("members")
    await platform.run("delete_record", collection="members", id=member["id"])


@pytest.mark.parametrize("caller", [ANNA, BERT])
@pytest.mark.parametrize("action", ["create_record", "update_record", "delete_record"])
async def test_who_lost_the_right_meanwhile_is_refused(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, caller: Any, action: str
) -> None:
    team, project = await _teams(platform)
    args: dict[str, Any] = {"collection": "projects"}
    if action != "create_record":
        args["id"] = project
    if action != "delete_record":
        args["body"] = {"team": team, "title": "new"}
    judge, judged = reach.judge, list[bool]()

    async def and_then_lose(*all_of_it: Any, **named: Any) -> list[bool]:
        answer = await judge(*all_of_it, **named)
        judged.extend(answer)
        if len(judged) == len(answer):  # the first time: the right goes after it was asked for
            await _lose(platform, caller, team)
        return answer

    monkeypatch.setattr(reach, "judge", and_then_lose)
    with pytest.raises(Failure):
        await platform.run(action, caller, **args)
    monkeypatch.undo()
    assert judged[0] is True
    assert [p["title"] for p in await platform.everything("projects")] == ["old"]


@pytest.fixture
async def on_postgres(postgres_server: PostgresServer) -> AsyncIterator[testing.Platform]:
    """A platform on PostgreSQL: SQLite has one writer, who sees all that is committed."""
    async with testing.Platform(database=postgres_server) as whole:
        yield whole


async def test_a_change_under_way_is_waited_for(
    on_postgres: testing.Platform, postgres_server: PostgresServer
) -> None:
    platform = Platform(on_postgres.app, on_postgres.clock)
    team, project = await _teams(platform)
    (name,) = await platform.database.read(OWN_NAME, ())
    somebody = await asyncpg.connect(postgres_server.url(name))
    change = "UPDATE records_records SET data = replace(data, 'user_anna', 'user_x') WHERE id = $1"
    async with asyncio.timeout(DEADLINE_S):
        async with somebody.transaction():
            await somebody.execute(change, team)
            body = {"title": "new"}
            writing = asyncio.create_task(
                platform.run("update_record", ANNA, collection="projects", id=project, body=body)
            )
            while not await somebody.fetchval(WAITING):
                pass
        with pytest.raises(Failure):
            await writing
    assert (await platform.get("projects", project))["title"] == "old"
    await somebody.close()
