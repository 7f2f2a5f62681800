"""Evaluation in Python: a typed tree becomes nested closures over a record and a context."""

import operator
import string
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from functools import partial
from math import fmod
from typing import Any

from mainspring.cel import ast, patterns
from mainspring.cel.types import ITEMS, NUMBERS, Type
from mainspring.kernel.clock import as_utc

Document = Mapping[str, Any]
Evaluate = Callable[[Document, Document], Any]

_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_AFFIXES: dict[str, Callable[[str, str], bool]] = {
    "startsWith": str.startswith, "endsWith": str.endswith, "contains": operator.contains,
    "matches": lambda text, pattern: patterns.matched(text, pattern) is True,
}  # fmt: skip


_AS_LOWER = {ord(c): c.lower() for c in string.ascii_uppercase}
_AS_UPPER = {ord(c): c.upper() for c in string.ascii_lowercase}
_CASES: dict[str, Callable[[str], str]] = {
    "lowerAscii": lambda text: text.translate(_AS_LOWER),
    "upperAscii": lambda text: text.translate(_AS_UPPER),
}


def closure(node: ast.Node) -> Evaluate:
    """Compile a node to a function of ``(record, context)``. It does no I/O and raises nothing."""
    match node:
        case ast.Const(_, value):
            return lambda record, context: value
        case ast.FieldValue(kind, path, json):
            return _path(kind, path, json, 0)
        case ast.ContextValue(kind, path, json):
            return _path(kind, path, json, 1)
        case ast.Item(_, row):
            place = _place(row)
            return lambda record, context: record[place]
        case ast.Some(row, items, condition):
            return _some(_place(row), closure(items), closure(condition))
        case ast.All(parts):
            return _all([closure(p) for p in parts])
        case ast.Any(parts):
            return _any([closure(p) for p in parts])
        case ast.Not(part):
            inner = closure(part)
            return lambda record, context: not inner(record, context)
        case ast.Same(left, right):
            return _same(left, right)
        case ast.Ordering(sign, left, right):
            return _order(_ORDERS[sign], left, right)
        case ast.Among(value, items):
            return _among(value, items)
        case ast.Within(value, items):
            return _within(ast.type_of(value), closure(value), closure(items))
        case ast.Cased(kind, of):
            return _of_value(_CASES[kind], closure(of))
        case ast.TimePart(part, of):
            return _of_value(partial(_time_part, part), closure(of))
        case ast.Shifted(of, by_ms):
            return _of_value(partial(_shifted, by_ms), closure(of))
        case ast.Affix(kind, text, part):
            return _affix(_AFFIXES[kind], closure(text), closure(part))
        case ast.Present(of):
            known = closure(of)
            return lambda record, context: known(record, context) is not None
        case ast.Size(of) if ast.type_of(of) in ITEMS:
            listed = closure(of)
            return lambda r, c: len(listed(r, c) or ())
        case ast.Size(of):
            return _of_value(_size, closure(of))
        case ast.Reaching():
            raise AssertionError("only a database knows what a record is related to")
        case ast.Pick(kind, test, yes, no):
            chosen, a, b = closure(test), closure(yes), closure(no)
            return lambda r, c: a(r, c) if chosen(r, c) else b(r, c)
        case ast.Arithmetic(kind, sign, left, right):
            return _arithmetic(kind, sign, closure(left), closure(right))


def _path(kind: Type, path: tuple[str, ...], json: bool, side: int) -> Evaluate:
    if len(path) == 1 and not json:
        name = path[0]
        if side == 0:
            return lambda record, context: record.get(name)
        return lambda record, context: context.get(name)

    def walk(record: Document, context: Document) -> Any:
        value: Any = context if side else record
        for name in path:
            if not isinstance(value, dict):
                return None
            value = value.get(name)
        return as_type(value, kind) if json else value

    return walk


def as_type(value: Any, kind: Type) -> Any:
    """Read a JSON value as a type: null when it is of another."""
    if kind in (Type.TEXT, Type.TIME):
        return value if isinstance(value, str) else None
    if kind is Type.BOOL:
        return value if isinstance(value, bool) else None
    if kind in NUMBERS:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        try:
            return float(value)
        except OverflowError:
            return None
    return value


def _all(parts: list[Evaluate]) -> Evaluate:
    if len(parts) == 2:
        first, second = parts
        return lambda r, c: first(r, c) and second(r, c)

    def every(record: Document, context: Document) -> bool:
        for part in parts:  # noqa: SIM110  a generator costs more than the tests do
            if not part(record, context):
                return False
        return True

    return every


def _any(parts: list[Evaluate]) -> Evaluate:
    if len(parts) == 2:
        first, second = parts
        return lambda r, c: first(r, c) or second(r, c)

    def some(record: Document, context: Document) -> bool:
        for part in parts:  # noqa: SIM110
            if part(record, context):
                return True
        return False

    return some


def _same(left: ast.Node, right: ast.Node) -> Evaluate:
    if isinstance(left, ast.Const):
        left, right = right, left
    a = closure(left)
    if isinstance(right, ast.Const):
        value = right.value
        if value is None:
            return lambda r, c: a(r, c) is None
        return lambda r, c: a(r, c) == value
    b = closure(right)
    return lambda r, c: a(r, c) == b(r, c)


def _order(compare: Callable[[Any, Any], bool], left: ast.Node, right: ast.Node) -> Evaluate:
    a, b = closure(left), closure(right)

    def ordered(record: Document, context: Document) -> bool:
        x = a(record, context)
        if x is None:
            return False
        y = b(record, context)
        return y is not None and compare(x, y)

    if not isinstance(right, ast.Const) or right.value is None:
        return ordered
    bound = right.value

    def against(record: Document, context: Document) -> bool:
        x = a(record, context)
        return x is not None and compare(x, bound)

    return against


def _among(value: ast.Node, items: tuple[ast.Node, ...] | ast.ContextValue | ast.Const) -> Evaluate:
    a = closure(value)
    if not isinstance(items, tuple):
        listed = closure(items)
        return lambda r, c: a(r, c) in (listed(r, c) or ())
    if all(isinstance(i, ast.Const) for i in items):
        fixed = frozenset(i.value for i in items if isinstance(i, ast.Const))
        return lambda r, c: a(r, c) in fixed
    parts = [closure(i) for i in items]

    def found(record: Document, context: Document) -> bool:
        x = a(record, context)
        return any(x == part(record, context) for part in parts)

    return found


def _affix(test: Callable[[str, str], bool], text: Evaluate, part: Evaluate) -> Evaluate:
    def tested(record: Document, context: Document) -> bool:
        a = text(record, context)
        if a is None:
            return False
        b = part(record, context)
        return b is not None and test(a, b)

    return tested


def _within(kind: Type, value: Evaluate, items: Evaluate) -> Evaluate:
    def found(record: Document, context: Document) -> bool:
        x, listed = value(record, context), items(record, context)
        if x is None or not isinstance(listed, list):
            return False
        return any(as_type(item, kind) == x for item in listed)

    return found


def _place(row: int) -> str:
    return f"{row}"  # no field is named so


def _some(place: str, items: Evaluate, condition: Evaluate) -> Evaluate:
    def found(record: Document, context: Document) -> bool:
        scope = dict(record)
        return any(condition(scope, context) for scope[place] in items(record, context) or ())

    return found


def _of_value(apply: Callable[[Any], Any], of: Evaluate) -> Evaluate:
    def applied(record: Document, context: Document) -> Any:
        value = of(record, context)
        return None if value is None else apply(value)

    return applied


def _size(value: Any) -> int | None:
    return len(value) if isinstance(value, str | list | tuple | frozenset) else None


def _time_part(part: str, time: str) -> int:
    if part == "getDayOfWeek":
        return date.fromisoformat(time[:10]).isoweekday() % 7
    at, length, less = ast.PARTS[part]
    return int(time[at : at + length]) - less


def _shifted(by_ms: int, time: str) -> str | None:
    try:
        return as_utc((datetime.fromisoformat(time) + timedelta(milliseconds=by_ms)).isoformat())
    except OverflowError:
        return None


def _arithmetic(kind: Type, sign: str, left: Evaluate, right: Evaluate) -> Evaluate:
    apply = (_INTEGER if kind is Type.INT else _DOUBLE)[sign]

    def computed(record: Document, context: Document) -> Any:
        a, b = left(record, context), right(record, context)
        if a is None or b is None or (b == 0 and sign in "/%"):
            return None
        return apply(a, b)

    return computed


def _truncated(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


_INTEGER: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul,
    "/": _truncated,  # towards zero, as CEL and both engines do
    "%": lambda a, b: int(fmod(a, b)),  # the sign of the dividend; exact within 2^53
}  # fmt: skip
_DOUBLE: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: float(a) + float(b), "-": lambda a, b: float(a) - float(b),
    "*": lambda a, b: float(a) * float(b), "/": lambda a, b: float(a) / float(b),
}  # fmt: skip


def uses_record(node: ast.Node) -> bool:
    """Tell whether a node's value depends on the record."""
    own = isinstance(node, (ast.FieldValue, ast.Reaching, ast.Item))
    return own or any(uses_record(n) for n in ast.children(node))


def context_names(node: ast.Node) -> frozenset[str]:
    """The names of the context that a node's value depends on: ``caller``, and ``caller.id``.

    Of a longer name the first three parts as well.
    """
    if isinstance(node, ast.ContextValue):
        return frozenset(".".join(node.path[:length]) for length in (1, 2, 3))
    return frozenset().union(*(context_names(inner) for inner in ast.children(node)))


def fold(node: ast.Node, context: Document) -> ast.Node:
    """Work out everything that does not depend on the record; short-circuit what that decides."""
    if isinstance(node, (ast.Const, ast.FieldValue, ast.Item)):
        return node
    if not uses_record(node):
        value = closure(node)({}, context)
        if isinstance(node, ast.CONDITIONS):
            return ast.TRUE if value else ast.FALSE
        return ast.Const(ast.type_of(node), value)
    match node:
        case ast.All(parts):
            return _join(ast.All, ast.TRUE, ast.FALSE, parts, context)
        case ast.Any(parts):
            return _join(ast.Any, ast.FALSE, ast.TRUE, parts, context)
        case ast.Not(part):
            return ast.Not(fold(part, context))
        case ast.Same(left, right):
            return ast.Same(fold(left, context), fold(right, context))
        case ast.Ordering(sign, left, right):
            return ast.Ordering(sign, fold(left, context), fold(right, context))
        case ast.Affix(kind, text, part):
            return ast.Affix(kind, fold(text, context), fold(part, context))
        case ast.Among(value, items):
            if isinstance(items, tuple):
                return ast.Among(fold(value, context), tuple(fold(i, context) for i in items))
            listed = closure(items)({}, context) or ()
            texts = tuple(ast.Const(Type.TEXT, text) for text in listed)
            return ast.Among(fold(value, context), texts) if texts else ast.FALSE
        case ast.Reaching(row, hop, condition):
            asked = fold(condition, context)
            return asked if asked is ast.FALSE else ast.Reaching(row, hop, asked)
        case ast.Some(row, items, condition):
            asked = fold(condition, context)
            return asked if asked is ast.FALSE else ast.Some(row, items, asked)
        case ast.Arithmetic(kind, sign, left, right):
            return ast.Arithmetic(kind, sign, fold(left, context), fold(right, context))
        case ast.Within(value, items):
            return ast.Within(fold(value, context), items)
        case ast.Size(of):
            return ast.Size(fold(of, context))
        case ast.Cased(kind, of):
            return ast.Cased(kind, fold(of, context))
        case ast.TimePart(part, of):
            return ast.TimePart(part, fold(of, context))
        case ast.Pick(kind, test, yes, no):
            decided = fold(test, context)
            if isinstance(decided, ast.Const):
                return fold(yes if decided.value else no, context)
            return ast.Pick(kind, decided, fold(yes, context), fold(no, context))
    return node


def _join(
    make: type[ast.All] | type[ast.Any],
    neutral: ast.Const,
    decisive: ast.Const,
    parts: tuple[ast.Node, ...],
    context: Document,
) -> ast.Node:
    kept: list[ast.Node] = []
    for part in parts:
        folded = fold(part, context)
        if isinstance(folded, ast.Const):
            if folded.value is decisive.value:
                return decisive
            continue
        kept.extend(folded.parts if isinstance(folded, make) else (folded,))
    if not kept:
        return neutral
    return kept[0] if len(kept) == 1 else make(tuple(kept))
