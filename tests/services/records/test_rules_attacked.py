"""A collection with the rules of the quickstart, attacked: by strangers, by others, by its own."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from mainspring.kernel.call import Caller
from mainspring.kernel.errors import (
    Failure,
    Forbidden,
    Hidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    Unauthenticated,
)
from mainspring.kernel.operation import Upload
from mainspring.ports.blobs import Blobs
from mainspring.runtime.invoke.dispatcher import Idempotency, Outcome
from mainspring.services.records import service
from mainspring.services.records.api import StillReferenced
from tests.services.records.platform import ANNA, BERT, KEY, NOBODY, Platform, read

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


# A change is judged by what it makes, too

WRITER = Caller("key", "key_writer", scopes=frozenset({"records:write"}))
FILE = {"name": "photo", "type": "file"}
LOCKED = {"name": "locked", "type": "boolean", "default": False}


async def _refused(run: Any) -> type[Failure]:
    with pytest.raises(Failure) as refused:
        await run
    return type(refused.value)


async def _upload(platform: Platform, collection: str, id: str, caller: Caller) -> Outcome:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"bytes"

    place = {"collection": collection, "record_id": id, "field": "photo"}
    call, blobs = platform.call(caller), platform.runtime.resources[Blobs]
    prepare = service.operations["records.upload_file"].prepare
    assert prepare is not None
    key = (await prepare(call, **place)).prefix + call.new_id("blob")
    blob = await blobs.put(key, chunks(), size_bytes_max=1000)
    upload = Upload(blob.key, blob.size_bytes, blob.sha256, "image/png", "a.png")
    return await platform.run("upload_file", caller, **place, upload=upload)


def _batch(platform: Platform, caller: Caller, *items: dict[str, Any]) -> Any:
    return platform.run("batch_records", caller, collection="notes", batch={"items": list(items)})


async def test_what_is_ones_own_is_not_given_away(platform: Platform) -> None:
    await platform.make(
        "notes", *OWNED, rules={"view": "true", "list": "true", "create": OWN, "update": OWN}
    )
    own = await platform.add("notes", ANNA, text="mine", owner=ANNA.id)
    one = {"collection": "notes", "id": own["id"]}
    for owner in (BERT.id, None):
        for body in ({"owner": owner}, {"owner": owner, "text": "x"}):
            update = platform.run("update_record", ANNA, **one, body=body)
            assert await _refused(update) is Forbidden
            replace = platform.run("replace_record", ANNA, **one, body={"text": "mine", **body})
            assert await _refused(replace) is Forbidden
            item = {"action": "update", "id": own["id"], "data": body}
            assert await _refused(_batch(platform, ANNA, item)) is Forbidden
    left_out = platform.run("replace_record", ANNA, **one, body={"text": "mine"})
    assert await _refused(left_out) is Forbidden
    taken = platform.run("update_record", BERT, **one, body={"owner": BERT.id})
    assert await _refused(taken) is Forbidden
    assert await platform.everything("notes") == [own]
    changed = await platform.run("update_record", ANNA, **one, body={"text": "still mine"})
    assert read(changed)["text"] == "still mine"
    given = await platform.run("update_record", **one, body={"owner": BERT.id})
    assert read(given)["owner"] == BERT.id  # the scope stands above the rule


UNTOUCHED = '!("locked" in request.changes) && !("photo" in request.changes)'


async def test_a_field_that_may_not_be_touched_is_not(platform: Platform) -> None:
    await platform.make("notes", *OWNED, LOCKED, FILE, rules={"view": "true", "update": UNTOUCHED})
    made = await platform.add("notes", text="a", locked=True)
    one = {"collection": "notes", "id": made["id"]}
    for body in ({"locked": None}, {"locked": False}, {"text": "b", "locked": False}):
        update = platform.run("update_record", ANNA, **one, body=body)
        assert await _refused(update) is Forbidden
        item = {"action": "update", "id": made["id"], "data": body}
        assert await _refused(_batch(platform, ANNA, item)) is Forbidden
    for body in ({"text": "b"}, {"text": "b", "locked": False}, {}):  # a PUT fills defaults in
        replace = platform.run("replace_record", ANNA, **one, body=body)
        assert await _refused(replace) is Forbidden
    assert await _refused(_upload(platform, "notes", made["id"], ANNA)) is Forbidden
    await _upload(platform, "notes", made["id"], KEY)
    emptied = platform.run("update_record", ANNA, **one, body={"photo": None})
    assert await _refused(emptied) is Forbidden

    same = {"locked": True, "text": "b"}  # what is sent as it is does not change
    assert read(await platform.run("update_record", ANNA, **one, body=same))["text"] == "b"
    whole = await platform.run("replace_record", ANNA, **one, body={"text": "c", "locked": True})
    assert (read(whole)["text"], read(whole)["photo"]["name"]) == ("c", "a.png")


async def test_changes_are_told_apart_as_their_json_is(platform: Platform) -> None:
    meta = {"name": "meta", "type": "json"}
    rules = {"view": "true", "update": "size(request.changes) == 0"}
    await platform.make("notes", meta, rules=rules)
    made = await platform.add("notes", meta={"on": 1, "a": [None]})
    one = {"collection": "notes", "id": made["id"]}
    for meta_now in ({"on": True, "a": [None]}, {"on": 1.0, "a": [None]}, {"on": 1}, None):
        update = platform.run("update_record", ANNA, **one, body={"meta": meta_now})
        assert await _refused(update) is Forbidden
    for body in ({}, {"meta": {"a": [None], "on": 1}}):
        assert read(await platform.run("update_record", ANNA, **one, body=body)) == made


async def test_a_new_record_changes_what_is_not_its_default(platform: Platform) -> None:
    rules = {"view": "true", "create": '!("locked" in request.changes)'}
    await platform.make("notes", *OWNED, LOCKED, rules=rules)
    assert await _refused(platform.add("notes", ANNA, locked=True)) is Forbidden
    assert await _refused(platform.add("notes", ANNA, locked=None)) is Forbidden
    for body in ({"text": "a"}, {"locked": False}):
        assert (await platform.add("notes", ANNA, **body))["locked"] is False
    item = {"action": "create", "data": {"locked": True}}
    assert await _refused(_batch(platform, ANNA, item)) is Forbidden


async def test_a_state_may_go_one_way(platform: Platform) -> None:
    state = {"name": "state", "type": "select", "values": ["draft", "published"]}
    step = '"state" in request.changes && request.data.state == "published"'
    rules = {"view": "true", "update": f'record.state == "draft" || ({step})'}
    await platform.make("notes", *OWNED, state, rules=rules)
    made = await platform.add("notes", text="a", state="draft")
    one = {"collection": "notes", "id": made["id"]}
    for body in ({"text": "b"}, {"state": "draft"}, {"text": "c", "state": "published"}):
        assert (await platform.run("update_record", ANNA, **one, body=body)).status == 200
    for body in ({"text": "d"}, {"state": "draft"}, {"text": "d", "state": "published"}):
        update = platform.run("update_record", ANNA, **one, body=body)
        assert await _refused(update) is Forbidden
        replace = platform.run("replace_record", ANNA, **one, body={"text": "d", **body})
        assert await _refused(replace) is Forbidden


async def test_what_the_platform_sets_is_no_change_of_the_callers(platform: Platform) -> None:
    rules = {"view": "true", "update": "record.updated_at < now && size(request.changes) == 1"}
    await platform.make("notes", *OWNED, rules=rules)
    made = await platform.add("notes", text="a")
    platform.clock.move(1)
    body = {"text": "b"}
    changed = await platform.run(
        "update_record", ANNA, collection="notes", id=made["id"], body=body
    )
    assert read(changed)["updated_at"] > made["updated_at"]


# Writing is not reading


async def test_who_may_write_is_not_shown_what_is_written(platform: Platform) -> None:
    secret = {"name": "secret", "type": "text"}
    rules = {"create": "true", "update": "true", "delete": "true"}
    await platform.make("notes", *OWNED, secret, FILE, rules=rules)
    kept = await platform.add("notes", secret="s3cret")
    one = {"collection": "notes", "id": kept["id"]}
    for caller in (NOBODY, ANNA, WRITER):
        update = {"action": "update", "id": kept["id"], "data": {}}
        create = {"action": "create", "data": {"text": "x"}}
        change = {"action": "update", "id": kept["id"], "data": {"text": caller.kind}}
        outcomes = [
            await platform.run("update_record", caller, **one, body={}),
            await platform.run("update_record", caller, **one, body={"text": "x" + caller.kind}),
            await platform.run("replace_record", caller, **one, body={"secret": "s3cret"}),
            await _upload(platform, "notes", kept["id"], caller),
        ]
        for outcome in outcomes:
            assert (outcome.status, outcome.body, outcome.etag) == (204, b"", None)
        made = await platform.run("create_record", caller, collection="notes", body={"text": "x"})
        assert (made.status, made.body, made.etag) == (204, b"", None)
        ((name, location),) = made.headers
        assert name == "Location"
        assert (await platform.get("notes", location.rpartition("/")[2]))["text"] == "x"
        assert read(await _batch(platform, caller, update, create)) == {"items": [None, None]}
        assert read(await _batch(platform, caller, change)) == {"items": [None]}
        for run in (platform.get("notes", kept["id"], caller), platform.page("notes", caller)):
            assert await _refused(run) in (Unauthenticated, Forbidden)


async def test_the_view_rule_says_of_each_answer_whether_it_is_shown(platform: Platform) -> None:
    await platform.make("notes", *OWNED, rules={"view": OWN, "create": "true", "update": "true"})
    own = await platform.run(
        "create_record", ANNA, collection="notes", body={"owner": ANNA.id, "text": "a"}
    )
    assert (own.status, own.etag) == (201, '"1"')
    one = {"collection": "notes", "id": read(own)["id"]}
    assert read(await platform.run("update_record", ANNA, **one, body={}))["text"] == "a"
    assert (await platform.run("update_record", BERT, **one, body={})).status == 204
    batch = await _batch(
        platform, ANNA,
        {"action": "create", "data": {"owner": ANNA.id, "text": "hers"}},
        {"action": "create", "data": {"owner": BERT.id}},
    )  # fmt: skip
    assert [item and item["text"] for item in read(batch)["items"]] == ["hers", None]
    given = await platform.run("update_record", ANNA, **one, body={"owner": BERT.id})
    assert given.status == 204  # it is what the record becomes that is shown


async def test_refusals_tell_no_more_than_answers(platform: Platform) -> None:
    rules = {"view": OWN, "create": "true", "update": OWN, "delete": "true"}
    await platform.make("notes", *OWNED, {"name": "n", "type": "integer"}, rules=rules)
    his = await platform.add("notes", owner=BERT.id)

    async def told(name: str, id: str, caller: Caller, **args: Any) -> tuple[Any, ...]:
        with pytest.raises(Failure) as refused:
            await platform.run(name, caller, collection="notes", id=id, **args)
        failure = refused.value
        return failure.status, failure.code, failure.detail, failure.errors

    for name, args in (
        ("get_record", {"query": {}}), ("get_record", {"query": {"fields": "nothing"}}),
        ("update_record", {"body": {}}), ("update_record", {"body": {"n": "no number"}}),
        ("update_record", {"body": {"nothing": 1}}), ("replace_record", {"body": {"n": []}}),
        ("update_record", {"body": {"text": "x"}, "if_match": '"9"'}),
    ):  # fmt: skip
        hidden = await told(name, his["id"], ANNA, **args)
        assert hidden == await told(name, "rec_none", ANNA, **args)
        assert hidden[0] == 404
    for action in ("update", "delete"):
        for data in ({"text": "x"}, {"n": "no number"}):
            failures = []
            for id in (his["id"], "rec_none"):
                if (action, id) == ("delete", his["id"]):
                    continue  # which everybody may
                with pytest.raises(NotFound) as refused:
                    await _batch(platform, ANNA, {"action": action, "id": id, "data": data})
                failures.append((refused.value.detail, refused.value.errors))
            assert len(set(failures)) == 1
    one = {"collection": "notes", "id": his["id"], "if_match": '"7"'}
    with pytest.raises(PreconditionFailed) as refused:
        await platform.run("delete_record", ANNA, **one)
    assert "1" not in refused.value.detail
    with pytest.raises(PreconditionFailed, match='the current version is "1"'):
        await platform.run("delete_record", BERT, **one)


async def test_a_relation_points_only_at_what_its_writer_may_view(platform: Platform) -> None:
    await platform.make("tasks", *OWNED, rules={"view": OWN, "delete": OWN})
    rules = {"view": "true", "create": "true", "update": "true"}
    task = {"name": "task", "type": "relation", "collection": "tasks"}
    await platform.make("notes", task, {"name": "no", "type": "text", "unique": True}, rules=rules)
    hers = await platform.add("tasks", owner=ANNA.id)
    his = await platform.add("tasks", owner=BERT.id)
    made = await platform.add("notes", ANNA, task=hers["id"], no="1")
    one = {"collection": "notes", "id": made["id"]}
    gone = await platform.add("tasks", owner=ANNA.id)
    await platform.run("delete_record", collection="tasks", id=gone["id"])
    seen = set()
    for target in (his["id"], gone["id"]):
        for run in (
            platform.add("notes", ANNA, task=target),
            platform.add("notes", ANNA, task=target, no="1"),
            platform.run("update_record", ANNA, **one, body={"task": target}),
            platform.run("replace_record", ANNA, **one, body={"task": target}),
            platform.add("notes", WRITER, task=target),
        ):
            with pytest.raises(Invalid) as refused:
                await run
            seen.add((refused.value.code, refused.value.detail, refused.value.errors))
        item = {"action": "update", "id": made["id"], "data": {"task": target}}
        with pytest.raises(Invalid) as refused:
            await _batch(platform, ANNA, item)
        assert refused.value.errors[0].pointer == "/items/0/data/task"
    assert len(seen) == 1
    await platform.run("delete_record", BERT, collection="tasks", id=his["id"])
    with pytest.raises(
        StillReferenced,
        match=r"^another record refers to this one: change or delete that one first$",
    ):
        await platform.run("delete_record", ANNA, collection="tasks", id=hers["id"])
    # What it points at may be hidden from who changes something else of the record.
    assert (await platform.run("update_record", BERT, **one, body={"no": "2"})).status == 200


# What was answered once is not shown to who may not see it now


async def test_a_repeat_is_shown_what_its_caller_may_see_now(platform: Platform) -> None:
    rules = {"view": OWN, "create": "true", "update": "true"}
    await platform.make("notes", *OWNED, rules=rules)

    async def once(number: int, name: str, **args: Any) -> Outcome:
        raw = {k: msgspec.Raw(msgspec.json.encode(v)) if k == "body" else v
               for k, v in args.items()}  # fmt: skip
        key = Idempotency(bytes([number]) * 32, b"r" * 32)
        operation = service.operations[f"records.{name}"]
        args = {"collection": "notes", **raw}
        return await platform.runtime.dispatcher.run(operation, platform.call(ANNA), args, key)

    batch = msgspec.convert(
        {"items": [{"action": "create", "data": msgspec.Raw(b'{"owner":"user_anna"}')}]},
        service.operations["records.batch_records"].body,
    )
    made = await once(1, "create_record", body={"owner": ANNA.id, "text": "a"})
    record = read(made)
    one = {"id": record["id"]}
    calls: list[tuple[int, str, dict[str, Any]]] = [
        (1, "create_record", {"body": {"owner": ANNA.id, "text": "a"}}),
        (2, "update_record", {**one, "body": {"text": "b"}}),
        (3, "replace_record", {**one, "body": {"text": "c", "owner": ANNA.id}}),
        (4, "batch_records", {"batch": batch}),
    ]
    first = [await once(number, name, **args) for number, name, args in calls]
    again = [await once(number, name, **args) for number, name, args in calls]
    assert [o.body for o in again] == [o.body for o in first]
    for shown in (record, read(first[3])["items"][0]):
        await platform.run(
            "update_record", collection="notes", id=shown["id"], body={"owner": BERT.id}
        )
    taken = [await once(number, name, **args) for number, name, args in calls]
    assert [(o.status, o.body) for o in taken[:3]] == [(204, b"")] * 3
    assert (taken[3].status, read(taken[3])) == (200, {"items": [None]})
    assert all(o.replayed for o in taken)
    await platform.run("update_collection", name="notes", change={"rules": {"view": OWN}})
    for number, name, args in calls:
        assert await _refused(once(number, name, **args)) in (Forbidden, Hidden)


# Lists and counts


async def test_no_question_finds_out_what_the_list_rule_hides(platform: Platform) -> None:
    secret = {"name": "pin", "type": "integer"}
    await platform.make("notes", *OWNED, secret, rules={"list": OWN, "view": OWN})
    for pin in (1, 2, 3):
        await platform.add("notes", owner=BERT.id, pin=pin, text="secret")
    own = await platform.add("notes", owner=ANNA.id, pin=9)
    for source in ("pin > 0", "text == 'secret'", "text.startsWith('s')", "owner != caller.id",
                   "true || owner == 'x'", "!(owner == caller.id)", "id != ''"):  # fmt: skip
        for item in await platform.everything("notes", ANNA, filter=source):
            assert item == own
        assert await platform.everything("notes", NOBODY, filter=source) == []
        query = {"filter": source, "max": "pin", "sum": "pin", "group": "owner"}
        for caller, known in ((ANNA, {ANNA.id}), (NOBODY, set[str]())):
            groups = await platform.run(
                "aggregate_records", caller, collection="notes", query=query
            )
            found = read(groups)["items"]
            assert {group["group"]["owner"] for group in found} <= known
            assert all((g["count"], g["sum"], g["max"]) == (1, {"pin": 9}, {"pin": 9})
                       for g in found)  # fmt: skip
    counted = await platform.run("aggregate_records", ANNA, collection="notes", query={})
    assert read(counted)["items"][0]["count"] == 1
    assert [r["pin"] for r in await platform.everything("notes", ANNA, sort="-pin")] == [9]
