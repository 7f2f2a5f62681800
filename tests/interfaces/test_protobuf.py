"""Files of Protocol Buffers that are derived from operations, and what never changes in them."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

import msgspec
import pytest
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    empty_pb2,
    json_format,
    message_factory,
    struct_pb2,
)
from msgspec import UNSET, UnsetType

from mainspring import Call, Input, Service, StreamItem
from mainspring.app import services_of
from mainspring.interfaces import protobuf
from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.operation import Kind

SCALAR = descriptor_pb2.FieldDescriptorProto


class Leaf(Input, frozen=True):
    name: str
    inner: "tuple[Leaf, ...]" = ()


class NewTree(Input, frozen=True):
    name: str
    height: int | None = None
    kind: Literal["oak", "ash"] = "oak"
    leaves: list[Leaf] = msgspec.field(default_factory=list)
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    old: bool | UnsetType | None = UNSET
    notes: list[str] | None = None
    anything: Any = None


class Forest(Input, frozen=True):
    limit: int = 20


service = Service("forest", doc="Trees.")


@service.operation("POST /v1/trees/{plot}", scope=None)
async def create_tree(call: Call, plot: str, new: NewTree) -> NewTree:
    return new


@service.operation("DELETE /v1/trees/{plot}", scope=None)
async def delete_tree(call: Call, plot: str) -> None:
    return None


@service.stream("GET /v1/trees:stream", scope=None)
async def stream_trees(call: Call, query: Forest) -> AsyncIterator[StreamItem]:
    yield StreamItem(b"{}")


def loaded(*files: bytes) -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for data in (*(m.DESCRIPTOR.serialized_pb for m in (struct_pb2, empty_pb2)), *files):
        pool.AddSerializedFile(data)
    return pool


def test_what_goes_over_as_json_goes_over_as_its_message() -> None:
    (file,) = protobuf.files_of(service.operations.values())
    pool = loaded(file)
    methods = pool.FindServiceByName("mainspring.forest.v1.ForestService").methods_by_name
    assert methods["DeleteTree"].output_type.full_name == "google.protobuf.Empty"
    assert methods["StreamTrees"].server_streaming
    assert [f.name for f in methods["StreamTrees"].input_type.fields] == ["limit"]
    create = methods["CreateTree"]
    assert {f.name for f in create.input_type.fields} == {"plot", "new"}
    tree = message_factory.GetMessageClass(create.output_type)
    whole = NewTree(
        "a", 3, "ash", [Leaf("b", (Leaf("c"),))], {"x": 2}, None, ["n"], {"k": [1.5, None]}
    )
    for sent in (whole, NewTree("bare")):
        data = msgspec.json.encode(sent)
        there = json_format.Parse(data, tree()).SerializeToString()
        back = json_format.MessageToDict(tree.FromString(there))
        assert msgspec.convert(back, NewTree, strict=False) == sent
    left_out = tree.FromString(json_format.Parse('{"name":"a"}', tree()).SerializeToString())
    assert not left_out.HasField("height")
    assert not left_out.HasField("old")  # null is there, what is absent is not


def _tree(*fields: tuple[str, type]) -> type:
    return msgspec.defstruct("Tree", fields, bases=(Input,), frozen=True)


def _numbers(struct: type) -> Mapping[str, int]:
    one = Service("one", doc="One.")

    async def create_one(call: Call, new: Any) -> None:
        return None

    create_one.__annotations__["new"] = struct
    one.operation("POST /v1/one", scope=None)(create_one)
    (data,) = protobuf.files_of(one.operations.values())
    messages = descriptor_pb2.FileDescriptorProto.FromString(data).message_type
    return {f.name: f.number for m in messages if m.name == struct.__name__ for f in m.field}


def test_no_number_changes_whatever_stands_beside_it() -> None:
    before = msgspec.defstruct(
        "Tree", [("name", str), ("height", int)], bases=(Input,), frozen=True
    )
    after = msgspec.defstruct(
        "Tree", [("age", int), ("height", int), ("label", str)], bases=(Input,), frozen=True
    )
    assert _numbers(before)["height"] == _numbers(after)["height"]
    assert _numbers(before)["name"] not in _numbers(after).values()
    # Whoever generated code from these has them: another hash would break them all.
    assert _numbers(before) == {"name": 199842516, "height": 154204668}
    assert all(
        1 <= (n := protobuf.number_of(f"f{i}")) <= protobuf.NUMBER_MAX and not 19_000 <= n < 20_000
        for i in range(10_000)
    )


def test_two_names_with_one_number_are_refused() -> None:
    known: dict[int, str] = {}
    names = (f"field_{i}" for i in range(1_000_000))
    first, second = next(
        (known[n], name)
        for name in names
        if known.setdefault(n := protobuf.number_of(name), name) is not name
    )
    with pytest.raises(Misdeclared, match=f"{second} and {first} have one number"):
        _numbers(
            msgspec.defstruct("Tree", [(first, str), (second, str)], bases=(Input,), frozen=True)
        )


def test_every_operation_of_the_platform_has_its_method() -> None:
    operations = [o for s in services_of(None) for o in s.operations.values()]
    pool = loaded(*protobuf.files_of(operations))
    for operation in operations:
        name = operation.name.partition(".")[0]
        found = pool.FindServiceByName(f"mainspring.{name}.v1.{name.title()}Service")
        described = operation.kind in (Kind.UNARY, Kind.STREAM)
        assert (protobuf.method_name(operation) in found.methods_by_name) == described
