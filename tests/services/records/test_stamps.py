"""Fields that the platform stamps with whoever writes, which nobody else can."""

import pytest

from mainspring.kernel.call import Caller
from mainspring.kernel.errors import Forbidden, Invalid
from tests.services.records.platform import KEY, NOBODY, Platform, read
from tests.services.records.test_relations import person, refused

TITLE = {"name": "title", "type": "text", "max": 40}
OWNER = {
    "name": "owner", "type": "relation", "collection": "users", "stamp": "caller.user",
    "required": True, "on_delete": "cascade",
}  # fmt: skip
EDITOR = {"name": "editor", "type": "text", "max": 64, "stamp": "caller.id", "stamp_on": "write"}
EDITED = {"name": "edited", "type": "datetime", "stamp": "now", "stamp_on": "write"}
RULES = {
    "list": "true", "view": "true", "create": "record.owner == caller.user",
    "update": "caller != null",
}  # fmt: skip


async def test_who_writes_is_stamped(platform: Platform) -> None:
    await platform.make("posts", TITLE, OWNER, EDITOR, EDITED, rules=RULES)
    ann, bert = await person(platform, "ann"), await person(platform, "bert")
    post = await platform.add("posts", ann, title="open")
    assert (post["owner"], post["editor"]) == (ann.id, ann.id)
    assert post["edited"] == post["created_at"]
    platform.clock.move(5)
    run = {"collection": "posts", "id": post["id"]}
    # A record comes back as it was read; what changes is not the stamp of its creation.
    changed = read(await platform.run("update_record", bert, **run, body={"title": "mine"}))
    assert (changed["owner"], changed["editor"]) == (ann.id, bert.id)
    assert changed["edited"] == changed["updated_at"] > post["edited"]
    body = {name: changed[name] for name in ("title", "owner", "editor", "edited")}
    again = read(await platform.run("replace_record", ann, **run, body=body))
    assert again == changed
    replaced = read(await platform.run("replace_record", ann, **run, body={"title": "other"}))
    assert (replaced["owner"], replaced["editor"]) == (ann.id, ann.id)


async def test_a_stamp_cannot_be_forged(platform: Platform) -> None:
    await platform.make("posts", TITLE, OWNER, EDITOR, EDITED, rules=RULES)
    ann, bert = await person(platform, "ann"), await person(platform, "bert")
    post = await platform.add("posts", ann, title="open")
    run = {"collection": "posts", "id": post["id"]}
    forgers = {"owner": ann, "editor": bert, "edited": bert}
    for field in ({"owner": bert.id}, {"editor": ann.id}, {"edited": "2020-01-01T00:00:00Z"}):
        name = next(iter(field))
        failure = await refused(platform.add("posts", forgers[name], title="x", **field), Invalid)
        assert [e.pointer for e in failure.errors] == [f"/{name}"]
        assert failure.errors[0].detail == "is set by the platform: leave it out"
        if name != "editor":
            body = {"title": "y", **field}
            for operation in ("update_record", "replace_record"):
                await refused(platform.run(operation, bert, **run, body=body), Invalid)
    items = [{"action": "create", "data": {"title": "x", "owner": ann.id}}]
    batch = platform.run("batch_records", bert, collection="posts", batch={"items": items})
    failure = await refused(batch, Invalid)
    assert failure.errors[0].pointer == "/items/0/data/owner"
    own = await platform.add("posts", bert, title="own", owner=bert.id, editor=bert.id)
    assert (own["owner"], own["editor"]) == (bert.id, bert.id)
    # Who holds the scope may bring records from elsewhere, with who made them.
    brought = await platform.add("posts", KEY, title="old", owner=bert.id, editor="x")
    assert (brought["owner"], brought["editor"]) == (bert.id, "x")
    failure = await refused(platform.add("posts", KEY, title="x"), Invalid)
    assert "log in" in failure.errors[0].detail


async def test_rules_see_the_stamp(platform: Platform) -> None:
    await platform.make(
        "notes", TITLE, {**EDITOR, "stamp_on": "create"},
        rules={"create": "record.editor == caller.id", "view": "true"},
    )  # fmt: skip
    ann = await person(platform, "ann")
    assert (await platform.add("notes", ann, title="x"))["editor"] == ann.id
    await refused(platform.add("notes", Caller("user", None), title="x"), Forbidden)
    question = {"action": "create", "caller": ann.id, "data": {"title": "x"}}
    told = await platform.run("explain_rule", collection="notes", question=question)
    assert read(told)["allowed"]
    note = read(await platform.run("create_record", KEY, collection="notes", body={}))
    assert note["editor"] == KEY.id
    assert NOBODY.id is None


@pytest.mark.parametrize(
    "field",
    [
        {"name": "a", "type": "integer", "stamp": "caller.id"},
        {"name": "a", "type": "text", "max": 10, "stamp": "caller.id"},
        {"name": "a", "type": "text", "stamp": "now"},
        {"name": "a", "type": "datetime", "stamp": "caller.user"},
        {"name": "a", "type": "text", "stamp": "caller.id", "default": "x"},
        {"name": "a", "type": "text", "stamp": "caller.id", "many": True},
        {"name": "a", "type": "text", "stamp_on": "write"},
    ],
)
async def test_a_stamp_fits_its_field(platform: Platform, field: dict[str, object]) -> None:
    failure = await refused(platform.make("posts", field), Invalid)
    assert failure.errors[0].pointer.startswith("/fields/0/")
