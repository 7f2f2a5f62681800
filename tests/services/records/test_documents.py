"""Records asked for in MongoDB's language: what it finds, whom it shows what, and where it ends."""

from typing import Any

import pytest

from mainspring import testing
from mainspring.kernel.errors import NeedsIndex
from mainspring.services.records import documents as language
from mainspring.services.records.operations import documents
from mainspring.testing.client import Client
from tests.services.records.platform import ANNA, BERT, NOBODY, Platform, read

POSTS = "/v1/collections/posts/records"
FIELDS: list[dict[str, Any]] = [
    {"name": "title", "type": "text", "max": 40},
    {"name": "owner", "type": "text", "max": 40},
    {"name": "views", "type": "integer"},
    {"name": "score", "type": "number"},
    {"name": "live", "type": "boolean"},
    {"name": "at", "type": "datetime"},
    {"name": "tags", "type": "select", "values": ["a", "b", "c"], "many": True},
    {"name": "more", "type": "json"},
]
ROWS: list[dict[str, Any]] = [
    {"title": "one", "owner": "user_anna", "views": 3, "score": 0.5, "live": True,
     "at": "2026-01-01T00:00:00Z", "tags": ["a", "b"], "more": {"lines": [{"sku": "x", "n": 2}]}},
    {"title": "two", "owner": "user_anna", "views": 10, "live": False, "tags": ["c"],
     "at": "2026-02-01T00:00:00Z", "more": {"lines": [{"sku": "x", "n": 5}, {"sku": "y", "n": 1}]}},
    {"title": "three", "owner": "user_bert", "views": 7, "score": 2, "live": True,
     "more": [1, "x"]},
    {"title": "four", "owner": "user_bert", "tags": ["a"], "more": "text"},
]  # fmt: skip


async def _posts(platform: Platform, **parts: Any) -> None:
    await platform.make("posts", *FIELDS, documents=True, **parts)
    for row in ROWS:
        await platform.add("posts", **row)


async def _find(platform: Platform, filter: Any, caller: Any = None, **parts: Any) -> Any:
    find = {"filter": filter, **parts}
    who = () if caller is None else (caller,)
    return read(await platform.run("find_documents", *who, collection="posts", find=find))


async def _aggregate(platform: Platform, *stages: Any, caller: Any = None) -> Any:
    who = () if caller is None else (caller,)
    asked = {"pipeline": stages}
    made = await platform.run("aggregate_documents", *who, collection="posts", pipeline=asked)
    return read(made)["items"]


FOUND = [
    ({}, "one two three four"),
    ({"views": 10}, "two"),
    ({"views": 10.0}, "two"),
    ({"views": "10"}, ""),
    ({"views": {"$gt": 3, "$lte": 10}}, "two three"),
    ({"views": {"$gt": 3.5}}, "two three"),
    ({"views": None}, "four"),
    ({"views": {"$ne": 10}}, "one three four"),
    ({"views": {"$not": {"$gte": 7}}}, "one four"),
    ({"score": {"$in": [2, None]}}, "two three four"),
    ({"live": True, "views": {"$lt": 5}}, "one"),
    ({"at": {"$gte": "2026-01-15T00:00:00.000Z"}}, "two"),
    ({"at": "2026-01-01T00:00:00.000Z"}, "one"),
    ({"title": {"$gte": "three"}}, "two three"),
    ({"title": {"$regex": "^T", "$options": "i"}}, "two three"),
    ({"tags": "a"}, "one four"),
    ({"tags": {"$all": ["a", "b"]}}, "one"),
    ({"tags": {"$size": 0}}, "three"),
    ({"tags": {"$nin": ["a", "c"]}}, "three"),
    ({"more.lines.sku": "y"}, "two"),
    ({"more.lines.0.n": 5}, "two"),
    ({"more.lines": {"$elemMatch": {"sku": "x", "n": {"$gt": 2}}}}, "two"),
    ({"more.lines.sku": "x", "more.lines.n": {"$lt": 2}}, "two"),
    ({"more": {"$type": "array"}}, "three"),
    ({"more": {"$type": "string"}}, "three four"),
    ({"more.lines": {"$exists": False}}, "three four"),
    ({"more": {"lines": [{"sku": "x", "n": 2}]}}, "one"),
    ({"more": {"lines": [{"n": 2, "sku": "x"}]}}, ""),
    ({"$or": [{"views": 3}, {"tags": "c"}]}, "one two"),
    ({"$nor": [{"live": True}, {"views": None}]}, "two"),
    ({"$and": [{"views": {"$gt": 1}}, {"views": {"$lt": 4}}]}, "one"),
    ({"nothing": None}, "one two three four"),
]


async def test_filters_find_what_mongodb_finds(platform: Platform) -> None:
    """Also through an index, and through what the database narrows by itself."""
    await _posts(platform, indexes=[["views"], ["owner", "at"]])
    for filter, titles in FOUND:
        page = await _find(platform, filter)
        assert " ".join(item["title"] for item in page["items"]) == titles, filter
        assert page["next_cursor"] is None
    (one,) = (await _find(platform, {"title": "one"}))["items"]
    record = (await platform.page("posts", filter="title == 'one'"))["items"][0]
    assert one == {"_id": record["id"], **record}
    assert (await _find(platform, {"_id": record["id"]}))["items"] == [one]
    shown = await _find(platform, {"title": "two"}, projection={"more.lines.n": 1, "_id": 0})
    assert shown["items"] == [{"more": {"lines": [{"n": 5}, {"n": 1}]}}]
    ordered = await _find(platform, {}, sort={"views": -1, "title": 1}, skip=1, limit=2)
    assert [item["title"] for item in ordered["items"]] == ["three", "one"]
    by_tag = await _find(platform, {}, sort={"tags": -1})
    assert [item["title"] for item in by_tag["items"]] == ["two", "one", "four", "three"]


# What FerretDB has otherwise, as MongoDB's own tests have it: by document, in the order of sorts.
NESTED: list[dict[str, Any]] = [
    {"_id": n, "a": a}
    for n, a in enumerate(([], [1], [{"b": None}], [{"b": 1}, {}], {}, [1, {"b": 2}], {"b": 3}))
]
NULLS = [
    ({"a.b": None}, [2, 3, 4]),
    ({"a.b": {"$ne": None}}, [0, 1, 5, 6]),
    ({"a.b": {"$exists": False}}, [0, 1, 4]),
    ({"a.0": None}, [2, 3, 4, 5, 6]),
    ({"a": {"$elemMatch": {"b": {"$gt": 1}}}}, [5]),
    ({"a.b": {"$nin": [1, 2]}}, [0, 1, 2, 4, 6]),
    ({"a.b": {"$ne": 1}}, [0, 1, 2, 4, 5, 6]),
    ({"a.b": {"$not": {"$gt": 1}}}, [0, 1, 2, 3, 4]),
    ({"a.b": {"$all": [1]}}, [3]),
    ({"a": {"b": None}}, [2]),
]  # fmt: skip


def test_null_and_orders_go_through_lists() -> None:
    budget = language.Budget()
    for filter, ids in NULLS:
        matches = language.read_filter(filter, "")
        assert [one["_id"] for one in NESTED if matches(one, budget)] == ids, filter
    for direction, ids in ((1, [0, 1, 2, 3, 4, 5, 6]), (-1, [6, 5, 3, 0, 1, 2, 4])):
        ordered = language.read_sort({"a.b": direction, "_id": 1}, "")([*NESTED], budget)
        assert [one["_id"] for one in ordered] == ids
    (group,) = language.read_pipeline(
        [{"$group": {"_id": None, "ones": {"$sum": 1}, "none": {"$sum": "$nothing"}}}], ""
    )
    assert group([*NESTED], budget) == [{"_id": None, "ones": 7, "none": 0}]
    listed: list[Any] = [
        {"n": n, **a} for n, a in enumerate(({"a": []}, {}, {"a": None}, {"a": 1}))
    ]
    (unwind,) = language.read_pipeline(
        [{"$unwind": {"path": "$a", "preserveNullAndEmptyArrays": True}}], ""
    )
    assert unwind(listed, budget) == [{"n": 0}, *listed[1:]]


async def test_pages_follow_each_other(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    await _posts(platform)

    async def everything(limit: int, filter: Any) -> list[str]:
        page = await _find(platform, filter, limit=limit)
        titles = [item["title"] for item in page["items"]]
        while page["next_cursor"] is not None:
            page = await _find(platform, filter, limit=limit, cursor=page["next_cursor"])
            titles += [item["title"] for item in page["items"]]
        return titles

    for limit in (1, 2, 4):
        assert await everything(limit, {}) == ["one", "two", "three", "four"]
        assert await everything(limit, {"tags": "a"}) == ["one", "four"]
    # One that has looked at as many as one call may ends early, and loses nothing.
    monkeypatch.setattr(documents, "PAGE_ROWS", 1)
    monkeypatch.setattr(documents, "DOCUMENTS_MAX", 2)
    assert await everything(4, {"tags": "a"}) == ["one", "four"]
    for asked in ({"sort": {"tags": 1}}, {"skip": 3}):
        with pytest.raises(NeedsIndex, match="created_at"):
            await _find(platform, {}, **asked)
    with pytest.raises(NeedsIndex, match="the first \\$match"):
        await _aggregate(platform, {"$count": "n"})
    assert await _aggregate(platform, {"$match": {"views": 7}}, {"$count": "n"}) == [{"n": 1}]


async def test_pipelines_make_what_mongodb_makes(platform: Platform) -> None:
    await _posts(platform)
    lines = await _aggregate(
        platform,
        {"$match": {"more.lines": {"$exists": True}}},
        {"$unwind": "$more.lines"},
        {"$group": {"_id": "$more.lines.sku", "n": {"$sum": "$more.lines.n"}, "of": {"$count": {}},
                    "least": {"$min": "$more.lines.n"}, "mean": {"$avg": "$more.lines.n"},
                    "titles": {"$push": "$title"}}},
        {"$sort": {"n": -1}},
    )  # fmt: skip
    assert lines == [
        {"_id": "x", "n": 7, "of": 2, "least": 2, "mean": 3.5, "titles": ["one", "two"]},
        {"_id": "y", "n": 1, "of": 1, "least": 1, "mean": 1.0, "titles": ["two"]},
    ]
    owners = {"_id": {"who": "$owner", "live": "$live"}, "views": {"$max": "$views"}}
    assert await _aggregate(platform, {"$group": owners}, {"$skip": 2}, {"$limit": 1}) == [
        {"_id": {"who": "user_bert", "live": True}, "views": 7}
    ]
    named = {"$project": {"_id": 0, "title": 1, "sku": "$more.lines.sku"}}
    assert await _aggregate(platform, {"$limit": 1}, named) == [{"title": "one", "sku": ["x"]}]
    assert await _aggregate(platform, {"$match": {"views": -1}}, {"$count": "n"}) == []


async def test_nobody_is_shown_more_than_a_list_shows(platform: Platform) -> None:
    """Neither rows nor fields, whatever is asked: what is hidden is as if it were not there."""
    hidden = [{**field, "hidden": field["name"] == "views"} for field in FIELDS]
    own = "record.owner == caller.id"
    hidden[3] = {**hidden[3], "rules": {"read": "record.live == true"}}
    await platform.make("posts", *hidden, documents=True, rules={"list": own, "view": "true"})
    for row in ROWS:
        await platform.add("posts", **{**row, "score": 2})
    for caller, titles in ((ANNA, ["one", "two"]), (BERT, ["three", "four"]), (NOBODY, [])):
        everything = (await _find(platform, {"$or": [{}, {"owner": "x"}]}, caller))["items"]
        assert [item["title"] for item in everything] == titles
        assert everything == [
            {"_id": item["id"], **item} for item in (await platform.page("posts", caller))["items"]
        ]
        assert await _aggregate(
            platform, {"$group": {"_id": None, "views": {"$sum": "$views"}, "n": {"$count": {}}}},
            caller=caller,
        ) == [{"_id": None, "views": 0, "n": len(titles)}][: len(titles)]  # fmt: skip
    # By value or by its absence, sorted or projected: it tells nothing.
    for filter, titles in (
        ({"views": 3}, []), ({"views": {"$gte": 0}}, []), ({"views": None}, ["one", "two"]),
        ({"views": {"$exists": True}}, []), ({"score": 2}, ["one"]),
    ):  # fmt: skip
        found = (await _find(platform, filter, ANNA))["items"]
        assert [item["title"] for item in found] == titles, filter
    ordered = (await _find(platform, {}, ANNA, sort={"views": -1}, projection={"views": 1}))[
        "items"
    ]
    assert [item.keys() for item in ordered] == [{"_id"}, {"_id"}]
    assert len((await _find(platform, {"views": 3}))["items"]) == 1  # who has the scope asks by it


WRONG: list[tuple[str, dict[str, Any], str, str]] = [
    ("find", {"filter": {"$where": "1"}}, "/filter/$where", "$and, $or, $nor"),
    ("find", {"filter": {"a": {"$near": 1}}}, "/filter/a/$near", "$elemMatch"),
    ("find", {"filter": {"a": {"$gt": [1]}}}, "/filter/a/$gt", "a number, text"),
    ("find", {"filter": {"a": {"b": {"$gt": 1}}}}, "/filter/a/b/$gt", "cannot stand in a value"),
    ("find", {"filter": {"a/b": {"$regex": "a(?=b)"}}}, "/filter/a~1b/$regex", "character"),
    ("find", {"filter": {"a": {"$in": [0] * 1_001}}}, "/filter/a/$in", "1000"),
    ("find", {"filter": {"a": {"$not": 1}}}, "/filter/a/$not", "operators"),
    ("find", {"filter": {"$or": []}}, "/filter/$or", "at least one"),
    ("find", {"filter": {"a..b": 1}}, "/filter/a..b", "not a path"),
    ("find", {"projection": {"a": 1, "b": 0}}, "/projection", "not both"),
    ("find", {"projection": {"a": 1, "a.b": 1}}, "/projection", "lies in"),
    ("find", {"sort": {"a": 2}}, "/sort/a", "-1 the largest"),
    ("find", {"sort": {"a": 1}, "cursor": "rec_1"}, "/cursor", "leave out"),
    ("find", {"cursor": "rec_1"}, "/cursor", "next_cursor"),
    ("find", {"limit": 501}, "/limit", "500"),
    ("aggregate", {"pipeline": [{"$out": "x"}]}, "/pipeline/0/$out", "$match, $sort"),
    ("aggregate", {"pipeline": [{"$lookup": {}}]}, "/pipeline/0/$lookup", "$match, $sort"),
    ("aggregate", {"pipeline": [{"$limit": 0}]}, "/pipeline/0/$limit", "from 1"),
    ("aggregate", {"pipeline": [{}]}, "/pipeline/0", "one member"),
    ("aggregate", {"pipeline": [{"$match": {}, "$limit": 1}]}, "/pipeline/0", "one member"),
    ("aggregate", {"pipeline": [{"$group": {"_id": 1}}]}, "/pipeline/0/$group/_id", "null, '$fie"),
    ("aggregate", {"pipeline": [{"$group": {"_id": None, "a": {"$function": {}}}}]},
     "/pipeline/0/$group/a", "$sum"),
    ("aggregate", {"pipeline": [{"$project": {"a": {"$add": [1]}}}]},
     "/pipeline/0/$project/a", "a path"),
    ("aggregate", {"pipeline": [{"$unwind": "a"}]}, "/pipeline/0/$unwind", "begins with $"),
    ("aggregate", {"pipeline": [{"$limit": 1}] * 21}, "/pipeline", "20"),
]  # fmt: skip


async def test_what_is_not_here_is_refused_where_it_stands(whole: testing.Platform) -> None:
    admin: Client = whole.admin
    (await admin.post("/v1/collections", {"name": "posts", "fields": FIELDS})).expect(201)
    plain = await admin.post(f"{POSTS}:find", {})
    assert (plain.status, "documents to true" in plain.text) == (422, True)
    assert (await whole.anonymous.post(f"{POSTS}:find", {})).status == 401
    changed = (await admin.patch("/v1/collections/posts", {"documents": True})).expect(200)
    assert changed["documents"] is True
    deep: Any = 1
    for _ in range(60):
        deep = {"a": deep}
    for verb, body, pointer, fits in [
        *WRONG, ("find", {"filter": deep}, "/filter", "nested"),
    ]:  # fmt: skip
        answer = await admin.post(f"{POSTS}:{verb}", body)
        assert answer.status == 422, (body, answer.text)
        (error, *_) = answer.json["errors"]
        assert error["pointer"].startswith(pointer), (body, error)
        assert fits in error["detail"], (body, error)
    # What doubles with each stage is stopped by what it comes to, not by what it holds.
    (await admin.post(POSTS, {"more": ["x" * 1_000] * 60})).expect(201)
    stages: list[Any] = []
    for _ in range(9):
        stages += [
            {"$group": {"_id": None, "x": {"$push": "$more"}, "y": {"$push": "$more"}}},
            {"$group": {"_id": {"x": "$x", "y": "$y"}}},
        ]
        stages.append({"$project": {"_id": 0, "more": "$_id"}})
    answer = await admin.post(f"{POSTS}:aggregate", {"pipeline": stages[:20]})
    assert (answer.status, "1,000,000 values" in answer.text) == (422, True)
    keyed = await admin.post(f"{POSTS}:find", {}, headers={"idempotency-key": "k"})
    (await admin.post(POSTS, {})).expect(201)
    again = await admin.post(f"{POSTS}:find", {}, headers={"idempotency-key": "k"})
    assert len(again.json["items"]) == len(keyed.json["items"]) + 1  # it is not kept: asked anew
