"""Writes in several collections as one commit: values handed on, each judged after the others."""

import asyncio
from typing import Any

import pytest

from mainspring.kernel.errors import Failure, Forbidden, Invalid
from mainspring.runtime.invoke.dispatcher import Idempotency
from mainspring.services.records.api import BATCH_MAX, StillReferenced, UniqueTaken
from tests.services.records.platform import ANNA, BERT, KEY, Platform, read

TEAM = ({"name": "owner", "type": "text"}, {"name": "secret", "type": "text"})
MEMBER = (
    {"name": "team", "type": "relation", "collection": "teams"},
    {"name": "user", "type": "text"},
)
ITEM = (
    {"name": "sku", "type": "text", "unique": True, "max": 50},
    {"name": "stock", "type": "integer", "min": 0},
    {"name": "team", "type": "relation", "collection": "teams"},
    {"name": "note", "type": "json"},
)
OWNER = {"create": "record.owner == caller.id", "view": "record.owner == caller.id"}
OF_TEAM = {"create": "record.team.owner == caller.id", "view": "record.team.owner == caller.id"}
MEMBERS = "record.team.members.exists(m, m.user == caller.id)"


@pytest.fixture
async def shop(platform: Platform) -> Platform:
    await platform.make("teams", *TEAM, rules=OWNER)
    await platform.make("members", *MEMBER, rules=OF_TEAM)
    rules = {"create": MEMBERS, "view": MEMBERS, "update": MEMBERS, "delete": MEMBERS}
    await platform.make("items", *ITEM, rules=rules)
    return platform


def create(collection: str, name: str | None = None, /, **data: Any) -> dict[str, Any]:
    return {"collection": collection, "action": "create", "name": name, "data": data}


async def take(platform: Platform, *steps: dict[str, Any], caller: Any = KEY) -> list[Any]:
    outcome = await platform.run("batch_steps", caller, batch={"steps": list(steps)})
    items: list[Any] = read(outcome)["items"]
    return items


async def refused(platform: Platform, *steps: dict[str, Any], caller: Any = KEY) -> Failure:
    before = [await platform.everything(name) for name in ("teams", "members", "items")]
    events = await platform.events()
    with pytest.raises(Failure) as found:
        await take(platform, *steps, caller=caller)
    assert [await platform.everything(name) for name in ("teams", "members", "items")] == before
    assert await platform.events() == events
    return found.value


async def test_rules_of_a_step_see_the_rows_of_the_earlier_ones(shop: Platform) -> None:
    """A team, its first member, and what only members may write: by one who had nothing."""
    team = create("teams", "team", owner=ANNA.id)
    member = create("members", user=ANNA.id, **{"$ref": {"team": "team.id"}})
    item = create("items", "item", sku="a", stock=1, **{"$ref": {"team": "team.id"}})
    more = {"collection": "items", "action": "update", "id": {"$ref": "item.id"},
            "data": {"$add": {"stock": 2}, "note": {"$ref": "item.id"}}}  # fmt: skip
    answered = await take(shop, team, member, item, more, caller=ANNA)
    assert [record["collection"] for record in answered] == ["teams", "members", "items", "items"]
    assert answered[1]["team"] == answered[0]["id"]
    assert answered[3] == await shop.get("items", answered[2]["id"], ANNA)
    assert (answered[3]["stock"], answered[3]["note"]) == (3, {"$ref": "item.id"})  # json is json
    types = [type for type, _ in await shop.events() if type.startswith("records.record.")]
    assert types == ["records.record.created"] * 3 + ["records.record.updated"]
    for order in ((team, item, member), (member, team, item)):  # not of the later ones
        await refused(shop, *order, caller=BERT)
    other = create("members", user=BERT.id, team=answered[0]["id"])
    failure = await refused(shop, other, caller=BERT)
    assert isinstance(failure, Forbidden)
    left = {"collection": "members", "action": "delete", "id": answered[1]["id"]}
    add = create("items", sku="b", team=answered[0]["id"])
    await shop.run("update_collection", name="members", change={
        "rules": {**OF_TEAM, "delete": "record.team.owner == caller.id"}})  # fmt: skip
    assert [type(await refused(shop, left, add, caller=ANNA))] == [Forbidden]
    assert (await take(shop, add, left, caller=ANNA))[1] is None


async def test_what_is_wrong_names_its_step(shop: Platform) -> None:
    made = await shop.add("teams", owner=BERT.id, secret="his")
    await shop.add("items", sku="taken")
    fine = create("teams", "team", owner=ANNA.id)
    item = {"collection": "items", "action": "update", "id": made["id"]}
    cases: list[tuple[type[Failure], str, dict[str, Any], Any]] = [
        (Invalid, "/data/stock", create("items", stock=-1), KEY),
        (Invalid, "/data/other", create("items", other=-1), KEY),
        (UniqueTaken, "/data/sku", create("items", sku="taken"), KEY),
        (Invalid, "/data/$ref/team", create("items", **{"$ref": {"team": "nobody.id"}}), KEY),
        (Invalid, "/data/$ref/team", create("items", **{"$ref": {"team": "team.other"}}), KEY),
        (Invalid, "/data/$ref/team",
         create("items", team=None, **{"$ref": {"team": "team.id"}}), KEY),
        (Invalid, "/data/$ref", create("items", **{"$ref": "team.id"}), KEY),
        (Invalid, "/data/team", create("items", team=made["id"][:-1] + "0"), KEY),
        (Invalid, "/name", create("items", "team"), KEY),
        (Invalid, "/id", {**item, "action": "create"}, KEY),
        (Invalid, "/id", {"collection": "items", "action": "delete"}, KEY),
        (Invalid, "/id", {**item, "id": {"$ref": "team.x"}}, KEY),
        (Invalid, "/by", {**create("items"), "by": "sku"}, KEY),
        (Failure, "", item, KEY),
        (Failure, "", create("nowhere"), KEY),
        (Forbidden, "", create("teams", owner=BERT.id), ANNA),
        (Failure, "", {"collection": "teams", "action": "update", "id": made["id"]}, ANNA),
    ]  # fmt: skip
    for kind, pointer, step, caller in cases:
        failure = await refused(shop, fine, step, caller=caller)
        assert isinstance(failure, kind)
        assert failure.errors[0].pointer == f"/steps/1{pointer}"
        assert failure.status < 500
    assert (await shop.get("teams", made["id"]))["secret"] == "his"


async def test_what_may_not_be_seen_is_not_handed_on(shop: Platform) -> None:
    """An update that its caller may make and not see answers nothing to refer to but its id."""
    rules = {"create": "true", "update": "true"}
    await shop.make("boxes", {"name": "pin", "type": "text", "unique": True, "max": 9},
                    {"name": "code", "type": "text"}, rules=rules)  # fmt: skip
    await shop.make("notes", {"name": "text", "type": "text"},
                    rules={"create": "true", "view": "true"})  # fmt: skip
    await shop.add("boxes", pin="1", code="secret")
    sent: dict[str, Any] = {"collection": "boxes", "action": "upsert", "by": "pin", "name": "box"}
    for pin, member, told in (("1", "code", False), ("1", "id", False), ("2", "id", True)):
        steps = (
            {**sent, "data": {"pin": pin}},
            create("notes", **{"$ref": {"text": f"box.{member}"}}),
        )
        if told:
            answered = await take(shop, *steps, caller=ANNA)
            assert answered[0] is None
            (box,) = await shop.everything("boxes", filter="pin == '2'")
            assert answered[1]["text"] == box["id"]
        else:
            with pytest.raises(Invalid):
                await take(shop, *steps, caller=ANNA)


async def test_a_record_is_made_changed_and_deleted_in_turn(shop: Platform) -> None:
    made = create("items", "a", sku="a")
    ref = {"$ref": "a.id"}
    gone = {"collection": "items", "action": "delete", "id": ref}
    again = {"collection": "items", "action": "upsert", "by": "sku", "data": {"sku": "a"}}
    answered = await take(shop, made, again, gone, again, again)
    assert answered[0]["id"] == answered[1]["id"] != answered[3]["id"] == answered[4]["id"]
    (record,) = await shop.everything("items")
    assert record == answered[4]
    team = await shop.add("teams")
    end = {"collection": "teams", "action": "delete", "id": team["id"]}
    point = create("items", sku="b", team=team["id"])
    assert isinstance(await refused(shop, point, end), StillReferenced)
    assert isinstance(await refused(shop, end, point), Invalid)


async def test_a_thousand_steps_are_one_commit_and_a_repeat_is_none(shop: Platform) -> None:
    steps = [create("items", sku=f"{n}") for n in range(BATCH_MAX)]
    key = Idempotency(b"k" * 32, b"r" * 32)
    bodies = set()
    for replayed in (False, True):
        outcome = await shop.runtime.dispatcher.run(
            *shop.prepared(shop.call(), "batch_steps", batch={"steps": steps}), key
        )
        bodies.add(outcome.body)
        assert outcome.replayed is replayed
    assert len(bodies) == 1
    assert len(await shop.everything("items", limit=500)) == BATCH_MAX


async def test_batches_that_race_leave_the_rows_of_one(shop: Platform) -> None:
    await shop.add("items", sku="stock", stock=5)
    take_one = {"collection": "items", "action": "upsert", "by": "sku",
                "data": {"sku": "stock", "$add": {"stock": -1}}}  # fmt: skip
    outcomes = await asyncio.gather(
        *[take(shop, create("teams", owner=f"{n}"), take_one) for n in range(8)],
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, Invalid) for outcome in outcomes) == 3
    assert len(await shop.everything("teams")) == 5


async def test_a_repeat_shows_what_may_still_be_seen(shop: Platform) -> None:
    key = Idempotency(b"k" * 32, b"r" * 32)
    batch = {"steps": [create("teams", owner=ANNA.id)]}

    async def once() -> Any:
        return read(
            await shop.runtime.dispatcher.run(
                *shop.prepared(shop.call(ANNA), "batch_steps", batch=batch), key
            )
        )["items"]

    (made,) = await once()
    assert await once() == [made]
    await shop.run("update_record", collection="teams", id=made["id"], body={"owner": BERT.id})
    assert await once() == [None]
