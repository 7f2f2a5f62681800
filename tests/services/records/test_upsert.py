"""Upserts by a unique field: one record however many race, and nothing is told of others'."""

import asyncio
from typing import Any

import pytest

from mainspring.kernel.errors import Failure, Forbidden, Invalid, PreconditionFailed
from mainspring.runtime.invoke.dispatcher import Idempotency
from mainspring.services.records.api import UniqueTaken
from tests.services.records.platform import ANNA, BERT, KEY, Platform, read

ITEM = (
    {"name": "sku", "type": "text", "unique": True, "max": 50},
    {"name": "owner", "type": "text", "max": 50},
    {"name": "stock", "type": "integer", "min": 0, "default": 3},
    {"name": "title", "type": "text", "required": True, "default": "unnamed"},
)
OWN = "record.owner == caller.id"


async def upsert(platform: Platform, caller: Any = KEY, by: str = "sku", **body: Any) -> Any:
    return await platform.run(
        "upsert_record", caller, collection="items", query={"by": by}, body=body
    )


async def test_the_first_creates_and_the_next_changes(platform: Platform) -> None:
    await platform.make("items", *ITEM)
    made = await upsert(platform, sku="a", stock=5)
    record = read(made)
    assert (made.status, made.etag) == (201, '"1"')
    assert made.headers == (("Location", f"/v1/collections/items/records/{record['id']}"),)
    assert (record["stock"], record["title"]) == (5, "unnamed")
    platform.clock.move(1)
    changed = await upsert(platform, sku="a", title="A")
    assert (changed.status, changed.etag, changed.headers) == (200, '"2"', ())
    assert (read(changed)["id"], read(changed)["stock"]) == (record["id"], 5)
    types = [type for type, _ in await platform.events() if type.startswith("records.record.")]
    assert types == ["records.record.created", "records.record.updated"]


async def test_racing_callers_leave_one_record(platform: Platform) -> None:
    await platform.make("items", *ITEM)
    for stock, made in ((67, 1), (131, 0)):  # a new one begins with its default
        answers = await asyncio.gather(
            *[upsert(platform, **{"sku": "a", "$add": {"stock": 1}}) for _ in range(64)]
        )
        assert sorted(answer.status for answer in answers) == [200] * (64 - made) + [201] * made
        (record,) = await platform.everything("items")
        assert record["stock"] == stock


async def test_a_repeat_changes_nothing(platform: Platform) -> None:
    await platform.make("items", *ITEM)
    key = Idempotency(b"key", b"request")
    for status in (201, 200):
        call = platform.call()
        again = await platform.runtime.dispatcher.run(
            *platform.prepared(call, "upsert_record", collection="items", query={"by": "sku"},
                               body={"sku": "a", "$add": {"stock": 1}}), key
        )  # fmt: skip
        assert (again.status, again.replayed) == (status, status == 200)
    assert [record["stock"] for record in await platform.everything("items")] == [4]


async def test_what_does_not_fit_is_pointed_at(platform: Platform) -> None:
    await platform.make("items", *ITEM)
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("title", {"title": "a"}, "/by"),
        ("nothing", {"sku": "a"}, "/by"),
        ("sku", {"title": "a"}, "/sku"),
        ("sku", {"sku": None}, "/sku"),
        ("sku", {"sku": 1}, "/sku"),
        ("sku", {"sku": "a", "other": 1}, "/other"),
        ("sku", {"sku": "a", "$add": {"stock": -4}}, "/$add/stock"),
        ("sku", {"sku": "a", "title": None}, "/title"),
    ]
    for by, body, pointer in cases:
        with pytest.raises(Invalid) as refused:
            await upsert(platform, by=by, **body)
        assert [error.pointer for error in refused.value.errors] == [pointer]
    assert await platform.everything("items") == []


async def test_each_rule_judges_what_it_is_for(platform: Platform) -> None:
    rules = {"create": OWN, "update": OWN, "view": OWN}
    await platform.make("items", *ITEM, rules=rules)
    with pytest.raises(Forbidden):
        await upsert(platform, ANNA, sku="a", owner="user_bert")
    assert (await upsert(platform, ANNA, sku="a", owner="user_anna")).status == 201
    assert read(await upsert(platform, ANNA, sku="a", stock=9))["stock"] == 9
    with pytest.raises(Forbidden):  # the update rule, of what it would become
        await upsert(platform, ANNA, sku="a", owner="user_bert")


RULES: tuple[dict[str, str], ...] = (
    {"create": "true"},
    {"create": OWN},
    {"update": OWN},
    {"update": OWN, "create": "true", "view": OWN},
    {"update": "false", "create": "false", "view": "false"},
)


async def test_nothing_is_told_of_what_may_not_be_seen(platform: Platform) -> None:
    """What an upsert meets is answered as a create is, which cannot help to tell a taken value."""
    await platform.make("items", *ITEM)
    await platform.add("items", sku="hidden", owner="user_anna", title="Anna's")

    async def told(operation: str, sku: str, **query: Any) -> Any:
        body = {"sku": sku, "owner": "user_bert"}
        try:
            outcome = await platform.run(operation, BERT, collection="items", body=body, **query)
        except Failure as failure:
            return type(failure), failure.detail, failure.errors
        return outcome.status

    for number, rules in enumerate(RULES):
        await platform.run("update_collection", name="items", change={"rules": rules})
        created = [await told("create_record", sku) for sku in ("hidden", f"new {number}")]
        upserted = [
            await told("upsert_record", sku, query={"by": "sku"})
            for sku in ("hidden", f"newer {number}")
        ]
        assert upserted == created
    stored = await platform.everything("items", filter="sku == 'hidden'")
    assert [record["title"] for record in stored] == ["Anna's"]


async def test_what_may_be_seen_and_not_changed_is_forbidden(platform: Platform) -> None:
    await platform.make("items", *ITEM, rules={"create": "true", "view": "true"})
    await platform.add("items", sku="a")
    with pytest.raises(Forbidden):
        await upsert(platform, BERT, sku="a", stock=1)


async def test_a_version_is_compared(platform: Platform) -> None:
    await platform.make("items", *ITEM)

    async def upsert_if(tag: str) -> Any:
        return await platform.run(
            "upsert_record", if_match=tag, collection="items", query={"by": "sku"},
            body={"sku": "a"},
        )  # fmt: skip

    with pytest.raises(PreconditionFailed):
        await upsert_if('"1"')
    await upsert(platform, sku="a")
    assert (await upsert_if('"1"')).status == 200
    with pytest.raises(PreconditionFailed):
        await upsert_if('"2"')


async def test_a_batch_upserts(platform: Platform) -> None:
    await platform.make("items", *ITEM)
    one = await platform.add("items", sku="a", stock=1)

    async def batch(*items: dict[str, Any]) -> Any:
        return read(
            await platform.run("batch_records", collection="items", batch={"items": list(items)})
        )["items"]

    def item(**data: Any) -> dict[str, Any]:
        return {"action": "upsert", "by": "sku", "data": data}

    answered = await batch(item(sku="a", stock=2), item(sku="b"))
    assert [(r["sku"], r["stock"]) for r in answered] == [("a", 2), ("b", 3)]
    assert answered[0]["id"] == one["id"]
    with pytest.raises(Invalid) as refused:
        await batch({"action": "update", "id": one["id"], "data": {}}, item(sku="a"))
    assert [error.pointer for error in refused.value.errors] == ["/items/1"]
    with pytest.raises(UniqueTaken):
        await batch(item(sku="c"), item(sku="c"))
    with pytest.raises(Invalid) as refused:
        await batch({"action": "upsert", "data": {}}, {**item(sku="d"), "id": one["id"]})
    assert [e.pointer for e in refused.value.errors] == ["/items/0/by", "/items/1/id"]
    assert len(await platform.everything("items")) == 2
