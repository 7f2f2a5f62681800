"""Rules and filters through relations, and back through them: who gets in, and what shows."""

from typing import Any

import pytest

from mainspring.kernel.call import Caller
from mainspring.kernel.errors import Failure, Forbidden, Hidden, Invalid, NotFound
from mainspring.kernel.event import envelope
from mainspring.services.records.api import StillReferenced
from mainspring.services.records.visibility import shows
from tests.services.records.platform import ANNA, BERT, EVENTS, KEY, NOBODY, Platform, read

CARL = Caller("user", "user_carl")
TEAM = (
    {"name": "title", "type": "text", "max": 40},
    {"name": "owner", "type": "text", "max": 40},
)
MEMBERSHIP = (
    {"name": "team", "type": "relation", "collection": "teams"},
    {"name": "user", "type": "text", "max": 40},
    {"name": "role", "type": "text", "max": 40},
)
PROJECT = (
    {"name": "team", "type": "relation", "collection": "teams"},
    {"name": "title", "type": "text", "max": 40},
)
OWNER = "record.team.owner == caller.id"
MEMBER = f"{OWNER} || record.team.memberships.exists(m, m.user == caller.id)"
RULES = {
    "list": MEMBER,
    "view": MEMBER,
    "create": "record.team.memberships.exists(m, m.user == caller.id && m.role == 'editor')",
    "update": "record.team.memberships.exists(m, m.user == caller.id && m.role == 'editor')",
    "delete": OWNER,
}


async def _teams(platform: Platform, **rules: Any) -> dict[str, dict[str, Any]]:
    """Anna owns the team red; Bert is its editor and Carl its reader. Nobody has the team blue."""
    await platform.make("teams", *TEAM)
    await platform.make("memberships", *MEMBERSHIP)
    if "teams" in rules:
        change = {"rules": rules["teams"]}
        await platform.run("update_collection", name="teams", change=change)
    await platform.make("projects", *PROJECT, rules=rules.get("projects", RULES))
    red = await platform.add("teams", title="red", owner=ANNA.id)
    blue = await platform.add("teams", title="blue")
    for user, role in ((BERT, "editor"), (CARL, "reader")):
        await platform.add("memberships", team=red["id"], user=user.id, role=role)
    made = {"red": red, "blue": blue}
    for name in ("red", "blue"):
        made[f"in {name}"] = await platform.add("projects", team=made[name]["id"], title=name)
    made["loose"] = await platform.add("projects", title="loose")
    return made


async def _refused(run: Any) -> type[Failure]:
    with pytest.raises(Failure) as refused:
        await run
    return NotFound if isinstance(refused.value, Hidden) else type(refused.value)


async def test_rules_follow_relations_and_come_back(platform: Platform) -> None:
    made = await _teams(platform)
    mine = made["in red"]
    for caller in (ANNA, BERT, CARL):
        assert await platform.everything("projects", caller) == [mine]
        assert await platform.get("projects", mine["id"], caller) == mine
        for other in ("in blue", "loose"):
            assert await _refused(platform.get("projects", made[other]["id"], caller)) is NotFound
    assert await platform.everything("projects", NOBODY) == []
    counted = await platform.run("aggregate_records", CARL, collection="projects", query={})
    assert counted.value.items[0].count == 1

    change = {"collection": "projects", "id": mine["id"], "body": {"title": "new"}}
    assert read(await platform.run("update_record", BERT, **change))["title"] == "new"
    assert await _refused(platform.run("update_record", CARL, **change)) is Forbidden
    assert await _refused(platform.run("update_record", NOBODY, **change)) is NotFound
    # What it would become is judged as well: nobody gives a project to a team that is not theirs.
    away = {**change, "body": {"team": made["blue"]["id"]}}
    assert await _refused(platform.run("update_record", BERT, **away)) is Forbidden

    assert await _refused(platform.add("projects", CARL, team=made["red"]["id"])) is Forbidden
    assert await _refused(platform.add("projects", BERT, title="of no team")) is Forbidden
    one = {"collection": "projects", "id": mine["id"]}
    assert await _refused(platform.run("delete_record", BERT, **one)) is Forbidden
    await platform.run("delete_record", ANNA, **one)
    assert await platform.everything("projects", ANNA) == []


async def test_a_member_creates_once_it_may_see_the_team(platform: Platform) -> None:
    seen = {"view": "record.memberships.exists(m, m.user == caller.id)"}
    made = await _teams(platform, teams=seen)
    project = await platform.add("projects", BERT, team=made["red"]["id"], title="his")
    assert await platform.everything("projects", CARL) == [made["in red"], project]
    batch = {"items": [
        {"action": "update", "id": project["id"], "data": {"title": "a"}},
        {"action": "create", "data": {"team": made["red"]["id"], "title": "b"}},
    ]}  # fmt: skip
    answer = read(await platform.run("batch_records", BERT, collection="projects", batch=batch))
    assert [item["title"] for item in answer["items"]] == ["a", "b"]
    batch["items"][1]["data"]["team"] = made["blue"]["id"]  # type: ignore[index]
    refused = platform.run("batch_records", BERT, collection="projects", batch=batch)
    assert await _refused(refused) in (Forbidden, Invalid)
    expanded = await platform.page("projects", CARL, expand="team")
    assert [item["expand"]["team"]["title"] for item in expanded["items"]] == ["red"] * 3


async def test_what_is_not_there_decides_nothing(platform: Platform) -> None:
    made = await _teams(platform)
    for source, found in (
        ("record.team.owner == caller.id", []),
        ("record.team.owner != 'x'", ["in red", "in blue"]),
        ("!(record.team.owner == 'x')", ["in red", "in blue"]),
        ("record.team.owner == null", ["in blue"]),
        ("!has(record.team.owner)", ["in blue", "loose"]),
        ("has(record.team.owner) && record.team.title == 'red'", ["in red"]),
        ("record.team.memberships.exists(m, true)", ["in red"]),
        ("!record.team.memberships.exists(m, true)", ["in blue"]),
        ("record.team.memberships.all(m, m.role != 'owner')", ["in red", "in blue"]),
        ("record.team.memberships.all(m, m.role == 'editor')", ["in blue"]),
        ("record.team == null || record.team.title == 'blue'", ["in blue", "loose"]),
        ("record.team.projects.exists(p, p.title == 'red')", ["in red"]),
    ):
        expected = [made[name] for name in found]
        assert await platform.everything("projects", filter=source) == expected, source


async def test_a_filter_sees_of_other_collections_what_its_sender_may_view(
    platform: Platform,
) -> None:
    everyone = {"list": "true", "view": "true"}
    view = {"view": "record.owner == caller.id"}
    made = await _teams(platform, teams=view, projects=everyone)
    red, blue, loose = made["in red"], made["in blue"], made["loose"]
    title = "team.title == 'red'"
    assert await platform.everything("projects", ANNA, filter=title) == [red]
    # A hidden team is as one that is not there: neither the question nor its negation finds it.
    for caller in (BERT, NOBODY):
        for source in (title, f"!({title})", "team.title < 'zzz'", "has(team.title)"):
            assert await platform.everything("projects", caller, filter=source) == [], source
            query = {"filter": source}
            counted = await platform.run(
                "aggregate_records", caller, collection="projects", query=query
            )
            assert counted.value.items[0].count == 0
        missing = await platform.everything("projects", caller, filter="!has(team.title)")
        assert missing == [red, blue, loose]
    # Of memberships nobody may view any: for callers there are none, by whatever name.
    for source in (
        "team.memberships.exists(m, m.role == 'editor')",
        "team.secrets.exists(m, true)",
    ):
        with pytest.raises(Invalid) as refused:
            await platform.page("projects", ANNA, filter=source)
        assert "is not a collection with a relation to this one" in refused.value.errors[0].detail
    with pytest.raises(Invalid) as sorted_by:
        await platform.page("projects", ANNA, sort="team.title")
    assert sorted_by.value.errors[0].pointer == "/sort"


async def test_a_rule_of_others_limits_a_filter_also_where_it_reaches_further(
    platform: Platform,
) -> None:
    view = {"view": "record.memberships.exists(m, m.user == caller.id)"}
    made = await _teams(platform, teams=view, projects={"list": "true", "view": "true"})
    source = "team.title == 'red'"
    assert await platform.everything("projects", BERT, filter=source) == [made["in red"]]
    assert await platform.everything("projects", ANNA, filter=source) == []
    assert await platform.everything("projects", NOBODY, filter=source) == []


async def test_an_event_is_shown_by_what_is_related_now(platform: Platform) -> None:
    made = await _teams(platform)
    rows = await platform.database.read(EVENTS, ())
    told = [envelope(body, None) for type, body in rows if type == "records.record.created"]
    of_red = next(event for event in told if event.subject == made["in red"]["id"])
    of_blue = next(event for event in told if event.subject == made["in blue"]["id"])
    assert await shows(platform.call(CARL), of_red)
    assert not await shows(platform.call(CARL), of_blue)
    assert not await shows(platform.call(NOBODY), of_red)
    for membership in await platform.everything("memberships", filter="user == 'user_carl'"):
        await platform.run("delete_record", collection="memberships", id=membership["id"])
    assert not await shows(platform.call(CARL), of_red)


@pytest.mark.parametrize(
    ("rule", "detail"),
    [
        ("record.team.nothing == 1", "there is no 'record.team.nothing' here (character 1)"),
        ("record.crew.owner == 'x'", "there is no 'record.crew.owner' here (character 1)"),
        ("record.team.owner == 1", "text cannot be compared with an integer (character 19)"),
        ("true || record.team.memberships == 'x'", "'record.team.memberships' are many: ask "),
        ("record.team.memberships.user == caller.id", "'record.team.memberships.user' are many"),
        ("record.team.exists(t, true)", "'record.team' is not a collection with a relation to"),
        ("record.team.memberships.exists(m.user, true)", "a name for each record is expected"),
        ("record.team.memberships.exists(true)", "exists() is written record.comments.exists(x"),
        ("record.team.memberships.exists(m, m.team.nothing == 1)", "there is no 'm.team.nothing'"),
        ("record.team.memberships.exists(m, true) == true", "are joined by &&, || and ! only"),
        ("record.team.memberships.role.exists(m, true)", "'role' does not lead here: "),
        ("record.team.memberships.exists(m, m.team.projects.exists(p, p.team.owner == 'x'))",
         "more than 4 relations one after the other (character 61)"),
    ],
)  # fmt: skip
async def test_what_does_not_fit_is_refused_with_its_place(
    platform: Platform, rule: str, detail: str
) -> None:
    await _teams(platform)
    with pytest.raises(Invalid) as refused:
        await platform.run("update_collection", name="projects", change={"rules": {"list": rule}})
    (error,) = refused.value.errors
    assert error.pointer == "/rules/list"
    assert detail in error.detail


async def test_one_of_several_ways_back_is_to_be_named(platform: Platform) -> None:
    await platform.make("people", {"name": "name", "type": "text", "max": 20})
    rule = "record.letters.exists(x, x.text == caller.id)"
    await platform.make(
        "letters",
        {"name": "sender", "type": "relation", "collection": "people"},
        {"name": "receiver", "type": "relation", "collection": "people"},
        {"name": "text", "type": "text"},
    )

    async def rules(list_rule: str) -> None:
        change = {"rules": {"list": list_rule}}
        await platform.run("update_collection", name="people", change=change)

    with pytest.raises(Invalid) as refused:
        await rules(rule)
    assert refused.value.errors[0].detail == (
        "'record.letters' can be by more than one relation: write record.letters.sender "
        "or record.letters.receiver (character 16)"
    )
    await rules("record.letters.receiver.exists(x, x.text == caller.id)")
    sender, receiver = [await platform.add("people", name=name) for name in ("a", "b")]
    await platform.add("letters", sender=sender["id"], receiver=receiver["id"], text=ANNA.id)
    assert await platform.everything("people", ANNA) == [receiver]


async def test_what_a_rule_asks_for_stays(platform: Platform) -> None:
    made = await _teams(platform)
    kept = [{"name": "title", "type": "text", "max": 40}]
    with pytest.raises(StillReferenced) as refused:
        await platform.run(
            "update_collection", name="teams", query={"confirm": "owner"}, change={"fields": kept}
        )
    assert "the list rule of the collection 'projects' asks for what would be gone" in str(
        refused.value.detail
    )
    with pytest.raises(StillReferenced):
        await platform.run("delete_collection", name="memberships")
    another = {"name": "deputy_of", "type": "relation", "collection": "teams"}
    change: dict[str, Any] = {"fields": [*MEMBERSHIP, another]}
    with pytest.raises(StillReferenced) as ambiguous:
        await platform.run("update_collection", name="memberships", change=change)
    assert "write record.team.memberships.team or" in str(ambiguous.value.detail)
    # Once no rule asks for it, it may go.
    await platform.run("update_collection", name="projects", change={"rules": {"list": OWNER}})
    await platform.run("delete_collection", name="memberships")
    assert await platform.everything("projects", ANNA) == [made["in red"]]


async def test_a_default_that_a_stored_team_is_read_with_counts_in_rules(
    platform: Platform,
) -> None:
    made = await _teams(platform, projects={"list": "record.team.owner == 'user_carl'"})
    fields = [TEAM[0], {**TEAM[1], "required": True, "default": CARL.id}]
    await platform.run("update_collection", name="teams", change={"fields": fields})
    assert await platform.everything("projects", CARL) == [made["in blue"]]
    await platform.work()
    assert await platform.everything("projects", CARL) == [made["in blue"]]
    assert await platform.everything("projects", KEY) == [
        made["in red"], made["in blue"], made["loose"],
    ]  # fmt: skip
