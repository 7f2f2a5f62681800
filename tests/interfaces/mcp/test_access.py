"""Who may do what over MCP, and what nobody is told."""

from collections.abc import AsyncIterator

import pytest

from mainspring.testing import Platform
from mainspring.testing.client import Client
from tests.interfaces.mcp.messages import ask, call, post, tool

MADE = {"title": "x"}
AT = {"collection": "open"}


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    """A platform with a collection with rules and one without, as it is by default."""
    async with Platform() as platform:
        fields = [{"name": "title", "type": "text"}]
        rules = {"list": "caller != null", "view": "caller != null", "create": "caller != null"}
        for name, of in (("open", rules), ("zanzibar", {})):
            made = {"name": name, "fields": fields, "rules": of}
            (await platform.admin.post("/v1/collections", made)).expect(201)
        yield platform


async def test_nobody_is_sent_away_and_told_how_to_come_back(platform: Platform) -> None:
    refused = await post(platform.anonymous, "tools/list")
    refused.expect(401)
    assert refused.headers["www-authenticate"].startswith("Bearer")
    key = await platform.as_key("records:read")
    await ask(key, "tools/list")
    (await platform.admin.delete(f"/v1/api_keys/{key.id}")).expect(204)
    (await post(key, "tools/list")).expect(401)


async def _writes(client: Client, *, dry_run: bool = False) -> int:
    made = await call(client, "records.create_record", path=AT, body=MADE, dry_run=dry_run)
    status: int = made["status"]
    return status


async def test_writing_takes_the_setting_and_the_scope(platform: Platform) -> None:
    user = await platform.as_user("ann@example.com")
    for client in (platform.admin, user):
        assert await _writes(client) == 403
        assert await _writes(client, dry_run=True) == 201
        tools = (await ask(client, "tools/list"))["tools"]
        assert [t["annotations"]["readOnlyHint"] for t in tools] == [True, True, True]
    assert (await platform.admin.get("/v1/collections/open/records")).expect(200)["items"] == []
    async with Platform(settings={"mcp.writes": True}) as writing:
        rules = {"create": "true", "view": "true"}
        made = {"name": "open", "fields": [{"name": "title", "type": "text"}], "rules": rules}
        (await writing.admin.post("/v1/collections", made)).expect(201)
        reader = await writing.as_key("records:read", "records:write")
        writer = await writing.as_key("records:read", "records:write", "mcp:write")
        assert [await _writes(client) for client in (reader, writer)] == [403, 201]
        tools = (await ask(writer, "tools/list"))["tools"]
        assert [t["annotations"]["readOnlyHint"] for t in tools] == [True, True, False]


async def test_what_is_hidden_is_named_nowhere(platform: Platform) -> None:
    user = await platform.as_user("ann@example.com")
    told = [
        await post(user, "resources/list"),
        await post(user, "resources/templates/list"),
        *[
            await post(user, "tools/call", {"name": "search", "arguments": {"query": query}})
            for query in ("", "zanzibar", "create record zanzibar")
        ],
    ]
    assert [answer.status for answer in told] == [200] * 5
    assert all("zanzibar" not in answer.text for answer in told)
    assert "open" in told[0].text
    # A collection that is hidden and one that is not there are told alike.
    for operation in ("records.create_record", "records.list_records"):
        hidden, absent = [
            await tool(user, "describe", operation=operation, collection=name)
            for name in ("zanzibar", "absent")
        ]
        assert hidden["detail"] == absent["detail"]
    hidden, absent = [
        await post(user, "resources/read", {"uri": f"mainspring://collections/{n}/records"})
        for n in ("zanzibar", "absent")
    ]
    assert hidden.json["error"]["message"] == absent.json["error"]["message"]
    everything = await tool(platform.admin, "search", query="zanzibar")
    assert {item["collection"] for item in everything["items"]} == {"zanzibar"}


async def test_search_shows_what_its_caller_may_call(platform: Platform) -> None:
    key = await platform.as_key("jobs:read")
    found = await tool(key, "search", query="job queue webhook", limit=50)
    names = {item["operation"] for item in found["items"]}
    assert {"jobs.list_jobs", "jobs.get_job"} <= names
    assert not {name for name in names if name.startswith(("webhooks.", "jobs.create"))}
    unseen = await tool(key, "describe", operation="jobs.create_job")
    assert unseen["status"] == 404
    denied = await call(key, "jobs.list_queues")
    assert denied["status"] == 200
    refused = await call(key, "webhooks.list_webhooks")
    over_rest = await key.get("/v1/webhooks")
    assert (refused["status"], refused["code"], refused["detail"]) == (
        over_rest.status, over_rest.json["code"], over_rest.json["detail"],
    )  # fmt: skip
    # What a caller lacks is told before what the platform does not let anybody do.
    lacking = await call(key, "jobs.create_job", body={"name": "x"})
    assert "jobs:write" in lacking["detail"]
    elsewhere = await call(key, "events.stream_events")
    assert "GET /v1/events/stream" in elsewhere["detail"]


async def test_nobody_sees_what_is_public_and_dry_runs_take_no_key() -> None:
    settings = {"mcp.anonymous": True, "server.idempotency_required": True}
    async with Platform(settings=settings) as platform:
        fields = [{"name": "title", "type": "text"}]
        for name, rule in (("shown", "true"), ("known", "caller != null")):
            rules = dict.fromkeys(("list", "view", "create"), rule)
            made = {"name": name, "fields": fields, "rules": rules}
            key = {"idempotency_key": name}
            (await platform.admin.post("/v1/collections", made, **key)).expect(201)
        listed = (await ask(platform.anonymous, "resources/list"))["resources"]
        assert [resource["name"] for resource in listed] == ["shown"]
        found = await tool(platform.anonymous, "search", query="shown known", limit=50)
        assert {item.get("collection") for item in found["items"]} <= {"shown", None}
        at = {"collection": "shown"}
        tried = await call(
            platform.anonymous, "records.create_record", path=at, body=MADE, dry_run=True
        )
        assert tried["status"] == 201


async def test_limits_count_each_call_once(platform: Platform) -> None:
    limits = {"limits.default": "3/m", "limits.login": "1/m"}
    async with Platform(settings={**limits, "mcp.anonymous": True, "mcp.writes": True}) as limited:
        key = await limited.as_key("jobs:read")
        answers = [await post(key, "tools/list") for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert "retry-after" in answers[-1].headers
        wrong = {"email": "a@example.com", "password": "x"}
        tried = [
            await call(limited.anonymous, "users.create_session", body=wrong) for _ in range(2)
        ]
        assert [(t["status"], t.get("policy")) for t in tried] == [(401, None), (429, "login")]
