"""Operations over GraphQL: the same call, refusal and effect as over REST."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from graphql import build_client_schema, get_introspection_query, validate_schema

from mainspring.kernel.operation import Kind
from mainspring.testing import Platform
from tests.interfaces.graphql.questions import ask, post, refused

RECORDS = "/v1/collections/posts/records"
MADE = """mutation ($body: CreatePostsRecordInput, $key: String) {
  made: records_create_record__posts(body: $body, idempotencyKey: $key) { id title views }
}"""


@asynccontextmanager
async def _prepared(database: str | None = None) -> AsyncIterator[Platform]:
    """A platform with collections that anyone may read, and one that is hidden."""
    async with Platform(database=database) as platform:
        open_to_all = dict.fromkeys(("list", "view", "create", "update"), "true")
        for name, fields, rules in (
            ("authors", [{"name": "name", "type": "text"}], open_to_all),
            ("zanzibar", [{"name": "name", "type": "text"}], {}),
            ("posts", [
                {"name": "title", "type": "text", "required": True},
                {"name": "views", "type": "integer"},
                {"name": "author", "type": "relation", "collection": "authors"},
                {"name": "secret", "type": "text", "hidden": True},
            ], open_to_all),
        ):  # fmt: skip
            made = {"name": name, "fields": fields, "rules": rules}
            (await platform.admin.post("/v1/collections", made)).expect(201)
        yield platform


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    async with _prepared() as platform:
        yield platform


async def test_every_operation_that_answers_json_is_there(platform: Platform) -> None:
    told = await ask(platform.admin, get_introspection_query())
    schema = build_client_schema(told)
    assert validate_schema(schema) == []
    assert schema.query_type is not None
    assert schema.mutation_type is not None
    fields = {False: schema.query_type.fields, True: schema.mutation_type.fields}
    operations = platform.members[0].runtime.registry.operations.values()
    unary = [o for o in operations if o.kind is Kind.UNARY]
    missing = [o.name for o in unary if o.name.replace(".", "_") not in fields[o.writes]]
    assert missing == []
    for operation in unary:
        field = fields[operation.writes][operation.name.replace(".", "_")]
        assert set(operation.path_params) <= set(field.args), operation.name
        assert ("idempotencyKey" in field.args) is operation.writes, operation.name
    others = {o.name.replace(".", "_") for o in operations if o.kind is not Kind.UNARY}
    assert others.isdisjoint({*fields[False], *fields[True]})


async def test_a_write_has_one_effect_whichever_way_it_is_repeated(
    platform_server: str | None,
) -> None:
    async with _prepared(platform_server) as platform:
        assert await _written_once(platform) == 1


async def _written_once(platform: Platform) -> int:
    admin, body = platform.admin, {"title": "one", "views": 3}
    made = (await ask(admin, MADE, body=body, key="k1"))["made"]
    assert (made["title"], made["views"]) == ("one", 3)
    assert (await ask(admin, MADE, body=body, key="k1"))["made"] == made
    over_rest = await admin.post(RECORDS, body, idempotency_key="k1")
    assert (over_rest.status, over_rest.json["id"]) == (200, made["id"])
    other = await refused(admin, MADE, body={"title": "two"}, key="k1")
    known = await admin.post(RECORDS, {"title": "two"}, idempotency_key="k1")
    assert other["made"]["extensions"]["code"] == known.json["code"]
    listed = (await admin.get(f"{RECORDS}?fields=id,title")).expect(200)["items"]
    query = "{ page: records_list_records__posts { items { id title } next_cursor } }"
    page = (await ask(admin, query))["page"]
    assert page == {"items": listed, "next_cursor": None}
    # In one document: the first took effect though the second was refused, and both are told.
    two = """mutation { a: records_create_record__posts(body: {title: "a"}) { title }
      b: records_update_record__posts(id: "rec_none", body: {title: "b"}) { title }
      c: records_update_record__posts(id: "%s", body: {title: "c"}, ifMatch: "\\"9\\"") { id } }"""
    answer = await post(admin, two % made["id"])
    assert answer.expect(200)["data"] == {"a": {"title": "a"}, "b": None, "c": None}
    failed = {e["path"][0]: e["extensions"] for e in answer.json["errors"]}
    assert (failed["b"]["status"], failed["c"]["status"]) == (404, 412)
    assert failed["b"]["request_id"] == answer.headers["request-id"]
    assert answer.json["extensions"]["etags"] == {"a": '"1"'}
    (await admin.request(
        "POST", "/graphql", {"query": two % made["id"]}, idempotency_key="k2"
    )).expect(400)  # fmt: skip
    return len(listed)


async def test_what_a_caller_may_not_see_is_shown_in_no_way(platform: Platform) -> None:
    admin, user = platform.admin, await platform.as_user("ann@example.com")
    author = (await admin.post("/v1/collections/authors/records", {"name": "Ann"})).expect(201)
    post_ = {"title": "t", "secret": "hidden words", "author": author["id"]}
    (await admin.post(RECORDS, post_)).expect(201)
    query = """query ($expand: String) { page: records_list_records__posts(expand: $expand) {
      items { title secret expand } } }"""
    (seen,) = (await ask(admin, query, expand="author"))["page"]["items"]
    assert (seen["secret"], seen["expand"]["author"]["name"]) == ("hidden words", "Ann")
    for client in (user, platform.anonymous):
        assert "'secret'" in (await post(client, query)).expect(400)["errors"][0]["message"]
        (seen,) = (await ask(client, query.replace("secret", "")))["page"]["items"]
        assert seen == {"title": "t", "expand": None}
        general = 'records_list_records(collection: "posts")'
        (seen,) = (await ask(client, "{" + general + " { items } }"))["records_list_records"][
            "items"
        ]
        assert "secret" not in seen
        told = await post(client, get_introspection_query())
        assert "zanzibar" not in told.text.lower()
        for wrong in ("records_list_records__zanziba", "records_list_records__zanzibar"):
            answer = await post(client, "{ " + wrong + " { items { id } } }")
            assert answer.status == 400
            assert "did you mean" not in answer.text.lower()
    errors = await refused(user, "{ webhooks_list_webhooks { items { id } } }")
    over_rest = (await user.get("/v1/webhooks")).expect(403)
    told = errors["webhooks_list_webhooks"]
    assert (told["message"], told["extensions"]["code"]) == (
        over_rest["detail"], over_rest["code"],
    )  # fmt: skip
    key = await platform.as_key("records:read")
    (await platform.admin.delete(f"/v1/api_keys/{key.id}")).expect(204)
    (await post(key, "{ __typename }")).expect(401)


async def test_a_collection_is_there_as_soon_as_it_is_made(platform: Platform) -> None:
    query = "{ records_list_records__fresh { items { note } } }"
    assert (await post(platform.admin, query)).status == 400
    made = {"name": "fresh", "fields": [{"name": "note", "type": "text"}]}
    (await platform.admin.post("/v1/collections", made)).expect(201)
    assert (await ask(platform.admin, query))["records_list_records__fresh"] == {"items": []}
    assert (await platform.admin.delete("/v1/collections/fresh")).status < 300
    assert (await post(platform.admin, query)).status == 400


async def test_each_root_field_is_counted() -> None:
    limits = {"limits.default": "3/m", "limits.login": "2/m"}
    async with Platform(settings=limits) as limited:
        key = await limited.as_key("jobs:read")
        many = "{" + " ".join(f"a{i}: jobs_list_jobs {{ items {{ id }} }}" for i in range(5)) + "}"
        errors = await refused(key, many)
        assert {e["extensions"]["code"] for e in errors.values()} == {"rate_limited"}
        assert len(errors) == 2
        (await key.get("/v1/jobs")).expect(429)
        tried = 'users_create_session(body: {email: "a@example.com", password: "x"}) { __typename }'
        errors = await refused(
            limited.anonymous, "mutation {" + " ".join(f"a{i}: {tried}" for i in range(4)) + "}"
        )
        codes = [errors[f"a{i}"]["extensions"]["status"] for i in range(4)]
        assert codes == [401, 401, 429, 429]


async def test_settings_close_it() -> None:
    async with Platform(settings={"graphql.introspection": False}) as silent:
        assert (await post(silent.admin, "{ __schema { types { name } } }")).status == 400
        assert (await ask(silent.admin, "{ __typename }")) == {"__typename": "Query"}
    async with Platform(settings={"graphql.enabled": False}) as closed:
        (await post(closed.admin, "{ __typename }")).expect(404)


async def test_variables_say_what_is_left_out(platform: Platform) -> None:
    query = """query ($no: Boolean!) { page: records_list_records__posts {
      next_cursor @skip(if: $no) items @include(if: $no) { ...of } } }
      fragment of on PostsRecord { id same: title ... on PostsRecord { same: title __typename } }"""
    assert (await ask(platform.admin, query, no=True))["page"] == {"items": []}
    assert (await ask(platform.admin, query, no=False))["page"] == {"next_cursor": None}
    await ask(platform.admin, MADE, body={"title": "t"})
    (item,) = (await ask(platform.admin, query, no=True))["page"]["items"]
    assert (item["same"], item["__typename"]) == ("t", "PostsRecord")
    both = await asyncio.gather(*[ask(platform.admin, query, no=no) for no in (True, False)])
    assert [list(json.loads(json.dumps(each))["page"]) for each in both] == [
        ["items"], ["next_cursor"],
    ]  # fmt: skip
