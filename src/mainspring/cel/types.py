"""The types of CEL values here, and the names an expression may use."""

from collections.abc import Callable, Mapping
from enum import Enum

import msgspec


class Type(Enum):
    """What a value is, when it is not null. Every value may be null."""

    BOOL = "a boolean"
    INT = "an integer"
    FLOAT = "a number"
    TEXT = "text"
    TIME = "a time"  # RFC 3339 in UTC with milliseconds, so that text order is time order
    TEXTS = "a list of text"
    TIMES = "a list of times"
    INTS = "a list of integers"
    FLOATS = "a list of numbers"
    BOOLS = "a list of booleans"
    JSON = "JSON"  # of any type: the operator it meets decides what it is read as
    CALLER = "a caller"  # somebody or nobody: it compares with null and nothing else
    NULL = "null"


NUMBERS = (Type.INT, Type.FLOAT)
ITEMS = {
    Type.TEXTS: Type.TEXT, Type.TIMES: Type.TIME, Type.INTS: Type.INT, Type.FLOATS: Type.FLOAT,
    Type.BOOLS: Type.BOOL,
}  # fmt: skip

BEFORE = "before"  # the name of the record as it was; its ``id`` is there when there is one

# Bounds on stored numbers, so that arithmetic can be shown not to overflow before it runs.
INTEGER_MAX = 2**53 - 1  # what JSON readers agree on (RFC 8259, section 6)
FLOAT_MAX = 1e100  # and not zero below 1e-100


class Hop(msgspec.Struct, frozen=True):
    """A step from a row to what it is related to: rows of ``collection``, by its id.

    Forward to the one whose id the row has in ``field``, or to those whose ids it has where that is
    a list (``many``); ``back`` to those that have the row's id in theirs. ``source`` numbers the
    row it starts at (0 is the record), of collection ``start``.
    """

    source: int
    start: str
    field: str
    collection: str
    back: bool
    many: bool = False


class Lead(msgspec.Struct, frozen=True):
    """What a name leads to from the rows of a collection: the way, and the names of what is there.

    ``several`` are the relations that lead back by the same name: which is meant is to be said.
    """

    start: str
    field: str
    collection: str
    names: "Names"
    back: bool = False
    many: bool = False
    several: "tuple[Lead, ...]" = ()


class Names(msgspec.Struct, frozen=True):
    """What an expression may name.

    ``record`` types the fields of the row it is asked about, which are named bare or as
    ``record.field``; ``context`` types what is the same for the whole call (``caller.id``), by
    dotted path. A ``JSON`` name may be followed by any path. What is typed of the context is
    expected to be there: where it is not, what is asked of it decides nothing (see ``certain``).
    A ``CALLER`` is null unless the context knows something under ``known`` beside its parts.
    ``follow`` tells what a field, or another collection's name, leads to from the record.
    ``closed`` says of names that are there why they cannot be asked for.
    """

    record: Mapping[str, Type]
    context: Mapping[str, Type] = {}
    bare: bool = True
    follow: "Callable[[str], Lead | None]" = lambda name: None
    closed: Mapping[str, str] = {}
