"""Operations as Protocol Buffers: a file for each service, derived from what is declared.

What holds for who generates code from these, and for who changes a struct:

- A field's number is a hash of its name. Fields may be added, removed and put in another order, and
  no number changes; a field of another name is another field. Two names of one message with one
  number are refused at the start, which happens once in some millions of messages.
- What may be left out, or be null, is ``optional``. Where null and absent mean different things,
  where there are several types, or none is declared, it is ``google.protobuf.Value``; so is a list
  or an object that may be null.
- A choice among texts is ``string``: a new choice breaks nobody. Integers are ``int64``.
- Parameters of path and query are fields of the request, beside the body, which is one field.
- Who returns nothing returns ``google.protobuf.Empty``. Items of streams are ``Value`` in ``data``.
- Uploads and downloads are not here: their bytes go over HTTP.
"""

import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from google.protobuf import descriptor_pb2
from msgspec import inspect

from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.operation import Kind, Operation

PACKAGE = "mainspring.{service}.v1"
NUMBER_MAX = (1 << 29) - 1
RESERVED_FROM, RESERVED_TO = 19_000, 20_000  # of numbers, by Protocol Buffers itself
VALUE, EMPTY = ".google.protobuf.Value", ".google.protobuf.Empty"
IMPORTS = ("google/protobuf/struct.proto", "google/protobuf/empty.proto")

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: dict[type, int] = {
    inspect.StrType: _Field.TYPE_STRING,
    inspect.BoolType: _Field.TYPE_BOOL,
    inspect.IntType: _Field.TYPE_INT64,
    inspect.FloatType: _Field.TYPE_DOUBLE,
    inspect.BytesType: _Field.TYPE_BYTES,
    inspect.DateTimeType: _Field.TYPE_STRING,
    inspect.DateType: _Field.TYPE_STRING,
    inspect.EnumType: _Field.TYPE_STRING,
}
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_]")


def number_of(name: str) -> int:
    """Return the number of a field: of its name alone, whatever stands beside it."""
    hashed = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")
    number = 1 + hashed % (NUMBER_MAX - (RESERVED_TO - RESERVED_FROM))
    return number if number < RESERVED_FROM else number + RESERVED_TO - RESERVED_FROM


def files_of(operations: Iterable[Operation]) -> list[bytes]:
    """Return the files of the services that these operations are of, each written as bytes.

    Raises Misdeclared where two fields of a message have one number.
    """
    by_service: dict[str, list[Operation]] = {}
    for operation in operations:
        if operation.kind in (Kind.UNARY, Kind.STREAM):
            by_service.setdefault(operation.name.partition(".")[0], []).append(operation)
    return [
        _File(service, of).file.SerializeToString(deterministic=True)
        for service, of in sorted(by_service.items())
    ]


def method_name(operation: Operation) -> str:
    """Return what its method is called: ``records.create_record`` is ``CreateRecord``."""
    return _camel(operation.name.partition(".")[2])


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", name))


class _File:
    """One file in the making."""

    def __init__(self, service: str, operations: Sequence[Operation]) -> None:
        self.package = PACKAGE.format(service=service)
        self.file = descriptor_pb2.FileDescriptorProto(
            name=f"mainspring/{service}/v1/{service}.proto", package=self.package, syntax="proto3",
            dependency=IMPORTS,
        )  # fmt: skip
        self._messages: dict[str, str] = {}  # of each struct its message, by what it is made of
        self._names: set[str] = set()
        declared = self.file.service.add(name=f"{_camel(service)}Service")
        for operation in operations:
            name = method_name(operation)
            streams = operation.kind is Kind.STREAM
            declared.method.add(
                name=name,
                input_type=self._request(name, operation),
                output_type=self._items(name) if streams else self._response(operation.response),
                server_streaming=streams,
            )

    def _request(self, name: str, operation: Operation) -> str:
        message = self._new(f"{name}Request")
        for param, kind in operation.path_params.items():
            self._add(message, param, inspect.type_info(kind), required=True)
        if operation.query is not None:
            self._add_all(message, inspect.type_info(operation.query))
        if operation.body_param is not None:
            self._add(message, operation.body_param, _info(operation.body), required=True)
        return self._checked(message)

    def _response(self, kind: Any) -> str:
        if kind is None or kind is type(None):
            return EMPTY
        info = _bare(_info(kind))
        return self._struct(info) if isinstance(info, inspect.StructType) else VALUE

    def _items(self, name: str) -> str:
        message = self._new(f"{name}Response")
        text = inspect.StrType()
        self._add(message, "id", text, required=False)
        self._add(message, "event", text, required=False)
        self._add(message, "data", inspect.AnyType(), required=True)
        return self._checked(message)

    def _new(self, name: str) -> Any:
        """Begin a message; one more of a name is told from the first by a number."""
        unique, more = name, 2
        while unique in self._names:
            unique, more = f"{name}{more}", more + 1
        self._names.add(unique)
        return self.file.message_type.add(name=unique)

    def _checked(self, message: Any) -> str:
        """Return the full name of a message whose fields are all there. Raises Misdeclared."""
        known: dict[int, str] = {}
        for field in message.field:
            if field.number in known:
                raise Misdeclared(
                    f"{self.package}.{message.name}: {field.name} and {known[field.number]} have "
                    "one number in Protocol Buffers: rename one of them"
                )
            known[field.number] = field.name
        return f".{self.package}.{message.name}"

    def _struct(self, info: inspect.StructType) -> str:
        """Return the message of a struct, which is made when it is met first."""
        key = repr(info.cls)
        if key not in self._messages:
            message = self._new(_struct_name(info.cls))
            self._messages[key] = f".{self.package}.{message.name}"
            self._add_all(message, info)
            self._checked(message)
        return self._messages[key]

    def _add_all(self, message: Any, info: inspect.Type) -> None:
        assert isinstance(info, inspect.StructType)
        for field in info.fields:
            defaults = (field.default, field.default_factory)
            # What has UNSET as its default shows none: there absent is not null.
            three = not field.required and defaults == (msgspec.NODEFAULT, msgspec.NODEFAULT)
            self._add(message, field.encode_name, field.type, required=field.required, three=three)

    def _add(
        self,
        message: Any,
        name: str,
        info: inspect.Type,
        *,
        required: bool,
        three: bool = False,
    ) -> None:
        field = message.field.add(
            name=_NOT_IN_NAMES.sub("_", name), json_name=name, number=number_of(name),
            label=_Field.LABEL_OPTIONAL,
        )  # fmt: skip
        nullable = _nullable(info)
        info = _bare(info)
        if isinstance(info, inspect.ListType | inspect.VarTupleType) and not nullable:
            field.label = _Field.LABEL_REPEATED
            self._kind(field, _bare(info.item_type), whole=not _nullable(info.item_type))
        elif isinstance(info, inspect.DictType) and not nullable:
            self._map(message, field, info)
        else:
            self._kind(field, info, whole=not (nullable and three))
            if field.type != _Field.TYPE_MESSAGE and (nullable or not required):
                alone = len(message.oneof_decl)
                field.MergeFrom(_Field(proto3_optional=True, oneof_index=alone))
                message.oneof_decl.add(name=f"_{field.name}")

    def _map(self, message: Any, field: Any, info: inspect.DictType) -> None:
        marked = descriptor_pb2.MessageOptions(map_entry=True)
        entry = message.nested_type.add(name=f"{_camel(field.name)}Entry", options=marked)
        entry.field.add(name="key", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
        value = entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL)
        self._kind(value, _bare(info.value_type), whole=not _nullable(info.value_type))
        field.label = _Field.LABEL_REPEATED
        field.MergeFrom(_of(f".{self.package}.{message.name}.{entry.name}"))

    def _kind(self, field: Any, info: inspect.Type, *, whole: bool) -> None:
        """Say of what type a field is; of any where it is not ``whole``, or may be of several."""
        scalar = _scalar(info)
        if whole and scalar is not None:
            field.type = scalar
            return
        known = whole and isinstance(info, inspect.StructType)
        field.MergeFrom(_of(self._struct(info) if known else VALUE))  # type: ignore[arg-type]


def _of(message: str) -> Any:
    return _Field(type=_Field.TYPE_MESSAGE, type_name=message)


def _info(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


def _scalar(info: inspect.Type) -> int | None:
    if isinstance(info, inspect.LiteralType):
        texts = all(isinstance(value, str) for value in info.values)
        return int(_Field.TYPE_STRING if texts else _Field.TYPE_INT64)
    return _SCALARS.get(type(info))


def _nullable(info: inspect.Type) -> bool:
    while isinstance(info, inspect.Metadata):
        info = info.type
    return isinstance(info, inspect.UnionType) and info.includes_none


def _bare(info: inspect.Type) -> inspect.Type:
    """Return a type without what constrains it, and without null."""
    while isinstance(info, inspect.Metadata):
        info = info.type
    if isinstance(info, inspect.UnionType):
        others = [one for one in info.types if not isinstance(one, inspect.NoneType)]
        return _bare(others[0]) if len(others) == 1 else inspect.AnyType()
    return info


def _struct_name(kind: Any) -> str:
    """Return what a struct's message is called: ``Page[User]`` is ``PageOfUser``."""
    arguments = getattr(kind, "__args__", ())
    name = getattr(kind, "__name__", str(kind)).partition("[")[0]
    return _camel("_of_".join([name, *(getattr(a, "__name__", "Value") for a in arguments)]))
