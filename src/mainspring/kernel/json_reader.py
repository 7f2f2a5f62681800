"""JSON from outside, read into a type or refused with what is wrong and where.

Of several members with one name the last counts, as RFC 8259 readers commonly do. Numbers are
finite: ``NaN`` is not JSON, and what a double cannot hold is refused.
"""

import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from itertools import accumulate
from types import MappingProxyType
from typing import Any

import msgspec

from mainspring.kernel.errors import Failure, FieldErrors, Invalid, Malformed
from mainspring.kernel.field_errors import collect, wrong_texts

JSON_DEPTH_MAX = 64  # arrays and objects inside each other

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = bytes.maketrans(b"[{]}", b"\1\1\xff\xff")  # as signed bytes: one in, one out
_SURROGATE = re.compile("[\ud800-\udfff]")
_ZERO = b"\\u0000"


class JsonReader:
    """Reads JSON into one type; made once, see ``reader_of``."""

    __slots__ = ("_decoder", "_loose", "_raw")

    def __init__(self, kind: Any) -> None:
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind)
        self._loose = holds(kind, _is_loose)
        self._raw = holds(kind, _is_raw)

    def read(self, text: bytes | msgspec.Raw) -> Any:
        """Return the value. Raises Malformed, or Invalid with all that is wrong."""
        body = bytes(text)
        try:
            read = self._decoder.decode(body)
            if self._raw:
                body.decode()  # what is raw was only scanned for its syntax
            # Decoding is linear in whatever came; only what it let through is looked at again.
            if self._loose and body.count(b"{") + body.count(b"[") > JSON_DEPTH_MAX:
                _bound_depth(body)
            if _ZERO in body:
                _refuse_zeros(body)
        except msgspec.ValidationError as error:
            raise _unfit(body, self._decoder.type, error) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise unreadable(body, error) from None
        return read


@cache
def reader_of(kind: Any) -> JsonReader:
    """Return the reader of a declared type; there are as many as operations differ."""
    return JsonReader(kind)


def _bound_depth(body: bytes) -> None:
    """Raise Malformed when JSON nests too deep. It was decoded before: its strings all end."""
    steps = _STRING.sub(b"", body).translate(_STEPS, _NOT_BRACKETS)
    if max(accumulate(memoryview(steps).cast("b")), default=0) > JSON_DEPTH_MAX:
        raise Malformed(f"JSON may be nested at most {JSON_DEPTH_MAX} levels deep")


def _unfit(body: bytes, kind: Any, error: msgspec.ValidationError) -> Failure:
    """Tell all that is wrong with a body, not only what the reader met first."""
    try:
        errors = collect(error, kind, msgspec.json.decode(body))
    except msgspec.ValidationError:  # a number that nothing can hold
        errors = collect(error, kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as worse:
        return unreadable(body, worse)
    return Invalid("the body does not fit", errors=errors)


def unreadable(body: bytes, error: Exception) -> Failure:
    """Name why a body is no JSON; a lone surrogate is readable, and no text."""
    if isinstance(error, RecursionError):
        return Malformed(f"JSON may be nested at most {JSON_DEPTH_MAX} levels deep")
    if isinstance(error, UnicodeDecodeError):
        return Malformed("JSON must be sent as UTF-8, and the body is not")
    try:
        errors = wrong_texts(
            json.loads(body), lambda text: not _is_unicode(text), "has a lone surrogate"
        )
    except (ValueError, RecursionError):
        errors = FieldErrors()
    if not errors:
        return Malformed(f"the body is not JSON: {error}")
    return Invalid("text must be valid Unicode", errors=errors)


def _refuse_zeros(body: bytes) -> None:
    value = msgspec.json.decode(body)
    errors = wrong_texts(value, lambda text: "\0" in text, "contains the character NUL")
    if errors:
        raise Invalid("text must not contain the character NUL", errors=errors)


def _is_unicode(text: str) -> bool:
    return text.isascii() or _SURROGATE.search(text) is None


@cache
def fields_of(kind: Any) -> Mapping[str, Any]:
    """The fields of a struct and their types, by the names they have in JSON; none of others."""
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return MappingProxyType({})
    fields = msgspec.structs.fields(kind)
    return MappingProxyType({field.encode_name: field.type for field in fields})


def holds(kind: Any, test: Callable[[Any], bool]) -> bool:
    """Whether a type, or a member of its union, passes the test. Asked once per operation."""
    if typing.get_origin(kind) is typing.Annotated:
        return holds(typing.get_args(kind)[0], test)
    if typing.get_origin(kind) in {typing.Union, types.UnionType}:
        return any(holds(member, test) for member in typing.get_args(kind))
    return test(kind)


def _is_loose(kind: Any) -> bool:
    """Whether its JSON may nest further than the type itself does."""
    return kind in {Any, object, msgspec.Raw, dict, list} or _inside(kind, _is_loose)


def _is_raw(kind: Any) -> bool:
    """Whether a part of its JSON is passed on unread."""
    return kind is msgspec.Raw or _inside(kind, _is_raw)


def _inside(kind: Any, test: Callable[[Any], bool]) -> bool:
    """Whether the arguments of a generic type, or the fields of a struct, hold what passes."""
    if typing.get_origin(kind) is not None:
        return any(holds(inner, test) for inner in typing.get_args(kind))
    return any(holds(inner, test) for inner in fields_of(kind).values() if inner != kind)
