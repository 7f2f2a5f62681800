"""Fields that hold many values: what they take, and what filters and rules ask of them."""

from typing import Any

import pytest

from mainspring.kernel.errors import Invalid
from mainspring.services.records.api import SchemaChangeRefused
from tests.services.records.platform import KEY, NOBODY, Platform
from tests.services.records.test_relations import person, refused

TAGS = {"name": "tags", "type": "text", "max": 20, "many": True, "max_items": 3}
TITLE = {"name": "title", "type": "text", "max": 40}


async def _posts(platform: Platform) -> list[dict[str, Any]]:
    await platform.make("posts", TITLE, TAGS, {"name": "scores", "type": "integer", "many": True})
    return [
        await platform.add("posts", title="a", tags=["x", "y"], scores=[1, 2.0]),
        await platform.add("posts", title="b", tags=["y"]),
        await platform.add("posts", title="c", tags=None),
    ]


async def test_a_list_is_never_null(platform: Platform) -> None:
    a, b, c = await _posts(platform)
    assert (a["tags"], a["scores"]) == (["x", "y"], [1, 2])
    assert (b["scores"], c["tags"], c["scores"]) == ([], [], [])
    await platform.run("update_record", collection="posts", id=a["id"], body={"tags": None})
    assert (await platform.get("posts", a["id"]))["tags"] == []


@pytest.mark.parametrize(
    ("source", "titles"),
    [
        ("'x' in tags", "a"),
        ("!('x' in record.tags)", "bc"),
        ("title in tags || size(tags) == 0", "c"),
        ("record.tags.exists(t, t == 'y')", "ab"),
        ("tags.all(t, t.startsWith('y'))", "bc"),
        ("2 in scores && scores.exists(s, s > 1.5)", "a"),
        ("size(record.tags) > 1", "a"),
    ],
)
async def test_filters_ask_for_items(platform: Platform, source: str, titles: str) -> None:
    await _posts(platform)
    found = await platform.everything("posts", filter=source)
    assert "".join(record["title"] for record in found) == titles


async def test_what_does_not_fit_is_told_by_item(platform: Platform) -> None:
    await _posts(platform)
    for body, pointer in (
        ({"tags": ["x", 1]}, "/tags/1"),
        ({"tags": ["x"] * 4}, "/tags"),
        ({"scores": [1, 2.5]}, "/scores/1"),
        ({"tags": "x"}, "/tags"),
    ):
        failure = await refused(platform.add("posts", **body), Invalid)
        assert [error.pointer for error in failure.errors] == [pointer]
    for wrong in ("tags == 'x'", "has(tags)", "tags.x == 'y'", "1 in tags", "tags"):
        await refused(platform.page("posts", filter=wrong), Invalid)
    await refused(platform.page("posts", sort="tags"), Invalid)
    query = {"group": "tags"}
    await refused(platform.run("aggregate_records", collection="posts", query=query), Invalid)
    for field in ({"type": "json"}, {"unique": True}, {"default": ["x"]}):
        await refused(platform.make("others", {**TAGS, **field}), Invalid)
    await refused(platform.make("others", TAGS, indexes=[["tags"]]), Invalid)


async def test_a_list_comes_to_stored_records_empty(platform: Platform) -> None:
    await platform.make("posts", TITLE)
    post = await platform.add("posts", title="a")
    await platform.run("update_collection", name="posts", change={"fields": [TITLE, TAGS]})
    for _ in range(2):  # before and after they are stored so
        found = await platform.everything("posts", filter="size(tags) == 0 && !('x' in tags)")
        assert found[0] == {**post, "tags": []}
        await platform.work()
    fewer, single, required = (
        {**TAGS, "max_items": 2},
        {"name": "tags", "type": "text", "max": 20},
        {**TAGS, "required": True},
    )
    for field in (fewer, single, required):
        change = {"fields": [TITLE, field]}
        await refused(
            platform.run("update_collection", name="posts", change=change), SchemaChangeRefused
        )


async def test_members_let_in(platform: Platform) -> None:
    members = {"name": "members", "type": "relation", "collection": "users", "many": True}
    member = "caller.user in record.members"
    rules = {"list": member, "view": member, "create": member, "update": member}
    await platform.make("teams", TITLE, members, rules=rules)
    ann, bert = await person(platform, "ann"), await person(platform, "bert")
    ours = await platform.add("teams", ann, title="ours", members=[ann.id, bert.id])
    await platform.add("teams", ann, title="mine", members=[ann.id])
    assert await platform.everything("teams", bert) == [ours]
    assert await platform.everything("teams", NOBODY) == []
    some = "record.members.exists(m, m == caller.user)"
    assert len(await platform.everything("teams", ann, filter=some)) == 2
    for wrong, at in (([ann.id, ann.id], "/members/1"), ([ours["id"]], "/members/0")):
        failure = await refused(platform.add("teams", KEY, members=wrong), Invalid)
        assert failure.errors[0].pointer == at


async def test_a_list_of_relations_is_reached_through(platform: Platform) -> None:
    await platform.make("labels", TITLE)
    labels = {"name": "labels", "type": "relation", "collection": "labels", "many": True}
    red = "record.labels.exists(l, l.title == 'red')"
    await platform.make("posts", TITLE, labels, rules={"create": red, "view": red, "list": red})
    a, b = [await platform.add("labels", title=title) for title in ("red", "blue")]
    both = await platform.add("posts", title="both", labels=[b["id"], a["id"]])
    await platform.add("posts", title="one", labels=[b["id"]])
    none = await platform.add("posts", title="none")
    assert await platform.everything("posts", NOBODY) == [both]
    blue = "labels.all(l, l.title == 'blue') && size(labels) > 0"
    assert [p["title"] for p in await platform.everything("posts", filter=blue)] == ["one"]
    found = await platform.everything("labels", filter="posts.exists(p, p.title == 'one')")
    assert found == [b]
    shown = await platform.get("posts", both["id"], expand="labels")
    assert shown["expand"] == {"labels": [b, a]}
    assert (await platform.get("posts", none["id"], expand="labels"))["expand"] == {"labels": []}
    body = {"labels": [a["id"]]}
    await platform.run("update_record", collection="posts", id=both["id"], body=body)
    found = await platform.everything("labels", filter="posts.exists(p, p.title == 'both')")
    assert found == [a]
