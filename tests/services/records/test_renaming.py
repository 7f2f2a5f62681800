"""Fields that get another name, and fields that stored records get with their default."""

from typing import Any

import pytest

from mainspring.kernel.errors import Failure, Invalid
from mainspring.services.records import jobs
from mainspring.services.records.api import SchemaChangeRefused, StillReferenced
from tests.services.records.platform import KEY, NOBODY, Platform, read

NAMES = {
    "headline": "title", "views": "count", "about": "meta", "marks": "tags", "plan": "scan",
}  # fmt: skip
OLD: list[dict[str, Any]] = [
    {"name": "headline", "type": "text", "max": 40, "unique": True},
    {"name": "views", "type": "integer"},
    {"name": "about", "type": "json"},
    {"name": "marks", "type": "text", "many": True},
    {"name": "plan", "type": "file"},
    {"name": "note", "type": "text", "max": 20},
]
NEW = [{**f, "name": NAMES.get(f["name"], f["name"])} for f in OLD]
RENAMING = [
    {**new, "renamed_from": old["name"]} if new != old else new
    for new, old in zip(NEW, OLD, strict=True)
]
ASKED = {
    "title == 'a1'": "1", "title != 'a1'": "023", "count > 1": "23", "count == null": "",
    "meta.size > 1": "23", "'even' in meta.kinds": "02", "has(meta.odd)": "13",
    "'t1' in tags": "13", "size(tags) == 2": "23", "tags.exists(t, t == 't0')": "02",
    "tags.all(t, t == 't1') && count > 0": "1", "title == 'a1' || count == 3": "13",
    "!('t0' in tags)": "13", "note == 'n' && count < 2": "01",
}  # fmt: skip


async def refused(awaitable: Any, kind: type[Failure]) -> Failure:
    with pytest.raises(kind) as failure:
        await awaitable
    return failure.value


async def change(platform: Platform, name: str, **parts: Any) -> Any:
    return read(await platform.run("update_collection", name=name, change=parts))


async def posts(platform: Platform, **parts: Any) -> list[str]:
    indexes = parts.pop("indexes", [["-views"], ["note", "views"]])
    await platform.make("posts", *OLD, indexes=indexes, **parts)
    made = []
    for i in range(4):
        about = {"size": i, "kinds": ["even"]} if i % 2 == 0 else {"size": i, "odd": True}
        marks = [f"t{i % 2}", "x"] if i > 1 else [f"t{i % 2}"]
        post = await platform.add(
            "posts", headline=f"a{i}", views=i, about=about, marks=marks, note="n"
        )
        made.append(post["id"])
    return made


async def found(platform: Platform, **query: Any) -> str:
    items = await platform.everything("posts", limit=2, **query)
    return "".join(str(item["count"]) for item in items)


async def test_renamed_fields_are_asked_for_while_records_are_brought_along(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PAGE_ROWS", 1)
    ids = await posts(platform)
    before = await platform.get("posts", ids[2])
    at = {"name": "post", "type": "relation", "collection": "posts"}
    await platform.make("notes", at)
    for id in ids:
        await platform.add("notes", post=id)
    changed = await change(platform, "posts", fields=RENAMING)
    assert [f["name"] for f in changed["fields"]] == [f["name"] for f in NEW]
    assert {f["renamed_from"] for f in changed["fields"]} == {None}
    assert (changed["indexes"], changed["ready"]) == ([["-count"], ["note", "count"]], False)
    for step in range(6):  # none is brought along, one, …, all are
        if step == 2:
            update = {"collection": "posts", "id": ids[3], "body": {"title": "a3", "note": "n"}}
            await platform.run("update_record", **update)
        for text, expected in ASKED.items():
            assert "".join(sorted(await found(platform, filter=text))) == expected, (step, text)
        for text, places in (("post.title == 'a1'", [1]), ("post.meta.size > 1", [2, 3])):
            notes = await platform.everything("notes", filter=f"record.{text}")
            assert [note["post"] for note in notes] == [ids[place] for place in places]
        back = "record.notes.exists(n, n.post.count == 2) && record.title == 'a2'"
        assert await found(platform, filter=back) == "2"
        assert await found(platform, sort="-count") == "3210"
        assert await found(platform, sort="title") == "0123"
        groups = await platform.run(
            "aggregate_records", collection="posts", query={"group": "title", "sum": "count"}
        )
        assert [g["group"]["title"] for g in read(groups)["items"]] == ["a0", "a1", "a2", "a3"]
        assert [g["sum"]["count"] for g in read(groups)["items"]] == [0, 1, 2, 3]
        after = await platform.get("posts", ids[2])
        assert after == {NAMES.get(name, name): value for name, value in before.items()}
        await refused(platform.add("posts", title="a1"), Failure)
        await refused(platform.page("posts", filter="headline == 'a1'"), Invalid)
        if step < 5:
            await platform.runtime.run_due()
    assert await platform.work() == 0
    assert (read(await platform.run("get_collection", name="posts")))["ready"]
    upserted = {
        "collection": "posts",
        "query": {"by": "title"},
        "body": {"title": "a1", "count": 1},
    }
    assert read(await platform.run("upsert_record", **upserted))["id"] == ids[1]


async def test_events_of_before_stay_and_are_read_by_the_name_of_then(platform: Platform) -> None:
    await posts(platform, rules={"view": "headline == 'a1'", "list": "true"})
    told = await refused(change(platform, "posts", fields=RENAMING), Invalid)
    assert told.errors[0].pointer == "/rules/view"
    assert "headline" in told.errors[0].detail
    bodies = [data for kind, data in await platform.events() if kind == "records.record.created"]
    rules = {"view": "title == 'a1'", "list": "title == 'a1'"}
    await change(platform, "posts", fields=RENAMING, rules=rules)
    assert await found(platform, sort="id") == "0123"
    listed = await platform.page("posts", NOBODY)
    assert [item["title"] for item in listed["items"]] == ["a1"]
    await platform.work()
    events = await platform.events()
    assert [data for kind, data in events if kind == "records.record.created"] == bodies
    # A second name: what was said under the first is still what the rule is asked of.
    twice = [{**NEW[0], "name": "heading", "renamed_from": "title"}, *NEW[1:]]
    await change(platform, "posts", fields=twice, rules={"view": "heading == 'a1'"})
    await platform.work()
    call = platform.call(NOBODY)
    seen = [e["data"]["headline"] for e in bodies if await _shown(platform, call, e)]
    assert seen == ["a1"]
    again = await change(platform, "posts", fields=twice)
    assert again["fields"][0]["name"] == "heading"


async def _shown(platform: Platform, call: Any, event: dict[str, Any]) -> bool:
    import msgspec

    from mainspring.kernel.event import envelope
    from mainspring.services.records.visibility import shows

    return await shows(call, envelope(msgspec.json.encode(event).decode(), None))


async def test_a_rename_that_does_not_fit_changes_nothing(platform: Platform) -> None:
    await platform.make("teams", {"name": "lead", "type": "text"})
    await posts(platform)
    team = {"name": "team", "type": "relation", "collection": "teams"}
    await change(platform, "posts", fields=[*OLD, team])
    await platform.work()
    here = "/fields/0/renamed_from"
    for field, others, pointer in (
        ({**OLD[0], "name": "title", "renamed_from": "nothing"}, OLD[1:], here),
        ({**OLD[0], "name": "note", "renamed_from": "headline"}, OLD[1:5], here),
        ({**OLD[0], "name": "title", "renamed_from": "views"}, OLD, here),
        ({**team, "name": "group", "renamed_from": "team"}, OLD, here),
        ({**OLD[0], "name": "id", "renamed_from": "headline"}, OLD[1:], "/fields/0/name"),
    ):
        failure = await refused(change(platform, "posts", fields=[field, *others, team]), Invalid)
        assert failure.errors[0].pointer == pointer, field
    wrong = [{**OLD[0], "name": "title", "type": "integer", "renamed_from": "headline"}]
    await refused(change(platform, "posts", fields=[*wrong, *OLD[1:], team]), Failure)
    lead = {"name": "chief", "type": "text", "renamed_from": "lead"}
    await change(platform, "posts", rules={"view": "record.team.lead == caller.id"})
    failure = await refused(change(platform, "teams", fields=[lead]), StillReferenced)
    assert "view rule of the collection 'posts'" in failure.detail
    shorter = {**OLD[0], "name": "title", "max": 3, "renamed_from": "headline"}
    kept = [shorter, *OLD[1:], team]
    await refused(change(platform, "posts", fields=kept), SchemaChangeRefused)


async def test_stored_records_get_the_default_of_a_new_field(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PAGE_ROWS", 1)
    await platform.make("things", {"name": "count", "type": "integer"})
    ids = [(await platform.add("things", count=i))["id"] for i in range(3)]
    new = [
        {"name": "count", "type": "integer"},
        {"name": "state", "type": "select", "values": ["open", "done"], "default": "open"},
        {"name": "rate", "type": "number", "default": 2},
    ]
    await change(platform, "things", fields=new)
    sent = {"collection": "things", "id": ids[1], "body": {"state": None}}
    failure = await refused(platform.run("update_record", **sent), Invalid)
    assert failure.errors[0].pointer == "/state"
    await platform.run("update_record", **{**sent, "body": {"state": "done"}})
    for _ in range(4):
        items = await platform.everything("things", filter="state == 'open' && rate == 2.0")
        assert [(item["count"], item["rate"]) for item in items] == [(0, 2.0), (2, 2.0)]
        assert (await platform.get("things", ids[0]))["state"] == "open"
        await platform.runtime.run_due()
    await platform.work()
    cleared = read(await platform.run("update_record", **sent))
    assert (cleared["state"], cleared["rate"]) == (None, 2.0)
    await change(platform, "things", fields=[*new, {"name": "note", "type": "text"}])
    await platform.work()
    assert (await platform.get("things", ids[1], KEY))["state"] is None
