"""A collection with the rules of the quickstart, attacked: by strangers, by others, by its own."""

import pytest

from mainspring.kernel.errors import Forbidden, NotFound, Unauthenticated
from tests.services.records.platform import ANNA, NOBODY, Platform

OWNED = (
    {"name": "text", "type": "text"},
    {"name": "owner", "type": "text", "max": 40},
)
OWN = "record.owner == caller.id"


async def test_records_without_an_owner_are_not_everybodys(platform: Platform) -> None:
    rules = dict.fromkeys(("list", "view", "create", "update", "delete"), OWN)
    await platform.make("notes", *OWNED, rules=rules, indexes=[["owner"]])
    orphan = await platform.add("notes", text="nobody's")
    own = await platform.add("notes", ANNA, text="hers", owner=ANNA.id)
    assert await platform.everything("notes", NOBODY) == []
    assert await platform.everything("notes", NOBODY, filter="owner == caller.id") == []
    assert await platform.everything("notes", ANNA) == [own]
    counted = await platform.run("aggregate_records", NOBODY, collection="notes", query={})
    assert counted.value.items[0].count == 0
    for record in (orphan, own):
        one = {"collection": "notes", "id": record["id"]}
        with pytest.raises(NotFound):
            await platform.get("notes", record["id"], NOBODY)
        with pytest.raises(NotFound):
            await platform.run("update_record", NOBODY, **one, body={"text": "x"})
        with pytest.raises(NotFound):
            await platform.run("replace_record", NOBODY, **one, body={"text": "x"})
        with pytest.raises(NotFound):
            await platform.run("delete_record", NOBODY, **one)
    with pytest.raises(Unauthenticated):
        await platform.add("notes", NOBODY, text="x")
    with pytest.raises(Forbidden):
        await platform.add("notes", ANNA, text="x")


@pytest.mark.parametrize(
    "rule",
    [
        "!(record.owner != caller.id)",
        "record.owner in [caller.id]",
        "record.owner != caller.id",
        "!(record.owner == caller.id)",
        "caller.id == null",
        "!('admin' in caller.scopes)",
    ],
)
async def test_no_turn_of_words_opens_them_to_nobody(platform: Platform, rule: str) -> None:
    await platform.make("notes", *OWNED, rules={"list": rule, "view": rule, "delete": rule})
    for owner in (None, "user_1"):
        made = await platform.add("notes", owner=owner)
        with pytest.raises(NotFound):
            await platform.get("notes", made["id"], NOBODY)
        with pytest.raises(NotFound):
            await platform.run("delete_record", NOBODY, collection="notes", id=made["id"])
    assert await platform.everything("notes", NOBODY) == []


async def test_what_is_meant_for_nobody_is_asked_on_purpose(platform: Platform) -> None:
    rule = "caller == null ? record.owner == null : record.owner == caller.id"
    await platform.make("notes", *OWNED, rules={"list": rule, "view": rule})
    orphan, own = await platform.add("notes"), await platform.add("notes", owner=ANNA.id)
    assert await platform.everything("notes", NOBODY) == [orphan]
    assert await platform.everything("notes", ANNA) == [own]
