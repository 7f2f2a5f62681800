"""Who may do what: the scope, else the rule of each row."""

from typing import Any

import msgspec
import pytest

from mainspring.cel import RESERVED_WORDS
from mainspring.kernel.call import Caller
from mainspring.kernel.errors import (
    Failure,
    Forbidden,
    Hidden,
    Invalid,
    NotFound,
    Unauthenticated,
)
from mainspring.kernel.table import Statement
from mainspring.runtime.invoke.dispatcher import Idempotency, Outcome
from mainspring.services.records import service
from mainspring.services.records.api import Batch, BatchItem, StillReferenced
from tests.services.records.platform import ANNA, BERT, KEY, NOBODY, Platform, read

NOTE = (
    {"name": "owner", "type": "text", "max": 40},
    {"name": "public", "type": "boolean"},
    {"name": "text", "type": "text"},
)
OWN = "record.owner == caller.id"
RULES = {
    "list": f"public || {OWN}",
    "view": f"public || {OWN}",
    "create": f"{OWN} && request.data.text != 'forbidden'",
    "update": f"{OWN} && !has(request.data.owner)",
    "delete": OWN,
}
READER = Caller("key", "key_2", scopes=frozenset({"records:read"}))


async def _refused(run: Any) -> type[Failure]:
    with pytest.raises(Failure) as refused:
        await run
    return NotFound if isinstance(refused.value, Hidden) else type(refused.value)


async def test_rules_decide_row_by_row(platform: Platform) -> None:
    await platform.make("notes", *NOTE, rules=RULES)
    own = await platform.add("notes", ANNA, owner="user_anna", text="mine")
    other = await platform.add("notes", BERT, owner="user_bert", text="his")
    public = await platform.add("notes", BERT, owner="user_bert", public=True)

    for caller, seen in ((ANNA, [own, public]), (BERT, [other, public]), (NOBODY, [public]),
                         (KEY, [own, other, public]), (READER, [own, other, public])):  # fmt: skip
        assert await platform.everything("notes", caller) == seen
        for record in (own, other, public):
            if record in seen:
                assert await platform.get("notes", record["id"], caller) == record
            else:
                assert await _refused(platform.get("notes", record["id"], caller)) is NotFound
    found = await platform.everything("notes", ANNA, filter="public || true", sort="-text")
    assert [r["id"] for r in found] == [own["id"], public["id"]]

    async def change(caller: Caller, record: dict[str, Any], **body: Any) -> Any:
        return await platform.run(
            "update_record", caller, collection="notes", id=record["id"], body=body
        )

    assert read(await change(ANNA, own, text="changed"))["text"] == "changed"
    assert await _refused(change(ANNA, own, owner="user_bert")) is Forbidden  # seen, not changed
    assert await _refused(change(ANNA, other, text="x")) is NotFound  # not even seen
    assert await _refused(change(ANNA, public, text="x")) is Forbidden
    assert await _refused(change(NOBODY, public, text="x")) is Unauthenticated
    assert await _refused(change(READER, other, text="x")) is Forbidden
    assert await _refused(platform.add("notes", ANNA, owner="user_bert")) is Forbidden
    assert await _refused(platform.add("notes", NOBODY, owner="x")) is Unauthenticated
    forbidden = platform.add("notes", ANNA, owner="user_anna", text="forbidden")
    assert await _refused(forbidden) is Forbidden
    gone = {"collection": "notes", "id": own["id"]}
    assert await _refused(platform.run("delete_record", BERT, **gone)) is NotFound
    await platform.run("delete_record", ANNA, **gone)


async def test_without_a_rule_it_takes_the_scope(platform: Platform) -> None:
    await platform.make("notes", *NOTE)
    made = await platform.add("notes")
    for name in ("notes", "nothing"):  # strangers do not learn which collections there are
        one = {"collection": name, "id": made["id"]}
        for caller, failure in ((NOBODY, Unauthenticated), (ANNA, Forbidden)):
            for run in (
                platform.run("get_record", caller, query={}, **one),
                platform.run("list_records", caller, collection=name, query={}),
                platform.run("aggregate_records", caller, collection=name, query={}),
                platform.run("create_record", caller, collection=name, body={}),
                platform.run("update_record", caller, body={}, **one),
                platform.run("delete_record", caller, **one),
            ):
                assert await _refused(run) is failure
    assert await _refused(platform.get("nothing", made["id"])) is NotFound
    assert await _refused(platform.page("nothing")) is NotFound
    assert await _refused(platform.get("notes", "rec_1")) is NotFound


async def test_true_lets_everyone_in(platform: Platform) -> None:
    rules = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
    await platform.make("notes", *NOTE, rules=rules)
    made = await platform.add("notes", NOBODY, text="a")
    assert await platform.everything("notes", NOBODY) == [made]
    await platform.run(
        "update_record", NOBODY, collection="notes", id=made["id"], body={"text": "b"}
    )
    await platform.run("delete_record", NOBODY, collection="notes", id=made["id"])


async def test_expanded_records_have_their_own_rules(platform: Platform) -> None:
    await platform.make("authors", *NOTE, rules={"view": "public"})
    relation = {"name": "author", "type": "relation", "collection": "authors"}
    await platform.make("posts", relation, rules={"list": "true"})
    hidden = await platform.add("authors")
    shown = await platform.add("authors", public=True)
    await platform.add("posts", author=hidden["id"])
    await platform.add("posts", author=shown["id"])
    found = await platform.everything("posts", NOBODY, expand="author", fields="id")
    assert [post["expand"]["author"] for post in found] == [None, shown]


@pytest.mark.parametrize(
    ("rules", "detail"),
    [
        ({"list": "record.nothing == 1"}, "there is no 'record.nothing' here (character 1)"),
        ({"view": "caller.id == 1"}, "text cannot be compared with an integer (character 11)"),
        ({"create": "1 +"}, "'the end' is not expected here (character 4)"),
    ],
)
async def test_a_rule_is_checked_when_it_is_made(
    platform: Platform, rules: dict[str, str], detail: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await platform.make("notes", *NOTE, rules=rules)
    (error,) = refused.value.errors
    assert (error.pointer, error.detail) == (f"/rules/{next(iter(rules))}", detail)


async def test_no_new_field_is_named_as_cel_reserves(platform: Platform) -> None:
    for word in sorted(RESERVED_WORDS):
        with pytest.raises(Invalid) as refused:
            await platform.make("parcels", {"name": word, "type": "text"})
        (error,) = refused.value.errors
        assert error.pointer == "/fields/0/name"
        assert "is reserved in CEL" in error.detail


async def test_a_field_named_so_before_goes_on(platform: Platform) -> None:
    await platform.make("parcels", {"name": "packagex", "type": "text"}, indexes=[])
    rename = Statement(
        "test.rename",
        "UPDATE records_collections SET version = version + 1, "
        "definition = replace(definition, 'packagex', 'package')",
    )
    await platform.database.commit([rename()])
    made = await platform.add("parcels", package="a")
    await platform.add("parcels", package="b")
    assert await platform.everything("parcels", filter="record.package == 'a'") == [made]
    with pytest.raises(Invalid) as refused:
        await platform.page("parcels", filter="package == 'a'")
    assert "write record.package for the field" in refused.value.errors[0].detail
    fields = [{"name": "package", "type": "text"}, {"name": "weight", "type": "integer"}]
    rules = {"list": "record.package == 'b'"}
    change = {"fields": fields, "rules": rules}
    await platform.run("update_collection", name="parcels", change=change)
    assert [r["package"] for r in await platform.everything("parcels", NOBODY)] == ["b"]


@pytest.mark.parametrize("operation", ["update_record", "replace_record", "batch_records"])
@pytest.mark.parametrize(
    ("rule", "failure"), [("request.data.text == 'x'", NotFound), ("true", Invalid)]
)
async def test_a_body_with_a_number_no_double_holds_is_told_to_who_may_change_the_record(
    platform: Platform, operation: str, rule: str, failure: type[Failure]
) -> None:
    await platform.make("notes", *NOTE, rules={"update": rule})
    one = await platform.add("notes")
    raw = msgspec.Raw(b'{"text": 1e999}')
    args = {"collection": "notes", "id": one["id"], "body": raw}
    if operation == "batch_records":
        item = BatchItem(action="update", id=one["id"], data=raw)
        args = {"collection": "notes", "batch": Batch(items=[item])}
    call = platform.call(ANNA)
    declared = service.operations[f"records.{operation}"]
    with pytest.raises(failure):
        await platform.runtime.dispatcher.run(declared, call, args)


async def test_what_points_at_a_record_is_named_only_to_those_who_may_read_it(
    platform: Platform,
) -> None:
    await platform.make("authors", {"name": "name", "type": "text"}, rules={"delete": "true"})
    await platform.make("posts", {"name": "author", "type": "relation", "collection": "authors"})
    author = await platform.add("authors")
    post = await platform.add("posts", author=author["id"])
    for caller, named in ((KEY, True), (ANNA, False)):
        with pytest.raises(StillReferenced) as refused:
            await platform.run("delete_record", caller, collection="authors", id=author["id"])
        assert (post["id"] in refused.value.detail) is named


async def test_who_lost_a_right_lost_its_stored_answers_too(platform: Platform) -> None:
    await platform.make("notes", *NOTE, rules={"create": "true"})
    create, body = service.operations["records.create_record"], msgspec.Raw(b'{"text": "x"}')
    key = Idempotency(b"k" * 32, b"r" * 32)

    async def once() -> Outcome:
        args = {"collection": "notes", "body": body}
        return await platform.runtime.dispatcher.run(create, platform.call(ANNA), args, key)

    first = await once()
    assert (await once()).body == first.body
    await platform.run("update_collection", name="notes", change={"rules": {}})
    assert await _refused(once()) is Forbidden
