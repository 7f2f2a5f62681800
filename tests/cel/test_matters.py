"""Which change of a related row can make a condition otherwise."""

from typing import Any

import pytest

from mainspring.cel import Lead, Names, Type, ast, compile_cel, evaluate
from mainspring.cel.matters import matters

MEMBER = Names({"id": Type.TEXT, "user": Type.TEXT, "team": Type.TEXT, "note": Type.TEXT})
TEAM = Names(
    {"id": Type.TEXT, "owner": Type.TEXT, "name": Type.TEXT},
    follow=lambda name: (
        Lead("teams", "team", "members", MEMBER, back=True) if name == "members" else None
    ),
)
PROJECT = Names(
    {"id": Type.TEXT, "team": Type.TEXT, "open": Type.BOOL},
    {"caller.id": Type.TEXT},
    follow=lambda name: Lead("projects", "team", "teams", TEAM) if name == "team" else None,
)
MEMBERS = "record.team.members.exists(m, m.user == caller.id)"
OWNER = "record.team.owner == caller.id"

ANNA = {"id": "m1", "user": "anna", "team": "red", "note": "a"}
BERT = {"id": "m2", "user": "bert", "team": "red", "note": "b"}
RED = {"id": "red", "owner": "bert", "name": "Red"}


def condition(source: str) -> ast.Node:
    program = compile_cel(source, PROJECT)
    return evaluate.fold(program.tree, {"caller": {"id": "anna", "known": True}})


@pytest.mark.parametrize(
    ("source", "collection", "old", "new", "expected"),
    [
        (MEMBERS, "members", None, ANNA, True),
        (MEMBERS, "members", ANNA, None, True),
        (MEMBERS, "members", None, BERT, False),
        (MEMBERS, "members", BERT, None, False),
        (MEMBERS, "members", BERT, {**BERT, "user": "anna"}, True),
        (MEMBERS, "members", ANNA, {**ANNA, "team": "blue"}, True),
        (MEMBERS, "members", BERT, {**BERT, "team": "blue"}, False),
        (MEMBERS, "members", ANNA, {**ANNA, "note": "z"}, False),
        (MEMBERS, "teams", RED, {**RED, "owner": "anna"}, False),
        (f"!({MEMBERS})", "members", ANNA, None, True),
        (f"record.open || {MEMBERS}", "members", ANNA, None, True),
        (OWNER, "teams", RED, {**RED, "owner": "anna"}, True),
        (OWNER, "teams", {**RED, "owner": "anna"}, RED, True),
        (OWNER, "teams", RED, {**RED, "owner": "carl"}, False),
        (OWNER, "teams", RED, {**RED, "name": "Rouge"}, False),
        (OWNER, "teams", None, {**RED, "owner": "anna"}, False),
        (OWNER, "members", ANNA, None, False),
    ],
)
def test_what_could_count_matters(
    source: str, collection: str, old: Any, new: Any, expected: bool
) -> None:
    assert matters(condition(source), collection, old, new) is expected
