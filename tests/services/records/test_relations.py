"""Relations: to users, to many, and what becomes of records when what they point at goes."""

from typing import Any

import pytest

from mainspring.kernel.call import SYSTEM, Caller
from mainspring.kernel.errors import Failure, Invalid
from mainspring.kernel.ids import is_id
from mainspring.kernel.table import Query
from mainspring.services.records.api import StillReferenced
from mainspring.services.records.consumers import part_with_user
from mainspring.services.users import service as users
from mainspring.services.users.api.structs import NewUser, Removal
from tests.services.records.platform import KEY, NOBODY, Platform, read

LINKS = Query("test.links", "SELECT count(*) FROM records_links", int)
OWNER = {"name": "owner", "type": "relation", "collection": "users"}
TITLE = {"name": "title", "type": "text", "max": 40}
UNKNOWN = "user_01jdq3w7z8e9r0t1y2v3x4z5a6"


async def person(platform: Platform, name: str) -> Caller:
    """Somebody who signed up, with no scope."""
    new = NewUser(email=f"{name}@example.com", password="correct horse battery")
    call = platform.call(NOBODY)
    outcome = await platform.runtime.dispatcher.run(
        users.operations["users.create_user"], call, {"new": new}
    )
    return Caller("user", read(outcome)["id"])


async def delete_user(platform: Platform, who: Caller) -> None:
    operation = users.operations["users.delete_user"]
    args = {"id": who.id, "query": Removal(erase=True)}
    await platform.runtime.dispatcher.run(operation, platform.call(KEY), args)
    await platform.work()


async def refused(run: Any, kind: type[Failure]) -> Failure:
    with pytest.raises(kind) as found:
        await run
    return found.value


async def test_a_relation_points_at_a_user_who_is_there(platform: Platform) -> None:
    mine = "record.owner == caller.user"
    rules = {"list": mine, "view": mine, "create": mine, "update": mine, "delete": mine}
    made = await platform.make("posts", OWNER, TITLE, rules=rules)
    assert made["fields"][0]["collection"] == "users"
    ann, bert = await person(platform, "ann"), await person(platform, "bert")
    post = await platform.add("posts", ann, owner=ann.id, title="a")
    assert await platform.everything("posts", ann) == [post]
    assert await platform.everything("posts", bert) == []
    assert await platform.everything("posts", KEY, filter=f"owner == '{ann.id}'") == [post]

    # Nobody who is not there, told alike to whoever may read all and to whoever may not.
    for caller in (KEY, ann):
        update = {"collection": "posts", "id": post["id"], "body": {"owner": UNKNOWN}}
        if caller is KEY:
            failure = await refused(platform.run("update_record", caller, **update), Invalid)
            assert failure.errors[0].pointer == "/owner"
            assert failure.errors[0].detail == "there is no user with this id"
        failure = await refused(platform.add("posts", KEY, owner=post["id"]), Invalid)
        assert failure.errors[0].detail == "not the id of a user"
    # Of a user nothing is told but the id.
    for reached in ("owner.email == 'ann@example.com'", "record.owner.display_name == 'x'"):
        await refused(platform.page("posts", KEY, filter=reached), Invalid)
    await refused(platform.page("posts", KEY, expand="owner"), Invalid)


async def test_what_a_deleted_user_leaves(platform: Platform) -> None:
    ann, bert = await person(platform, "ann"), await person(platform, "bert")
    await platform.make("posts", OWNER, TITLE)
    await platform.make("drafts", {**OWNER, "required": True, "on_delete": "cascade"})
    await platform.make("teams", {**OWNER, "name": "members", "many": True}, TITLE)
    post = await platform.add("posts", owner=ann.id)
    draft = await platform.add("drafts", owner=ann.id)
    kept = await platform.add("drafts", owner=bert.id)
    team = await platform.add("teams", members=[ann.id, bert.id])
    await delete_user(platform, ann)
    assert (await platform.get("posts", post["id"]))["owner"] is None
    assert (await platform.get("teams", team["id"]))["members"] == [bert.id]
    assert await platform.everything("drafts") == [kept]
    told = [(kind, event["data"]["id"]) for kind, event in (await platform.events())[-3:]]
    assert sorted(told) == sorted(
        [
            ("records.record.updated", post["id"]),
            ("records.record.updated", team["id"]),
            ("records.record.deleted", draft["id"]),
        ]
    )
    assert await platform.database.read(LINKS, ()) == [2]
    # It is asked of the user in the commit, not of what was read before.
    failure = await refused(platform.add("posts", owner=ann.id), Invalid)
    assert failure.errors[0].detail == "there is no user with this id"


async def test_what_is_left_of_a_collection_that_is_gone_holds_nobody_up(
    platform: Platform,
) -> None:
    """Until it is purged its links are there, and no record of them is changed."""
    ann = await person(platform, "ann")
    await platform.make("posts", OWNER, TITLE)
    await platform.add("posts", owner=ann.id)
    await platform.run("delete_collection", name="posts")
    call = platform.call(SYSTEM)
    await part_with_user(call, str(ann.id))
    await platform.runtime.dispatcher.commit(call)
    assert await platform.database.read(LINKS, ()) == [0]


async def test_nothing_keeps_a_user_from_being_deleted(platform: Platform) -> None:
    for wrong in ({"required": True}, {"on_delete": "restrict"}):
        failure = await refused(platform.make("posts", {**OWNER, **wrong}), Invalid)
        assert failure.errors[0].pointer == "/fields/0/on_delete"
    failure = await refused(platform.make("users", TITLE), Invalid)
    assert "reserved" in failure.errors[0].detail


async def _tree(platform: Platform, on_delete: str) -> list[dict[str, Any]]:
    """Three records, each the parent of the next."""
    parent = {"name": "parent", "type": "relation", "collection": "nodes", "on_delete": on_delete}
    await platform.make("nodes", parent, TITLE)
    made: list[dict[str, Any]] = []
    for title in "abc":
        above = made[-1]["id"] if made else None
        made.append(await platform.add("nodes", title=title, parent=above))
    return made


async def test_a_record_goes_with_what_it_points_at(platform: Platform) -> None:
    a, b, c = await _tree(platform, "cascade")
    body = {"parent": c["id"]}  # a circle ends
    await platform.run("update_record", collection="nodes", id=a["id"], body=body)
    other = await platform.add("nodes", title="other")
    await platform.run("delete_record", collection="nodes", id=b["id"])
    assert await platform.everything("nodes") == [other]
    told = await platform.events()
    ended = [event["data"]["id"] for kind, event in told if kind == "records.record.deleted"]
    assert sorted(ended) == sorted(record["id"] for record in (a, b, c))
    assert await platform.database.read(LINKS, ()) == [0]


async def test_a_record_lets_go_of_what_it_points_at(platform: Platform) -> None:
    a, b, c = await _tree(platform, "set_null")
    await platform.run("delete_record", collection="nodes", id=a["id"])
    assert (await platform.get("nodes", b["id"]))["parent"] is None
    assert (await platform.get("nodes", c["id"]))["parent"] == b["id"]


async def test_what_stays_keeps_what_it_points_at(platform: Platform) -> None:
    a, b, c = await _tree(platform, "restrict")
    failure = await refused(
        platform.run("delete_record", collection="nodes", id=a["id"]), StillReferenced
    )
    assert b["id"] in (failure.detail or "")
    # What goes in the same commit keeps nothing.
    items = [{"action": "delete", "id": record["id"]} for record in (a, b, c)]
    await platform.run("batch_records", collection="nodes", batch={"items": items})
    assert await platform.everything("nodes") == []


async def test_a_restriction_holds_at_the_end_of_a_cascade(platform: Platform) -> None:
    await platform.make("teams", TITLE)
    team = {"name": "team", "type": "relation", "collection": "teams"}
    await platform.make("projects", {**team, "on_delete": "cascade"})
    await platform.make("bills", {"name": "project", "type": "relation", "collection": "projects"})
    red = await platform.add("teams", title="red")
    project = await platform.add("projects", team=red["id"])
    bill = await platform.add("bills", project=project["id"])
    run = {"collection": "teams", "id": red["id"]}
    failure = await refused(platform.run("delete_record", **run), StillReferenced)
    assert bill["id"] in (failure.detail or "")
    assert await platform.everything("projects") == [project]
    await platform.run("delete_record", collection="bills", id=bill["id"])
    await platform.run("delete_record", **run)
    assert await platform.everything("projects") == []


async def test_a_batch_does_not_write_what_its_deletions_take(platform: Platform) -> None:
    a, b, _ = await _tree(platform, "set_null")
    items = [
        {"action": "delete", "id": a["id"]},
        {"action": "update", "id": b["id"], "data": {"title": "x"}},
    ]
    batch = {"collection": "nodes", "batch": {"items": items}}
    failure = await refused(platform.run("batch_records", **batch), Invalid)
    assert b["id"] in (failure.detail or "")
    assert len(await platform.everything("nodes")) == 3
    assert is_id(b["id"], "rec")
