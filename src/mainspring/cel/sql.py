"""SQL from a typed tree: one text per engine, one set of parameters.

Both texts give each row the answer that ``evaluate`` gives. Where an engine would answer null, a
condition is closed with ``IS TRUE``, except where null and false are the same: in a WHERE clause
and under the ANDs and ORs of one.
"""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from mainspring.cel import ast
from mainspring.cel.patterns import MATCHED_CHARS_MAX
from mainspring.cel.types import ITEMS, NUMBERS, Hop, Type

TEXT_CHARS_MAX = 50_000  # of the SQL of one expression
MATCHES = "cel_matches"  # what SQLite calls patterns.matched: the adapter registers it
_RELATED_MEASURED = 400  # characters that reaching another row takes
_LIST_MEASURED = 100  # items a list of the context counts for in that

_POSTGRES_TYPES = {
    Type.BOOL: "boolean", Type.INT: "bigint", Type.FLOAT: "float8", Type.TEXT: "text",
    Type.TIME: "text", Type.NULL: "text", Type.JSON: "text",
    Type.CALLER: "boolean", **dict.fromkeys(ITEMS, "text"),
}  # fmt: skip


# What the engines call the types of JSON that a value is read from
_SQLITE_KINDS = {
    Type.BOOL: "'true', 'false'", Type.TEXT: "'text'", Type.TIME: "'text'",
    Type.INT: "'integer', 'real'", Type.FLOAT: "'integer', 'real'",
}  # fmt: skip
_POSTGRES_KINDS = {
    Type.BOOL: "boolean", Type.TEXT: "string", Type.TIME: "string", Type.INT: "number",
    Type.FLOAT: "number",
}  # fmt: skip


class TooLong(Exception):
    """The SQL of an expression is over its bound."""


class Fragment(msgspec.Struct, frozen=True):
    """A condition or a value in SQL with ``:name`` parameters, for each engine."""

    sqlite: str
    postgres: str
    params: dict[str, Any]


class Related(Protocol):
    """Writes that one of the rows which a hop leads to meets a condition, for one engine.

    ``rows`` is what they are called, with their JSON text in the column ``data``; ``source`` is the
    value that the hop starts with, and ``bind`` makes a parameter of a text.
    """

    def __call__(
        self, hop: Hop, rows: str, source: str, condition: str, bind: Callable[[str], str]
    ) -> str:
        """Write it."""
        ...


def _measured(hop: Hop, rows: str, source: str, condition: str, bind: Callable[[str], str]) -> str:
    return f"{source}{condition}{' ' * _RELATED_MEASURED}"


def fragment(
    node: ast.Node,
    column: str,
    prefix: str = "p",
    related: tuple[Related, Related] = (_measured, _measured),
) -> Fragment:
    """Write a folded condition for a WHERE clause; records are the JSON text in ``column``.

    Where the condition reaches other rows, ``related`` writes that for SQLite and PostgreSQL.
    """
    params: dict[tuple[str, object], str] = {}
    values: dict[str, Any] = {}
    sqlite, postgres = (
        writer(column, prefix, params, values, reach).condition(node, wherever_true=True)
        for writer, reach in zip((_Sqlite, _Postgres), related, strict=True)
    )
    return Fragment(sqlite, postgres, values)


def require_short(node: ast.Node) -> None:
    """Raise TooLong for a condition that would be long in SQL, whatever the context is."""
    written = fragment(node, "data")
    if max(len(written.sqlite), len(written.postgres)) > TEXT_CHARS_MAX:
        raise TooLong()


class _Writer:
    """What the engines write alike."""

    same, distinct = "IS", "IS NOT"

    def __init__(
        self,
        column: str,
        prefix: str,
        params: dict[tuple[str, object], str],
        values: dict[str, Any],
        related: Related = _measured,
    ) -> None:
        self.related = related
        self.column = column
        self.prefix = prefix
        self.params = params
        self.values = values

    # What differs

    def parameter(self, name: str, kind: Type) -> str:
        raise AssertionError

    def field(self, field: ast.FieldValue) -> str:
        raise AssertionError

    def affix(self, kind: str, text: str, part: str) -> str:
        raise AssertionError

    def ordered(self, text: str, kind: Type) -> str:
        return text

    def operand(self, node: ast.Node, kind: Type) -> str:
        raise AssertionError

    def within(self, value: ast.Node, items: ast.FieldValue) -> str:
        raise AssertionError

    def size(self, of: ast.Node) -> str:
        raise AssertionError

    def some(self, row: int, items: ast.Node, condition: str) -> str:
        raise AssertionError

    def item(self, value: str, kind: Type) -> str:
        raise AssertionError

    def cased(self, kind: str, text: str) -> str:
        return f"{'lower' if kind == 'lowerAscii' else 'upper'}({text})"

    def time_part(self, part: str, text: str) -> str:
        at, length, less = ast.PARTS[part]
        return f"(CAST(substr({text}, {at + 1}, {length}) AS INTEGER) - {less})"

    # What does not

    def const(self, node: ast.Const) -> str:
        """Bind a constant; equal ones share a parameter."""
        if node.value is None:
            return self.null(node.type)
        key = (node.type.name, node.value)
        if (name := self.params.get(key)) is None:
            name = self.params[key] = f"{self.prefix}{len(self.params)}"
            self.values[name] = node.value
            if node.type is Type.FLOAT:
                self.values[name] = float(node.value)  # type: ignore[arg-type]
        return self.parameter(name, node.type)

    def null(self, kind: Type) -> str:
        return "NULL"

    def column_of(self, field: ast.FieldValue) -> str:
        return f"r{field.row}.data" if field.row else self.column

    def through(self, row: int, hop: Hop, condition: ast.Node) -> str:
        name = "id" if hop.back else hop.field
        source = self.field(ast.FieldValue(Type.TEXT, (name,), row=hop.source))
        asked = self.condition(condition, wherever_true=True)
        return self.related(
            hop, f"r{row}", source, asked, lambda text: self.const(ast.Const(Type.TEXT, text))
        )

    def condition(self, node: ast.Node, *, wherever_true: bool) -> str:
        """Write a condition; ``wherever_true`` says that null would do for false."""
        match node:
            case ast.All(parts):
                return self.chain(" AND ", parts, wherever_true)
            case ast.Any(parts):
                return self.chain(" OR ", parts, wherever_true)
            case ast.Not(ast.Same(left, right)):
                return self.identity(left, right, self.distinct, "IS NOT NULL")
            case ast.Not(part):
                return f"(NOT {self.condition(part, wherever_true=False)})"
            case ast.Const(_, value):
                return _constant(value is True)
            case ast.Present():
                return _constant(True)  # of no consequence: folding has made it a constant
            case ast.Reaching(row, hop, inner):
                return self.through(row, hop, inner)
            case ast.Some(row, items, inner):
                return self.some(row, items, self.condition(inner, wherever_true=True))
            case ast.Same(left, right):
                return self.equal(left, right, wherever_true)
            case ast.Among(value, items):
                return self.among(value, items, wherever_true)
            case ast.Within(value, ast.FieldValue() as listed):
                text = self.within(value, listed)
            case ast.Within():
                return _constant(True)  # only to be measured: folding makes it a constant
            case ast.Ordering(sign, left, right):
                kind = ast.type_of(left)
                text = f"({self.ordered(self.value(left), kind)} {sign} {self.value(right)})"
            case ast.Affix(kind_of_test, text_node, part):
                text = self.affix(kind_of_test, self.value(text_node), self.value(part))
            case _:
                raise AssertionError(f"{node} is not a condition")
        return text if wherever_true else f"({text} IS TRUE)"

    def chain(self, word: str, parts: tuple[ast.Node, ...], wherever_true: bool) -> str:
        inner = word.join(self.condition(p, wherever_true=wherever_true) for p in parts)
        return f"({inner})"

    def identity(self, left: ast.Node, right: ast.Node, words: str, with_null: str) -> str:
        if _is_null(left):
            left, right = right, left
        if _is_null(right) and isinstance(left, ast.Const):
            return _constant((left.value is None) is (words == self.same))
        if _is_null(right):
            return f"({self.value(left)} {with_null})"
        return f"({self.value(left)} {words} {self.value(right)})"

    def equal(self, left: ast.Node, right: ast.Node, wherever_true: bool) -> str:
        known = [isinstance(n, ast.Const) and n.value is not None for n in (left, right)]
        if not any(known) or _is_null(left) or _is_null(right):
            return self.identity(left, right, self.same, "IS NULL")
        text = f"({self.value(left)} = {self.value(right)})"
        return text if wherever_true else f"({text} IS TRUE)"

    def among(
        self,
        value: ast.Node,
        items: tuple[ast.Node, ...] | ast.ContextValue | ast.Const,
        wherever_true: bool,
    ) -> str:
        if not isinstance(items, tuple):  # only to be measured: folding makes it a tuple
            items = tuple(ast.Const(Type.TEXT, str(i)) for i in range(_LIST_MEASURED))
        if _is_null(value):  # of no type, so it is not put beside values of one
            return self.chain(" OR ", tuple(ast.Same(i, value) for i in items), wherever_true)
        known = [i for i in items if isinstance(i, ast.Const) and i.value is not None]
        others = [i for i in items if not (isinstance(i, ast.Const) and i.value is not None)]
        tests = [self.equal(value, other, wherever_true) for other in others]
        if known:
            listed = ", ".join(self.const(ast.Const(_widest(known), i.value)) for i in known)
            text = f"({self.value(value)} IN ({listed}))"
            tests.append(text if wherever_true else f"({text} IS TRUE)")
        return f"({' OR '.join(tests)})"

    def value(self, node: ast.Node) -> str:
        """Write a node's value, null where it is null."""
        match node:
            case ast.Const():
                return self.const(node)
            case ast.FieldValue():
                return self.field(node)
            case ast.Item(kind, row):
                return self.item(f"r{row}.value", kind)
            case ast.ContextValue(kind):  # only to be measured: folding makes it a constant
                return self.parameter(self.prefix + "000", kind)
            case ast.Size(of):
                return self.size(of)
            case ast.Cased(case, of):
                return self.cased(case, self.value(of))
            case ast.TimePart(part, of):
                return self.time_part(part, self.value(of))
            case ast.Shifted():  # only to be measured: folding makes it a constant
                return self.parameter(self.prefix + "000", Type.TIME)
            case ast.Pick(kind, test, yes, no):
                a, b = self.branch(yes, kind), self.branch(no, kind)
                chosen = self.condition(test, wherever_true=True)
                return f"(CASE WHEN {chosen} THEN {a} ELSE {b} END)"
            case ast.Arithmetic(kind, sign, left, right):
                a, b = self.operand(left, kind), self.operand(right, kind)
                if sign in ("/", "%"):
                    b = f"NULLIF({b}, 0)"
                return f"({a} {sign} {b})"
        return self.condition(node, wherever_true=False)

    def branch(self, node: ast.Node, kind: Type) -> str:
        if isinstance(node, ast.Const):
            return self.const(ast.Const(kind, node.value))
        return self.value(node)


class _Sqlite(_Writer):
    def parameter(self, name: str, kind: Type) -> str:
        return f":{name}"

    def field(self, field: ast.FieldValue) -> str:
        path = _sqlite_path(field)
        text = f"({self.column_of(field)} ->> '{path}')"
        if not field.json:
            return text
        if field.type is Type.JSON:
            return text
        kinds = _SQLITE_KINDS[field.type]
        if field.type in NUMBERS:
            text = f"CAST({text} AS REAL)"
        return (
            f"(CASE WHEN json_type({self.column_of(field)}, '{path}') IN ({kinds}) THEN {text} END)"
        )

    def affix(self, kind: str, text: str, part: str) -> str:
        if kind == "matches":
            return f"{MATCHES}({text}, {part})"
        if kind == "startsWith":
            return f"(substr({text}, 1, length({part})) = {part})"
        if kind == "contains":
            return f"(instr({text}, {part}) > 0)"
        return (
            f"(substr({text}, CASE length({part}) WHEN 0 THEN length({text}) + 1 "
            f"ELSE -length({part}) END) = {part})"
        )

    def within(self, value: ast.Node, items: ast.FieldValue) -> str:
        column, path = self.column_of(items), _sqlite_path(items)
        kind = ast.type_of(value)
        item = "CAST(item.value AS REAL)" if kind in NUMBERS else "item.value"
        kinds = _SQLITE_KINDS[kind]
        return (
            f"EXISTS (SELECT 1 FROM json_each({column}, '{path}') AS item "
            f"WHERE json_type({column}, '{path}') = 'array' "
            f"AND item.type IN ({kinds}) AND {item} = {self.value(value)})"
        )

    def some(self, row: int, items: ast.Node, condition: str) -> str:
        return f"EXISTS (SELECT 1 FROM json_each({self.value(items)}) AS r{row} WHERE {condition})"

    def item(self, value: str, kind: Type) -> str:
        return f"CAST({value} AS REAL)" if kind is Type.FLOAT else value

    def size(self, of: ast.Node) -> str:
        if ast.type_of(of) in ITEMS:
            return f"coalesce(json_array_length({self.value(of)}), 0)"
        if not (isinstance(of, ast.FieldValue) and of.type is Type.JSON):
            return f"length({self.value(of)})"
        column, path = self.column_of(of), _sqlite_path(of)
        return (
            f"(CASE json_type({column}, '{path}') WHEN 'text' THEN length({self.field(of)}) "
            f"WHEN 'array' THEN json_array_length({column}, '{path}') END)"
        )

    def time_part(self, part: str, text: str) -> str:
        if part == "getDayOfWeek":
            return f"CAST(strftime('%w', substr({text}, 1, 10)) AS INTEGER)"
        return super().time_part(part, text)

    def operand(self, node: ast.Node, kind: Type) -> str:
        text = self.value(node)
        if kind is Type.FLOAT:
            return f"CAST({text} AS REAL)"
        return text


class _Postgres(_Writer):
    same, distinct = "IS NOT DISTINCT FROM", "IS DISTINCT FROM"

    def parameter(self, name: str, kind: Type) -> str:
        return f"(:{name}::{_POSTGRES_TYPES[kind]})"

    def null(self, kind: Type) -> str:
        return f"(NULL::{_POSTGRES_TYPES[kind]})"

    def field(self, field: ast.FieldValue) -> str:
        path = _postgres_path(field)
        text = f"({self.column_of(field)}::jsonb #>> '{{{path}}}')"
        if field.type is Type.JSON or field.type in ITEMS:
            return text
        if not field.json:
            return text if field.type in (Type.TEXT, Type.TIME) else self.cast(text, field.type)
        kind, found = _POSTGRES_KINDS[field.type], self.json(field)
        return (
            f"(CASE WHEN jsonb_typeof({found}) = '{kind}' THEN {self.cast(text, field.type)} END)"
        )

    def json(self, field: ast.FieldValue) -> str:
        return f"({self.column_of(field)}::jsonb #> '{{{_postgres_path(field)}}}')"

    def within(self, value: ast.Node, items: ast.FieldValue) -> str:
        found = self.json(items)
        return f"(jsonb_typeof({found}) = 'array' AND {found} @> to_jsonb({self.value(value)}))"

    def some(self, row: int, items: ast.Node, condition: str) -> str:
        listed = f"jsonb_array_elements_text({self.value(items)}::jsonb)"
        return f"EXISTS (SELECT 1 FROM {listed} AS r{row} (value) WHERE {condition})"

    def item(self, value: str, kind: Type) -> str:
        return value if kind in (Type.TEXT, Type.TIME) else self.cast(value, kind)

    def size(self, of: ast.Node) -> str:
        if ast.type_of(of) in ITEMS:
            return f"coalesce(jsonb_array_length({self.value(of)}::jsonb), 0)"
        if not (isinstance(of, ast.FieldValue) and of.type is Type.JSON):
            return f"length({self.value(of)})"
        found = self.json(of)
        return (
            f"(CASE jsonb_typeof({found}) WHEN 'string' THEN length({self.field(of)}) "
            f"WHEN 'array' THEN jsonb_array_length({found}) END)"
        )

    def cased(self, kind: str, text: str) -> str:
        return super().cased(kind, f'{text} COLLATE "C"')

    def time_part(self, part: str, text: str) -> str:
        if part == "getDayOfWeek":
            return f"(extract(dow FROM (substr({text}, 1, 10))::date)::integer)"
        return super().time_part(part, text)

    def cast(self, text: str, kind: Type) -> str:
        return f"({text}::{_POSTGRES_TYPES[kind]})"

    def affix(self, kind: str, text: str, part: str) -> str:
        if kind == "matches":
            short = f"length({text}) <= {MATCHED_CHARS_MAX}"
            return f'({short} AND ({text} COLLATE "C" ~ {part}))'
        if kind == "startsWith":
            return f"starts_with({text}, {part})"
        if kind == "contains":
            return f"(strpos({text}, {part}) > 0)"
        return f"(right({text}, length({part})) = {part})"

    def ordered(self, text: str, kind: Type) -> str:
        return f'({text} COLLATE "C")' if kind in (Type.TEXT, Type.TIME) else text

    def operand(self, node: ast.Node, kind: Type) -> str:
        return f"({self.value(node)}::{_POSTGRES_TYPES[kind]})"


def _sqlite_path(field: ast.FieldValue) -> str:
    return "$" + "".join(f'."{part}"' for part in field.path)


def _postgres_path(field: ast.FieldValue) -> str:
    return ",".join(f'"{part}"' for part in field.path)  # quoted: null alone is no key


def _constant(value: bool) -> str:
    return "(1 = 1)" if value else "(1 = 0)"


def _is_null(node: ast.Node) -> bool:
    return isinstance(node, ast.Const) and node.value is None


def _widest(known: list[ast.Const]) -> Type:
    kinds = {item.type for item in known}
    return Type.FLOAT if len(kinds) > 1 else kinds.pop()


def column(field: ast.FieldValue, column: str) -> tuple[str, str]:
    """Write a field's value for SQLite and for PostgreSQL, to order or group by."""
    written = shown(field, column, "p")
    return written.sqlite, written.postgres


def shown(node: ast.FieldValue | ast.Pick, column: str, prefix: str) -> Fragment:
    """Write a value to order or group by: a field's, or what stands for it where it has none."""
    params: dict[tuple[str, object], str] = {}
    values: dict[str, Any] = {}
    sqlite = _Sqlite(column, prefix, params, values).value(node)
    postgres = _Postgres(column, prefix, params, values)
    return Fragment(sqlite, postgres.ordered(postgres.value(node), node.type), values)
