"""Why somebody may do something, or may not: which part of which rule let them in or did not."""

from typing import Any

import pytest

from mainspring import Forbidden, Invalid, NotFound
from mainspring.cel import Part, parts
from mainspring.kernel.call import SYSTEM, Caller
from mainspring.services.users import service as users
from mainspring.services.users.api.structs import NewApiKey
from tests.services.records.platform import ANNA, KEY, NOBODY, Platform, read

TEXT = {"type": "text", "max": 40}
ASKER = Caller("key", "key_asker", scopes=frozenset({"records:explain"}))
ANNA_ASKS = Caller("user", ANNA.id, scopes=frozenset({"records:explain"}))


async def _explain(platform: Platform, asker: Caller = ASKER, /, **question: Any) -> Any:
    outcome = await platform.run("explain_rule", asker, collection="projects", question=question)
    return read(outcome)


async def _make(platform: Platform, **rules: str) -> dict[str, Any]:
    """A team of Anna's, a membership in it, and a project of it."""
    await platform.make("teams", {"name": "owner", **TEXT})
    team = {"name": "team", "type": "relation", "collection": "teams"}
    await platform.make("memberships", team, {"name": "user", **TEXT})
    await platform.make(
        "projects", team, {"name": "title", **TEXT}, {"name": "state", **TEXT}, rules=rules
    )
    red = await platform.add("teams", owner=ANNA.id)
    await platform.add("memberships", team=red["id"], user=ANNA.id)
    return await platform.add("projects", team=red["id"], title="Bridge", state="draft")


def _parts(judgement: Any) -> dict[str, bool]:
    return {part["source"]: part["holds"] for part in judgement["parts"]}


async def test_each_part_of_a_rule_is_judged_by_itself(platform: Platform) -> None:
    rule = (
        "(caller.id == record.team.owner || record.team.memberships.exists(m, m.user == caller.id))"
        ' && record.state == "live"'
    )
    project = await _make(platform, view=rule)
    said = await _explain(platform, ANNA_ASKS, action="view", record=project["id"])
    assert (said["allowed"], said["by"], said["rule"]) == (False, "rule", rule)
    (judgement,) = said["judgements"]
    assert (judgement["record"], judgement["holds"]) == ("as_it_is", False)
    assert _parts(judgement) == {
        "caller.id == record.team.owner": True,
        "record.team.memberships.exists(m, m.user == caller.id)": True,
        'record.state == "live"': False,
    }
    for part in judgement["parts"]:
        at = part["character"] - 1
        assert rule[at : at + len(part["source"])] == part["source"]
    nobody = await _explain(platform, action="view", record=project["id"], caller="nobody")
    assert list(_parts(nobody["judgements"][0]).values()) == [False, False, False]


async def test_what_is_explained_is_what_happens(platform: Platform) -> None:
    rule = 'record.state == "draft" && !("title" in request.changes)'
    project = await _make(platform, update=rule, create='request.data.state == "draft"')
    for data, let_in in (
        ({"state": "draft"}, True),  # which is no change
        ({"state": "live"}, False),  # for it would not be a draft any more
        ({"title": "Tower"}, False),
    ):
        said = await _explain(platform, ANNA_ASKS, action="update", record=project["id"], data=data)
        assert said["allowed"] is let_in, data
        changes = project["state"] != data.get("state")
        which = ["as_it_is", "as_it_would_be"] if changes else ["as_it_is"]
        assert [judgement["record"] for judgement in said["judgements"]] == which
    for state, let_in in (("draft", True), ("live", False)):
        new = {"state": state}
        said = await _explain(platform, ANNA_ASKS, action="create", data=new)
        assert said["allowed"] is let_in
        assert said["judgements"][0]["record"] == "as_it_would_be"
    assert len(await platform.everything("projects")) == 1  # nothing was done


async def test_a_scope_is_asked_no_rule(platform: Platform) -> None:
    project = await _make(platform, view="false")
    of_key = await _explain(platform, KEY, action="view", record=project["id"])
    assert (of_key["allowed"], of_key["by"], of_key["scope"]) == (True, "scope", "records:read")
    of_nobody = await _explain(platform, action="delete", record=project["id"], caller="nobody")
    assert (of_nobody["allowed"], of_nobody["by"], of_nobody["rule"]) == (False, "no_rule", None)


async def test_another_caller_has_the_rights_of_now(platform: Platform) -> None:
    project = await _make(platform, view="false")
    new = NewApiKey(name="reader", scopes=["records:read"])
    call = platform.call(SYSTEM)
    made = await platform.runtime.dispatcher.run(
        users.operations["users.create_api_key"], call, {"new": new}
    )
    id = read(made)["id"]
    said = await _explain(platform, action="view", record=project["id"], caller=id)
    assert (said["allowed"], said["by"]) == (True, "scope")
    await platform.runtime.dispatcher.run(
        users.operations["users.delete_api_key"], platform.call(SYSTEM), {"id": id}
    )
    with pytest.raises(Invalid) as raised:
        await _explain(platform, action="view", record=project["id"], caller=id)
    assert raised.value.errors[0].pointer == "/caller"


async def test_a_question_that_does_not_fit_is_refused(platform: Platform) -> None:
    project = await _make(platform, view="true")
    for question, pointer in (
        ({"action": "view"}, "/record"),
        ({"action": "create", "record": project["id"]}, "/record"),
        ({"action": "view", "record": project["id"], "data": {}}, "/data"),
        ({"action": "create", "data": {"odd": 1}}, "/data/odd"),
        ({"action": "update", "record": project["id"], "data": {"title": 1}}, "/data/title"),
    ):
        with pytest.raises(Invalid) as raised:
            await _explain(platform, **question)
        assert raised.value.errors[0].pointer == pointer, question
    with pytest.raises(NotFound):
        await _explain(platform, action="view", record="rec_none")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("a", [(0, "a")]),
        ("a == 1 && (b || c == 2)", [(0, "a == 1"), (11, "b"), (16, "c == 2")]),
        ("((a || b) && !(c && d))", [(2, "a"), (7, "b"), (13, "!(c && d)")]),
        ("a && b || c ? d : e", [(0, "a && b || c ? d : e")]),
        ("x.exists(m, m.a && m.b) || y", [(0, "x.exists(m, m.a && m.b)"), (27, "y")]),
        ("(a).b == 1 && (c) == (d)", [(0, "(a).b == 1"), (14, "(c) == (d)")]),
        ("'x && y' == a && [b || c, d][0]", None),
        ("(a) && (b)", [(1, "a"), (8, "b")]),
    ],
)
def test_an_expression_is_taken_apart_where_it_is_joined(
    source: str, found: list[tuple[int, str]] | None
) -> None:
    if found is None:
        with pytest.raises(Invalid):
            parts(source)
    else:
        assert parts(source) == [Part(text, at) for at, text in found]


async def test_rules_of_fields_are_told_too(platform: Platform) -> None:
    draft, mine = 'before.status == "draft"', 'record.owner == caller.id && record.status != ""'
    await platform.make(
        "projects", {"name": "status", **TEXT}, {"name": "owner", **TEXT},
        {"name": "price", **TEXT, "rules": {"read": mine, "write": draft}},
        {"name": "secret", **TEXT, "hidden": True}, rules={"view": "true", "update": "true"},
    )  # fmt: skip
    made = await platform.add("projects", status="draft", owner=ANNA.id, price="1")
    view = {"action": "view", "record": made["id"], "caller": "nobody"}
    said = await _explain(platform, **view)
    assert (said["allowed"], said["by"]) == (True, "rule")
    price, secret = said["fields"]
    assert (price["field"], price["right"], price["allowed"]) == ("price", "read", False)
    assert _parts(price["judgements"][0]) == {
        "record.owner == caller.id": False, 'record.status != ""': True,
    }  # fmt: skip
    assert secret == {
        "field": "secret", "right": "read", "allowed": False, "rule": None, "judgements": [],
    }  # fmt: skip
    (own, _) = (await _explain(platform, ANNA_ASKS, action="view", record=made["id"]))["fields"]
    assert own["allowed"]
    assert (await _explain(platform, KEY, action="view", record=made["id"]))["fields"] == []

    async def change(**data: Any) -> tuple[Any, ...]:
        asked = {"action": "update", "record": made["id"], "data": data, "caller": "nobody"}
        said = await _explain(platform, **asked)
        written = {field["field"]: field["allowed"] for field in said["fields"]}
        assert {field["right"] for field in said["fields"]} <= {"write"}
        return said["allowed"], said["by"], written

    assert await change(price="2") == (True, "rule", {"price": True})
    assert await change(price="1") == (True, "rule", {"price": True})  # which nobody knows it is
    sent = {"collection": "projects", "id": made["id"], "body": {"status": "sent"}}
    await platform.run("update_record", ANNA, **sent)
    assert await change(status="draft") == (True, "rule", {})
    assert await change(status="draft", price="2") == (False, "field", {"price": False})
    with pytest.raises(Forbidden, match="'price'"):
        await platform.run("update_record", NOBODY, **{**sent, "body": {"price": "2"}})
