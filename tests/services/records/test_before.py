"""The record as it was, in rules of updates and of fields that are written."""

from typing import Any

import pytest

from mainspring.kernel.errors import Forbidden, Invalid
from tests.services.records.platform import ANNA, KEY, Platform

TEXT = {"type": "text", "max": 40}
STATUS = {"name": "status", **TEXT}


async def test_a_field_is_written_while_the_record_was_so(platform: Platform) -> None:
    rule = 'before.status == "draft" || !has(before.id)'
    price = {"name": "price", "type": "integer", "rules": {"write": rule}}
    strict = {"name": "note", **TEXT, "rules": {"write": 'before.status != "sent"'}}
    rules = {"view": "true", "create": "true", "update": "true"}
    await platform.make("orders", STATUS, price, strict, rules=rules)
    made = await platform.add("orders", ANNA, status="draft", price=1)
    with pytest.raises(Forbidden, match="'note'"):  # of a record that is not there, nothing holds
        await platform.add("orders", ANNA, note="x")

    async def send(operation: str, **body: Any) -> Any:
        one = {"collection": "orders", "id": made["id"], "body": body}
        return await platform.run(operation, ANNA, **one)

    await send("update_record", price=2, note="x")
    await send("replace_record", status="sent", price=3, note="y")
    with pytest.raises(Forbidden, match="'price'"):
        await send("update_record", status="draft", price=4)
    await send("update_record", status="draft")
    await send("replace_record", status="draft")
    emptied = await platform.get("orders", made["id"], KEY)
    assert (emptied["price"], emptied["note"]) == (None, None)
    await send("update_record", status="sent", price=4, note="y")
    await send("replace_record", status="sent")  # what it may not write any more stays
    kept = await platform.get("orders", made["id"], KEY)
    assert (kept["price"], kept["note"]) == (4, "y")


async def test_a_rule_that_reaches_knows_what_was(platform: Platform) -> None:
    await platform.make("teams", {"name": "owner", **TEXT})
    team = {"name": "team", "type": "relation", "collection": "teams"}
    rule = 'record.team.owner == caller.id && before.status == "draft" && before.team != null'
    await platform.make("orders", STATUS, team, rules={"view": "true", "update": rule})
    own = await platform.add("teams", owner=ANNA.id)
    other = await platform.add("teams", owner="user_x")
    made = await platform.add("orders", status="draft", team=own["id"])
    one = {"collection": "orders", "id": made["id"]}
    question = {"action": "update", "caller": "nobody", "record": made["id"]}
    told = await platform.run("explain_rule", collection="orders", question=question)
    held = {part.source: part.holds for part in told.value.judgements[0].parts}
    assert list(held.values()) == [False, True, True]
    with pytest.raises(Forbidden):
        await platform.run("update_record", ANNA, **one, body={"team": other["id"]})
    await platform.run("update_record", ANNA, **one, body={"status": "sent"})
    with pytest.raises(Forbidden):
        await platform.run("update_record", ANNA, **one, body={"status": "draft"})


async def test_only_what_changes_has_a_before(platform: Platform) -> None:
    for action in ("list", "view", "create", "delete"):
        with pytest.raises(Invalid) as refused:
            await platform.make("orders", STATUS, rules={action: 'before.status == "x"'})
        assert "there is no 'before.status' here" in refused.value.errors[0].detail
    reads = {**STATUS, "rules": {"read": 'before.status == "x"'}}
    with pytest.raises(Invalid, match="not valid"):
        await platform.make("orders", reads)
    own = {"name": "before", "type": "json"}  # a field of that name is what is meant
    rules = {"view": "true", "update": 'before.status == "x"'}
    await platform.make("orders", STATUS, own, rules=rules)
    made = await platform.add("orders", status="y", before={"status": "x"})
    sent = {"collection": "orders", "id": made["id"], "body": {"status": "z"}}
    await platform.run("update_record", ANNA, **sent)
