"""The types of CEL values here, and the names an expression may use."""

from collections.abc import Mapping
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
    JSON = "JSON"  # of any type: the operator it meets decides what it is read as
    CALLER = "a caller"  # somebody or nobody: it compares with null and nothing else
    NULL = "null"


NUMBERS = (Type.INT, Type.FLOAT)

# Bounds on stored numbers, so that arithmetic can be shown not to overflow before it runs.
INTEGER_MAX = 2**53 - 1  # what JSON readers agree on (RFC 8259, section 6)
FLOAT_MAX = 1e100  # and not zero below 1e-100


class Names(msgspec.Struct, frozen=True):
    """What an expression may name.

    ``record`` types the fields of the row it is asked about, which are named bare or as
    ``record.field``; ``context`` types what is the same for the whole call (``caller.id``), by
    dotted path. A ``JSON`` name may be followed by any path. What is typed of the context is
    expected to be there: where it is not, what is asked of it decides nothing (see ``certain``).
    A ``CALLER`` is null unless the context knows something under ``known`` beside its parts.
    """

    record: Mapping[str, Type]
    context: Mapping[str, Type] = {}
    bare: bool = True
