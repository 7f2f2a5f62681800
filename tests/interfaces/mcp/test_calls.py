"""What is done over MCP is done as over REST: same owner, same commit, same refusals."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from mainspring.testing import Platform
from tests.interfaces.mcp.messages import ask, call, tool

POSTS = {
    "name": "posts",
    "fields": [{"name": "title", "type": "text", "unique": True, "max": 9}],
    "rules": {"list": "true", "view": "true", "create": "caller != null"},
}
RECORDS = "/v1/collections/posts/records"
AT = {"collection": "posts"}


@pytest.fixture
async def platform(platform_server: str | None) -> AsyncIterator[Platform]:
    """A platform that agents may write to, whose calls go to their owner as bytes."""
    settings = {"mcp.writes": True}
    async with Platform(database=platform_server, settings=settings, encoded=True) as platform:
        (await platform.admin.post("/v1/collections", POSTS)).expect(201)
        yield platform


async def test_a_call_is_the_same_as_over_rest(platform: Platform) -> None:
    admin = platform.admin
    made = await call(
        admin, "records.create_record", path=AT, body={"title": "one"}, idempotency_key="k"
    )
    assert (made["status"], made["body"]["title"], made["etag"]) == (201, "one", '"1"')
    (event,) = await platform.events("records.record.created")
    assert event.subject == made["body"]["id"]
    # A retry through the other interface has no second effect.
    again = await admin.post(RECORDS, {"title": "one"}, idempotency_key="k")
    assert (again.expect(200), again.headers["idempotency-replayed"]) == (made["body"], "true")
    repeated = await call(
        admin, "records.create_record", path=AT, body={"title": "one"}, idempotency_key="k"
    )
    assert (repeated["status"], repeated["replayed"]) == (200, True)
    # The same mistake is the same problem.
    wrong = await call(admin, "records.create_record", path=AT, body={"title": "0123456789"})
    told = (await admin.post(RECORDS, {"title": "0123456789"})).expect(422)
    assert wrong["failed"]
    assert wrong["errors"] == told["errors"]
    assert wrong["code"] == told["code"]
    at = {**AT, "id": made["body"]["id"]}
    stale = await call(
        admin, "records.update_record", path=at, body={"title": "two"}, if_match='"7"'
    )
    assert stale["code"] == "precondition_failed"
    page = await call(
        admin, "records.list_records", path=AT, query={"limit": 1, "filter": 'title == "one"'}
    )
    assert page["body"] == (await admin.get(RECORDS)).expect(200)


async def test_a_dry_run_is_judged_by_the_database_and_leaves_nothing(platform: Platform) -> None:
    admin = platform.admin
    before = await platform.events()

    async def tries(operation: str, **arguments: Any) -> Any:
        return await call(admin, operation, dry_run=True, **arguments)

    tried = await tries("records.create_record", path=AT, body={"title": "one"})
    assert (tried["status"], tried["dry_run"]) == (201, True)
    assert tried["body"]["title"] == "one"
    assert tried["would_commit"]["events"] == {"records.record.created": 1}
    assert tried["would_commit"]["rows"] >= 1
    # What runs inside the transaction sees itself there, and is undone as well.
    step = {"collection": "posts", "action": "create", "data": {"title": "one"}}
    steps = await tries("records.batch_steps", body={"steps": [step]})
    assert steps["would_commit"]["events"] == {"records.record.created": 1}
    assert (await admin.get(RECORDS)).expect(200)["items"] == []
    assert await platform.events() == before
    (await admin.post(RECORDS, {"title": "one"})).expect(201)
    taken = await tries("records.create_record", path=AT, body={"title": "one"})
    assert (taken["failed"], taken["status"]) == (True, 409)
    assert (await tries("records.batch_steps", body={"steps": [step]}))["status"] == 409
    key = await platform.as_key("collections:read", "records:write", "records:read")
    told = await call(key, "records.create_record", path=AT, body={"title": "two"}, dry_run=True)
    assert "would_commit" not in told  # how much else is touched is for who reads the log


async def test_what_proves_a_secret_is_not_tried(platform: Platform) -> None:
    wrong = {"email": "ann@example.com", "password": "not hers, tried for free"}
    await platform.as_user("ann@example.com")
    for operation, body in (
        ("users.create_session", wrong),
        ("users.create_api_key", {"name": "x", "scopes": ["records:read"]}),
    ):
        tried = await call(platform.admin, operation, body=body, dry_run=True)
        assert (tried["status"], tried["errors"][0]["pointer"]) == (422, "/dry_run")
    kept = await call(
        platform.admin, "records.create_record", path=AT, body={}, dry_run=True,
        idempotency_key="k",
    )  # fmt: skip
    assert kept["errors"][0]["pointer"] == "/idempotency_key"


async def test_what_an_address_could_not_hold_is_refused(platform: Platform) -> None:
    create, lists = "records.create_record", "records.list_records"
    for operation, arguments, pointer in (
        (create, {"path": {**AT, "id": "x"}}, "/path/id"),
        (create, {"path": {"collection": "x" * 5_000}}, "/path"),
        (create, {"path": AT, "query": {"filter": "x" * 17_000}}, "/query"),
        (lists, {"path": AT, "query": {"filter": "x" * 17_000}}, "/query"),
        (lists, {"path": AT, "query": {"expand": ["x"] * 200}}, "/query"),
        (lists, {"path": AT, "body": {}}, "/body"),
        (lists, {"path": AT, "query": {"limit": None}}, "/limit"),
        (create, {"path": AT, "dry": True}, "/dry"),
    ):
        refused = await call(platform.admin, operation, **arguments)
        assert (refused["status"], refused["errors"][0]["pointer"]) == (422, pointer), arguments
    for key in ("", "x" * 256, "é", "a\nb"):
        odd = await call(platform.admin, create, path=AT, body={}, idempotency_key=key)
        assert odd["code"] == "malformed", key
    credential = {"credential": {"id": "x" * 300_000}}
    large = await call(platform.admin, "users.create_passkey_session", body=credential)
    assert large["status"] == 413


async def test_collections_are_read_page_by_page(platform: Platform) -> None:
    for title in "abc":
        (await platform.admin.post(RECORDS, {"title": title})).expect(201)
    (listed,) = (await ask(platform.admin, "resources/list"))["resources"]
    uri, seen = f"{listed['uri']}?limit=2&sort=title", []
    first = uri
    while True:
        read = await ask(platform.admin, "resources/read", {"uri": uri})
        (content,) = read["contents"]
        assert (content["uri"], read["cacheScope"]) == (uri, "private")
        page = msgspec.json.decode(content["text"])
        seen += [item["title"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        uri = f"{first}&cursor={page['next_cursor']}"
    assert seen == ["a", "b", "c"]
    one = f"{listed['uri']}/{page['items'][0]['id']}"
    read = await ask(platform.admin, "resources/read", {"uri": one})
    assert '"title":"c"' in read["contents"][0]["text"]


async def test_a_page_that_is_too_long_ends_early(platform: Platform) -> None:
    fields = [{"name": "text", "type": "text", "max": 60_000}]
    (await platform.admin.post("/v1/collections", {"name": "long", "fields": fields})).expect(201)
    for letter in "abc":
        (
            await platform.admin.post("/v1/collections/long/records", {"text": letter * 30_000})
        ).expect(201)
    at, seen, cursor = {"collection": "long"}, "", None
    while True:
        query = {"limit": 3} if cursor is None else {"limit": 3, "cursor": cursor}
        page = await call(platform.admin, "records.list_records", path=at, query=query)
        seen += "".join(item["text"][0] for item in page["body"]["items"])
        cursor = page["body"]["next_cursor"]
        if cursor is None:
            break
        assert "next_cursor" in page["cut"]
    assert seen == "abc"
    whole = [{"text": letter * 40_000} for letter in "xy"]
    batch = {"items": [{"action": "create", "data": data} for data in whole]}
    made = await call(platform.admin, "records.batch_records", path=at, body=batch)
    assert (made["status"], "body" in made) == (200, False)
    assert "left out" in made["cut"]


async def test_operations_are_found_and_described(platform: Platform) -> None:
    found = await tool(platform.admin, "search", query="add a webhook", limit=1)
    assert found["items"][0]["operation"].startswith("webhooks.")
    named = await tool(platform.admin, "search", query="create posts", limit=1)
    assert named["items"][0] == {
        "operation": "records.create_record", "collection": "posts", "writes": True,
        "summary": named["items"][0]["summary"],
    }  # fmt: skip
    names: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await tool(platform.admin, "search", limit=50, **cursor)
        names += [item["operation"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    unary = {o.name for o in platform.app.runtime.registry.operations.values() if o.kind == "unary"}
    assert names == sorted(unary)
    for name in names:
        described = await tool(platform.admin, "describe", operation=name)
        assert not described["failed"], described
    shape = await tool(
        platform.admin, "describe", operation="records.create_record", collection="posts"
    )
    assert shape["body"]["properties"]["title"]["anyOf"][0]["maxLength"] == 9
    assert shape["path"]["properties"] == {"collection": {"const": "posts"}}
