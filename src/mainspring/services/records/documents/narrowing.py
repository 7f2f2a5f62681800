"""What of a filter the database can be asked, so that fewer records are read.

It lets pass all that the filter does, and maybe more: the filter itself is asked of what comes.
"""

from collections.abc import Mapping
from typing import Any, Literal

from mainspring.cel import Type, ast
from mainspring.cel.types import FLOAT_MAX, INTEGER_MAX
from mainspring.kernel.clock import as_utc

PARTS_MAX = 20
AMONG_MAX = 50  # values of one $in
CHARS_MAX = 1_000  # of a text
Sign = Literal["<", "<=", ">", ">="]
_SIGNS: dict[str, Sign] = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_NULL = ast.Const(Type.NULL, None)


def narrowing(source: Mapping[str, Any], types: Mapping[str, Type]) -> ast.Node:
    """Write what certainly holds of all records that pass a filter, which has been read.

    ``types`` are the fields of one value that may be asked for.
    """
    parts = _parts(source, types)[:PARTS_MAX]
    return ast.All(tuple(parts)) if parts else ast.TRUE


def _parts(source: Mapping[str, Any], types: Mapping[str, Type]) -> list[ast.Node]:
    parts: list[ast.Node] = []
    for name, operand in source.items():
        if name == "$and":
            for part in operand:
                parts += _parts(part, types)
            continue
        field = "id" if name == "_id" else name
        if field in types:
            parts += _of_field(ast.FieldValue(types[field], (field,)), operand)
    return parts


def _of_field(field: ast.FieldValue, operand: Any) -> list[ast.Node]:
    if not isinstance(operand, dict):
        return _same(field, operand)
    parts: list[ast.Node] = []
    for name, value in operand.items():
        if name == "$eq":
            parts += _same(field, value)
        elif name in _SIGNS and value is not None and field.type is not Type.BOOL:
            const = _const(field.type, value)
            parts += [] if const is None else [ast.Ordering(_SIGNS[name], field, const)]
        elif name == "$in" and 0 < len(value) <= AMONG_MAX:
            consts = [_const(field.type, item) for item in value]
            known = tuple(const for const in consts if const is not None)
            parts += [ast.Among(field, known)] if len(known) == len(value) else []
    return parts


def _same(field: ast.FieldValue, value: Any) -> list[ast.Node]:
    const = _const(field.type, value)
    return [] if const is None else [ast.Same(field, const)]


def _const(kind: Type, value: Any) -> ast.Const | None:
    """A value as the database compares it with a field of this type; None where it might differ."""
    if value is None:
        return _NULL
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is Type.BOOL and isinstance(value, bool):
        return ast.Const(kind, value)
    if kind is Type.INT and isinstance(value, int) and number and abs(value) <= INTEGER_MAX:
        return ast.Const(kind, value)
    if (
        kind is Type.FLOAT
        and number
        and abs(value) <= (INTEGER_MAX if isinstance(value, int) else FLOAT_MAX)
    ):
        return ast.Const(kind, float(value))
    if not isinstance(value, str) or "\0" in value or len(value) > CHARS_MAX:
        return None
    if kind is Type.TEXT:
        return ast.Const(kind, value)
    return ast.Const(kind, value) if kind is Type.TIME and _is_moment(value) else None


def _is_moment(text: str) -> bool:
    try:
        return as_utc(text) == text
    except ValueError:
        return False
