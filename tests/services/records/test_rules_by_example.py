"""Every example of the page of rules lets in whom the page says."""

import json
import re
from pathlib import Path

import pytest

from mainspring.kernel.call import Caller
from mainspring.kernel.errors import Forbidden
from tests.services.records.platform import ANNA, BERT, NOBODY, Platform

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "rules.md"
ROW = re.compile(r"^\| `(.+)` \|(.*)\|$", re.MULTILINE)
EXAMPLES_MIN = 30
CHANGES = "## Before and after"
CHANGE = re.compile(r"^\| `(.+)` \| `(\{.*\})` \| `(\{.*\})` \| (yes|no) \|$", re.MULTILINE)
CHANGES_MIN = 12
CARL = Caller("user", "user_carl", scopes=frozenset({"orders:ship"}))
CALLERS = {"Ann": ANNA, "Bert": BERT, "Carl": CARL, "nobody": NOBODY}


async def test_each_example_lets_in_whom_it_says(platform: Platform) -> None:
    text = {"type": "text", "max": 40}
    await platform.make("teams", {"name": "owner", **text}, {"name": "open", "type": "boolean"})
    team = {"name": "team", "type": "relation", "collection": "teams"}
    await platform.make("memberships", team, {"name": "user", **text}, {"name": "role", **text})
    await platform.make(
        "projects", team, {"name": "title", **text}, {"name": "members", "type": "json"},
        {"name": "due", "type": "datetime"}, {"name": "public", "type": "boolean"},
        {"name": "tags", "many": True, **text},
    )  # fmt: skip
    red = await platform.add("teams", owner=ANNA.id, open=False)
    await platform.add("memberships", team=red["id"], user=BERT.id, role="editor")
    project = await platform.add(
        "projects", team=red["id"], title="Bridge", members=[BERT.id, "user_other"],
        due="2030-01-02T00:00:00Z", public=False,
        tags=["bridge", "north"],
    )  # fmt: skip
    examples = ROW.findall(PAGE.read_text().partition(CHANGES)[0])
    assert len(examples) >= EXAMPLES_MIN
    for rule, said in examples:
        rules = {"list": rule.replace("\\|", "|")}
        await platform.run("update_collection", name="projects", change={"rules": rules})
        let_in = [
            name for name, caller in CALLERS.items()
            if await platform.everything("projects", caller) == [project]
        ]  # fmt: skip
        assert let_in == [name.strip() for name in said.split(",") if name.strip()], rule


async def test_each_change_is_let_through_as_it_says(platform: Platform) -> None:
    text = {"type": "text", "max": 40}
    total = {"name": "total", "type": "integer"}
    fields = ({"name": "status", **text}, total, {"name": "owner", **text})
    await platform.make("orders", *fields, rules={"view": "true"})
    examples = CHANGE.findall(PAGE.read_text().partition(CHANGES)[2])
    assert len(examples) >= CHANGES_MIN
    for rule, order, change, said in examples:
        rules = {"view": "true", "update": rule.replace("\\|", "|")}
        await platform.run("update_collection", name="orders", change={"rules": rules})
        made = await platform.add("orders", **json.loads(order))
        sent = {"collection": "orders", "id": made["id"], "body": json.loads(change)}
        if said == "yes":
            await platform.run("update_record", BERT, **sent)
        else:
            with pytest.raises(Forbidden):
                await platform.run("update_record", BERT, **sent)
