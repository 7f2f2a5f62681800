"""What a call says: path, query and body read into typed arguments, or refused with pointers.

Of several members with one name the last counts, as RFC 8259 readers commonly do. Numbers are
finite: ``NaN`` is not JSON, and what a double cannot hold is refused.
"""

import contextlib
import math
import re
import typing
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from mainspring.kernel.errors import (
    FieldError,
    FieldErrors,
    Invalid,
    Malformed,
    NotFound,
    UnsupportedMedia,
)
from mainspring.kernel.field_errors import collect, escape
from mainspring.kernel.json_reader import JsonReader, fields_of, holds
from mainspring.kernel.operation import Kind, Operation

QUERY_BYTES_MAX = 16_384
QUERY_FIELDS_MAX = 128

Args = dict[str, Any]

_JSON_TYPE = re.compile(r"application/(?:json|[a-z0-9.!#$&^_-]+\+json)")


class Inputs:
    """The readers of one operation, made once when the platform starts."""

    __slots__ = (
        "_body_absent", "_body_param", "_body_reader", "_floats", "_lists",
        "_no_query", "_path", "_query_param", "_query_type", "_texts", "resumes",
    )  # fmt: skip

    def __init__(self, operation: Operation) -> None:
        self._path = tuple(
            (name, None if kind is str else kind) for name, kind in operation.path_params.items()
        )
        self._query_param = operation.query_param
        self._query_type = operation.query
        fields = fields_of(operation.query)
        self._lists = frozenset(name for name, kind in fields.items() if holds(kind, _is_list))
        self._floats = tuple(name for name, kind in fields.items() if holds(kind, _is_float))
        self._texts = frozenset(name for name, kind in fields.items() if holds(kind, _is_text))
        self._no_query: Any = None if self._query_type is None else self._defaults()
        self.resumes = operation.kind is Kind.STREAM and "after" in fields
        self._body_param = operation.body_param
        self._body_absent = absent_body(operation)
        self._body_reader = JsonReader(Any if operation.body is None else operation.body)

    def _defaults(self) -> Any:
        """What an empty query reads as; None where it does not fit. Inputs are frozen."""
        try:
            return msgspec.convert({}, self._query_type)
        except msgspec.ValidationError:
            return None

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
        wrong: dict[str, str] = {}
        for name, text in _pairs(query):
            if len(text) == 4 and text.lower() == "null" and name not in self._texts:
                wrong[name] = "leave it out instead of writing null"
            elif name in self._lists:
                fields.setdefault(name, []).append(text)
            elif name in fields:
                wrong[name] = "given more than once"
            else:
                fields[name] = text
        if resume_after is not None and self.resumes:
            fields["after"] = resume_after
        read, faults = None, FieldErrors()
        try:
            read = msgspec.convert(fields, self._query_type, strict=False)
        except msgspec.ValidationError as error:
            faults = collect(error, self._query_type, fields, strict=False)
        for name in self._floats:
            value = getattr(read, name, None)
            if isinstance(value, float) and not math.isfinite(value):
                wrong[name] = "Expected a finite number"
        if wrong or faults:
            raise _query_refused([*wrong.items()], faults)
        return read

    def _refuse_query(self, query: bytes) -> None:
        unknown = [(name, "unknown") for name, _ in _pairs(query)]
        if unknown:
            raise _query_refused(unknown)

    # The body

    def _read_body(self, body: bytes, media_type: str | None) -> Any:
        if not body:  # and then it has no media type either
            if self._body_absent is msgspec.UNSET:
                raise Malformed("a JSON body is required")
            return self._body_absent
        require_json(media_type)
        return self._body_reader.read(body)


def absent_body(operation: Operation) -> Any:
    """What a handler gets when no body comes; UNSET where one is required.

    A POST whose members may all be left out may leave out the whole. A change, or a replacement,
    without a word of what to change is a mistake.
    """
    if holds(operation.body, _is_none):
        return None
    if operation.method == "POST" and fields_of(operation.body):
        with contextlib.suppress(msgspec.ValidationError):
            return msgspec.convert({}, operation.body)
    return msgspec.UNSET


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
        raise Invalid(
            "text must not contain the character NUL",
            faults=(FieldError("", "query parameter: contains the character NUL"),),
        )
    return text


def _query_refused(wrong: Sequence[tuple[str, str]], also: FieldErrors | None = None) -> Invalid:
    faults = FieldErrors(
        FieldError("/" + escape(name), f"query parameter: {what}") for name, what in wrong
    )
    if also is not None:
        for fault in also.told:
            faults.add(fault.pointer, f"query parameter: {fault.detail}")
        faults.more += also.more
    return Invalid("the query does not fit", faults=faults)


def _path_value(name: str, value: str, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError:
        raise NotFound(f"nothing is at this {name}") from None


def _refuse_body(body: bytes) -> None:
    """An operation without input bears an empty body or an empty object."""
    if body.strip() in {b"", b"{}"}:
        return
    raise Invalid("this operation takes no body", faults=(FieldError("", "takes no body"),))


def _is_list(kind: Any) -> bool:
    return (typing.get_origin(kind) or kind) in {list, tuple, set, frozenset}


def _is_float(kind: Any) -> bool:
    return kind is float


def _is_text(kind: Any) -> bool:
    return kind is str or (isinstance(kind, type) and issubclass(kind, str))


def _is_none(kind: Any) -> bool:
    return kind is type(None)
