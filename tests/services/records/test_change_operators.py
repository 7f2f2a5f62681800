"""Operators of a change: what they make, that no race loses one, and that bounds hold."""

import asyncio
from typing import Any

import pytest

from mainspring.kernel.errors import Failure, Forbidden, Invalid
from tests.services.records.platform import ANNA, KEY, Platform, read

ITEM = (
    {"name": "stock", "type": "integer", "min": 0, "max": 100},
    {"name": "count", "type": "integer"},
    {"name": "price", "type": "number"},
    {"name": "tags", "type": "json"},
    {"name": "title", "type": "text"},
)


async def patch(platform: Platform, id: str, body: dict[str, Any], caller: Any = KEY) -> Any:
    outcome = await platform.run("update_record", caller, collection="items", id=id, body=body)
    return read(outcome)


MADE: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"stock": 5}, {"$add": {"stock": -2}}, {"stock": 3}),
    ({}, {"$add": {"stock": 2}}, {"stock": 2}),
    ({"stock": 5}, {"$add": {"stock": 2.0}}, {"stock": 7}),
    ({"price": 1}, {"$add": {"price": 0.5}, "title": "a"}, {"price": 1.5, "title": "a"}),
    ({"tags": [1, "a"]}, {"$append": {"tags": ["a", {"b": 1}]}}, {"tags": [1, "a", "a", {"b": 1}]}),
    ({}, {"$append": {"tags": [None]}}, {"tags": [None]}),
    ({"tags": [1, 1.0, True, 1]}, {"$remove": {"tags": [1]}}, {"tags": [1.0, True]}),
    ({"tags": [{"a": 1, "b": 2}]}, {"$remove": {"tags": [{"b": 2, "a": 1}]}}, {"tags": []}),
    ({}, {"$remove": {"tags": ["a"]}}, {"tags": None}),
    # What a json field holds is never an operator.
    ({"tags": [1]}, {"tags": {"$append": [1]}}, {"tags": {"$append": [1]}}),
    ({"tags": [1]}, {"$append": {"tags": [{"$add": 1}]}}, {"tags": [1, {"$add": 1}]}),
]  # fmt: skip
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"$add": {"stock": -6}}, "/$add/stock", "the sum is not within the field's bounds: 0 to 100"),
    ({"$add": {"stock": 96}}, "/$add/stock", "the sum is not within the field's bounds: 0 to 100"),
    ({"$add": {"stock": 0.5}}, "/$add/stock", "Expected `int`, got a fraction"),
    ({"$add": {"count": 2**53 - 1}}, "/$add/count", "the sum is not within"),
    ({"$add": {"count": 2**53}}, "/$add/count", "Expected `int` <= 9007199254740991"),
    ({"$add": {"price": 1e100}}, "/$add/price", "the sum is not within"),
    ({"$add": {"title": 1}}, "/$add/title", "unknown field"),
    ({"$add": {"stock": None}}, "/$add/stock", "got `null`"),
    ({"$add": {"stock": 1}, "stock": 2}, "/$add/stock", "'stock' is changed twice"),
    ({"$append": {"tags": [1]}, "$remove": {"tags": [1]}}, "/$remove/tags", "is changed twice"),
    ({"$append": {"tags": 1}}, "/$append/tags", "Expected `array`, got `int`"),
    ({"$append": {"tags": []}}, "/$append/tags", "Expected `array` of length >= 1"),
    ({"$append": {"tags": [2**60]}}, "/$append/tags", "integers go to 2^53 - 1"),
    ({"$append": {"tags": ["x" * 65_536]}}, "/$append/tags", "is more than 65536 bytes"),
    ({"$multiply": {"stock": 2}}, "/$multiply", "unknown field"),
    ({"ADD": {"stock": 2}}, "/ADD", "unknown field"),
]  # fmt: skip


async def test_what_operators_make(platform: Platform) -> None:
    await platform.make("items", *ITEM)
    for stored, body, becomes in MADE:
        made = await platform.add("items", **stored)
        changed = await patch(platform, made["id"], body)
        assert {name: changed[name] for name in becomes} == becomes
        assert [type(changed[name]) for name in becomes] == [type(v) for v in becomes.values()]
        assert await platform.get("items", made["id"]) == changed


async def test_what_does_not_fit_is_pointed_at(platform: Platform) -> None:
    await platform.make("items", *ITEM)
    made = await platform.add("items", stock=5, count=1, price=1e100, tags=[])
    for body, pointer, detail in REFUSED:
        with pytest.raises(Invalid) as refused:
            await patch(platform, made["id"], body)
        (error,) = refused.value.errors
        assert error.pointer == pointer
        assert detail in error.detail
    assert await platform.get("items", made["id"]) == made


async def test_what_is_no_list_takes_no_values(platform: Platform) -> None:
    await platform.make("items", *ITEM)
    made = await platform.add("items", tags={"a": 1})
    for operator in ("$append", "$remove"):
        with pytest.raises(Invalid) as refused:
            await patch(platform, made["id"], {operator: {"tags": [1]}})
        assert [error.detail for error in refused.value.errors] == ["the field holds no list"]


async def test_no_race_loses_one_and_the_bound_holds(platform: Platform) -> None:
    await platform.make("items", *ITEM)
    made = await platform.add("items", stock=40, tags=[])
    changes = [{"$add": {"stock": -1}, "$append": {"tags": [n]}} for n in range(64)]
    outcomes = await asyncio.gather(
        *[patch(platform, made["id"], change) for change in changes], return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert [type(outcome) for outcome in refused] == [Invalid] * 24
    record = await platform.get("items", made["id"])
    assert record["stock"] == 0
    assert len(set(record["tags"])) == 40


async def test_rules_see_what_becomes_of_it(platform: Platform) -> None:
    rules = {"update": "!('tags' in request.changes) && record.stock < 10", "view": "true"}
    await platform.make("items", *ITEM, rules=rules)
    made = await platform.add("items", stock=5, tags=[])
    assert (await patch(platform, made["id"], {"$add": {"stock": 4}}, ANNA))["stock"] == 9
    for body in ({"$add": {"stock": 1}}, {"$append": {"tags": [1]}}):
        with pytest.raises(Forbidden):
            await patch(platform, made["id"], body, ANNA)


async def test_a_bound_tells_those_alone_who_may_change(platform: Platform) -> None:
    await platform.make("items", *ITEM, rules={"update": "false"})
    made = await platform.add("items", stock=5)
    for amount in (1, -6):
        with pytest.raises(Failure) as refused:
            await patch(platform, made["id"], {"$add": {"stock": amount}}, ANNA)
        assert refused.value.status == 404


async def test_only_a_change_takes_operators(platform: Platform) -> None:
    await platform.make("items", *ITEM)
    made = await platform.add("items", stock=5)
    for operation, extra in (("create_record", {}), ("replace_record", {"id": made["id"]})):
        with pytest.raises(Invalid) as refused:
            await platform.run(operation, collection="items", body={"$add": {"stock": 1}}, **extra)
        assert [error.pointer for error in refused.value.errors] == ["/$add"]


async def test_a_batch_takes_them(platform: Platform) -> None:
    await platform.make("items", *ITEM)
    made = await platform.add("items", stock=5)
    item = {"action": "update", "id": made["id"], "data": {"$add": {"stock": -6}}}
    with pytest.raises(Invalid) as refused:
        await platform.run("batch_records", collection="items", batch={"items": [item]})
    assert [error.pointer for error in refused.value.errors] == ["/items/0/data/$add/stock"]
