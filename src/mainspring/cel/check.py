"""From the untyped tree to the typed one: names, types and ranges, settled before it runs."""

import math
import re
from collections.abc import Mapping

from mainspring.cel import ast, syntax
from mainspring.cel.certain import certain
from mainspring.cel.evaluate import uses_record
from mainspring.cel.patterns import WrongPattern, normal
from mainspring.cel.types import FLOAT_MAX, INTEGER_MAX, ITEMS, NUMBERS, Hop, Lead, Names, Type
from mainspring.kernel.clock import as_utc
from mainspring.kernel.errors import Invalid

_AFFIXES = frozenset({"startsWith", "endsWith", "contains"})
_LARGE, _SMALL = (
    1e300,
    1e-290,
)  # no double that arithmetic here makes leaves these, so none overflows
_SIZE_MAX = 2**31
HOPS_MAX = 4  # one after the other
ROWS_MAX = 8  # related rows that one expression asks for

_UNITS_MS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_DURATION_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|h|m|s)")
_DURATION = re.compile(rf"-?(?:{_DURATION_PART.pattern})+")
_DURATION_CHARS_MAX = 50

Range = tuple[float, float]  # largest magnitude, and smallest other than zero


class Checker:
    """Types one expression. Every method raises Invalid, with the character."""

    def __init__(self, names: Names, pointer: str) -> None:
        self.names = names
        self.pointer = pointer
        self.hops: dict[int, Hop] = {}  # to each row, by its number
        self._rows = {0: names}
        self._links: dict[tuple[int, str], int] = {}
        self._variables: dict[str, int] = {}
        self._items: dict[str, Type] = {}  # of the variables that stand for items of a list

    def _fail(self, detail: str, at: int) -> Invalid:
        return syntax.refusal(self.pointer, detail, at)

    def whole(self, node: syntax.Node) -> ast.Node:
        """Type an expression that decides: its result must be a boolean, and certain."""
        return certain(self.condition(node), self.hops)

    def condition(self, node: syntax.Node) -> ast.Node:
        """Type a node where a yes or no is asked for."""
        return ast.condition(self.as_type(node, Type.BOOL))

    def as_type(self, node: syntax.Node, wanted: Type) -> ast.Node:
        """Type a node that must have this type, or be JSON that is read as it."""
        typed = self.node(node)
        found = ast.type_of(typed)
        if found is Type.JSON:
            return self.read_json(typed, wanted)
        if found is Type.NULL:
            return ast.Const(wanted, None)
        if found is not wanted and not (found in NUMBERS and wanted in NUMBERS):
            raise self._fail(f"{wanted.value} is expected, not {found.value}", node.at)
        return typed

    def read_json(self, node: ast.Node, wanted: Type) -> ast.Node:
        """Read a JSON path as the type that is asked for."""
        wanted = Type.FLOAT if wanted is Type.INT else wanted
        if isinstance(node, ast.FieldValue):
            return ast.FieldValue(wanted, node.path, True, node.row)
        assert isinstance(node, ast.ContextValue)  # nothing else is JSON
        return ast.ContextValue(wanted, node.path, json=True)

    def node(self, node: syntax.Node) -> ast.Node:
        """Type any node."""
        match node:
            case syntax.Constant(value):
                return self.literal(value, node.at)
            case syntax.Identifier(path):
                return self.name(path, node.at)
            case syntax.Chain(sign, operands):
                parts = tuple(self.condition(o) for o in operands)
                return ast.All(parts) if sign == "&&" else ast.Any(parts)
            case syntax.UnaryOperator("!", operand):
                return ast.Not(self.condition(operand))
            case syntax.UnaryOperator(_, operand):
                return self.arithmetic("-", ast.Const(Type.INT, 0), self.number(operand), node.at)
            case syntax.BinaryOperator("in", left, right):
                return self.among(left, right)
            case syntax.BinaryOperator(
                ("==" | "!=" | "<" | "<=" | ">" | ">=") as sign, left, right
            ):
                return self.comparison(sign, left, right, node.at)
            case syntax.BinaryOperator(sign, left, right):
                moved = self.shifted(sign, left, right, node.at)
                if moved is not None:
                    return moved
                return self.arithmetic(sign, self.number(left), self.number(right), node.at)
            case syntax.Choice(test, yes, no):
                return self.pick(test, yes, no, node.at)
            case syntax.Apply(function, target, args):
                return self.apply(function, target, args, node.at)
        raise self._fail("a list stands only after 'in'", node.at)

    def literal(self, value: str | int | float | bool | None, at: int) -> ast.Const:
        """Type a constant."""
        if value is None:
            return ast.Const(Type.NULL, None)
        if isinstance(value, bool):
            return ast.Const(Type.BOOL, value)
        if isinstance(value, int):
            if abs(value) > INTEGER_MAX:
                raise self._fail("integers go to 2^53 - 1: write 1e20 for a larger number", at)
            return ast.Const(Type.INT, value)
        return ast.Const(Type.TEXT if isinstance(value, str) else Type.FLOAT, value)

    def name(self, path: tuple[str, ...], at: int) -> ast.FieldValue | ast.ContextValue | ast.Item:
        """Find what a dotted name stands for."""
        if path[0] not in self._variables:
            found = _typed(self.names.context, path)
            if found is Type.CALLER:
                return ast.ContextValue(found, (*path, "known"))  # beside its parts: see Names
            if found is not None:
                return ast.ContextValue(found, path)
        row, own, link = self.way(path, at)
        found = _typed(self._rows[row].record, own)
        if found is not None:
            return ast.FieldValue(found, own, row=row)
        if own and (why := self._rows[row].closed.get(own[0])) is not None:
            raise self._fail(f"{own[0]!r} {why}", at)
        if path[0] in self._items and len(path) == 1:
            return ast.Item(self._items[path[0]], self._variables[path[0]])
        if link is not None and (link.back or link.many):
            what = ".".join(path if link.back else path[: len(path) - len(own) + 1])
            raise self._fail(f"{what!r} are many: ask {what}.exists(x, x.id != '')", at)
        raise self._missing(path, at)

    def _missing(self, path: tuple[str, ...], at: int) -> Invalid:
        return self._fail(f"there is no {'.'.join(path)!r} here", at)

    def way(self, path: tuple[str, ...], at: int) -> tuple[int, tuple[str, ...], Lead | None]:
        """Follow a dotted name to the row it is about.

        Returns the number of the row, what is left of the name, and what that leads to.
        """
        row = self._variables.get(path[0], 0)
        own = path[1:] if path[0] == "record" or path[0] in self._variables else path
        if own is path and not self.names.bare:
            raise self._missing(path, at)
        while own and (link := self._rows[row].follow(own[0])) is not None:
            if link.back or link.many or len(own) == 1:
                return row, own, link
            row, own = self.row(row, own[0], link, at), own[1:]
        return row, own, None

    def row(self, source: int, name: str, link: Lead, at: int) -> int:
        """The number of the row that a forward link leads to: one for each way there."""
        known = self._links.get((source, name))
        if known is None:
            known = self._links[(source, name)] = self.new_row(source, link, at)
        return known

    def new_row(self, source: int, link: Lead, at: int) -> int:
        """Number the rows that a link leads to."""
        hops = 1
        before = source
        while before:
            hops, before = hops + 1, self.hops[before].source
        if hops > HOPS_MAX:
            raise self._fail(f"more than {HOPS_MAX} relations one after the other", at)
        if len(self.hops) == ROWS_MAX:
            raise self._fail(f"more than {ROWS_MAX} related records are asked for", at)
        row = self._new_number()
        self.hops[row] = Hop(
            source, link.start, link.field, link.collection, link.back, link.many
        )  # fmt: skip
        self._rows[row] = link.names
        return row

    def _new_number(self) -> int:
        return len(self._rows)

    def quantifier(
        self, function: str, target: syntax.Node | None, args: tuple[syntax.Node, ...], at: int
    ) -> ast.Node:
        """Type ``record.team.memberships.exists(m, …)`` and ``.all(m, …)``."""
        form = f"record.comments.{function}(x, x.author == caller.id)"
        if not isinstance(target, syntax.Identifier) or len(args) != 2:
            raise self._fail(f"{function}() is written {form}", at)
        variable, condition = args
        if not isinstance(variable, syntax.Identifier) or len(variable.path) > 1:
            raise self._fail(f"a name for each record is expected here: {form}", variable.at)
        row, own, link = self.way(target.path, target.at)
        if (link is None or not link.back) and (link is None or not link.many or len(own) > 1):
            listed = self.listed(target)
            if listed is not None:
                return self.items(function, listed, variable.path[0], condition)
        if link is None or not (link.back or link.many) or len(own) > 1 + link.back:
            raise self._fail(
                f"{'.'.join(target.path)!r} is not a collection with a relation to this one, nor a "
                f"list: {function}() goes over the records that point here, as in {form}",
                target.at,
            )
        found = self.new_row(row, self._meant(link, target.path, own[1:], at), at)
        asked = self.within_scope(variable.path[0], found, None, condition)
        hop = self.hops[found]
        if function == "exists":
            return ast.Reaching(found, hop, asked)
        return ast.Not(ast.Reaching(found, hop, ast.Not(asked)))

    def listed(self, node: syntax.Identifier) -> ast.FieldValue | None:
        """Type a list of a row, if that is what a name stands for."""
        if node.path[0] not in self._variables and _typed(self.names.context, node.path):
            return None
        row, own, _ = self.way(node.path, node.at)
        kind = _typed(self._rows[row].record, own)
        return ast.FieldValue(kind, own, row=row) if kind in ITEMS else None

    def items(
        self, function: str, listed: ast.FieldValue, variable: str, condition: syntax.Node
    ) -> ast.Node:
        """Type what is asked of the items of a list."""
        row = self._new_number()
        self._rows[row] = Names({}, bare=False)
        asked = self.within_scope(variable, row, ITEMS[listed.type], condition)
        if function == "exists":
            return ast.Some(row, listed, asked)
        return ast.Not(ast.Some(row, listed, ast.Not(asked)))

    def within_scope(
        self, variable: str, row: int, item: Type | None, condition: syntax.Node
    ) -> ast.Node:
        """Type a condition in which a name stands for a row, or for an item."""
        outer = self._variables, self._items
        self._variables = {**self._variables, variable: row}
        self._items = {name: kind for name, kind in self._items.items() if name != variable}
        if item is not None:
            self._items[variable] = item
        asked = self.condition(condition)
        self._variables, self._items = outer
        return asked

    def _meant(self, link: Lead, path: tuple[str, ...], field: tuple[str, ...], at: int) -> Lead:
        """Which relation leads back: the one that is named, or the only one."""
        ways = link.several or (link,)
        if not field and len(ways) == 1:
            return ways[0]
        for way in ways:
            if (way.field,) == field:
                return way
        name = ".".join(path[:-1] if field else path)
        fitting = " or ".join(f"{name}.{way.field}" for way in ways)
        if field:
            detail = f"{field[0]!r} does not lead here: write {fitting}"
        else:
            detail = f"{name!r} can be by more than one relation: write {fitting}"
        raise self._fail(detail, at)

    def alone(self, node: ast.Node, at: int) -> ast.Node:
        """Refuse what goes over rows as an operand: there it would not be certain."""
        if ast.reaches(node):
            raise self._fail(
                "exists(), all() and has() of a relation are joined by &&, || and ! only", at
            )
        return node

    def comparison(self, sign: str, left: syntax.Node, right: syntax.Node, at: int) -> ast.Node:
        """Type ``== != < <= > >=``."""
        a, b = self.alike(self.alone(self.node(left), at), self.alone(self.node(right), at), at)
        if sign in ("==", "!="):
            same = ast.Same(a, b)
            return same if sign == "==" else ast.Not(same)
        kinds = {ast.type_of(a), ast.type_of(b)}
        if Type.NULL in kinds:
            return ast.FALSE
        if Type.BOOL in kinds:
            raise self._fail("a boolean has no order", at)
        return ast.Ordering(sign, a, b)  # type: ignore[arg-type]

    def alike(self, a: ast.Node, b: ast.Node, at: int) -> tuple[ast.Node, ast.Node]:
        """Bring two operands to types that compare."""
        kind_a, kind_b = ast.type_of(a), ast.type_of(b)
        if kind_a in ITEMS or kind_b in ITEMS:
            raise self._fail("a list stands only after 'in', in size() and before exists()", at)
        if Type.NULL in (kind_a, kind_b):
            return a, b
        if Type.CALLER in (kind_a, kind_b):
            raise self._fail("a caller compares with null only: ask caller.id", at)
        if kind_a is Type.JSON and kind_b is Type.JSON:
            raise self._fail("two JSON values cannot be compared: their types are not known", at)
        if kind_a is Type.JSON:
            return self.read_json(a, kind_b), b
        if kind_b is Type.JSON:
            return a, self.read_json(b, kind_a)
        if kind_a is Type.TIME and isinstance(b, ast.Const) and kind_b is Type.TEXT:
            return a, self.time(b, at)
        if kind_b is Type.TIME and isinstance(a, ast.Const) and kind_a is Type.TEXT:
            return self.time(a, at), b
        if kind_a is not kind_b and not (kind_a in NUMBERS and kind_b in NUMBERS):
            raise self._fail(f"{kind_a.value} cannot be compared with {kind_b.value}", at)
        return a, b

    def time(self, text: ast.Const, at: int) -> ast.Const:
        """Read a text constant as a time."""
        try:
            return ast.Const(Type.TIME, as_utc(str(text.value)))
        except ValueError as error:
            raise self._fail(str(error), at) from None

    def among(self, left: syntax.Node, right: syntax.Node) -> ast.Node:
        """Type ``x in [...]`` and ``x in caller.scopes``."""
        value = self.alone(self.node(left), left.at)
        if not isinstance(right, syntax.Items):
            found = self.node(right)
            if isinstance(found, ast.ContextValue) and found.type is Type.TEXTS:
                return ast.Among(self.as_type(left, Type.TEXT), found)
            if isinstance(found, ast.FieldValue) and found.type in ITEMS:
                return self.item_of(left, value, found)
            return self.within(value, found, left.at, right.at)
        items = [(self.alone(self.node(item), item.at), item.at) for item in right.items]
        for item, at in items:  # each may settle what the value is read as, for those before it too
            value, _ = self.alike(value, item, at)
        if not items:
            return ast.FALSE
        if ast.type_of(value) in (Type.JSON, Type.CALLER):  # then every item is null
            return ast.Same(value, ast.Const(Type.NULL, None))
        return ast.Among(value, tuple(self.alike(value, item, at)[1] for item, at in items))

    def item_of(self, left: syntax.Node, value: ast.Node, items: ast.FieldValue) -> ast.Node:
        """Type ``x in record.tags``: a list holds no null."""
        kind = ITEMS[items.type]
        if ast.type_of(value) is Type.NULL:
            return ast.FALSE
        if kind is Type.TIME and isinstance(value, ast.Const) and value.type is Type.TEXT:
            return ast.Within(self.time(value, left.at), items)
        return ast.Within(self.as_type(left, kind), items)

    def within(self, value: ast.Node, items: ast.Node, at: int, items_at: int) -> ast.Node:
        """Type ``x in record.members``: a list in JSON has no null that could be asked for."""
        if not isinstance(items, ast.FieldValue | ast.ContextValue) or items.type is not Type.JSON:
            raise self._fail("a list is expected after 'in'", items_at)
        kind = ast.type_of(value)
        if kind in (Type.JSON, Type.CALLER, Type.NULL, Type.TEXTS):
            raise self._fail(f"{kind.value} cannot be looked for in a list of JSON", at)
        if isinstance(items, ast.ContextValue) and uses_record(value):
            raise self._fail("what the call sends is not a list to look for the record in", at)
        return ast.Within(value, items)

    def shifted(self, sign: str, left: syntax.Node, right: syntax.Node, at: int) -> ast.Node | None:
        """Type ``now + duration("1h")``, where the time is known before the record is."""
        if not _is_duration(right):
            if _is_duration(left) and sign == "+":
                return self.shifted(sign, right, left, at)
            return None
        by_ms = self.duration(right)
        if sign not in ("+", "-"):
            raise self._fail("a duration is added to a time, or taken off", at)
        time = self.time_value(left)
        if uses_record(time):
            form = 'record.due < now + duration("24h")'
            raise self._fail(f"put the duration on the other side of the comparison: {form}", at)
        return ast.Shifted(time, by_ms if sign == "+" else -by_ms)

    def time_value(self, node: syntax.Node) -> ast.Node:
        """Type a time that something is worked out of: text in JSON need not be one."""
        typed = self.as_type(node, Type.TIME)
        if _has_json(typed):
            raise self._fail("a time in JSON is text that nobody checked: use a datetime", node.at)
        return typed

    def duration(self, node: syntax.Node) -> int:
        """Read ``duration("1h30m")``, in milliseconds."""
        assert isinstance(node, syntax.Apply)
        match node.args:
            case (syntax.Constant(str(text)),):
                whole = _DURATION.fullmatch(text)
                if whole is not None and len(text) <= _DURATION_CHARS_MAX:
                    total = sum(
                        float(number) * _UNITS_MS[unit]
                        for number, unit in _DURATION_PART.findall(text)
                    )
                    return int(-total if text.startswith("-") else total)
        raise self._fail('duration() takes a text constant: "90s", "1h30m", "24h"', node.at)

    def pick(self, test: syntax.Node, yes: syntax.Node, no: syntax.Node, at: int) -> ast.Node:
        """Type ``test ? yes : no``."""
        a, b = self.alike(self.node(yes), self.node(no), at)
        kinds = {ast.type_of(a), ast.type_of(b)} - {Type.NULL}
        if not kinds:
            return ast.Const(Type.NULL, None)
        kind = Type.FLOAT if len(kinds) == 2 else kinds.pop()
        if kind in (Type.JSON, Type.CALLER):
            raise self._fail(f"{kind.value} cannot be chosen: name what of it", at)
        return ast.Pick(kind, self.alone(self.condition(test), at), a, b)

    def apply(
        self,
        function: str,
        target: syntax.Node | None,
        args: tuple[syntax.Node, ...],
        at: int,
    ) -> ast.Node:
        """Type a function call."""
        operands = args if target is None else (target, *args)
        if function in ("exists", "all"):
            return self.quantifier(function, target, args, at)
        if function in _AFFIXES and target is not None and len(operands) == 2:
            text, part = (self.as_type(o, Type.TEXT) for o in operands)
            return ast.Affix(function, text, part)  # type: ignore[arg-type]
        if function == "size" and len(operands) == 1:
            of = self.node(operands[0])
            if ast.type_of(of) not in ITEMS and ast.type_of(of) is not Type.JSON:
                of = self.as_type(operands[0], Type.TEXT)
            return ast.Size(of)
        if function in ("lowerAscii", "upperAscii") and target is not None and not args:
            return ast.Cased(function, self.as_type(target, Type.TEXT))  # type: ignore[arg-type]
        if function in ast.PARTS and target is not None and not args:
            return ast.TimePart(function, self.time_value(target))
        if function in ("lower", "upper") and target is not None:
            raise self._fail(f"case is changed of A to Z: write {function}Ascii()", at)
        if function == "duration":
            raise self._fail('a duration is added to a time: now + duration("24h")', at)
        if function == "has" and target is None and len(args) == 1:
            if not isinstance(args[0], syntax.Identifier):
                raise self._fail("has() takes a name", at)
            named = self.name(args[0].path, args[0].at)
            if isinstance(named, ast.ContextValue):
                return ast.Present(named)
            if named.type in ITEMS:
                raise self._fail(f"a list is always there: ask size({args[0].path[-1]}) > 0", at)
            known: ast.Node = ast.Not(ast.Same(named, ast.Const(Type.NULL, None)))
            row = 0 if isinstance(named, ast.Item) else named.row
            while row and row not in self._variables.values():
                known = ast.Reaching(row, self.hops[row], known)
                row = self.hops[row].source
            return known
        if function == "timestamp" and target is None and len(args) == 1:
            text = self.node(args[0])
            if not isinstance(text, ast.Const) or text.type is not Type.TEXT:
                raise self._fail("timestamp() takes a text constant", at)
            return self.time(text, at)
        if function == "matches" and target is not None and len(args) == 1:
            return ast.Affix("matches", self.as_type(target, Type.TEXT), self.pattern(args[0]))
        raise self._fail(f"there is no function {function}() of {len(args)} arguments here", at)

    def pattern(self, node: syntax.Node) -> ast.Const:
        """Read the pattern of ``matches()``, as every engine takes it."""
        if not isinstance(node, syntax.Constant) or not isinstance(node.value, str):
            raise self._fail("matches() takes a text constant: title.matches('^[A-Z]{3}')", node.at)
        try:
            return ast.Const(Type.TEXT, normal(node.value))
        except WrongPattern as wrong:
            detail = f"at character {wrong.at + 1} of the pattern: {wrong}"
            raise self._fail(detail, node.at) from None

    def number(self, node: syntax.Node) -> ast.Node:
        """Type an operand of arithmetic."""
        typed = self.as_type(node, Type.FLOAT)
        if isinstance(typed, (ast.FieldValue, ast.ContextValue)) and typed.json:
            raise self._fail("arithmetic takes typed fields: JSON numbers have no bounds", node.at)
        return typed

    def arithmetic(self, sign: str, a: ast.Node, b: ast.Node, at: int) -> ast.Node:
        """Type ``+ - * / %``, on integers while 2^53 can be shown to hold, else on doubles."""
        whole = ast.type_of(a) is Type.INT and ast.type_of(b) is Type.INT
        if sign == "%" and not whole:
            raise self._fail("% takes integers", at)
        kind = Type.INT if whole else Type.FLOAT
        made = ast.Arithmetic(kind, sign, a, b)  # type: ignore[arg-type]
        largest, smallest = span(made)
        if whole and largest > INTEGER_MAX:
            made = ast.Arithmetic(Type.FLOAT, sign, a, b)  # type: ignore[arg-type]
            largest, smallest = span(made)
        if largest > _LARGE or smallest < _SMALL:
            raise self._fail("the result may overflow: use fewer operations", at)
        return made


def _has_json(node: ast.Node) -> bool:
    """Tell whether a value may come out of JSON as it is."""
    if isinstance(node, ast.FieldValue | ast.ContextValue):
        return node.json
    return isinstance(node, ast.Pick) and (_has_json(node.yes) or _has_json(node.no))


def _is_duration(node: syntax.Node) -> bool:
    return isinstance(node, syntax.Apply) and node.function == "duration" and node.target is None


def _typed(known: Mapping[str, Type], path: tuple[str, ...]) -> Type | None:
    """The type of a dotted name, or of the JSON that it begins with."""
    for length in range(len(path), 0, -1):
        found = known.get(".".join(path[:length]))
        if found is not None and (length == len(path) or found is Type.JSON):
            return found
    return known.get(".".join((*path[:-1], "*")))  # any name there


def span(node: ast.Node) -> Range:
    """Bound the magnitude of a number, from the bounds on what is stored."""
    match node:
        case ast.Const(_, int() | float() as value) if value:
            return abs(value), abs(value)
        case ast.Size() | ast.TimePart():
            return _SIZE_MAX, 1.0
        case ast.Pick(_, _, yes, no):
            (a, a_small), (b, b_small) = span(yes), span(no)
            return max(a, b), min(a_small, b_small)
        case ast.Arithmetic(kind, sign, left, right):
            (a, a_small), (b, b_small) = span(left), span(right)
            if sign in ("+", "-"):
                return a + b, 1.0 if kind is Type.INT else min(a_small, b_small) * 2.0**-53
            if sign == "*":
                return a * b, a_small * b_small
            if kind is Type.INT:
                return (a if sign == "/" else min(a, b)), 1.0
            return a / b_small, a_small / b if b else math.inf
        case ast.FieldValue(Type.FLOAT) | ast.ContextValue(Type.FLOAT) | ast.Item(Type.FLOAT):
            return FLOAT_MAX, 1 / FLOAT_MAX
        case ast.FieldValue(Type.INT) | ast.ContextValue(Type.INT) | ast.Item(Type.INT):
            return INTEGER_MAX, 1.0
    return 0.0, math.inf
