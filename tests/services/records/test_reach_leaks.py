"""Every way of reading tried for a leak, where a rule goes through relations. Over HTTP.

What is hidden is to look like what is not there, to the last byte, and its changes like none.
"""

import asyncio
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from mainspring import NotFound, testing
from mainspring.testing.client import Client, HttpAnswer

MEMBER = "record.team.memberships.exists(m, m.user == caller.id)"
RULES = dict.fromkeys(("list", "view", "create", "update", "delete"), MEMBER)
NOWHERE = "rec_01jd0000000000000000000000"
PROJECTS, TASKS = "/v1/collections/projects/records", "/v1/collections/tasks/records"
TITLE = {"name": "title", "type": "text"}


async def collection(whole: testing.Platform, name: str, *fields: Any, **rules: str) -> None:
    new = {"name": name, "fields": fields, "rules": rules}
    (await whole.admin.post("/v1/collections", new)).expect(201)


async def add(whole: testing.Platform, collection: str, **values: Any) -> str:
    path = f"/v1/collections/{collection}/records"
    made: str = (await whole.admin.post(path, values)).expect(201)["id"]
    return made


def relation(name: str, to: str) -> dict[str, Any]:
    return {"name": name, "type": "relation", "collection": to}


class World:
    """A member of the red team, and one project in red and one in blue, which is hidden."""

    anna: Client
    ids: dict[str, str]

    @classmethod
    async def of(cls, whole: testing.Platform) -> "World":
        world = cls()
        await collection(whole, "teams", TITLE)
        user = {"name": "user", "type": "text"}
        await collection(whole, "memberships", relation("team", "teams"), user)
        weight, file = {"name": "weight", "type": "integer"}, {"name": "plan", "type": "file"}
        team = relation("team", "teams")
        await collection(whole, "projects", TITLE, weight, file, team, **RULES)
        project = relation("project", "projects")
        await collection(whole, "tasks", TITLE, project, list="true", view="true")
        world.anna = await whole.as_user("anna@example.com")
        red, blue = [await add(whole, "teams", title=title) for title in ("red", "blue")]
        member = await add(whole, "memberships", team=red, user=world.anna.id)
        await add(whole, "memberships", team=blue, user="user_x")
        shown = await add(whole, "projects", title="shown", weight=1, team=red)
        hidden = await add(whole, "projects", title="hidden", weight=1_000, team=blue)
        task = await add(whole, "tasks", title="task", project=hidden)
        other = await add(whole, "tasks", title="other", project=shown)
        world.ids = {
            "red": red, "blue": blue, "member": member, "shown": shown, "hidden": hidden,
            "task": task, "other": other,
        }  # fmt: skip
        return world


def said(answer: HttpAnswer, id: str) -> tuple[int, Any]:
    """What an answer says, but for the id that was asked for, and that of the request."""
    text = answer.body.decode().replace(id, "ID")
    told = msgspec.json.decode(text) if text else None
    if isinstance(told, dict):
        told.pop("request_id", None)
    return answer.status, told


async def test_what_is_hidden_looks_like_what_is_not_there(whole: testing.Platform) -> None:
    world = await World.of(whole)
    hidden = world.ids["hidden"]
    tag = (await whole.admin.get(f"{PROJECTS}/{hidden}")).etag or ""
    upload = await whole.admin.post(f"{PROJECTS}/{hidden}/files/plan", content=b"a secret")
    upload.expect(201)
    ways: list[tuple[str, str, Any, dict[str, str]]] = [
        ("GET", "", msgspec.UNSET, {}),
        ("GET", "?fields=title", msgspec.UNSET, {}),
        ("GET", "?expand=team", msgspec.UNSET, {}),
        ("GET", "", msgspec.UNSET, {"if-none-match": tag}),
        ("GET", "", msgspec.UNSET, {"if-none-match": "*"}),
        ("HEAD", "", msgspec.UNSET, {}),
        ("GET", ":stream", msgspec.UNSET, {}),
        ("GET", "/files/plan", msgspec.UNSET, {}),
        ("PATCH", "", {"title": "x"}, {}),
        ("PATCH", "", {"title": 1}, {}),
        ("PATCH", "", {"title": "x"}, {"if-match": tag}),
        ("PATCH", "", {"title": "x"}, {"if-match": '"0"'}),
        ("PUT", "", {"title": "x"}, {}),
        ("DELETE", "", msgspec.UNSET, {}),
        ("DELETE", "", msgspec.UNSET, {"if-match": '"0"'}),
    ]
    for client in (world.anna, whole.anonymous):
        for method, rest, body, headers in ways:
            answers = [
                said(
                    await client.request(method, f"{PROJECTS}/{id}{rest}", body, headers=headers),
                    id,
                )
                for id in (hidden, NOWHERE)
            ]
            assert answers[0] == answers[1], (method, rest, headers)
            assert answers[0][0] == 404
        for action in ("update", "delete"):
            items = [
                {"items": [{"action": action, "id": id, "data": {}}]} for id in (hidden, NOWHERE)
            ]
            one, other = [await client.post(f"{PROJECTS}:batch", each) for each in items]
            assert said(one, hidden) == said(other, NOWHERE)
            assert one.status == 404


async def lists(client: Client, query: str = "") -> Any:
    return (await client.get(f"{PROJECTS}?{query}")).expect(200)["items"]


async def test_no_question_of_a_list_finds_what_is_hidden(whole: testing.Platform) -> None:
    world = await World.of(whole)
    ids = world.ids
    filters = (
        f"record.id == '{ids['hidden']}'", "record.title == 'hidden'", "record.title != 'shown'",
        "record.title.startsWith('h')", "record.weight > 1", "!(record.weight == 1)",
        f"record.team == '{ids['blue']}'", "record.weight / (record.weight - 1000) == 0",
    )  # fmt: skip
    for text in filters:
        assert await lists(world.anna, f"filter={quote(text)}") == [], text
        counted = await world.anna.get(f"{PROJECTS}:aggregate?filter={quote(text)}")
        assert [group["count"] for group in counted.expect(200)["items"]] in ([], [0]), text
    for query in (
        "sort=-weight",
        "sort=title",
        "fields=title",
        "expand=team",
        "limit=1&sort=-weight",
    ):
        page = (await world.anna.get(f"{PROJECTS}?{query}")).expect(200)
        assert (len(page["items"]), page["next_cursor"]) == (1, None)
        assert "hidden" not in str(page)
    groups = await world.anna.get(
        f"{PROJECTS}:aggregate?group=title&sum=weight&min=weight&max=weight"
    )
    (group,) = groups.expect(200)["items"]
    assert (group["group"], group["sum"], group["max"]) == (
        {"title": "shown"}, {"weight": 1}, {"weight": 1},
    )  # fmt: skip
    # Teams have no view rule: a filter that goes there has nowhere to go.
    for text in ("record.team.title == 'blue'", MEMBER.replace("caller.id", "'user_x'")):
        answer = await world.anna.get(f"{PROJECTS}?filter={quote(text)}")
        assert answer.status == 422
    assert await lists(whole.anonymous) == []


async def test_what_a_task_points_at_is_shown_to_who_may_see_it(whole: testing.Platform) -> None:
    world = await World.of(whole)
    ids = world.ids
    page = (await world.anna.get(f"{TASKS}?expand=project&sort=-title")).expect(200)["items"]
    assert [item["expand"]["project"] and item["expand"]["project"]["title"] for item in page] == [
        None, "shown",
    ]  # fmt: skip
    task = (await world.anna.get(f"{TASKS}/{ids['task']}?expand=project")).expect(200)
    assert task["expand"] == {"project": None}
    for text in ("record.project.title == 'hidden'", "record.project.weight > 1"):
        found = await world.anna.get(f"{TASKS}?filter={quote(text)}")
        assert found.expect(200)["items"] == []
        opposite = await world.anna.get(f"{TASKS}?filter={quote(f'!({text})')}")
        assert [item["id"] for item in opposite.expect(200)["items"]] == [ids["other"]]


async def test_changes_of_what_is_hidden_change_no_tag(whole: testing.Platform) -> None:
    world = await World.of(whole)
    asked = (PROJECTS, f"{PROJECTS}?sort=-weight", f"{PROJECTS}?expand=team",
             f"{TASKS}?expand=project", f"{TASKS}/{world.ids['task']}?expand=project")  # fmt: skip
    before = [(await world.anna.get(path)).etag for path in asked]
    path = f"{PROJECTS}/{world.ids['hidden']}"
    (await whole.admin.patch(path, {"title": "more", "weight": 7})).expect(200)
    after = [(await world.anna.get(path)).etag for path in asked]
    assert before == after
    (await whole.admin.patch(path, {"team": world.ids["red"]})).expect(200)
    seen = [(await world.anna.get(path)).etag for path in asked]
    assert all(was != now for was, now in zip(before, seen, strict=True))


async def test_a_right_that_ended_shows_nothing_at_the_next_question(
    whole: testing.Platform,
) -> None:
    world = await World.of(whole)
    path = f"{PROJECTS}/{world.ids['shown']}"
    tag = (await world.anna.get(path)).etag or ""
    listed = (await world.anna.get(PROJECTS)).etag or ""
    async with await world.anna.stream("records.stream_records", collection="projects") as items:
        assert [*await items.json()] == ["position"]
        member = f"/v1/collections/memberships/records/{world.ids['member']}"
        (await whole.admin.delete(member)).expect(204)
        (await whole.admin.patch(path, {"title": "since then"})).expect(200)
        assert (await items.json())["end"] == "changed"
    assert (await world.anna.get(path, headers={"if-none-match": tag})).status == 404
    again = await world.anna.get(PROJECTS, headers={"if-none-match": listed})
    assert (again.status, again.json["items"]) == (200, [])


ABSENT = {
    "caller.id": ("record.team != caller.id", "!(record.team == caller.id)",
                  "record.team.memberships.exists(m, m.user != caller.id)"),
    "caller.email": ("record.title != caller.email", "!(record.title == caller.email)",
                     "record.team.memberships.exists(m, m.user != caller.email)"),
    "caller.user": ("record.title != caller.user", "!(caller.user == record.title)",
                    "!record.team.memberships.exists(m, m.user == caller.user)"),
    "caller.roles": ("!('admin' in caller.roles)", "size(caller.roles) == 0",
                     "!record.team.memberships.exists(m, m.user in caller.roles)"),
    "caller.organizations": ("!(record.title in caller.organizations)",
                             "size(caller.organizations) == 0"),
    "caller.organizations_by_role": ("!(record.title in caller.organizations_by_role.owner)",),
    "caller.email_verified": ("caller.email_verified == false", "!caller.email_verified"),
}  # fmt: skip


@pytest.mark.parametrize("name", ABSENT)
async def test_what_is_asked_of_a_caller_who_has_none_lets_nobody_in(
    whole: testing.Platform, name: str
) -> None:
    world = await World.of(whole)
    callers = [whole.anonymous]
    if name != "caller.id":
        callers.append(await whole.as_key("links:read"))  # a key of nobody's
    for rule in ABSENT[name]:
        changed = await whole.admin.patch(
            "/v1/collections/projects", {"rules": dict.fromkeys(RULES, rule)}
        )
        changed.expect(200)
        for caller in callers:
            assert await lists(caller) == [], rule
            counted = (await caller.get(f"{PROJECTS}:aggregate")).expect(200)["items"]
            assert [group["count"] for group in counted] in ([], [0]), rule
            path = f"{PROJECTS}/{world.ids['shown']}"
            assert (await caller.get(path)).status == 404, rule
            for answer in (await caller.patch(path, {"title": "x"}), await caller.delete(path)):
                assert answer.status == 404, rule
            made = await caller.post(PROJECTS, {"title": "x"})
            assert made.status in (401, 403), rule
            one = {"collection": "projects", "id": world.ids["shown"]}
            with pytest.raises(NotFound):
                await (await caller.stream("records.stream_record", **one)).next()
            named = {"collection": "projects"}
            async with await caller.stream("records.stream_records", **named) as items:
                assert [*await items.json()] == ["position"]
                waiting = asyncio.create_task(items.json())
                await add(whole, "projects", title="told to nobody", team=world.ids["red"])
                (await whole.admin.patch("/v1/collections/projects", {"rules": RULES})).expect(200)
                assert (await waiting)["end"] in ("changed", "unauthenticated", "forbidden"), rule
