"""Collections: what can be, and what a change of schema does to the records that are stored."""

import asyncio
from typing import Any

import msgspec
import pytest

from mainspring.kernel.call import Caller
from mainspring.kernel.errors import (
    Failure,
    Invalid,
    NeedsIndex,
    NotFound,
    PreconditionFailed,
    Rerun,
    Unauthenticated,
)
from mainspring.kernel.table import Query
from mainspring.services.records import ending, service
from mainspring.services.records.api import (
    NameTaken,
    SchemaChangeRefused,
    StillReferenced,
    UniqueTaken,
)
from mainspring.services.records.jobs import PAGE_ROWS
from tests.services.records.platform import ANNA, KEY, NOBODY, Platform, read

TITLE = {"name": "title", "type": "text", "max": 50}
ROWS = Query("test.rows", "SELECT count(*) FROM records_records", int)
LINKS = Query("test.links", "SELECT count(*) FROM records_links", int)


async def _change(
    platform: Platform, name: str, confirm: str | None = None, **change: Any
) -> dict[str, Any]:
    outcome = await platform.run(
        "update_collection", name=name, query={"confirm": confirm}, change=change
    )
    answer: dict[str, Any] = read(outcome)
    return answer


async def test_a_collection_is_described_as_it_was_made(platform: Platform) -> None:
    made = await platform.make("posts", TITLE, indexes=[["-title"]], rules={"list": "true"})
    found = await platform.run("get_collection", name="posts")
    assert (read(found), found.etag) == (made, '"1"')
    assert made["fields"][0]["name"] == "title"
    assert (made["indexes"], made["rules"]["list"], made["ready"]) == ([["-title"]], "true", True)
    await platform.make("authors", TITLE)
    page = read(await platform.run("list_collections", query={"limit": 1}))
    assert [c["name"] for c in page["items"]] == ["authors"]
    page = read(await platform.run("list_collections", query={"cursor": page["next_cursor"]}))
    assert ([c["name"] for c in page["items"]], page["next_cursor"]) == (["posts"], None)
    with pytest.raises(NameTaken):
        await platform.make("posts")
    events = [(kind, event["data"]["name"]) for kind, event in await platform.events()]
    assert events[0] == ("records.collection.created", "posts")


@pytest.mark.parametrize(
    ("parts", "pointer"),
    [
        ({"name": "records"}, "/name"),
        ({"fields": [{"name": "now", "type": "text"}]}, "/fields/0/name"),
        ({"fields": [{"name": "id", "type": "text"}]}, "/fields/0/name"),
        ({"fields": [TITLE, TITLE]}, "/fields/1/name"),
        ({"fields": [{"name": "a", "type": "text", "min": 3, "max": 2}]}, "/fields/0/max"),
        ({"fields": [{"name": "a", "type": "boolean", "min": 3}]}, "/fields/0/min"),
        ({"fields": [{"name": "a", "type": "text", "max": 1e9}]}, "/fields/0/max"),
        ({"fields": [{"name": "a", "type": "select"}]}, "/fields/0/values"),
        ({"fields": [{"name": "a", "type": "relation"}]}, "/fields/0/collection"),
        (
            {"fields": [{"name": "a", "type": "relation", "collection": "x"}]},
            "/fields/0/collection",
        ),
        ({"fields": [{"name": "a", "type": "json", "unique": True}]}, "/fields/0/unique"),
        ({"fields": [{"name": "a", "type": "text", "personal": True}]}, "/fields/0/personal_of"),
        ({"fields": [{"name": "a", "type": "integer", "default": "x"}]}, "/fields/0/default"),
        ({"fields": [{"name": f"a{i}", "type": "text", "unique": True} for i in range(5)]},
         "/fields"),
        ({"fields": [TITLE], "indexes": [["other"]]}, "/indexes/0/0"),
        ({"fields": [TITLE], "indexes": [["title", "-title"]]}, "/indexes/0"),
        ({"fields": [TITLE], "indexes": [["title"], ["title"]]}, "/indexes/1"),
        ({"fields": [{"name": "a", "type": "text"}], "indexes": [["a"]]}, "/indexes/0"),
    ],
)  # fmt: skip
async def test_what_cannot_be(platform: Platform, parts: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as refused:
        await platform.run("create_collection", new={"name": "posts", **parts})
    assert [f.pointer for f in refused.value.errors] == [pointer]


async def test_all_that_cannot_be_is_told_at_once(platform: Platform) -> None:
    number = {"type": "integer", "default": "x"}
    new = {
        "name": "posts",
        "fields": [TITLE, {"name": "a", **number}, {"name": "b", **number}],
        "rules": {"list": "((", "view": "nothing == 1", "create": "true"},
        "indexes": [["other"], ["title"]],
    }
    with pytest.raises(Invalid) as refused:
        await platform.run("create_collection", new=new)
    assert [f.pointer for f in refused.value.errors] == [
        "/fields/1/default", "/fields/2/default", "/indexes/0/0", "/rules/list", "/rules/view",
    ]  # fmt: skip


async def test_stored_records_follow_the_schema(platform: Platform) -> None:
    old = {"name": "old", "type": "text"}
    await platform.make("posts", TITLE, old, {"name": "count", "type": "integer"})
    made = [await platform.add("posts", title=f"t{i}", old="x", count=i) for i in range(3)]
    state = {
        "name": "state",
        "type": "select",
        "values": ["new"],
        "required": True,
        "default": "new",
    }
    shown = await _change(
        platform, "posts", "old", fields=[TITLE, state, {"name": "count", "type": "number"}],
        indexes=[["-title"]],
    )  # fmt: skip
    assert shown["ready"] is False
    wanted = [
        {**{k: v for k, v in r.items() if k != "old"}, "state": "new", "count": float(r["count"])}
        for r in made
    ]
    assert await platform.everything("posts") == wanted  # at once,
    assert await platform.get("posts", made[0]["id"]) == wanted[0]
    with pytest.raises(SchemaChangeRefused):
        await _change(platform, "posts", fields=[TITLE])
    added = await platform.add("posts", title="t9")
    assert await platform.work() == 1
    assert read(await platform.run("get_collection", name="posts"))["ready"] is True
    assert await platform.everything("posts") == [*wanted, added]  # and for good
    assert await platform.everything("posts", sort="-title") == [added, *reversed(wanted)]
    assert await platform.everything("posts", filter="state == 'new'") == [*wanted, added]
    kinds = [kind for kind, _ in await platform.events()]
    assert kinds[-1] == "records.collection.updated"


async def test_a_tag_is_of_one_representation(platform: Platform) -> None:
    """A record shown under a new schema is not the one its reader holds, though nobody wrote it."""
    await platform.make("posts", TITLE)
    made = [await platform.add("posts", title=f"t{i}") for i in range(2)]
    where = {"collection": "posts", "id": made[0]["id"]}
    seen: dict[str | None, Any] = {}

    async def tag() -> str | None:
        outcome = await platform.run("get_record", **where)
        assert seen.setdefault(outcome.etag, read(outcome)) == read(outcome)
        return outcome.etag

    before = await tag()
    state = {"name": "state", "type": "text", "required": True, "default": "new"}
    await _change(platform, "posts", fields=[TITLE, state])
    pending = await tag()
    assert pending != before
    body = {"title": "changed"}
    with pytest.raises(PreconditionFailed):
        await platform.run("update_record", if_match=before, **where, body=body)
    same = await platform.run("update_record", if_match=pending, **where, body={"state": "new"})
    assert same.etag == pending
    changed = await platform.run("update_record", if_match=pending, **where, body=body)
    assert await tag() == changed.etag
    await platform.work()
    assert await tag() == changed.etag
    with pytest.raises(PreconditionFailed):
        await platform.run("delete_record", if_match=pending, **where)
    await platform.run("delete_record", if_match=changed.etag, **where)


async def test_what_waits_is_found_by_what_it_is_shown_with(platform: Platform) -> None:
    """A filter and a rule judge a record as its reader sees it, also before it is rewritten."""
    hides = 'record.state != "secret"'
    await platform.make("posts", TITLE, rules={"list": "true"})
    made = [await platform.add("posts", title=f"t{i}") for i in range(2)]
    state = {"name": "state", "type": "text", "required": True, "default": "secret"}
    await _change(platform, "posts", fields=[TITLE, state], rules={"list": hides})
    added = await platform.add("posts", title="t9", state="open")
    ids = [record["id"] for record in made]

    async def found(caller: Caller = KEY, **query: Any) -> list[str]:
        return [record["id"] for record in await platform.everything("posts", caller, **query)]

    for pending in (True, False):
        shown = read(await platform.run("get_collection", name="posts"))
        assert shown["ready"] is not pending
        assert await found(filter='state == "secret"') == ids
        assert await found(filter='state.startsWith("o") || title == "t1"') == [ids[1], added["id"]]
        assert await found(filter='!(state in ["secret", "x"])') == [added["id"]]
        assert await found(ANNA) == [added["id"]]
        query = {"filter": 'state == "secret"'}
        counted = await platform.run("aggregate_records", collection="posts", query=query)
        assert read(counted)["items"][0]["count"] == 2
        await platform.work()


STATE = {"name": "state", "type": "text", "max": 20, "required": True, "default": "m"}
RANK = {"name": "rank", "type": "number", "required": True, "default": 2}


@pytest.mark.parametrize("indexes", [[], [["state"], ["-rank", "state"]]])
async def test_a_default_has_its_place_in_every_order_before_it_is_stored(
    platform: Platform, indexes: list[list[str]]
) -> None:
    """Also where records had no value in a field that an index has, and that is required now."""
    was = [{k: v for k, v in field.items() if k not in ("required", "default")}
           for field in (STATE, RANK)]  # fmt: skip
    await platform.make("posts", TITLE, *was, indexes=indexes)
    for title, values in (("none", {}), ("a", {"state": "a", "rank": 1}), ("none too", {})):
        await platform.add("posts", title=title, **values)
    await _change(platform, "posts", fields=[TITLE, STATE, RANK])
    await platform.add("posts", title="z", state="z", rank=3)
    orders = {
        "state": ["a", "none", "none too", "z"],
        "-state": ["z", "none too", "none", "a"],
        "-rank,state": ["z", "none", "none too", "a"],
    }
    for pending in (True, False):
        shown = read(await platform.run("get_collection", name="posts"))
        assert shown["ready"] is not pending
        for sort, titles in orders.items():
            for limit in (1, 3, 100):
                found = await platform.everything("posts", sort=sort, limit=limit)
                assert [r["title"] for r in found] == titles, (sort, limit)
        query = {"group": "state", "sum": "rank", "min": "rank", "max": "state"}
        groups = await platform.run("aggregate_records", collection="posts", query=query)
        assert [
            (g["group"]["state"], g["count"], g["sum"]["rank"], g["min"]["rank"], g["max"]["state"])
            for g in read(groups)["items"]
        ] == [("a", 1, 1, 1, "a"), ("m", 2, 4, 2, "m"), ("z", 1, 3, 3, "z")]
        await platform.work()


async def test_a_record_is_deleted_by_the_rule_of_the_commit(
    platform: Platform, other: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule is changed between the look at it and the commit."""
    await platform.make("posts", TITLE, rules={"view": "true", "delete": "true"})
    made = await platform.add("posts", title="a")
    looked = ending.Ending.add

    async def and_change(*of: Any) -> None:
        await looked(*of)
        monkeypatch.undo()
        await _change(other, "posts", rules={"view": "true", "delete": 'title != "a"'})

    calls: dict[str, dict[str, Any]] = {
        "delete_record": {"id": made["id"]},
        "batch_records": {"batch": {"items": [{"action": "delete", "id": made["id"]}]}},
    }
    for operation, args in calls.items():
        await _change(platform, "posts", rules={"view": "true", "delete": "true"})
        monkeypatch.setattr(ending.Ending, "add", and_change)
        with pytest.raises(Failure):
            await platform.run(operation, ANNA, collection="posts", **args)
    assert (await platform.get("posts", made["id"]))["title"] == "a"
    await platform.run("delete_record", collection="posts", id=made["id"])
    assert await platform.everything("posts") == []


async def test_a_large_collection_is_brought_along_page_by_page(platform: Platform) -> None:
    await platform.make("posts", TITLE)
    items = [{"action": "create", "data": {"title": f"{i:04}"}} for i in range(PAGE_ROWS + 10)]
    await platform.run("batch_records", collection="posts", batch={"items": items})
    await _change(platform, "posts", indexes=[["-title"]])
    assert await platform.work() == 2
    found = await platform.everything("posts", sort="-title", limit=300)
    assert [r["title"] for r in found] == [f"{i:04}" for i in reversed(range(PAGE_ROWS + 10))]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ([{"name": "new", "type": "text", "required": True}], "is required and has no default"),
        ([{"name": "title", "type": "integer"}], "cannot become integer"),
        ([{**TITLE, "max": 10}], "cannot take less than before"),
        ([{**TITLE, "required": True}], "stored records have no value in it"),
        ([{**TITLE, "unique": True}], "cannot be unique: the records rec_"),
    ],
)
async def test_a_change_is_refused_with_the_reason(
    platform: Platform, fields: list[dict[str, Any]], reason: str
) -> None:
    await platform.make("posts", TITLE)
    await _change(platform, "posts", fields=[TITLE])
    for title in ("a", "a", None):
        await platform.add("posts", title=title)
    with pytest.raises(SchemaChangeRefused, match=reason):
        await _change(platform, "posts", fields=fields)


async def test_a_field_becomes_unique(platform: Platform) -> None:
    await platform.make("posts", TITLE)
    await platform.add("posts", title="a")
    await _change(platform, "posts", fields=[{**TITLE, "unique": True}])
    await platform.work()
    with pytest.raises(UniqueTaken):
        await platform.add("posts", title="a")


async def test_two_with_one_value_while_a_field_becomes_unique(platform: Platform) -> None:
    await platform.make("posts", TITLE)
    await platform.add("posts", title="a")
    await _change(platform, "posts", fields=[{**TITLE, "unique": True}])
    await platform.add("posts", title="a")  # the stored one has no key yet
    assert await platform.work() == 2
    shown = read(await platform.run("get_collection", name="posts"))
    assert shown["ready"] is True
    assert shown["problem"].startswith("'title': not unique, rec_")
    assert shown["fields"][0]["unique"] is False
    await platform.add("posts", title="a")


async def test_a_writer_that_read_the_old_schema_starts_again(platform: Platform) -> None:
    await platform.make("posts", TITLE)
    made = await platform.add("posts", title="a")
    call = platform.call()
    args = {"collection": "posts", "body": msgspec.Raw(b'{"title": "late"}')}
    await service.operations["records.create_record"].handler(call, **args)
    changing = platform.call()
    await service.operations["records.update_record"].handler(changing, id=made["id"], **args)
    await _change(platform, "posts", indexes=[["title"]])
    for late in (call, changing):
        with pytest.raises(Rerun):
            await platform.runtime.dispatcher.commit(late)
    await asyncio.gather(
        *(platform.add("posts", title=f"p{i}") for i in range(10)),
        _change(platform, "posts", rules={"list": "true"}),
    )
    await platform.work()
    found = await platform.everything("posts", sort="title")
    assert [r["title"] for r in found] == ["a", *(f"p{i}" for i in range(10))]


async def test_a_collection_goes_with_its_records(platform: Platform) -> None:
    await platform.make("authors", TITLE)
    await platform.make("posts", {"name": "author", "type": "relation", "collection": "authors"})
    author = await platform.add("authors")
    for _ in range(3):
        await platform.add("posts", author=author["id"])
    with pytest.raises(StillReferenced):
        await platform.run("delete_collection", name="authors")
    await platform.run("delete_collection", name="posts")
    with pytest.raises(NotFound):
        await platform.page("posts")
    await platform.make("posts", TITLE)
    assert await platform.everything("posts") == []
    await platform.work()
    assert (await platform.database.read(ROWS, ()), await platform.database.read(LINKS, ())) == (
        [1],
        [0],
    )
    await platform.run("delete_record", collection="authors", id=author["id"])


async def test_tenants_do_not_see_each_other(platform: Platform) -> None:
    other = Caller("key", "key_9", tenant="other", scopes=KEY.scopes)
    await platform.make("posts", TITLE)
    made = await platform.add("posts")
    with pytest.raises(NotFound):
        await platform.get("posts", made["id"], other)
    await platform.run("create_collection", other, new={"name": "posts"})
    assert await platform.everything("posts", other) == []
    with pytest.raises(NotFound):
        await platform.get("posts", made["id"], other)


async def test_shapes_for_those_who_describe_the_api(platform: Platform, other: Platform) -> None:
    await platform.make(
        "posts",
        {**TITLE, "required": True},
        {"name": "mail", "type": "email"},
        rules={"list": "true"},
    )
    assert service.describe is not None
    assert await service.describe(platform.call()) is await service.describe(platform.call())
    assert await service.describe(other.call()) == await service.describe(platform.call())
    shapes = {s.operation: s for s in await service.describe(platform.call())}
    create = shapes["records.create_record"]
    assert create.body is not None
    assert create.body["properties"]["title"] == {"type": "string", "minLength": 0, "maxLength": 50}
    assert create.body["required"] == ["title"]
    assert (create.public, shapes["records.list_records"].public) == (False, True)
    get = shapes["records.get_record"].response
    assert create.response is not None
    assert "title" in create.response["required"]
    assert get is not None
    assert "required" not in get  # with ``?fields=`` any may be left out


async def test_a_shape_is_for_those_who_may_get_through(platform: Platform) -> None:
    await platform.make("posts", TITLE, rules={"list": "true", "create": "has(caller.id)"})
    await platform.make("notes", TITLE)
    reader = Caller("key", "key_2", scopes=frozenset({"records:read"}))
    ruled = {("posts", o) for o in ("list_records", "create_record", "upsert_record")}
    read = {(n, o) for n in ("posts", "notes") for o in ("get_record", "list_records")}
    assert service.describe is not None
    for caller, expected in ((ANNA, ruled), (reader, ruled | read)):
        shapes = await service.describe(platform.call(caller))
        shown = {(s.values["collection"], s.operation.removeprefix("records.")) for s in shapes}
        assert shown == expected


async def test_another_process_changed_the_collection(platform: Platform, other: Platform) -> None:
    await platform.make("posts", TITLE, rules={"create": "true"})
    await platform.add("posts", NOBODY, title="a")
    await other.add("posts", NOBODY, title="b")
    await _change(other, "posts", rules={"create": "title != 'c'"})
    with pytest.raises(Unauthenticated):
        await platform.add("posts", NOBODY, title="c")
    await _change(platform, "posts", rules={"create": "true"})
    await other.add("posts", NOBODY, title="c")
    await _change(other, "posts", fields=[TITLE, {"name": "new", "type": "text"}])
    made = await platform.add("posts", title="d", new="n")
    assert (await platform.add("posts", title="e"))["new"] is None
    assert await other.get("posts", made["id"]) == made
    await _change(platform, "posts", fields=[TITLE, {"name": "new", "type": "text"}], rules={})
    await other.run("delete_collection", name="posts")
    await other.make("posts", {"name": "count", "type": "integer"})
    with pytest.raises(Invalid):
        await platform.add("posts", title="f")
    await platform.add("posts", count=1)


@pytest.mark.parametrize("name", ["Posts", "1st", "a__b", "a-b", "posts\n", "", "a" * 64, "é"])
async def test_names(platform: Platform, name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        await platform.make(name)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ({"type": "text"}, "a"), ({"type": "text"}, ""), ({"type": "integer"}, 0),
        ({"type": "boolean"}, False), ({"type": "json"}, {}), ({"type": "json"}, False),
        ({"type": "datetime"}, "2026-01-01T00:00:00Z"), ({"type": "number"}, 0.0),
    ],
)  # fmt: skip
async def test_values_are_lost_only_when_that_is_confirmed(
    platform: Platform, field: dict[str, Any], value: object
) -> None:
    kept = {"name": "kept", "type": "text"}
    other = {"name": "empty", "type": "text"}
    await platform.make("things", kept, {"name": "gone", **field}, other)
    made = await platform.add("things", kept="k", gone=value)
    renamed = {"fields": [kept, {"name": "new_name", **field}]}
    for change in ({"fields": [kept]}, renamed):
        with pytest.raises(SchemaChangeRefused) as refused:
            await platform.run("update_collection", name="things", change=change)
        assert "?confirm=gone" in (refused.value.detail or "")
        assert "empty" not in (refused.value.detail or "")
    query = {"confirm": "gone,kept"}
    with pytest.raises(Invalid) as invalid:
        await platform.run("update_collection", name="things", query=query, change=renamed)
    assert [f.pointer for f in invalid.value.errors] == ["/confirm"]
    await platform.work()
    assert await platform.get("things", made["id"]) == made
    query = {"confirm": "gone"}
    await platform.run("update_collection", name="things", query=query, change=renamed)
    await platform.work()
    left = await platform.get("things", made["id"])
    assert (left["kept"], left["new_name"], "gone" in left) == ("k", None, False)


async def test_a_field_without_values_goes_unasked(platform: Platform) -> None:
    await platform.make("things", {"name": "a", "type": "text"}, {"name": "b", "type": "json"})
    await platform.run("update_collection", name="things", change={"fields": []})
    await platform.work()
    await platform.run("update_collection", name="things", change={"fields": [
        {"name": "a", "type": "text"}]})  # fmt: skip
    await platform.work()
    one = await platform.add("things", a="x")
    await platform.run("update_record", collection="things", id=one["id"], body={"a": None})
    await platform.run("update_collection", name="things", change={"fields": []})
    await platform.work()
    assert "a" not in await platform.get("things", one["id"])


@pytest.mark.parametrize(
    ("asked", "change", "comes"),
    [
        ("records.filled", {"fields": []}, {"a": "kept"}),
        ("records.missing", {"fields": [{"name": "a", "type": "text", "required": True}]}, {}),
    ],
)
async def test_what_is_written_while_a_change_is_judged_counts(
    platform: Platform, monkeypatch: pytest.MonkeyPatch,
    asked: str, change: dict[str, Any], comes: dict[str, Any],
) -> None:  # fmt: skip
    await platform.make("things", {"name": "a", "type": "text"})
    there = await platform.add("things", **({} if comes else {"a": "x"}))
    really, made = type(platform.database).read, []

    async def read_then_write(self: Any, query: Query[Any], values: tuple[Any, ...]) -> list[Any]:
        rows: list[Any] = await really(self, query, values)
        if query.sql.name == asked and not made:
            made.append(there)
            made.append(await platform.add("things", **comes))
        return rows

    monkeypatch.setattr(type(platform.database), "read", read_then_write)
    with pytest.raises(SchemaChangeRefused):
        await platform.run("update_collection", name="things", change=change)
    assert await platform.get("things", made[1]["id"]) == made[1]


async def test_where_values_cannot_be_looked_for_the_loss_is_confirmed(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await platform.make("things", {"name": "a", "type": "text"})
    await platform.add("things")
    really = type(platform.database).read

    async def over(self: Any, query: Query[Any], values: tuple[Any, ...]) -> list[Any]:
        if query.scans:
            raise NeedsIndex("over")
        rows: list[Any] = await really(self, query, values)
        return rows

    monkeypatch.setattr(type(platform.database), "read", over)
    with pytest.raises(SchemaChangeRefused):
        await platform.run("update_collection", name="things", change={"fields": []})
    query = {"confirm": "a"}
    await platform.run("update_collection", name="things", query=query, change={"fields": []})
