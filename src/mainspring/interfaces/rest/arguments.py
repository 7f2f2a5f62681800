"""From a request to the arguments of an operation: what its owner is sent, not yet validated.

A path and a query are text. A body is JSON, which is passed on unread.
"""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from mainspring.kernel.errors import FieldError, Invalid, Malformed, UnsupportedMedia
from mainspring.kernel.field_errors import escape
from mainspring.kernel.operation import Operation

QUERY_BYTES_MAX = 16_384
QUERY_FIELDS_MAX = 128
KEY_CHARS_MAX = 255
STREAM_TOKEN = b"stream_token="
FORM = "application/x-www-form-urlencoded"

_JSON_TYPE = re.compile(r"application/(?:json|[a-z0-9.!#$&^_-]+\+json)")
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_BARE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")

Arguments = dict[str, Any]


class ArgumentReader:
    """Reads the requests of one operation."""

    __slots__ = ("_body", "_form", "_path", "_query")

    def __init__(self, operation: Operation) -> None:
        self._path = re.findall(r"\{([a-z_]+)\}", operation.path)
        self._query = operation.query_param
        self._body = operation.body_param
        self._form = operation.takes_form and operation.writes

    def read(
        self, path: Sequence[str], query: bytes, body: bytes, media_type: str | None
    ) -> Arguments:
        """Return the arguments. Raises Invalid, UnsupportedMedia."""
        arguments: Arguments = dict(zip(self._path, path, strict=True))
        if body and self._form:
            _require_form(media_type)
            if query:  # a secret in an address is in everybody's logs
                raise Invalid.at("", "query parameter: send it in the form", "the form is the body")
            query, body = body, b""
        if query:
            fields = query_fields(query)
            if self._query is not None:
                arguments[self._query] = fields
            elif fields:
                unknown = [FieldError("/" + escape(n), "unknown query parameter") for n in fields]
                raise Invalid("the query does not fit", errors=unknown)
        if body:  # without one there is no media type either
            if self._body is not None:
                require_json(media_type)
                arguments[self._body] = msgspec.Raw(body)
            elif body.strip() not in {b"", b"{}"}:
                raise Invalid.at("", "takes no body", "this operation takes no body")
        return arguments


def query_fields(query: bytes) -> dict[str, str | list[str]]:
    """Read ``a=1&b=2``; a name that comes more than once has a list. Raises Invalid."""
    if len(query) > QUERY_BYTES_MAX or query.count(b"&") >= QUERY_FIELDS_MAX:
        raise Invalid(f"a query has at most {QUERY_BYTES_MAX} bytes and {QUERY_FIELDS_MAX} fields")
    fields: dict[str, str | list[str]] = {}
    for part in query.split(b"&"):
        if not part:
            continue
        name, _, value = part.partition(b"=")
        key, text = _query_text(name), _query_text(value)
        earlier = fields.get(key)
        if earlier is None:
            fields[key] = text
        elif isinstance(earlier, list):
            earlier.append(text)
        else:
            fields[key] = [earlier, text]
    return fields


def without_stream_token(query: bytes) -> tuple[str | None, bytes]:
    """Take ``stream_token`` out of a query, so that nothing behind it sees the token."""
    parts = query.split(b"&")
    tokens = [part for part in parts if part.startswith(STREAM_TOKEN)]
    if not tokens:
        return None, query
    if len(tokens) > 1:
        raise Invalid.at("/stream_token", "is there twice")
    rest = b"&".join(part for part in parts if part is not tokens[0])
    return _query_text(tokens[0].removeprefix(STREAM_TOKEN)), rest


def _query_text(raw: bytes) -> str:
    """Decode percent signs and pluses."""
    if b"%" in raw or b"+" in raw:
        raw = unquote_to_bytes(raw.replace(b"+", b" "))
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Invalid("the query is not UTF-8") from None


def require_json(media_type: str | None) -> None:
    """Raise UnsupportedMedia unless the media type is JSON in UTF-8 (RFC 8259)."""
    if media_type == "application/json":
        return
    kind, _, parameters = (media_type or "").partition(";")
    if _JSON_TYPE.fullmatch(kind.strip().lower()) is None:
        raise UnsupportedMedia(
            f"send Content-Type: application/json, not {kind.strip()[:80] or 'none'}",
            headers={"Accept": "application/json"},
        )
    charset = re.search(r"charset\s*=\s*\"?([^\s;\"]+)", parameters.lower())
    if charset is not None and charset[1] not in {"utf-8", "utf8", "us-ascii"}:
        raise UnsupportedMedia(
            "JSON must be sent as UTF-8: leave the charset out",
            headers={"Accept": "application/json"},
        )


def _require_form(media_type: str | None) -> None:
    kind = (media_type or "").partition(";")[0].strip().lower()
    if kind != FORM:
        raise UnsupportedMedia(
            f"send Content-Type: {FORM}, not {kind[:80] or 'none'}", headers={"Accept": FORM}
        )


def parse_key(header: str) -> str:
    """Read ``Idempotency-Key``, bare or as a quoted string (RFC 9651). Raises Malformed."""
    header = header.strip(" \t")
    quoted = _QUOTED.fullmatch(header)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted is not None else header
    if not 1 <= len(key) <= KEY_CHARS_MAX or (quoted is None and _BARE.fullmatch(key) is None):
        raise Malformed(f"Idempotency-Key must be 1 to {KEY_CHARS_MAX} printable ASCII characters")
    return key
