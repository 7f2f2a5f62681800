"""Ids that callers choose: taken once, of a moment that can be, and telling nothing of others."""

from typing import Any

import pytest

from mainspring.kernel.clock import epoch_ms
from mainspring.kernel.errors import Failure, Invalid, PreconditionFailed
from mainspring.kernel.ids import encode, first_id_at
from mainspring.runtime.invoke.dispatcher import Idempotency
from mainspring.services.records.api import IdTaken
from tests.services.records.platform import ANNA, BERT, KEY, Platform, read

NOTE = (
    {"name": "owner", "type": "text", "max": 50},
    {"name": "slug", "type": "text", "unique": True, "max": 50},
)
OWN = "record.owner == caller.id"


def chosen(platform: Platform, number: int = 1, *, ago_s: float = 0) -> str:
    """A UUIDv7 of a moment, made elsewhere."""
    ms = platform.clock.now_ms() - int(ago_s * 1000)
    return f"rec_{encode(ms << 80 | 7 << 76 | 2 << 62 | number)}"


async def add(platform: Platform, caller: Any = KEY, collection: str = "notes", **body: Any) -> Any:
    return read(await platform.run("create_record", caller, collection=collection, body=body))


async def steps(platform: Platform, *steps: Any) -> Any:
    return await platform.run("batch_steps", batch={"steps": list(steps)})


async def batch(platform: Platform, *items: Any) -> Any:
    return await platform.run("batch_records", collection="notes", batch={"items": list(items)})


async def test_a_record_has_the_id_that_was_chosen(platform: Platform) -> None:
    await platform.make("notes", *NOTE, rules={"create": OWN, "view": OWN})
    first = chosen(platform)
    made = await platform.run(
        "create_record", ANNA, collection="notes", body={"id": first, "owner": ANNA.id}
    )
    record = read(made)
    assert record["id"] == first
    assert epoch_ms(record["created_at"]) == platform.clock.now_ms()
    assert made.headers == (("Location", f"/v1/collections/notes/records/{first}"),)
    old = chosen(platform, 2, ago_s=86_400)
    record = await add(platform, id=old)
    assert epoch_ms(record["created_at"]) == platform.clock.now_ms() - 86_400_000
    assert epoch_ms(record["updated_at"]) == platform.clock.now_ms()
    assert [r["id"] for r in await platform.everything("notes")] == [old, first]
    many = [chosen(platform, number) for number in (3, 4, 5)]
    upserted = {"action": "upsert", "by": "slug", "data": {"id": many[1], "slug": "a"}}
    await batch(platform, {"action": "create", "data": {"id": many[0]}}, upserted)
    slug_b = {"slug": "b"}
    await steps(
        platform,
        {"collection": "notes", "action": "create", "name": "one", "data": {"id": many[2]}},
        {"collection": "notes", "action": "update", "id": {"$ref": "one.id"}, "data": slug_b},
    )  # fmt: skip
    found = {r["id"]: r["slug"] for r in await platform.everything("notes")}
    assert found == {first: None, old: None, many[0]: None, many[1]: "a", many[2]: "b"}


async def test_what_is_none_is_refused_and_changes_nothing(platform: Platform) -> None:
    await platform.make("notes", *NOTE, rules={"create": "true"})
    good = chosen(platform)
    cases = [
        (KEY, good.replace("rec_", "user_")),
        (KEY, good[:-1]),
        (KEY, good + "0"),
        (KEY, "rec_" + "z" + good[5:]),
        (KEY, good.upper()),
        (KEY, first_id_at("rec", platform.clock.now_ms())),  # no UUIDv7: no version
        (KEY, chosen(platform, ago_s=-301)),
        (KEY, f"rec_{encode((1 << 48) - 1 << 80 | 7 << 76 | 2 << 62)}"),  # no year has this
        (ANNA, chosen(platform, ago_s=301)),
        (KEY, 7),
        (KEY, None),
        (KEY, good + "\n"),
        (KEY, "rec_\0"),
    ]
    for caller, id in cases:
        with pytest.raises(Invalid) as refused:
            await add(platform, caller, id=id)
        assert [error.pointer for error in refused.value.errors] == ["/id"], id
    assert "UUIDv7" in refused.value.errors[0].detail
    for body in ({"id": good}, {"id": good, "slug": "a"}):
        there = await platform.add("notes")
        for operation in ("update_record", "replace_record"):
            with pytest.raises(Invalid) as refused:
                await platform.run(operation, collection="notes", id=there["id"], body=body)
            assert [error.pointer for error in refused.value.errors] == ["/id"]
    assert len(await platform.everything("notes")) == 2


async def test_a_taken_id_tells_nothing_and_is_never_given_again(platform: Platform) -> None:
    rules = {"create": "true", "view": OWN, "update": OWN}
    await platform.make("notes", *NOTE, rules=rules)
    await platform.make("others", *NOTE, rules=rules)
    ids = [chosen(platform, number) for number in range(1, 6)]
    for number in (0, 1):
        await add(platform, ANNA, id=ids[number], owner=ANNA.id)
    await platform.run("delete_record", collection="notes", id=ids[1])
    answers = []
    for caller, collection, id in (
        (BERT, "notes", ids[0]), (ANNA, "notes", ids[0]),
        (BERT, "notes", ids[1]), (BERT, "others", ids[0]),
    ):  # fmt: skip
        with pytest.raises(IdTaken) as refused:
            await add(platform, caller, collection, id=id)
        answers.append((refused.value.detail, refused.value.errors))
    assert len(set(answers)) == 1
    for by in ("slug", "id"):
        with pytest.raises(IdTaken):
            await platform.run("upsert_record", BERT, collection="notes", query={"by": by},
                               body={"id": ids[0], "slug": "b"})  # fmt: skip
    twice = {"action": "create", "data": {"id": ids[2]}}
    with pytest.raises(IdTaken) as refused:
        await batch(platform, twice, twice)
    assert refused.value.errors[0].pointer == "/items/1/data/id"
    with pytest.raises(IdTaken):
        await steps(platform, {"collection": "notes", **twice}, {"collection": "notes", **twice})
    again = {"action": "create", "data": {"id": ids[0]}}
    with pytest.raises(IdTaken):
        await batch(platform, {"action": "delete", "id": ids[0]}, again)
    (left,) = await platform.everything("notes")
    assert left["owner"] == ANNA.id
    # A collection that takes the place of one that is gone takes its ids, too: a copy comes back.
    await platform.run("delete_collection", name="notes")
    platform.clock.move(0.002)
    await platform.make("notes", *NOTE)
    assert (await add(platform, id=ids[0]))["owner"] is None
    assert (await add(platform, collection="others", id=ids[1]))["owner"] is None


async def test_an_upsert_by_id(platform: Platform) -> None:
    await platform.make("notes", *NOTE, rules={"create": "true", "update": OWN, "view": OWN})
    id = chosen(platform)

    async def upsert(caller: Any = ANNA, by: str = "id", **body: Any) -> Any:
        return await platform.run(
            "upsert_record", caller, collection="notes", query={"by": by}, body=body
        )

    made = await upsert(id=id, owner=ANNA.id, slug="a")
    assert (made.status, read(made)["id"]) == (201, id)
    changed = await upsert(id=id, slug="b")
    assert (changed.status, read(changed)["slug"], changed.etag) == (200, "b", '"2"')
    assert (await upsert(by="slug", id=id, slug="b")).status == 200
    with pytest.raises(Invalid) as refused:
        await upsert(by="slug", id=chosen(platform, 9), slug="b")
    assert refused.value.errors[0].pointer == "/id"
    with pytest.raises(IdTaken):
        await upsert(BERT, id=id)
    with pytest.raises(Invalid, match="/id"):
        await upsert(slug="c")
    with pytest.raises(PreconditionFailed):
        await platform.run("upsert_record", if_match='"1"', collection="notes",
                           query={"by": "id"}, body={"id": chosen(platform, 8)})  # fmt: skip


async def test_a_repeat_answers_as_it_did(platform: Platform) -> None:
    await platform.make("notes", *NOTE)
    body = {"id": chosen(platform)}
    bodies = []
    for _ in range(2):
        call = platform.call()
        outcome = await platform.runtime.dispatcher.run(
            *platform.prepared(call, "create_record", collection="notes", body=body),
            Idempotency(b"key", b"request"),
        )
        bodies.append(outcome.body)
    assert bodies[0] == bodies[1]
    with pytest.raises(Failure, match="taken"):
        await add(platform, **body)
