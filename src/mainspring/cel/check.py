"""From the untyped tree to the typed one: names, types and ranges, settled before it runs."""

import math

from mainspring.cel import ast, syntax
from mainspring.cel.certain import certain
from mainspring.cel.types import FLOAT_MAX, INTEGER_MAX, NUMBERS, Names, Type
from mainspring.kernel.clock import as_utc
from mainspring.kernel.errors import Invalid

_AFFIXES = frozenset({"startsWith", "endsWith", "contains"})
_LARGE, _SMALL = (
    1e300,
    1e-290,
)  # no double that arithmetic here makes leaves these, so none overflows
_SIZE_MAX = 2**31

Range = tuple[float, float]  # largest magnitude, and smallest other than zero


class Checker:
    """Types one expression. Every method raises Invalid, with the character."""

    def __init__(self, names: Names, pointer: str) -> None:
        self.names = names
        self.pointer = pointer

    def _fail(self, detail: str, at: int) -> Invalid:
        return syntax.refusal(self.pointer, detail, at)

    def whole(self, node: syntax.Node) -> ast.Node:
        """Type an expression that decides: its result must be a boolean, and certain."""
        return certain(self.condition(node))

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
            return ast.FieldValue(wanted, node.path, json=True)
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

    def name(self, path: tuple[str, ...], at: int) -> ast.FieldValue | ast.ContextValue:
        """Find what a dotted name stands for."""
        for known, make, skip in (
            (self.names.context, ast.ContextValue, 0),
            (self.names.record, ast.FieldValue, 1 if path[0] == "record" else 0),
        ):
            if make is ast.FieldValue and not skip and not self.names.bare:
                continue
            own = path[skip:]
            for length in range(len(own), 0, -1):
                found = known.get(".".join(own[:length]))
                if found is Type.CALLER and length == len(own):
                    return make(found, (*own, "known"))  # beside its parts: see Names
                if found is not None and (length == len(own) or found is Type.JSON):
                    return make(found, own)
        raise self._fail(f"there is no {'.'.join(path)!r} here", at)

    def comparison(self, sign: str, left: syntax.Node, right: syntax.Node, at: int) -> ast.Node:
        """Type ``== != < <= > >=``."""
        a, b = self.alike(self.node(left), self.node(right), at)
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
        if kind_a is Type.TEXTS or kind_b is Type.TEXTS:
            raise self._fail("a list stands only after 'in'", at)
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
        value = self.node(left)
        if not isinstance(right, syntax.Items):
            found = self.node(right)
            if not isinstance(found, ast.ContextValue) or found.type is not Type.TEXTS:
                raise self._fail("a list is expected after 'in'", right.at)
            return ast.Among(self.as_type(left, Type.TEXT), found)
        items = [(self.node(item), item.at) for item in right.items]
        for item, at in items:  # each may settle what the value is read as, for those before it too
            value, _ = self.alike(value, item, at)
        if not items:
            return ast.FALSE
        if ast.type_of(value) in (Type.JSON, Type.CALLER):  # then every item is null
            return ast.Same(value, ast.Const(Type.NULL, None))
        return ast.Among(value, tuple(self.alike(value, item, at)[1] for item, at in items))

    def pick(self, test: syntax.Node, yes: syntax.Node, no: syntax.Node, at: int) -> ast.Node:
        """Type ``test ? yes : no``."""
        a, b = self.alike(self.node(yes), self.node(no), at)
        kinds = {ast.type_of(a), ast.type_of(b)} - {Type.NULL}
        if not kinds:
            return ast.Const(Type.NULL, None)
        kind = Type.FLOAT if len(kinds) == 2 else kinds.pop()
        if kind in (Type.JSON, Type.CALLER):
            raise self._fail(f"{kind.value} cannot be chosen: name what of it", at)
        return ast.Pick(kind, self.condition(test), a, b)

    def apply(
        self,
        function: str,
        target: syntax.Node | None,
        args: tuple[syntax.Node, ...],
        at: int,
    ) -> ast.Node:
        """Type a function call."""
        operands = args if target is None else (target, *args)
        if function in _AFFIXES and target is not None and len(operands) == 2:
            text, part = (self.as_type(o, Type.TEXT) for o in operands)
            return ast.Affix(function, text, part)  # type: ignore[arg-type]
        if function == "size" and len(operands) == 1:
            of = self.node(operands[0])
            if ast.type_of(of) is not Type.TEXTS:
                of = self.as_type(operands[0], Type.TEXT)
            return ast.Size(of)
        if function == "has" and target is None and len(args) == 1:
            if not isinstance(args[0], syntax.Identifier):
                raise self._fail("has() takes a name", at)
            named = self.node(args[0])
            if isinstance(named, ast.ContextValue):
                return ast.Present(named)
            return ast.Not(ast.Same(named, ast.Const(Type.NULL, None)))
        if function == "timestamp" and target is None and len(args) == 1:
            text = self.node(args[0])
            if not isinstance(text, ast.Const) or text.type is not Type.TEXT:
                raise self._fail("timestamp() takes a text constant", at)
            return self.time(text, at)
        if function == "matches":
            raise self._fail("matches() is not supported: use startsWith, endsWith, contains", at)
        raise self._fail(f"there is no function {function}() of {len(args)} arguments here", at)

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


def span(node: ast.Node) -> Range:
    """Bound the magnitude of a number, from the bounds on what is stored."""
    match node:
        case ast.Const(_, int() | float() as value) if value:
            return abs(value), abs(value)
        case ast.Size():
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
        case ast.FieldValue(Type.FLOAT) | ast.ContextValue(Type.FLOAT):
            return FLOAT_MAX, 1 / FLOAT_MAX
        case ast.FieldValue(Type.INT) | ast.ContextValue(Type.INT):
            return INTEGER_MAX, 1.0
    return 0.0, math.inf
