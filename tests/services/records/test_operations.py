"""Records, one at a time and in batches."""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from mainspring.kernel.errors import Invalid, NotFound, PreconditionFailed
from mainspring.kernel.table import Query
from mainspring.runtime.invoke.dispatcher import Idempotency
from mainspring.services.records import service
from mainspring.services.records.api import StillReferenced, UniqueTaken
from tests.services.records.platform import KEY, Platform, read

POST = (
    {"name": "title", "type": "text", "required": True, "max": 20},
    {"name": "views", "type": "integer", "min": 0, "default": 7},
    {"name": "price", "type": "number"},
    {"name": "open", "type": "boolean"},
    {"name": "due", "type": "datetime"},
    {"name": "mail", "type": "email"},
    {"name": "site", "type": "url"},
    {"name": "state", "type": "select", "values": ["draft", "done"]},
    {"name": "meta", "type": "json"},
)


async def test_a_record_is_kept_as_it_is_answered(platform: Platform) -> None:
    await platform.make("posts", *POST)
    outcome = await platform.run(
        "create_record", collection="posts",
        body={"title": "Ä", "price": 2, "due": "2026-01-01T01:00:00+01:00", "open": True,
              "mail": "Anna@EXAMPLE.org", "site": "HTTPS://Example.org/A", "meta": {"a": [1, 0]}},
    )  # fmt: skip
    made = read(outcome)
    assert (outcome.status, outcome.etag) == (201, '"1"')
    assert outcome.headers == (("Location", f"/v1/collections/posts/records/{made['id']}"),)
    assert made == {
        "id": made["id"], "collection": "posts", "created_at": "2027-01-15T08:00:00.000Z",
        "updated_at": "2027-01-15T08:00:00.000Z", "title": "Ä", "views": 7, "price": 2.0,
        "open": True, "due": "2026-01-01T00:00:00.000Z", "mail": "Anna@example.org",
        "site": "https://example.org/A", "state": None, "meta": {"a": [1, 0]},
    }  # fmt: skip
    found = await platform.run("get_record", collection="posts", id=made["id"], query={})
    assert (found.body, found.etag) == (outcome.body, '"1"')
    (_, event) = (await platform.events())[-1]
    assert event["data"] == made
    assert (event["type"], event["subject"]) == ("records.record.created", made["id"])


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ({}, "/title", "required"),
        ({"title": None}, "/title", "Expected `str`, got `null`"),
        ({"title": "a" * 21}, "/title", "Expected `str` of length <= 20"),
        ({"title": "a", "other": 1}, "/other", "unknown field"),
        ({"title": "a", "views": -1}, "/views", "Expected `int` >= 0"),
        ({"title": "a", "views": 2**53}, "/views", "Expected `int` <= 9007199254740991"),
        ({"title": "a", "views": 1.5}, "/views", "Expected `int`, got a fraction"),
        ({"title": "a", "price": 1e101}, "/price", "Expected `float` <= 1e+100"),
        (
            {"title": "a", "price": 1e-101},
            "/price",
            "is too close to zero: numbers are kept down to 1e-100",
        ),
        ({"title": "a", "due": "soon"}, "/due", "not an RFC 3339 time such as"),
        (
            {"title": "a", "mail": "a@b c"},
            "/mail",
            "not an e-mail address: its domain is not valid",
        ),
        ({"title": "a", "site": "ftp://a"}, "/site", "not an http or https URL"),
        ({"title": "a", "state": "gone"}, "/state", "Expected one of done, draft"),
        ({"title": "a", "meta": 2**60}, "/meta", "integers go to 2^53 - 1"),
    ],
)
async def test_what_does_not_fit_is_pointed_at(
    platform: Platform, body: dict[str, object], pointer: str, detail: str
) -> None:
    await platform.make("posts", *POST)
    with pytest.raises(Invalid) as refused:
        await platform.add("posts", **body)
    (error,) = refused.value.errors
    assert error.pointer == pointer
    assert error.detail.startswith(detail)


async def test_patch_merges_and_put_replaces(platform: Platform) -> None:
    await platform.make("posts", *POST)
    made = await platform.add("posts", title="a", price=1, views=3)
    platform.clock.move(1)
    changed = await platform.run(
        "update_record", collection="posts", id=made["id"], body={"price": None, "open": False}
    )
    assert changed.etag == '"2"'
    expected = {**made, "price": None, "open": False, "updated_at": "2027-01-15T08:00:01.001Z"}
    assert read(changed) == expected == await platform.get("posts", made["id"])
    same = await platform.run("update_record", collection="posts", id=made["id"], body={"views": 3})
    assert (same.etag, read(same)) == ('"2"', expected)
    put = await platform.run(
        "replace_record", collection="posts", id=made["id"], body={"title": "b"}
    )
    assert read(put)["views"] == 7
    assert read(put)["open"] is None
    with pytest.raises(Invalid):
        await platform.run("update_record", collection="posts", id=made["id"], body={"title": None})
    assert [t for t, _ in await platform.events()] == [
        "records.collection.created", "records.record.created", "records.record.updated",
        "records.record.updated",
    ]  # fmt: skip


async def test_versions_guard(platform: Platform) -> None:
    await platform.make("posts", *POST)
    made = await platform.add("posts", title="a", views=0)
    one = {"collection": "posts", "id": made["id"]}
    with pytest.raises(PreconditionFailed):
        await platform.run("update_record", if_match='"2"', body={"views": 1}, **one)
    await platform.run("update_record", if_match='"1"', body={"views": 1}, **one)
    await asyncio.gather(
        *(platform.run("update_record", body={"views": n}, **one) for n in range(2, 5))
    )
    assert (await platform.run("get_record", query={}, **one)).etag == '"5"'
    with pytest.raises(PreconditionFailed):
        await platform.run("delete_record", if_match='"1"', **one)
    await platform.run("delete_record", **one)
    for name, more in (("get_record", {"query": {}}), ("delete_record", {}),
                       ("update_record", {"body": {"views": 1}})):  # fmt: skip
        with pytest.raises(NotFound):
            await platform.run(name, **one, **more)
    kind, event = (await platform.events())[-1]
    assert kind == "records.record.deleted"
    assert event["data"].pop("before")["views"] in (2, 3, 4)  # whichever came last
    assert event["data"] == {"id": made["id"], "collection": "posts"}


async def test_unique_fields(platform: Platform) -> None:
    await platform.make(
        "people", {"name": "mail", "type": "email", "unique": True},
        {"name": "number", "type": "integer", "unique": True},
    )  # fmt: skip
    first = await platform.add("people", mail="a@example.org", number=1)
    await platform.add("people", mail="b@example.org")
    await platform.add("people", mail="c@example.org")  # null is not a value
    with pytest.raises(UniqueTaken) as refused:
        await platform.add("people", mail="a@EXAMPLE.org", number=2)
    assert [f.pointer for f in refused.value.errors] == ["/mail"]
    with pytest.raises(UniqueTaken) as refused:
        await platform.run(
            "update_record", collection="people", id=first["id"], body={"mail": "b@example.org"}
        )
    assert refused.value.code == "unique"
    await platform.run("delete_record", collection="people", id=first["id"])
    await platform.add("people", mail="a@example.org", number=1)
    parallel = await asyncio.gather(
        *(platform.add("people", number=9) for _ in range(20)), return_exceptions=True
    )
    assert sum(isinstance(outcome, dict) for outcome in parallel) == 1
    assert sum(isinstance(outcome, UniqueTaken) for outcome in parallel) == 19


async def test_relations_hold_both_ways(platform: Platform) -> None:
    await platform.make("authors", {"name": "name", "type": "text"})
    await platform.make("posts", {"name": "author", "type": "relation", "collection": "authors"})
    anna = await platform.add("authors", name="Anna")
    bert = await platform.add("authors", name="Bert")
    post = await platform.add("posts", author=anna["id"])
    for wrong in ("rec_01jd0000000000000000000000", post["id"]):
        with pytest.raises(Invalid) as refused:
            await platform.add("posts", author=wrong)
        assert [f.pointer for f in refused.value.errors] == ["/author"]
    with pytest.raises(StillReferenced):
        await platform.run("delete_record", collection="authors", id=anna["id"])
    await platform.run(
        "update_record", collection="posts", id=post["id"], body={"author": bert["id"]}
    )
    await platform.run("delete_record", collection="authors", id=anna["id"])
    shown = await platform.get("posts", post["id"], expand="author", fields="id")
    assert shown == {"id": post["id"], "expand": {"author": bert}}
    query = {"expand": "author"}  # its tag is no version: what is expanded has one of its own
    expanded = await platform.run("get_record", collection="posts", id=post["id"], query=query)
    assert expanded.etag is None
    await platform.run("delete_record", collection="posts", id=post["id"])
    await platform.run("delete_record", collection="authors", id=bert["id"])


async def test_many_point_at_one_at_once(platform: Platform) -> None:
    await platform.make("authors", {"name": "name", "type": "text"})
    await platform.make("posts", {"name": "author", "type": "relation", "collection": "authors"})
    one, two = await platform.add("authors"), await platform.add("authors")
    wrong = "rec_01jd0000000000000000000000"
    targets = [target for _ in range(30) for target in (one["id"], two["id"], wrong)]
    made = await asyncio.gather(
        *(platform.add("posts", author=target) for target in targets), return_exceptions=True
    )
    for outcome, target in zip(made, targets, strict=True):
        assert isinstance(outcome, Invalid) if target == wrong else isinstance(outcome, dict)
    assert len(await platform.everything("posts", limit=100)) == 60


async def test_a_link_and_the_end_of_its_target_exclude_each_other(platform: Platform) -> None:
    await platform.make("authors", {"name": "name", "type": "text"})
    await platform.make("posts", {"name": "author", "type": "relation", "collection": "authors"})
    for _ in range(10):
        author = await platform.add("authors")
        deleted, linked = await asyncio.gather(
            platform.run("delete_record", collection="authors", id=author["id"]),
            platform.add("posts", author=author["id"]),
            return_exceptions=True,
        )
        assert isinstance(deleted, Exception) != isinstance(linked, Exception)


async def test_a_batch_lands_as_one(platform: Platform) -> None:
    await platform.make("people", {"name": "mail", "type": "email", "unique": True})
    old = await platform.add("people", mail="old@example.org")
    gone = await platform.add("people", mail="gone@example.org")
    items = [
        {"action": "create", "data": {"mail": "new@example.org"}},
        {"action": "update", "id": old["id"], "data": {"mail": "changed@example.org"}},
        {"action": "delete", "id": gone["id"]},
    ]
    answer = read(await platform.run("batch_records", collection="people", batch={"items": items}))
    assert [item and item["mail"] for item in answer["items"]] == [
        "new@example.org", "changed@example.org", None,
    ]  # fmt: skip
    before = await platform.everything("people")
    twice = [{"action": "create", "data": {"mail": "twice@example.org"}}] * 2
    with pytest.raises(UniqueTaken) as refused:
        await platform.run("batch_records", collection="people", batch={"items": twice})
    assert [f.pointer for f in refused.value.errors] == ["/items/1/data/mail"]
    wrong = [{"action": "create", "data": {"mail": "x@example.org"}},
             {"action": "create", "data": {"mail": "no"}}]  # fmt: skip
    with pytest.raises(Invalid) as invalid:
        await platform.run("batch_records", collection="people", batch={"items": wrong})
    assert [f.pointer for f in invalid.value.errors] == ["/items/1/data/mail"]
    assert await platform.everything("people") == before
    many = [{"action": "create", "data": {"mail": f"n{i}@example.org"}} for i in range(1000)]
    await platform.run("batch_records", collection="people", batch={"items": many})
    assert len(await platform.everything("people", limit=500)) == 1002


async def test_json_reads_back_as_written(platform: Platform) -> None:
    await platform.make("posts", *POST)
    text = "\U0001f600 \"\\ \u2028 <&> ' -- ; é"
    made = await platform.add("posts", title=text[:20], meta={text: [text, 1.5, True, None, {}]})
    assert await platform.get("posts", made["id"]) == made
    assert json.loads(json.dumps(made)) == made


async def test_reading_takes_one_query_and_creating_none(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await platform.make("posts", *POST)
    made = await platform.add("posts", title="a")
    await platform.get("posts", made["id"])
    queries: list[str] = []
    database = type(platform.database)
    really = {name: getattr(database, name) for name in ("read", "page")}
    for name in really:

        async def count(
            self: Any, query: Query[Any], *args: Any, really: Any = really[name]
        ) -> list[Any]:
            queries.append(query.sql.name)
            return await really(self, query, *args)

        monkeypatch.setattr(database, name, count)
    await platform.get("posts", made["id"])
    assert queries == ["records.record"]
    await platform.add("posts", title="b")
    assert queries == ["records.record"]
    await platform.page("posts", limit=1)
    # Where events are followed it is known how far the log has come, and which log it is.
    log = {"runtime.identity", "runtime.last_seq"}
    listed = [query for query in queries if query not in log]
    assert listed == ["records.record", "records.head", "records.list"]


async def test_patches_that_change_nothing_store_one_answer(platform: Platform) -> None:
    await platform.make("notes", {"name": "content", "type": "json"})
    note = await platform.add("notes", content="x" * 60_000)
    patch = service.operations["records.update_record"]
    stored = Query(
        "test.stored",
        "SELECT (SELECT COALESCE(SUM(length(sealed)), 0) FROM answer_bodies) + 0.0 + "
        "(SELECT COALESCE(SUM(length(body)), 0) FROM idempotency)",
        float,
    )
    for n in range(60):
        args = {"collection": "notes", "id": note["id"], "body": msgspec.Raw(b"{}")}
        key = Idempotency(b"%32d" % n, b"r" * 32)
        outcome = await platform.runtime.dispatcher.run(patch, platform.call(KEY), args, key)
        assert read(outcome)["content"] == note["content"]
    assert (await platform.database.read(stored, ()))[0] < 150_000
