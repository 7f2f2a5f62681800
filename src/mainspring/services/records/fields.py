"""Field types: what a value must be, how it is normalised, and its type in CEL."""

from collections.abc import Callable
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from mainspring.kernel.cel import Type
from mainspring.kernel.cel.types import FLOAT_MAX, INTEGER_MAX
from mainspring.kernel.clock import as_utc
from mainspring.kernel.email_address import EMAIL_CHARS_MAX, email_address
from mainspring.kernel.ids import is_id
from mainspring.services.records.api import Field

RECORD_PREFIX = "rec"
TEXT_CHARS_DEFAULT = 5_000  # of a text field that says no max
TEXT_CHARS_MAX = 200_000
URL_CHARS_MAX = 2_000
JSON_BYTES_MAX = 65_536
JSON_DEPTH_MAX = 32


class StoredFile(msgspec.Struct, frozen=True):
    """A file field's value: what was uploaded, and the key of its blob."""

    blob: str
    name: str | None
    media_type: str
    size_bytes: int
    sha256: str


CEL_TYPES = {
    "text": Type.TEXT, "number": Type.FLOAT, "integer": Type.INT, "boolean": Type.BOOL,
    "datetime": Type.TIME, "email": Type.TEXT, "url": Type.TEXT, "select": Type.TEXT,
    "json": Type.JSON, "relation": Type.TEXT,
    "file": Type.JSON,
}  # fmt: skip


def annotation(field: Field) -> Any:
    """The type that msgspec decodes a value as, null left out."""
    match field.type:
        case "text":
            return Annotated[str, Meta(min_length=_chars(field.min), max_length=text_chars(field))]
        case "number":
            low = -FLOAT_MAX if field.min is None else field.min
            return Annotated[float, Meta(ge=low, le=FLOAT_MAX if field.max is None else field.max)]
        case "integer":
            low = -INTEGER_MAX if field.min is None else int(field.min)
            return Annotated[
                int, Meta(ge=low, le=INTEGER_MAX if field.max is None else int(field.max))
            ]
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
    try:
        parts = urlsplit(value)
        if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
            raise ValueError(value)
        _ = parts.port  # raises where it is none
    except ValueError:
        raise ValueError("not an http or https URL") from None
    if any(c.isspace() or c < " " for c in value):
        raise ValueError("a URL has no spaces")
    return parts._replace(scheme=parts.scheme.lower(), netloc=parts.netloc.lower()).geturl()


def _relation(value: str) -> str:
    if not is_id(value, RECORD_PREFIX):
        raise ValueError("not the id of a record")
    return value


def _number(value: float) -> float:
    if value != 0 and abs(value) < 1 / FLOAT_MAX:
        raise ValueError("smaller than a number is kept: 1e-100")
    return value


def _json(value: Any) -> Any:
    if len(msgspec.json.encode(value)) > JSON_BYTES_MAX:
        raise ValueError(f"over {JSON_BYTES_MAX} bytes of JSON")
    _bounded(value, JSON_DEPTH_MAX)
    return value


def _bounded(value: Any, depth: int) -> None:
    if depth == 0:
        raise ValueError(f"nested deeper than {JSON_DEPTH_MAX}")
    if isinstance(value, int) and abs(value) > INTEGER_MAX:
        raise ValueError("integers go to 2^53 - 1: send a larger one as text")
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            _bounded(inner, depth - 1)


NORMALISERS: dict[str, Callable[[Any], Any]] = {
    "email": email_address, "url": _url, "datetime": as_utc, "relation": _relation, "json": _json,
    "number": _number,
}  # fmt: skip


def json_schema(field: Field) -> dict[str, Any]:
    """The field as JSON Schema, for the API's description."""
    if field.type == "file":
        return {"anyOf": [msgspec.json.schema(StoredFile), {"type": "null"}]}
    schema: dict[str, Any] = msgspec.json.schema(annotation(field))
    formats = {"email": "email", "url": "uri", "datetime": "date-time"}
    if field.type in formats:
        schema["format"] = formats[field.type]
    if field.required:
        return schema
    return {"anyOf": [schema, {"type": "null"}]} if schema else {}
