"""The typed tree: what ``check`` makes of an expression and what is evaluated or written as SQL.

Conditions (``All``, ``Any``, ``Not``, ``Same``, ``Ordering``, ``Among``, ``Affix``, ``Present``)
are true or false, never null. Other nodes are null where a field is absent or arithmetic has no
result.
"""

from collections.abc import Callable
from typing import Literal

import msgspec

from mainspring.cel.types import Type


class Const(msgspec.Struct, frozen=True):
    """A value known before the record is."""

    type: Type
    value: object


class FieldValue(msgspec.Struct, frozen=True):
    """A field of the record, or a path into a JSON field read as ``type`` (else null)."""

    type: Type
    path: tuple[str, ...]
    json: bool = False


class ContextValue(msgspec.Struct, frozen=True):
    """A name that is the same for the whole call; ``json`` as in ``FieldValue``."""

    type: Type
    path: tuple[str, ...]
    json: bool = False


class All(msgspec.Struct, frozen=True):
    """True when every condition is."""

    parts: "tuple[Node, ...]"


class Any(msgspec.Struct, frozen=True):
    """True when a condition is."""

    parts: "tuple[Node, ...]"


class Not(msgspec.Struct, frozen=True):
    """True when the condition is not."""

    part: "Node"


class Same(msgspec.Struct, frozen=True):
    """``IS NOT DISTINCT FROM``: null is the same as null and as nothing else."""

    left: "Node"
    right: "Node"


class Ordering(msgspec.Struct, frozen=True):
    """``< <= > >=``; false when a side is null. Text is ordered by code point."""

    sign: Literal["<", "<=", ">", ">="]
    left: "Node"
    right: "Node"


class Among(msgspec.Struct, frozen=True):
    """True when the value is the same as an item; ``items`` are nodes, or one list of text."""

    value: "Node"
    items: "tuple[Node, ...] | ContextValue | Const"


class Affix(msgspec.Struct, frozen=True):
    """Text tests by code point; false when a side is null."""

    kind: Literal["startsWith", "endsWith", "contains"]
    text: "Node"
    part: "Node"


class Present(msgspec.Struct, frozen=True):
    """True when the call knows a value under this name."""

    of: ContextValue


class Size(msgspec.Struct, frozen=True):
    """How many characters (code points) or items; null of null."""

    of: "Node"


class Arithmetic(msgspec.Struct, frozen=True):
    """Two numbers; null when a side is, and for division by zero.

    Integers stay exact within 2^53; where that cannot be shown the operation is one on doubles.
    """

    type: Type
    sign: Literal["+", "-", "*", "/", "%"]
    left: "Node"
    right: "Node"


class Pick(msgspec.Struct, frozen=True):
    """``test ? yes : no``."""

    type: Type
    test: "Node"
    yes: "Node"
    no: "Node"


Condition = All | Any | Not | Same | Ordering | Among | Affix | Present
Node = Const | FieldValue | ContextValue | Condition | Size | Arithmetic | Pick
CONDITIONS = (All, Any, Not, Same, Ordering, Among, Affix, Present)
TRUE = Const(Type.BOOL, True)
FALSE = Const(Type.BOOL, False)


def type_of(node: Node) -> Type:
    """The type a node's value has when it is not null."""
    if isinstance(node, CONDITIONS):
        return Type.BOOL
    return Type.INT if isinstance(node, Size) else node.type


def condition(node: Node) -> Node:
    """Read a boolean value as a condition: null counts as false."""
    if isinstance(node, CONDITIONS):
        return node
    if isinstance(node, Const):
        return TRUE if node.value is True else FALSE
    return Same(node, TRUE)


def children(node: Node) -> "tuple[Node, ...]":
    """The nodes right below."""
    match node:
        case All(parts) | Any(parts):
            return parts
        case Not(part):
            return (part,)
        case Same(left, right) | Ordering(_, left, right) | Affix(_, left, right):
            return (left, right)
        case Arithmetic(_, _, left, right):
            return (left, right)
        case Among(value, items):
            return (value, *items) if isinstance(items, tuple) else (value, items)
        case Size(of) | Present(of):
            return (of,)
        case Pick(_, test, yes, no):
            return (test, yes, no)
    return ()


def with_fields(node: "Node", make: "Callable[[FieldValue], Node]") -> "Node":
    """Rebuild a tree with what ``make`` returns in place of each field of the record."""
    if isinstance(node, FieldValue):
        return make(node)
    if not children(node):
        return node

    def rebuilt(part: object) -> object:
        if isinstance(part, tuple):
            return tuple(rebuilt(each) for each in part)
        return with_fields(part, make) if isinstance(part, msgspec.Struct) else part  # type: ignore[arg-type]

    parts = {name: rebuilt(getattr(node, name)) for name in node.__struct_fields__}
    return msgspec.structs.replace(node, **parts)
