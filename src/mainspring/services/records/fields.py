"""Field types: what a value must be, how it is normalised, and its type in CEL."""

import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mainspring import is_id
from mainspring.cel import Type
from mainspring.cel.types import FLOAT_MAX, INTEGER_MAX, ITEMS
from mainspring.kernel.clock import as_utc
from mainspring.kernel.email_address import EMAIL_CHARS_MAX, email_address
from mainspring.services.records import thumbnails
from mainspring.services.records.api import Field
from mainspring.services.records.file_types import pattern_of

RECORD_PREFIX = "rec"
USERS, ORGANIZATIONS = "users", "organizations"
# What a relation points into that is no collection, and how the ids there begin.
OUTSIDE = {USERS: "user", ORGANIZATIONS: "org"}
ITEMS_DEFAULT = 100  # the max_items of a list that says none
TEXT_CHARS_DEFAULT = 5_000  # the max that a text field gets which says none
TEXT_CHARS_MAX = 200_000
URL_CHARS_MAX = 2_000
JSON_BYTES_MAX = 65_536
JSON_DEPTH_MAX = 32
NUMBER_MIN = 1 / FLOAT_MAX  # what is nearer to zero is no number here, as what is beyond FLOAT_MAX

# An http or https URL as a pattern that means the same to Python and to JSON Schema: scheme, who
# logs in, host, port, and the rest. Whitespace and control characters are nowhere in it.
_BLANK = r"\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200f\u2028-\u202f\u205f-\u2064\u3000\ufeff"
_PORT = r"[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
URL_PATTERN = (
    rf"^([Hh][Tt][Tt][Pp][Ss]?)(://)([^{_BLANK}/?#\\]*@)?"
    rf"(\[[0-9A-Fa-f:.]+\]|[^{_BLANK}/?#@:\[\]\\<>\"`{{|}}^]+)"
    rf"(:(?:{_PORT})?)?([/?#][^{_BLANK}]*)?$"
)
_ID_PATTERN = "^{}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$"
_URL = re.compile(URL_PATTERN)
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}")
_LOWER = {ord(c): c.lower() for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


class StoredFile(msgspec.Struct, frozen=True):
    """A file field's value: what was uploaded, and the key of its blob."""

    blob: str
    name: str | None
    media_type: str
    size_bytes: int
    sha256: str


def files_in(value: Any) -> list[dict[str, Any]]:
    """The files of a file field's value: none, one, or those of a list."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def file_id(blob: str) -> str:
    """What a file of a list is called: the last part of its blob's key."""
    return blob.rpartition("/")[2]


CEL_TYPES = {
    "text": Type.TEXT, "number": Type.FLOAT, "integer": Type.INT, "boolean": Type.BOOL,
    "datetime": Type.TIME, "email": Type.TEXT, "url": Type.TEXT, "select": Type.TEXT,
    "json": Type.JSON, "relation": Type.TEXT,
    "file": Type.JSON,
}  # fmt: skip


LISTS = {kind: listed for listed, kind in ITEMS.items()}


def cel_type(field: Field) -> Type:
    """What a field's value is in filters and rules."""
    kind = CEL_TYPES[field.type]
    return LISTS.get(kind, kind) if field.many else kind


def annotation(field: Field) -> Any:
    """The type that msgspec decodes a value as, null left out."""
    if field.many:
        # Of files their ids come: what they are was uploaded before.
        items = Meta(min_length=1 if field.required else 0, max_length=items_max(field))
        item: Any = str if field.type == "file" else _item_annotation(field)
        return Annotated[list[item], items]
    return _item_annotation(field)


def items_max(field: Field) -> int:
    """The most items of a list."""
    return ITEMS_DEFAULT if field.max_items is None else field.max_items


def _item_annotation(field: Field) -> Any:
    match field.type:
        case "text":
            return Annotated[str, Meta(min_length=_chars(field.min), max_length=text_chars(field))]
        case "number":
            low = -FLOAT_MAX if field.min is None else field.min
            return Annotated[float, Meta(ge=low, le=FLOAT_MAX if field.max is None else field.max)]
        case "integer":  # JSON has one kind of number: 5.0 and 5e0 are the integer 5
            least, most = integer_bounds(field)
            bounds = Meta(ge=least, le=most)
            return Annotated[int, bounds] | Annotated[float, bounds]
        case "boolean":
            return bool
        case "select":
            return Literal[tuple(field.values)]
        case "json":
            return Any
        case "file":
            return None
        case "email":
            return Annotated[str, Meta(max_length=EMAIL_CHARS_MAX)]
        case "url":
            return Annotated[str, Meta(max_length=URL_CHARS_MAX)]
    return Annotated[str, Meta(max_length=64)]


def integer_bounds(field: Field) -> tuple[int, int]:
    """The smallest and the largest value of an integer field."""
    least = -INTEGER_MAX if field.min is None else math.ceil(field.min)
    return least, INTEGER_MAX if field.max is None else math.floor(field.max)


def bounds(field: Field) -> tuple[float, float]:
    """From where to where values go: numbers, or the characters of text."""
    if field.type == "integer":
        return integer_bounds(field)
    if field.type == "number":
        low = -FLOAT_MAX if field.min is None else field.min
        return low, FLOAT_MAX if field.max is None else field.max
    return _chars(field.min), text_chars(field)


def complete(field: Field) -> Field:
    """Write down what holds where a field says nothing."""
    known: dict[str, Any] = {}
    if field.types:
        known["types"] = [pattern_of(text) for text in field.types]
    if field.type == "text" and field.max is None:
        known["max"] = float(TEXT_CHARS_DEFAULT)
    if field.many and field.max_items is None:
        known["max_items"] = ITEMS_DEFAULT
    return msgspec.structs.replace(field, **known) if known else field


def wrong_files(field: Field) -> list[tuple[str, str]]:
    """What is wrong with what a field says of files, and where."""
    if field.type != "file":
        given = {
            "types": bool(field.types), "max_bytes": field.max_bytes is not None,
            "inline": field.inline, "thumbs": bool(field.thumbs),
        }  # fmt: skip
        return [(part, f"a {field.type} field takes no {part}") for part in given if given[part]]
    wrong: list[tuple[str, str]] = []
    for i, text in enumerate(field.types):
        try:
            pattern_of(text)
        except ValueError as error:
            wrong.append((f"types/{i}", str(error)))
    for i, size in enumerate(field.thumbs):
        try:
            thumbnails.box_of(size)
        except ValueError as error:
            wrong.append((f"thumbs/{i}", str(error)))
    if field.thumbs and not thumbnails.can_be_made():
        wrong.append(("thumbs", thumbnails.MISSING))
    return wrong


def read_value(field: Field, value: Any) -> Any:
    """Read one value that is not null as it is stored, or a list whose items are still to be.

    Raises ValueError (msgspec's, too).
    """
    read = msgspec.convert(value, annotation(field))
    normalise = None if field.many else NORMALISERS.get(field.type)
    return read if normalise is None else normalise(read)


def normaliser(field: Field, targets: Mapping[str, str]) -> Callable[[Any], Any] | None:
    """What makes of one value, or item, of a field that which is kept; it raises ValueError."""
    if (target := targets.get(field.name)) in OUTSIDE:
        return partial(_outside, target)
    return NORMALISERS.get(field.type)


def targets_of(field: Field, record: Mapping[str, Any]) -> list[str]:
    """The ids that a relation of a record points at."""
    value = record.get(field.name)
    if value is None:
        return []
    return list(value) if field.many else [value]


def is_set(field: Field) -> bool:
    """Whether a list holds nothing twice."""
    return field.many and field.type in ("relation", "select", "file")


def text_chars(field: Field) -> int:
    """The most characters a value of a field of text holds."""
    if field.type == "text":
        return TEXT_CHARS_DEFAULT if field.max is None else int(field.max)
    if field.type == "select":
        return max((len(v) for v in field.values), default=0)
    return {"email": EMAIL_CHARS_MAX, "url": URL_CHARS_MAX}.get(field.type, 64)


def _chars(bound: float | None) -> int:
    return 0 if bound is None else int(bound)


def _url(value: str) -> str:
    """Normalise the case of scheme, host and percent-encodings (RFC 3986, section 6.2.2.1).

    Everything else may mean something to whoever is asked, a password above all, and stays.
    """
    parts = _URL.fullmatch(value)
    if parts is None:
        raise ValueError("not an http or https URL; a space in it is written %20")
    scheme, slashes, user, host, port, rest = parts.groups(default="")
    lower = f"{scheme.lower()}{slashes}{user}{host.translate(_LOWER)}{port}{rest}"
    return _ESCAPED.sub(lambda escaped: escaped[0].upper(), lower)


def _integer(value: float) -> int:
    if not float(value).is_integer():
        raise ValueError("Expected `int`, got a fraction")
    return int(value)


def _relation(value: str) -> str:
    if not is_id(value, RECORD_PREFIX):
        raise ValueError("not the id of a record")
    return value


def _outside(target: str, value: str) -> str:
    if not is_id(value, OUTSIDE[target]):
        raise ValueError(f"not the id of {_A[target]}")
    return value


_A = {USERS: "a user", ORGANIZATIONS: "an organization"}


def _number(value: float) -> float:
    if value != 0 and abs(value) < NUMBER_MIN:
        raise ValueError("is too close to zero: numbers are kept down to 1e-100")
    return value


def _json(value: Any) -> Any:
    if len(msgspec.json.encode(value)) > JSON_BYTES_MAX:
        raise ValueError(f"is more than {JSON_BYTES_MAX} bytes of JSON")
    _bounded(value, JSON_DEPTH_MAX)
    return value


def _bounded(value: Any, depth: int) -> None:
    if depth == 0:
        raise ValueError(f"is nested more than {JSON_DEPTH_MAX} levels deep")
    if isinstance(value, int) and abs(value) > INTEGER_MAX:
        raise ValueError("integers go to 2^53 - 1: send a larger one as text")
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            _bounded(inner, depth - 1)


NORMALISERS: dict[str, Callable[[Any], Any]] = {
    "email": email_address, "url": _url, "datetime": as_utc, "relation": _relation, "json": _json,
    "number": _number, "integer": _integer,
}  # fmt: skip

_DESCRIBED: dict[str, dict[str, Any]] = {
    "email": {"format": "idn-email"},
    "datetime": {"format": "date-time"},
    "url": {"pattern": URL_PATTERN},
}


def json_schema(
    field: Field, targets: Mapping[str, str] | None = None, *, sent: bool = False
) -> dict[str, Any]:
    """The field as JSON Schema: what is answered, or what is taken where it is ``sent``.

    What fits it is taken, and what does not is refused. It cannot say what a domain or a day is
    (see its ``format``), nor how large a json value gets.
    """
    if field.type == "file":
        nothing = {"type": "null"}
        # By itself, not behind a reference: it becomes a part of larger documents.
        stored = msgspec.json.schema(StoredFile)["$defs"][StoredFile.__name__]
        if field.many:
            item = {"type": "string"} if sent else stored
            listed = {"type": "array", "items": item, "maxItems": items_max(field)}
            return {"anyOf": [listed | {"uniqueItems": True}, nothing]} if sent else listed
        return nothing if sent else {"anyOf": [stored, nothing]}
    if field.type == "json":
        text = f"JSON of at most {JSON_BYTES_MAX} bytes and {JSON_DEPTH_MAX} levels"
        return {"description": text, **({"not": {"type": "null"}} if field.required else {})}
    schema = _item_schema(field, targets or {})
    if field.many:
        schema = {"type": "array", "items": schema, "maxItems": items_max(field)}
        schema |= {"minItems": 1} if field.required else {}
        schema |= {"uniqueItems": True} if is_set(field) else {}
    nullable = not field.required and (sent or not field.many)
    return {"anyOf": [schema, {"type": "null"}]} if nullable else schema


def _item_schema(field: Field, targets: Mapping[str, str]) -> dict[str, Any]:
    if field.type == "integer":
        least, most = integer_bounds(field)
        return {"type": "integer", "minimum": least, "maximum": most}
    schema = {**msgspec.json.schema(_item_annotation(field)), **_DESCRIBED.get(field.type, {})}
    if field.type == "relation":
        prefix = OUTSIDE.get(targets.get(field.name, ""), RECORD_PREFIX)
        schema["pattern"] = _ID_PATTERN.format(prefix)
    if field.type == "number":
        schema["anyOf"] = [{"const": 0}, {"minimum": NUMBER_MIN}, {"maximum": -NUMBER_MIN}]
    return schema
