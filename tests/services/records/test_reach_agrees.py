"""Expressions over related records: what both engines find is what three-valued logic says.

The oracle knows nothing of how expressions become SQL. It takes the typed tree before it is made
certain, and follows relations through the records as they were answered.
"""

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from mainspring.cel import Type, ast, evaluate, sql, syntax
from mainspring.cel.check import Checker
from mainspring.kernel.call import Caller
from mainspring.kernel.errors import Invalid
from mainspring.services.records import access, reach
from mainspring.services.records.operations import lists
from mainspring.services.records.schema_cache import named
from mainspring.services.records.store import RELATED, judging
from tests.services.records.platform import ANNA, BERT, NOBODY, Platform

ROWS = 14
EXPRESSIONS = 200
PEOPLE = ("user_anna", "user_bert", "x")

COLLECTIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "teams": (
        {"name": "name", "type": "text"},
        {"name": "owner", "type": "text", "max": 40},
        {"name": "open", "type": "boolean"},
        {"name": "seats", "type": "integer"},
        {"name": "meta", "type": "json"},
        {"name": "tags", "type": "text", "many": True},
    ),
    "projects": (
        {"name": "team", "type": "relation", "collection": "teams"},
        {"name": "others", "type": "relation", "collection": "teams", "many": True},
        {"name": "lead", "type": "text", "max": 40},
    ),
    "memberships": (
        {"name": "team", "type": "relation", "collection": "teams"},
        {"name": "user", "type": "text", "max": 40},
        {"name": "role", "type": "text"},
    ),
    "tasks": (
        {"name": "project", "type": "relation", "collection": "projects"},
        {"name": "team", "type": "relation", "collection": "teams"},
        {"name": "parent", "type": "relation", "collection": "tasks"},
        {"name": "title", "type": "text"},
        {"name": "hours", "type": "number"},
        {"name": "labels", "type": "text", "many": True},
        {"name": "scores", "type": "number", "many": True},
        {"name": "counts", "type": "integer", "many": True},
        {"name": "marks", "type": "boolean", "many": True},
        {"name": "days", "type": "datetime", "many": True},
        {"name": "teams", "type": "relation", "collection": "teams", "many": True},
        {"name": "after", "type": "relation", "collection": "tasks", "many": True},
    ),
}
TEXTS = (
    "title", "project.lead", "project.team.owner", "team.name", "record.team.owner", "parent.title",
    "parent.project.lead", "caller.id", "'x'", "'user_anna'", "null", "parent.team.owner",
)  # fmt: skip
NUMBERS = ("hours", "team.seats", "project.team.seats", "1", "2.5", "null", "team.seats + 1")
FLAGS = (
    "team.open", "project.team.open", "has(team.owner)", "has(project.team.owner)", "has(parent)",
    "team.meta.a == 1", "parent.parent.hours > 1", "size(team.name) == 1", "true",
    "caller.id in team.meta", "title in project.team.meta", "size(team.meta) == 2",
    "team.name.upperAscii() == 'X'",
    "caller.id in labels", "title in labels", "'x' in team.tags", "team.name in project.team.tags",
    "2 in scores", "2.0 in counts", "hours in scores", "true in marks", "size(labels) == 2",
    "size(project.team.tags) > 0", "size(scores) == 0", "team.id in teams", "parent.id in after",
    "scores.exists(s, s > hours)", "counts.all(c, c * 2 < 5)", "marks.exists(m, m)",
    "labels.exists(l, l == caller.id)", "labels.all(l, l != team.owner)", "null in labels",
    "team.tags.exists(t, t.startsWith('user') || t in labels)",
    "labels.exists(a, team.tags.exists(b, a == b))", "labels.exists(l, size(l) > hours)",
    "days.exists(d, d.getFullYear() == 2030)", "'2030-01-02T00:00:00Z' in days",
    "labels.exists(l, (l == caller.id) == (l == 'x'))",
)  # fmt: skip
MANY = {
    "team.memberships": "memberships", "project.team.memberships": "memberships",
    "record.tasks.parent": "tasks", "parent.tasks.parent": "tasks", "team.tasks.team": "tasks",
    "tasks.after": "tasks", "team.tasks.teams": "tasks", "record.after": "tasks",
    "parent.after": "tasks", "team.projects.team": "projects", "team.projects.others": "projects",
    "project.others": "teams", "teams": "teams",
}  # fmt: skip
EACH = {
    "memberships": ("m.user", "m.role", "m.team.owner", "m.team.name"),
    "tasks": ("m.title", "m.project.lead", "m.team.owner", "m.parent.title"),
    "projects": ("m.lead", "m.team.owner", "m.team.name"),
    "teams": ("m.name", "m.owner"),
}


class Expressions:
    """Writes random conditions about a task."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def condition(self, depth: int, texts: tuple[str, ...] = TEXTS) -> str:
        rng = self.rng
        form = rng.randrange(9) if depth > 0 else rng.randrange(4, 7)
        if form < 2:
            sign = rng.choice([" && ", " || "])
            parts = (self.condition(depth - 1, texts) for _ in range(2))
            return f"({sign.join(parts)})"
        if form == 2:
            return f"!({self.condition(depth - 1, texts)})"
        if form == 3:
            test = f"{rng.choice(texts)} != {rng.choice(texts)}"
            yes, no = (self.condition(depth - 1, texts) for _ in range(2))
            return f"({test} ? {yes} : {no})"
        if form == 4:
            sign = rng.choice(["==", "!=", "<", ">="])
            return f"({rng.choice(texts)} {sign} {rng.choice(texts)})"
        if form == 5:
            if texts is TEXTS and rng.random() < 0.5:
                return (
                    f"({rng.choice(NUMBERS)} {rng.choice(['==', '<', '!='])} {rng.choice(NUMBERS)})"
                )
            items = ", ".join(rng.choice(texts) for _ in range(2))
            return f"({rng.choice(texts)} in [{items}])"
        if form == 6:
            return rng.choice(FLAGS)
        many = rng.choice(list(MANY))
        own = EACH[MANY[many]]
        function = rng.choice(["exists", "exists", "all"])
        body = self.condition(depth - 1, (*own, "caller.id", "record.team.owner", "title"))
        return f"{many}.{function}(m, {body})"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


class Oracle:
    """Answers true, false, or None for what is unknown."""

    def __init__(self, hops: Mapping[int, Any], stored: Mapping[str, Mapping[str, Any]]) -> None:
        self.hops = hops
        self.stored = stored  # by the id of the collection, then of the record

    def row(self, number: int, rows: dict[int, Any]) -> Any:
        if number in rows:
            return rows[number]
        hop = self.hops[number]
        source = None if hop.back or hop.many else self.row(hop.source, rows)
        return source and self.stored[hop.collection].get(source[hop.field])

    def reached(self, hop: Any, rows: dict[int, Any]) -> list[Any] | None:
        source = self.row(hop.source, rows)
        if source is None:
            return None
        found = self.stored[hop.collection]
        if hop.back:
            return [r for r in found.values() if source["id"] in _listed(r[hop.field])]
        if hop.many:
            return [found[id] for id in source[hop.field]]
        return [found[source[hop.field]]] if source[hop.field] in found else []

    def judge(self, node: ast.Node, rows: dict[int, Any], context: Any) -> bool | None:
        match node:
            case ast.Not(part):
                answer = self.judge(part, rows, context)
                return None if answer is None else not answer
            case ast.All(parts) | ast.Any(parts):
                answers = [self.judge(p, rows, context) for p in parts]
                decisive = isinstance(node, ast.Any)
                if decisive in answers:
                    return decisive
                return None if None in answers else not decisive
            case ast.Reaching(number, hop, condition):
                found = self.reached(hop, rows)
                if found is None:
                    return None if hop.back or hop.many else False
                answers = [self.judge(condition, {**rows, number: r}, context) for r in found]
                if True in answers:
                    return True
                return None if None in answers else False
            case ast.Some(number, ast.FieldValue(_, (name,), _, row), condition):
                source = self.row(row, rows)
                if source is None:
                    return None
                each = [{**rows, number: {"item": item}} for item in source[name]]
                answers = [self.judge(condition, those, context) for those in each]
                if True in answers:
                    return True
                return None if None in answers else False
            case ast.Same(ast.Pick(Type.BOOL, test, yes, no), ast.Const(Type.BOOL, True)):
                if self.unknown(test, rows, context):
                    return None
                chosen = self.judge(test, rows, context)
                return self.judge(ast.condition(yes if chosen else no), rows, context)
            case ast.Among(value, tuple(items)):
                same = [self.judge(ast.Same(value, item), rows, context) for item in items]
                if self.unknown(value, rows, context):
                    return None
                return True if True in same else None if None in same else False
        if self.unknown(node, rows, context):
            return None
        flat = ast.with_fields(
            node,
            lambda f: ast.FieldValue(f.type, (str(f.row), *f.path), f.json),
        )
        known = {str(n): self.row(n, rows) for n in (0, *self.hops)}
        known |= {str(n): row["item"] for n, row in rows.items() if "item" in row}
        return bool(evaluate.closure(flat)(known, context))

    def unknown(self, node: ast.Node, rows: dict[int, Any], context: Any) -> bool:
        if isinstance(node, ast.FieldValue):
            return self.row(node.row, rows) is None
        if isinstance(node, ast.ContextValue):
            return evaluate.closure(node)({}, context) is None
        return any(self.unknown(inner, rows, context) for inner in ast.children(node))


async def _fill(
    platform: Platform, rng: random.Random, indexes: Mapping[str, Any] = {}
) -> dict[str, dict[str, Any]]:
    """Make the collections and random records, some of whose relations are null."""
    stored: dict[str, dict[str, Any]] = {}

    def some(pool: Any) -> Any:
        return rng.choice(list(pool)) if pool and rng.random() < 0.75 else None

    for name, fields in COLLECTIONS.items():
        await platform.make(name, *fields, indexes=indexes.get(name, []))
        stored[name] = {}
        for _ in range(ROWS if name == "tasks" else 6):
            made: dict[str, Any] = {}
            for field in fields:
                pool: Any = {
                    "relation": stored.get(field.get("collection", ""), {}),
                    "boolean": (True, False), "integer": (1, 2, 3), "number": (1.0, 2.0, 2.5),
                    "json": ({"a": 1}, {"a": "1"}, ["x", "user_anna"], [1]),
                }.get(field["type"], PEOPLE)  # fmt: skip
                if field["type"] == "datetime":
                    pool = ("2030-01-02T00:00:00.000Z", "2031-01-02T00:00:00.000Z")
                if field.get("many"):
                    picked = rng.sample(list(pool), min(len(pool), rng.randrange(3)))
                    made[field["name"]] = picked
                    continue
                made[field["name"]] = some(pool)
            record = await platform.add(name, **made)
            stored[name][record["id"]] = record
    return stored


async def _compiled(platform: Platform, source: str) -> tuple[reach.Reached, Checker, ast.Node]:
    call = platform.call()
    tasks = await named(call, "tasks", "records:read")
    reached = await reach.filter_of(call, tasks, source)
    around = reach.Surroundings(tasks.shape)
    for name in COLLECTIONS:
        around.put((await named(call, name, "records:read")).shape)
    checker = Checker(around.names(tasks.shape), "")
    typed = checker.condition(syntax.parse(source, ""))
    return reached, checker, typed


async def test_both_engines_agree_with_three_valued_logic(platform: Platform, seed: int) -> None:
    rng = random.Random(seed)
    by_name = await _fill(platform, rng)
    ids = {n: (await named(platform.call(), n, "records:read")).id for n in COLLECTIONS}
    stored = {ids[name]: records for name, records in by_name.items()}
    tasks = list(by_name["tasks"].values())
    reaching = matched = refused = 0
    for _ in range(EXPRESSIONS):
        source = Expressions(rng).condition(rng.randint(1, 3))
        caller: Caller = rng.choice([ANNA, BERT, NOBODY])
        try:
            reached, checker, typed = await _compiled(platform, source)
        except Invalid as error:
            if not error.errors[0].detail.startswith("more than"):
                raise
            refused += 1
            continue
        call = platform.call(caller)
        context = await access.context(call, "list", reached.program.asks_context)
        oracle = Oracle(checker.hops, stored)
        expected = [oracle.judge(typed, {0: task}, context) is True for task in tasks]
        condition = reached.program.residual(context)
        test = sql.fragment(condition, "record.data", related=RELATED)
        query = judging((test.sqlite, test.postgres), scans=True)
        data = msgspec.json.encode(tasks).decode()
        found = await call.all(query, records=data, **test.params)
        assert [i in found for i in range(len(tasks))] == expected, (source, caller)
        if not reached.program.reaches:
            here = [reached.program.test(task, context) for task in tasks]
            assert here == expected, (source, caller)
        reaching += reached.program.reaches
        matched += sum(expected)
    assert reaching > EXPRESSIONS / 2
    assert matched > EXPRESSIONS
    assert refused < EXPRESSIONS / 10


INDEXES = {"teams": [["owner"]], "projects": [["lead"]], "memberships": [["user"]]}
FAR = (
    "team.owner == {0}", "project.lead == {0}", "project.team.owner == {0}",
    "parent.team.owner == {0}", "teams.exists(t, t.owner == {0})",
    "project.others.exists(t, t.owner == {0})", "team.memberships.exists(m, m.user == {0})",
    "parent.project.team.memberships.exists(m, m.user == {0})",
)  # fmt: skip
OTHER = ("record.tasks.parent.exists(t, t.team.owner == {0})", "title == {0}", "hours > 1.0")
LISTS = 60


async def test_pages_by_the_far_end_hold_what_three_valued_logic_says(
    platform: Platform, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    by_name = await _fill(platform, rng, INDEXES)
    ids = {n: (await named(platform.call(), n, "records:read")).id for n in COLLECTIONS}
    stored = {ids[name]: records for name, records in by_name.items()}
    tasks = sorted(by_name["tasks"].values(), key=lambda task: str(task["id"]))
    merged = Counter[bool]()
    make = lists.first_query

    def counted(ways: Any, *, descending: bool, after: bool) -> Any:
        merged[after] += 1
        return make(ways, descending=descending, after=after)

    monkeypatch.setattr(lists, "first_query", counted)
    found = 0
    for _ in range(LISTS):
        forms = rng.sample(FAR, rng.randint(1, 3))
        if len(forms) < 3 and rng.random() < 0.3:  # with three there may be eight rows already
            forms.append(rng.choice(OTHER))
        written = [form.format(f"'{rng.choice(PEOPLE)}'") for form in forms]
        source = rng.choice([" || ", " || ", " || ", " && "]).join(written)
        _, checker, typed = await _compiled(platform, source)
        oracle = Oracle(checker.hops, stored)
        expected = [task for task in tasks if oracle.judge(typed, {0: task}, {}) is True]
        asked: dict[str, Any] = {"filter": source, "limit": rng.randint(1, 5)}
        if rng.random() < 0.4:
            expected, asked["sort"] = expected[::-1], rng.choice(["-id", "-created_at"])
        assert await platform.everything("tasks", **asked) == expected, (source, asked)
        found += len(expected)
    assert merged[False] > LISTS / 3
    assert merged[True] > LISTS / 3
    assert found > LISTS
