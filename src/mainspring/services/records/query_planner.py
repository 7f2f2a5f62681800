"""Which index serves a list: what it narrows, whether it gives the order, and what is left to test.

A list is covered when one range of one index holds exactly its records in its order; then a page
costs the same however large the collection is. Anything else is a scan under a budget.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec

from mainspring import Invalid
from mainspring.cel import Type, ast
from mainspring.cel.types import ITEMS
from mainspring.kernel.ids import first_id_at
from mainspring.ports.database import SCAN_DEADLINE_S
from mainspring.services.records import keys
from mainspring.services.records.fields import RECORD_PREFIX
from mainspring.services.records.model import CompiledCollection, KeyPart
from mainspring.services.records.personal_rules import SEALED

SORT_KEYS_MAX = 4

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


class Sort(msgspec.Struct, frozen=True):
    """The order of a list: ``parts``, then the id, descending or not, or as it comes (None)."""

    parts: list[KeyPart]
    id_descending: bool | None


class Plan(msgspec.Struct, frozen=True):
    """How to read: a range of ``column`` (``id`` is the primary key) and the test that is left."""

    column: str
    low: bytes | str | None
    high: bytes | str | None
    ordered: bool
    descending: bool
    rest: ast.Node
    narrows: int
    exact: bool = False  # the range is the one key ``low``

    @property
    def covered(self) -> bool:
        """Whether a page reads no more rows than it answers."""
        return self.ordered and self.rest is ast.TRUE


class _Bound(msgspec.Struct, frozen=True):
    """A test of one field against a constant, and the part of the filter that it is."""

    sign: str  # "==", an order, or "startsWith"
    value: Any
    part: ast.Node


Bounds = dict[str, list[_Bound]]


def read_sort(collection: CompiledCollection, text: str | None) -> Sort:
    """Read ``-created_at,title``. ``created_at`` is the id's own order. Raises Invalid."""
    parts: list[KeyPart] = []
    for name in (text or "id").split(","):
        name = name.strip()
        plain, descending = name.removeprefix("-"), name.startswith("-")
        kind = collection.askable.get(plain)
        if kind is None or kind is Type.JSON or kind in ITEMS or len(parts) == SORT_KEYS_MAX:
            what = f"at most {SORT_KEYS_MAX} fields can be sorted by"
            if len(parts) < SORT_KEYS_MAX:
                what = f"{plain!r} cannot be sorted by: name a field of one value that is not JSON"
            if plain in collection.personal:
                what = f"{plain!r} {SEALED}"
            raise Invalid.at("/sort", what)
        if plain in ("id", "created_at"):
            return Sort(parts, descending)
        parts.append(KeyPart(plain, kind, descending))
    return Sort(parts, None)


def choose(collection: CompiledCollection, condition: ast.Node, sort: Sort) -> Plan:
    """Return the best plan for a folded condition that is not false."""
    return _best(collection.indexes_ready, condition, sort)


def _best(indexes: Iterable[tuple[str, list[KeyPart]]], condition: ast.Node, sort: Sort) -> Plan:
    parts = _parts(condition)
    bounds = _bounds(parts)
    plans = [_by_id(parts, bounds, sort)]
    plans += [_by_index(column, index, parts, bounds, sort) for column, index in indexes]
    return max(plans, key=_rank)


def _rank(plan: Plan) -> tuple[bool, int, bool]:
    return plan.covered, plan.narrows, plan.ordered


def _parts(condition: ast.Node) -> tuple[ast.Node, ...]:
    parts = condition.parts if isinstance(condition, ast.All) else (condition,)
    return tuple(p for p in parts if p is not ast.TRUE)


def advice(collection: CompiledCollection, condition: ast.Node, sort: Sort) -> str:
    """Say what would help whoever's query went over its budget: an index, or to read less.

    An index is named only where it would be better than every one that there is.
    """
    plan = choose(collection, condition, sort)
    for column, building in collection.indexes_building:
        if _rank(_best([(column, building)], condition, sort)) > _rank(plan):
            names = [("-" if p.descending else "") + p.name for p in building]
            return f"the index on {names} is still being built: wait until the collection is ready"
    wanted = _wanted_index(collection, condition, sort)
    index = [
        KeyPart(name.removeprefix("-"), collection.types[name.removeprefix("-")], name[:1] == "-")
        for name in wanted
    ]
    other = _best([("", index)] if index else (), condition, sort)
    # What asks for no order reads as much by an index that has one.
    unordered = not sort.parts and sort.id_descending is None
    if other.narrows > plan.narrows if unordered else _rank(other) > _rank(plan):
        return f"an index on {wanted} would help"
    budget = f"one call may read for {SCAN_DEADLINE_S:g} s"
    narrower = "ask for one range of created_at after the other"
    if plan.rest is not ast.TRUE and not plan.narrows:
        return (
            "the filter cannot use an index: compare fields with constants, joined by &&; "
            f"or {narrower}, as {budget}"
        )
    if not plan.narrows:
        return f"it reads every record, and {budget}: filter by what an index covers, or {narrower}"
    return (
        f"the filter narrows by an index already, and {budget}: narrow it further by the fields of "
        f"that index, or {narrower}"
    )


def _wanted_index(collection: CompiledCollection, condition: ast.Node, sort: Sort) -> list[str]:
    bounds = {n: b for n, b in _bounds(_parts(condition)).items() if n in collection.fields}
    same = [n for n, found in bounds.items() if any(b.sign == "==" for b in found)]
    order = [("-" if p.descending else "") + p.name for p in sort.parts if p.name not in same]
    ranges = (
        [n for n in bounds if n not in same] if not order and sort.id_descending is None else []
    )
    return [*same, *order, *ranges[:1]]


def equal_fields(parts: Iterable[ast.Node]) -> list[str]:
    """The fields that must have one certain value each: an index on them narrows."""
    return [name for name, found in _bounds(parts).items() if _same(found) is not None]


def _bounds(parts: Iterable[ast.Node]) -> Bounds:
    found: Bounds = {}
    for part in parts:
        match part:
            case ast.Same(ast.FieldValue() as field, ast.Const(_, value)):
                sign = "=="
            case ast.Same(ast.Const(_, value), ast.FieldValue() as field):
                sign = "=="
            case ast.Ordering(sign, ast.FieldValue() as field, ast.Const(_, value)) if (
                value is not None
            ):
                pass
            case ast.Ordering(sign, ast.Const(_, value), ast.FieldValue() as field) if (
                value is not None
            ):
                sign = _FLIPPED[sign]
            case ast.Affix("startsWith", ast.FieldValue() as field, ast.Const(_, value)) if value:
                sign = "startsWith"
            case _:
                continue
        if not field.json and field.type is not Type.JSON:
            found.setdefault(field.path[0], []).append(_Bound(sign, value, part))
    return found


def _without(parts: tuple[ast.Node, ...], used: list[ast.Node]) -> ast.Node:
    left = tuple(p for p in parts if not any(p is u for u in used))
    if not left:
        return ast.TRUE
    return left[0] if len(left) == 1 else ast.All(left)


def _by_index(
    column: str, index: list[KeyPart], parts: tuple[ast.Node, ...], bounds: Bounds, sort: Sort
) -> Plan:
    prefix, used, fixed = b"", [], set()
    rest = list(index)
    while rest and (same := _same(bounds.get(rest[0].name))) is not None:
        prefix += keys.component(same.value, rest[0].type, rest[0].descending)
        used.append(same.part)
        fixed.add(rest.pop(0).name)
    low, high = prefix, keys.after(prefix)
    if rest and rest[0].name in bounds:
        low, high, more = _range(prefix, rest[0], bounds[rest[0].name])
        used += more
    wanted = [p for p in sort.parts if p.name not in fixed]
    forward = [(p.name, p.descending) for p in rest] == [(p.name, p.descending) for p in wanted]
    backward = [(p.name, not p.descending) for p in rest] == [
        (p.name, p.descending) for p in wanted
    ]
    if not wanted and not rest:
        ordered, descending = True, bool(sort.id_descending)
    else:
        ordered = (forward and not sort.id_descending) or (
            backward and sort.id_descending is not False
        )
        descending = backward
    narrows = 2 * len(fixed) + len(used)
    left = _without(parts, used)
    return Plan(column, low, high, ordered, descending, left, narrows, exact=not rest)


def _same(found: list[_Bound] | None) -> _Bound | None:
    return next((b for b in found or () if b.sign == "=="), None)


def _range(
    prefix: bytes, part: KeyPart, found: list[_Bound]
) -> tuple[bytes, bytes, list[ast.Node]]:
    """The keys of one component within bounds; null is in none of them."""
    low = prefix + (b"" if part.descending else keys.SOME)
    high = prefix + b"\xff" if part.descending else keys.after(prefix)
    used = []
    for bound in found:
        if bound.sign == "startsWith":
            begin = prefix + keys.beginning(bound.value, part.descending)
            edges = (begin, keys.after(begin))
        else:
            key = prefix + keys.component(bound.value, part.type, part.descending)
            sign = _FLIPPED[bound.sign] if part.descending else bound.sign
            edges = {
                ">": (keys.after(key), high), ">=": (key, high),
                "<": (low, key), "<=": (low, keys.after(key)),
            }[sign]  # fmt: skip
        low, high = max(low, edges[0]), min(high, edges[1])
        used.append(bound.part)
    return low, high, used


def _by_id(parts: tuple[ast.Node, ...], bounds: Bounds, sort: Sort) -> Plan:
    """The primary key: ids, and the moments in them."""
    low: str | None = None
    high: str | None = None
    used: list[ast.Node] = []
    for name, start in (("id", _text), ("created_at", _first_id)):
        for bound in bounds.get(name, ()):
            edges = _edges(bound, start)
            if edges is None:
                continue
            used.append(bound.part)
            low = max(filter(None, (low, edges[0])), default=None)
            high = min(filter(None, (high, edges[1])), default=None)
    ordered = not sort.parts
    rest = _without(parts, used)
    return Plan("id", low, high, ordered, bool(sort.id_descending), rest, 2 * len(used))


def _edges(bound: _Bound, start: Callable[[Any, int], str]) -> tuple[str | None, str | None] | None:
    """From where to where (exclusive) ids pass; ``start(v, 1)`` is the first after all of ``v``."""
    if not isinstance(bound.value, str):
        return None
    at, past = start(bound.value, 0), start(bound.value, 1)
    return {
        "==": (at, past), ">": (past, None), ">=": (at, None), "<": (None, at), "<=": (None, past),
    }.get(bound.sign)  # fmt: skip


def _text(value: str, step: int) -> str:
    return value + "\x01" if step else value


def _first_id(moment: str, step: int) -> str:
    ms = int(datetime.fromisoformat(moment).timestamp() * 1000 + 0.5) + step
    return first_id_at(RECORD_PREFIX, ms)
