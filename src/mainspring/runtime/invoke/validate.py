"""What a call says, read into the handler's arguments or refused with pointers.

What an address is made of comes as text, which is read loosely: ``7`` is a number where one is
wanted. A body is JSON, which is read strictly. Numbers are finite.
"""

import contextlib
import math
import typing
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from mainspring.kernel.errors import (
    FieldError,
    FieldErrors,
    Invalid,
    Malformed,
    NotFound,
)
from mainspring.kernel.field_errors import collect, escape
from mainspring.kernel.json_reader import fields_of, holds, reader_of
from mainspring.kernel.operation import Kind, Operation, OwnCredentials

Args = dict[str, Any]


class Inputs:
    """The readers of one operation, made once when the platform starts."""

    __slots__ = (
        "_body_absent", "_body_param", "_body_reader", "_body_type", "_credentials", "_floats",
        "_foreign", "_lists", "_name", "_names", "_no_query", "_path", "_query_param",
        "_query_type", "_texts", "resumes",
    )  # fmt: skip

    def __init__(self, operation: Operation) -> None:
        self._name = operation.name
        self._path = tuple(operation.path_params.items())
        self._credentials = operation.credentials_param
        others = (
            operation.query_param, operation.body_param, operation.upload_param,
            operation.credentials_param,
        )  # fmt: skip
        self._names = {*operation.path_params, *(name for name in others if name is not None)}
        self._query_param = operation.query_param
        self._query_type = operation.query
        fields = fields_of(operation.query)
        # Of somebody else's form only what is known of it is looked at.
        self._foreign = frozenset(fields) if operation.takes_form else None
        self._lists = frozenset(name for name, kind in fields.items() if holds(kind, _is_list))
        self._floats = tuple(name for name, kind in fields.items() if holds(kind, _is_float))
        self._texts = frozenset(name for name, kind in fields.items() if holds(kind, _is_text))
        self._no_query: Any = None if self._query_type is None else self._defaults()
        self.resumes = operation.kind is Kind.STREAM and "after" in fields
        self._body_param = operation.body_param
        self._body_type = operation.body if isinstance(operation.body, type) else None
        self._body_absent = absent_body(operation)
        self._body_reader = reader_of(Any if operation.body is None else operation.body)

    def _defaults(self) -> Any:
        """What an empty query reads as; None where it does not fit. Inputs are frozen."""
        try:
            return msgspec.convert({}, self._query_type)
        except msgspec.ValidationError:
            return None

    def read(self, arguments: Mapping[str, Any], resume_after: str | None = None) -> Args:
        """Return the handler's arguments; what is of the wanted type already is taken as it is.

        A part that belongs to an upload is left to who stores it. Raises NotFound, Malformed or
        Invalid with what is wrong and where.
        """
        if not arguments.keys() <= self._names:
            self._refuse(arguments.keys() - self._names)
        args: Args = {}
        for name, kind in self._path:
            value = arguments.get(name)
            args[name] = value if type(value) is kind else self._path_value(name, value, kind)
            if type(value) is str and "\0" in value:
                raise NotFound()
        if self._query_param is not None:
            query = arguments.get(self._query_param)
            if not (query or resume_after) and self._no_query is not None:
                args[self._query_param] = self._no_query
            elif type(query) is self._query_type and resume_after is None:
                args[self._query_param] = query
            else:
                args[self._query_param] = self._read_query(query, resume_after)
        if self._body_param is not None:
            args[self._body_param] = self._read_body(arguments.get(self._body_param, msgspec.UNSET))
        if self._credentials is not None:
            own = arguments.get(self._credentials) or OwnCredentials()
            if type(own) is msgspec.Raw:
                own = msgspec.json.decode(own, type=OwnCredentials)
            args[self._credentials] = own
        return args

    def _refuse(self, unknown: Collection[str]) -> None:
        raise Invalid(
            f"{self._name} takes {', '.join(sorted(self._names)) or 'no arguments'}",
            errors=[FieldError("/" + escape(name), "unknown argument") for name in unknown],
        )

    def _path_value(self, name: str, value: Any, kind: Any) -> Any:
        if value is None:
            raise Invalid.at("/" + name, "required", f"{self._name} needs {name}")
        try:
            return msgspec.convert(_plain(value), kind, strict=False)
        except msgspec.ValidationError:
            raise NotFound(f"there is nothing with this {name}") from None

    def _read_query(self, query: Any, resume_after: str | None) -> Any:
        """Read text, or plain values; a name that came more than once has a list of them."""
        given = query if type(query) is dict else _plain(query or {})
        if self._foreign is not None:
            given = {name: value for name, value in given.items() if name in self._foreign}
        fields: dict[str, Any] = {}
        wrong: dict[str, str] = {}
        for name, value in given.items():
            values = value if isinstance(value, list) else [value]
            if "\0" in name or any(isinstance(v, str) and "\0" in v for v in values):
                raise Invalid.at(
                    "",
                    "query parameter: contains the character NUL",
                    "text must not contain the character NUL",
                )
            if name not in self._texts and any(_is_null(v) for v in values):
                wrong[name] = "leave it out instead of writing null"
            elif name in self._lists:
                fields[name] = values
            elif len(values) > 1:
                wrong[name] = "given more than once"
            else:
                fields[name] = values[0]
        if resume_after is not None and self.resumes:
            fields["after"] = resume_after
        read, errors = None, FieldErrors()
        try:
            read = msgspec.convert(fields, self._query_type, strict=False)
        except msgspec.ValidationError as error:
            errors = collect(error, self._query_type, fields, strict=False)
        for name in self._floats:
            value = getattr(read, name, None)
            if isinstance(value, float) and not math.isfinite(value):
                wrong[name] = "Expected a finite number"
        if wrong or errors:
            raise _query_refused([*wrong.items()], errors)
        return read

    def _read_body(self, body: Any) -> Any:
        if type(body) is msgspec.Raw:
            return self._body_reader.read(body)
        if body is msgspec.UNSET:
            if self._body_absent is msgspec.UNSET:
                raise Malformed("a JSON body is required")
            return self._body_absent
        if self._body_type is not None and isinstance(body, self._body_type):
            return body
        return self._body_reader.read(msgspec.json.encode(body))


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


def _query_refused(wrong: Sequence[tuple[str, str]], also: FieldErrors | None = None) -> Invalid:
    errors = FieldErrors(
        FieldError("/" + escape(name), f"query parameter: {what}") for name, what in wrong
    )
    if also is not None:
        told = (FieldError(each.pointer, f"query parameter: {each.detail}") for each in also.told)
        errors.extend(told, also.more)
    return Invalid("the query does not fit", errors=errors)


def _plain(value: Any) -> Any:
    """What stands for a value: JSON read, a struct taken apart."""
    return msgspec.json.decode(value) if type(value) is msgspec.Raw else msgspec.to_builtins(value)


def _is_null(value: object) -> bool:
    return isinstance(value, str) and len(value) == 4 and value.lower() == "null"


def _is_list(kind: Any) -> bool:
    return (typing.get_origin(kind) or kind) in {list, tuple, set, frozenset}


def _is_float(kind: Any) -> bool:
    return kind is float


def _is_text(kind: Any) -> bool:
    return kind is str or (isinstance(kind, type) and issubclass(kind, str))


def _is_none(kind: Any) -> bool:
    return kind is type(None)
