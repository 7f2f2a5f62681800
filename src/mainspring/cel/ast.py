"""The typed tree: what ``check`` makes of an expression and what is evaluated or written as SQL.

Conditions (``All``, ``Any``, ``Not``, ``Same``, ``Ordering``, ``Among``, ``Within``,
``Affix``, ``Present``, ``Reaching``, ``Some``) are true or false, never null. Other nodes are null
where a field is absent or arithmetic has no result.
"""

from collections.abc import Callable
from typing import Literal

import msgspec

from mainspring.cel.types import Hop, Type


class Const(msgspec.Struct, frozen=True):
    """A value known before the record is."""

    type: Type
    value: object


class FieldValue(msgspec.Struct, frozen=True):
    """A field of a row, or a path into a JSON field read as ``type`` (else null).

    ``row`` 0 is the record; another is one that a ``Reaching`` around it goes over.
    """

    type: Type
    path: tuple[str, ...]
    json: bool = False
    row: int = 0


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


class Within(msgspec.Struct, frozen=True):
    """True when the value, which is not null, is an item of a list in JSON."""

    value: "Node"
    items: FieldValue | ContextValue


class Affix(msgspec.Struct, frozen=True):
    """Text tests by code point; false when a side is null. A pattern to match is a constant."""

    kind: Literal["startsWith", "endsWith", "contains", "matches"]
    text: "Node"
    part: "Node"


class Present(msgspec.Struct, frozen=True):
    """True when the call knows a value under this name."""

    of: ContextValue


class Reaching(msgspec.Struct, frozen=True):
    """True when a row that the hop leads to, as ``row``, meets the condition."""

    row: int
    hop: Hop
    condition: "Node"


class Item(msgspec.Struct, frozen=True):
    """The item of a list that the ``Some`` with this row goes over."""

    type: Type
    row: int


class Some(msgspec.Struct, frozen=True):
    """True when an item of a list, as ``row``, meets the condition; a null list is empty."""

    row: int
    items: "Node"
    condition: "Node"


class Size(msgspec.Struct, frozen=True):
    """How many characters (code points) or items; null of null, and of other JSON."""

    of: "Node"


class Cased(msgspec.Struct, frozen=True):
    """Text with the letters A to Z, and no others, in lower or in upper case; null of null."""

    kind: Literal["lowerAscii", "upperAscii"]
    of: "Node"


class TimePart(msgspec.Struct, frozen=True):
    """A number out of a time, in UTC; null of null."""

    part: str  # a key of PARTS
    of: "Node"


class Shifted(msgspec.Struct, frozen=True):
    """A time that is known before the record is, so much later; null past the years 1 to 9999."""

    of: "Node"
    by_ms: int


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


Condition = (
    All | Any | Not | Same | Ordering | Among | Within | Affix | Present | Reaching | Some
)  # fmt: skip
Node = (
    Const | FieldValue | ContextValue | Item | Condition | Size | Cased | TimePart | Shifted
    | Arithmetic | Pick
)  # fmt: skip
CONDITIONS = (All, Any, Not, Same, Ordering, Among, Within, Affix, Present, Reaching, Some)
TRUE = Const(Type.BOOL, True)
FALSE = Const(Type.BOOL, False)

# The functions of the standard that read a time: where in its text the number is, and what is taken
# off it. The day of the week is not in the text.
PARTS = {
    "getFullYear": (0, 4, 0), "getMonth": (5, 2, 1), "getDate": (8, 2, 0),
    "getDayOfMonth": (8, 2, 1), "getHours": (11, 2, 0), "getMinutes": (14, 2, 0),
    "getSeconds": (17, 2, 0), "getMilliseconds": (20, 3, 0), "getDayOfWeek": (0, 10, 0),
}  # fmt: skip


def type_of(node: Node) -> Type:
    """The type a node's value has when it is not null."""
    if isinstance(node, CONDITIONS):
        return Type.BOOL
    if isinstance(node, Size | TimePart):
        return Type.INT
    if isinstance(node, Cased):
        return Type.TEXT
    return Type.TIME if isinstance(node, Shifted) else node.type


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
        case Within(value, listed):
            return (value, listed)
        case Among(value, items):
            return (value, *items) if isinstance(items, tuple) else (value, items)
        case Reaching(_, _, condition):
            return (condition,)
        case Some(_, items, condition):
            return (items, condition)
        case Size(of) | Present(of) | Cased(_, of) | TimePart(_, of) | Shifted(of):
            return (of,)
        case Pick(_, test, yes, no):
            return (test, yes, no)
    return ()


def reaches(node: Node) -> bool:
    """Tell whether a node asks for rows other than the record."""
    return isinstance(node, Reaching) or any(reaches(inner) for inner in children(node))


def hops(node: Node) -> dict[int, Hop]:
    """The rows other than the record that a node asks for, by number."""
    own = {node.row: node.hop} if isinstance(node, Reaching) else {}
    return own | {row: hop for inner in children(node) for row, hop in hops(inner).items()}


def rows(node: Node) -> set[int]:
    """The rows whose fields a node asks for, and the items that something around it goes over."""
    own = {node.row} if isinstance(node, FieldValue | Item) else set[int]()
    found = own.union(*(rows(inner) for inner in children(node)))
    return found - {node.row} if isinstance(node, Some) else found


def record_fields(node: Node) -> set[str]:
    """The fields of the record that a node asks for, also to find what it is related to."""
    own = set[str]()
    if isinstance(node, FieldValue) and not node.row:
        own = {node.path[0]}
    if isinstance(node, Reaching) and not node.hop.source:
        own = {"id" if node.hop.back else node.hop.field}
    return own.union(*(record_fields(inner) for inner in children(node)))


def renumbered(node: "Node", number: "Callable[[int], int]") -> "Node":
    """Give the rows of a tree other numbers."""
    made = with_rows(node, lambda through: msgspec.structs.replace(
        through, row=number(through.row),
        hop=msgspec.structs.replace(through.hop, source=number(through.hop.source)),
    ))  # fmt: skip
    made = with_fields(made, lambda field: msgspec.structs.replace(field, row=number(field.row)))
    return _with_items(made, number)


def _with_items(node: "Node", number: "Callable[[int], int]") -> "Node":
    made = _rebuilt(node, lambda part: _with_items(part, number))
    if isinstance(made, Some | Item):
        return msgspec.structs.replace(made, row=number(made.row))
    return made


def with_rows(node: "Node", make: "Callable[[Reaching], Node]") -> "Node":
    """Rebuild a tree with what ``make`` returns in place of each ``Reaching``, from below."""

    def rebuilt(part: Node) -> Node:
        made = _rebuilt(part, rebuilt)
        return make(made) if isinstance(made, Reaching) else made

    return rebuilt(node)


def with_fields(node: "Node", make: "Callable[[FieldValue], Node]") -> "Node":
    """Rebuild a tree with what ``make`` returns in place of each field of the record."""

    def rebuilt(part: Node) -> Node:
        return make(part) if isinstance(part, FieldValue) else _rebuilt(part, rebuilt)

    return rebuilt(node)


def _rebuilt(node: Node, make: "Callable[[Node], Node]") -> Node:
    """Rebuild a node with what ``make`` returns in place of each one right below."""
    if not children(node):
        return node

    def part(value: object) -> object:
        if isinstance(value, tuple):
            return tuple(part(each) for each in value)
        return make(value) if isinstance(value, Node) else value

    return msgspec.structs.replace(
        node, **{name: part(getattr(node, name)) for name in node.__struct_fields__}
    )
