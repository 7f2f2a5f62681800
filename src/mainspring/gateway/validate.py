"""What a call says: path, query and body read into typed arguments, or refused with pointers.

Of several members with one name the last counts, as RFC 8259 readers commonly do. Numbers are
finite: ``NaN`` is not JSON, and what a double cannot hold is refused.
"""

import json
import math
import re
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import inspect

from mainspring.kernel.errors import Failure, Fault, Invalid, Malformed, NotFound, UnsupportedMedia
from mainspring.kernel.operation import Kind, Operation

JSON_DEPTH_MAX = 64  # arrays and objects inside each other
QUERY_BYTES_MAX = 16_384
QUERY_FIELDS_MAX = 128

Args = dict[str, Any]

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_WHERE = re.compile(r" - at `(?:key in )?(\$[^`]*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`")
_MISSING = re.compile(r"Object missing required field `([^`]*)`")
_UNHELPFUL = ("Invalid enum value", "Expected `str` matching regex")
_JSON_TYPE = re.compile(r"application/(?:json|[a-z0-9.!#$&^_-]+\+json)")
_ZERO = b"\\u0000"


class Inputs:
    """The readers of one operation, made once when the platform starts."""

    __slots__ = (
        "_body_decoder", "_body_loose", "_body_optional", "_body_param", "_body_raw", "_floats",
        "_lists", "_no_query", "_path", "_query_param", "_query_type", "_texts", "resumes",
    )  # fmt: skip

    def __init__(self, operation: Operation) -> None:
        self._path = tuple(
            (name, None if kind is str else kind) for name, kind in operation.path_params.items()
        )
        self._query_param = operation.query_param
        self._query_type = operation.query
        fields = _fields(operation.query)
        self._lists = frozenset(name for name, kind in fields.items() if _holds(kind, _is_list))
        self._floats = tuple(name for name, kind in fields.items() if _holds(kind, _is_float))
        self._texts = frozenset(name for name, kind in fields.items() if _holds(kind, _is_text))
        self._no_query: Any = None if self._query_type is None else self._defaults()
        self.resumes = operation.kind is Kind.STREAM and "after" in fields
        self._body_param = operation.body_param
        self._body_optional = _holds(operation.body, _is_none)
        self._body_loose = _holds(operation.body, _is_loose)
        self._body_raw = _holds(operation.body, _is_raw)
        self._body_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
            Any if operation.body is None else operation.body
        )

    def _defaults(self) -> Any:
        """What an empty query reads as; None where it does not fit. Inputs are frozen."""
        try:
            return msgspec.convert({}, self._query_type)
        except msgspec.ValidationError:
            return None

    @property
    def takes_body(self) -> bool:
        """Whether the operation reads a body of JSON."""
        return self._body_param is not None

    def read(
        self,
        path: Sequence[str],
        query: bytes,
        body: bytes | None,
        media_type: str | None,
        resume_after: str | None = None,
    ) -> Args:
        """Return the handler's arguments. ``body`` is None when somebody else reads it.

        Raises NotFound, Malformed, UnsupportedMedia or Invalid with what is wrong and where.
        """
        args: Args = {}
        for (name, kind), value in zip(self._path, path, strict=True):
            args[name] = value if kind is None else _path_value(name, value, kind)
        if self._query_param is not None:
            empty = None if query or resume_after else self._no_query
            args[self._query_param] = empty or self._read_query(query, resume_after)
        elif query:
            self._refuse_query(query)
        if self._body_param is not None and body is not None:
            args[self._body_param] = self._read_body(body, media_type)
        elif body:
            _refuse_body(body)
        return args

    # The query

    def _read_query(self, query: bytes, resume_after: str | None) -> Any:
        fields: dict[str, Any] = {}
        for name, value in _pairs(query):
            if len(value) == 4 and value.lower() == "null" and name not in self._texts:
                raise _query_fault(name, "leave it out instead of writing null")
            if name in self._lists:
                fields.setdefault(name, []).append(value)
            elif name in fields:
                raise _query_fault(name, "given more than once")
            else:
                fields[name] = value
        if resume_after is not None and self.resumes:
            fields["after"] = resume_after
        try:
            read = msgspec.convert(fields, self._query_type, strict=False)
        except msgspec.ValidationError as error:
            pointer, detail = explain(error, self._query_type)
            raise Invalid(
                "the query does not fit", faults=(Fault(pointer, f"query parameter: {detail}"),)
            ) from None
        for name in self._floats:
            value = getattr(read, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise _query_fault(name, "Expected a finite number")
        return read

    def _refuse_query(self, query: bytes) -> None:
        for name, _ in _pairs(query):
            raise _query_fault(name, "unknown")

    # The body

    def _read_body(self, body: bytes, media_type: str | None) -> Any:
        if not body and self._body_optional:
            return None
        require_json(media_type)
        if not body:
            raise Malformed("a JSON body is required")
        if self._body_loose and body.count(b"{") + body.count(b"[") > JSON_DEPTH_MAX:
            _bound_depth(body)
        try:
            read = self._body_decoder.decode(body)
            if self._body_raw:
                body.decode()  # what is raw was only scanned for its syntax
            if _ZERO in body:
                _refuse_zeros(body)
        except msgspec.ValidationError as error:
            pointer, detail = explain(error, self._body_decoder.type)
            raise Invalid("the body does not fit", faults=(Fault(pointer, detail),)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _unreadable(body, error) from None
        return read


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
        raise UnsupportedMedia("JSON is UTF-8", headers={"Accept": "application/json"})


def explain(error: msgspec.ValidationError, kind: Any = None) -> tuple[str, str]:
    """Turn msgspec's message into a JSON Pointer (RFC 6901) and a detail.

    With the type that was wanted, the detail names the values or the form that it allows.
    """
    text = str(error)
    pointer = ""
    where = _WHERE.search(text)
    if where is not None:
        text = text[: where.start()]
        for name, index in _STEP.findall(where[1]):
            pointer += "/" + (escape(name) if name else "*" if index == "..." else index)
    for pattern, detail in ((_UNKNOWN, "unknown field"), (_MISSING, "required")):
        named = pattern.match(text)
        if named is not None:
            return f"{pointer}/{escape(named[1])}", detail
    if kind is not None and text.startswith(_UNHELPFUL):
        text = _allowed(kind, where[1] if where else "$") or text
    return pointer, text


def _allowed(kind: Any, path: str) -> str:
    """Say which values or which form fit at the path of a type; nothing where types branch."""
    found: Any = _bare(inspect.type_info(kind))
    for name, _ in _STEP.findall(path):
        if isinstance(found, inspect.StructType):
            found = next((f.type for f in found.fields if f.encode_name == name), None)
        elif isinstance(found, inspect.ListType):
            found = found.item_type
        else:
            return ""
        found = _bare(found)
    if isinstance(found, inspect.LiteralType | inspect.EnumType):
        values = (
            found.values if isinstance(found, inspect.LiteralType) else [e.value for e in found.cls]
        )
        return f"Expected one of {', '.join(map(str, values))}"
    if isinstance(found, inspect.Metadata) and found.extra_json_schema:
        return f"Expected {found.extra_json_schema.get('description', 'another form')}"
    return ""


def _bare(kind: Any) -> Any:
    """Take ``| None`` and what says no more than the type itself off a type."""
    if isinstance(kind, inspect.UnionType):
        members = [m for m in kind.types if not isinstance(m, inspect.NoneType)]
        kind = members[0] if len(members) == 1 else kind
    if isinstance(kind, inspect.Metadata) and not isinstance(kind.type, inspect.StrType):
        kind = _bare(kind.type)
    return kind


def escape(name: str) -> str:
    """Write a member's name as one step of a JSON Pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def decode_segment(segment: str) -> str:
    """Percent-decode one path segment. Raises NotFound when it is not text without NUL."""
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise NotFound() from None
    if "\0" in text:
        raise NotFound()
    return text


def _pairs(query: bytes) -> Iterator[tuple[str, str]]:
    """Split ``a=1&b=2``, decoding percent signs and pluses. Raises Invalid on what is no text."""
    if len(query) > QUERY_BYTES_MAX or query.count(b"&") >= QUERY_FIELDS_MAX:
        raise Invalid(f"a query has at most {QUERY_BYTES_MAX} bytes, {QUERY_FIELDS_MAX} fields")
    for part in query.split(b"&"):
        if not part:
            continue
        name, _, value = part.partition(b"=")
        yield _query_text(name), _query_text(value)


def _query_text(raw: bytes) -> str:
    if b"%" in raw or b"+" in raw:
        raw = unquote_to_bytes(raw.replace(b"+", b" "))
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise Invalid("the query is not UTF-8") from None
    if "\0" in text:
        raise Invalid("text has no NUL", faults=(Fault("", "query parameter: has a NUL"),))
    return text


def _query_fault(name: str, what: str) -> Invalid:
    fault = Fault("/" + escape(name), f"query parameter: {what}")
    return Invalid("the query does not fit", faults=(fault,))


def _path_value(name: str, value: str, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError:
        raise NotFound(f"nothing is at this {name}") from None


def _refuse_body(body: bytes) -> None:
    """An operation without input bears an empty body or an empty object."""
    if body.strip() in {b"", b"{}"}:
        return
    raise Invalid("this operation takes no body", faults=(Fault("", "takes no body"),))


def _bound_depth(body: bytes) -> None:
    depth = 0
    for byte in _STRING.sub(b"", body):
        if byte in b"[{":
            depth += 1
            if depth > JSON_DEPTH_MAX:
                raise Malformed(f"JSON is nested at most {JSON_DEPTH_MAX} deep")
        elif byte in b"]}":
            depth -= 1


def _unreadable(body: bytes, error: Exception) -> Failure:
    """Name why a body is no JSON; a lone surrogate is readable, and no text."""
    if isinstance(error, RecursionError):
        return Malformed(f"JSON is nested at most {JSON_DEPTH_MAX} deep")
    if isinstance(error, UnicodeDecodeError):
        return Malformed("JSON is UTF-8")
    try:
        found = list(_texts(json.loads(body), lambda text: not _is_unicode(text)))
    except (ValueError, RecursionError):
        found = []
    if not found:
        return Malformed(f"the body is not JSON: {error}")
    faults = tuple(Fault(pointer, "has a lone surrogate") for pointer in found)
    return Invalid("text is valid Unicode", faults=faults)


def _refuse_zeros(body: bytes) -> None:
    found = list(_texts(msgspec.json.decode(body), lambda text: "\0" in text))
    if found:
        faults = tuple(Fault(pointer, "has a NUL") for pointer in found)
        raise Invalid("text has no NUL", faults=faults)


def _texts(value: Any, wrong: Callable[[str], bool], pointer: str = "") -> Iterator[str]:
    """Point at every text, names of members included, that is wrong."""
    if isinstance(value, str):
        if wrong(value):
            yield pointer
    elif isinstance(value, dict):
        for name, inner in value.items():
            if wrong(name):
                yield pointer
            else:
                yield from _texts(inner, wrong, f"{pointer}/{escape(name)}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, wrong, f"{pointer}/{index}")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# What a type holds, asked once per operation


def _fields(kind: Any) -> dict[str, Any]:
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return {}
    return {field.encode_name: field.type for field in msgspec.structs.fields(kind)}


def _holds(kind: Any, test: Callable[[Any], bool]) -> bool:
    """Whether a type, or a member of its union, passes the test."""
    if typing.get_origin(kind) is typing.Annotated:
        return _holds(typing.get_args(kind)[0], test)
    if typing.get_origin(kind) in {typing.Union, types.UnionType}:
        return any(_holds(member, test) for member in typing.get_args(kind))
    return test(kind)


def _is_list(kind: Any) -> bool:
    return (typing.get_origin(kind) or kind) in {list, tuple, set, frozenset}


def _is_float(kind: Any) -> bool:
    return kind is float


def _is_text(kind: Any) -> bool:
    return kind is str or (isinstance(kind, type) and issubclass(kind, str))


def _is_none(kind: Any) -> bool:
    return kind is type(None)


def _is_loose(kind: Any) -> bool:
    """Whether its JSON may nest further than the type itself does."""
    return kind in {Any, object, msgspec.Raw, dict, list} or _inside(kind, _is_loose)


def _is_raw(kind: Any) -> bool:
    """Whether a part of its JSON is passed on unread."""
    return kind is msgspec.Raw or _inside(kind, _is_raw)


def _inside(kind: Any, test: Callable[[Any], bool]) -> bool:
    """Whether the arguments of a generic type, or the fields of a struct, hold what passes."""
    if typing.get_origin(kind) is not None:
        return any(_holds(inner, test) for inner in typing.get_args(kind))
    return any(_holds(inner, test) for inner in _fields(kind).values() if inner != kind)
