"""The GraphQL schema: a type for each JSON Schema of OpenAPI, a root field for each operation.

What can be hidden from a caller is null for them, so no field of an answer promises a value. What
JSON Schema says and GraphQL has no word for (unions, maps, enumerations) is ``JSON`` or ``String``.
"""

import asyncio
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLError,
    GraphQLField,
    GraphQLFloat,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
    IntValueNode,
    ValueNode,
    value_from_ast_untyped,
)

from mainspring.interfaces.openapi import OpenApiDocument
from mainspring.kernel.lru_cache import LruCache
from mainspring.kernel.operation import Kind, Operation, OperationVariant

Json = Mapping[str, Any]

INTROSPECTED_BYTES_MAX = 4 << 20  # of what introspection answered, for each schema
INT_MAX = (1 << 31) - 1
LONG_MAX = (1 << 63) - 1
KEY_ARGUMENT = "idempotencyKey"
MATCH_ARGUMENT = "ifMatch"

_NAME = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]*")
_ILLEGAL = re.compile(r"[^A-Za-z0-9]+")
_MATCHED = frozenset({"PUT", "PATCH", "DELETE"})


def _long(value: Any) -> int:
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not -LONG_MAX - 1 <= value <= LONG_MAX:
        raise GraphQLError("Long is a whole number of 64 bits")
    return value


def _long_literal(node: ValueNode, _: Any = None) -> int:
    # No more digits than it can have: reading a number of any length takes its square in time.
    if not isinstance(node, IntValueNode) or len(node.value) > 20:
        raise GraphQLError("Long is a whole number of 64 bits")
    return _long(int(node.value))


def _json(value: Any) -> Any:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)
        elif isinstance(each, float) and not math.isfinite(each):
            raise GraphQLError("JSON holds finite numbers")
        elif type(each) is int and not -LONG_MAX - 1 <= each <= 2 * LONG_MAX + 1:
            raise GraphQLError("JSON holds whole numbers of 64 bits")
    return value


def _json_literal(node: ValueNode, variables: Any = None) -> Any:
    try:
        return _json(value_from_ast_untyped(node, variables))
    except ValueError:  # a number of too many digits
        raise GraphQLError("JSON holds whole numbers of 64 bits") from None


LONG = GraphQLScalarType(
    "Long", parse_value=_long, parse_literal=_long_literal, description="A whole number of 64 bits."
)
JSON = GraphQLScalarType(
    "JSON", parse_value=_json, parse_literal=_json_literal, description="Any JSON."
)


class RootField(msgspec.Struct, frozen=True):
    """What a root field calls: an operation, with what of its path is given by its name."""

    operation: Operation
    values: Mapping[str, str]
    path: frozenset[str]
    query: frozenset[str]
    chooses: bool  # its ``fields`` can be asked for by what is selected


class Schema:
    """A schema with what its root fields call. It is never changed: another one takes its place."""

    __slots__ = ("graphql", "introspected", "introspecting", "roots")

    def __init__(self, document: OpenApiDocument, operations: Iterable[Operation],
                 shapes: Iterable[OperationVariant]) -> None:  # fmt: skip
        made = _Types()
        by_name = {operation.name: operation for operation in operations}
        served = [o for o in by_name.values() if o.kind is Kind.UNARY]
        self.roots: dict[str, RootField] = {}
        self.introspected: LruCache[tuple[str, str, str], bytes] = LruCache(
            INTROSPECTED_BYTES_MAX, size_of=len
        )
        self.introspecting = asyncio.Lock()  # one takes a fifth of a second of the processor
        fields: dict[bool, dict[str, GraphQLField]] = {False: {}, True: {}}
        faces: list[tuple[Operation, OperationVariant | None]] = [(o, None) for o in served]
        for shape in shapes:
            of = by_name.get(shape.operation)
            if of is not None and of.kind is Kind.UNARY and _NAME.fullmatch(shape.name):
                faces.append((of, shape))
        for operation, face in faces:
            name = operation.name.replace(".", "_")
            if face is not None:
                name = f"{name}__{face.name}"
            if not _NAME.fullmatch(name) or name in self.roots:
                continue
            described = document.describe(operation, face)
            field, self.roots[name] = made.root(name, operation, face, described)
            fields[operation.writes][name] = field
        self.graphql = GraphQLSchema(
            query=GraphQLObjectType("Query", fields[False]),
            mutation=GraphQLObjectType("Mutation", fields[True]) if fields[True] else None,
            assume_valid=True,
        )


class _Types:
    """Makes types of JSON Schemas. What is alike, and named alike, is one type."""

    def __init__(self) -> None:
        self._components: dict[str, Json] = {}
        self._outputs: dict[str, GraphQLObjectType] = {}
        self._inputs: dict[str, GraphQLInputObjectType] = {}
        self._names: dict[str, bytes] = {}

    def root(
        self, name: str, operation: Operation, shape: OperationVariant | None, described: Json
    ) -> tuple[GraphQLField, RootField]:
        """Return a root field, and what it calls."""
        self._components.update(described.get("components", {}).get("schemas", {}))
        fixed = {} if shape is None else shape.values
        path = [p for p in operation.path_params if p not in fixed]
        hint = _pascal(operation.name if shape is None else shape.name + "_record")
        arguments: dict[str, GraphQLArgument] = {}
        names: dict[str, list[str]] = {"path": [], "query": []}
        for place in ("path", "query"):
            part = described.get(place, {})
            for each, schema in part.get("properties", {}).items():
                if each in fixed or (place == "path" and each not in path):
                    continue
                kind = self.input(schema, hint + _pascal(each), required=each in part["required"])
                arguments.setdefault(
                    each, GraphQLArgument(kind, description=schema.get("description"))
                )
                names[place].append(each)
        if operation.body_param is not None and "body" in described:
            verb = operation.name.rpartition(".")[2].partition("_")[0]
            wanted = _pascal(name) if shape is None else _pascal(verb) + hint
            body = self.input(described["body"], wanted, required=False)
            arguments["body"] = GraphQLArgument(body)
        if operation.writes:
            arguments[KEY_ARGUMENT] = GraphQLArgument(GraphQLString)
        if operation.method in _MATCHED and operation.path_params:
            arguments[MATCH_ARGUMENT] = GraphQLArgument(GraphQLString)
        answer = dict(described.get("answer", {}))
        if shape is not None:
            answer = _expanding(answer)
        kind = self.output(answer, hint) if answer else JSON
        called = RootField(
            operation, fixed, frozenset(names["path"]), frozenset(names["query"]),
            shape is not None and "fields" in names["query"],
        )  # fmt: skip
        return GraphQLField(kind, arguments, description=operation.doc), called

    def _resolve(self, schema: Json) -> tuple[Json, str | None]:
        """Follow a reference, and take null out of a choice."""
        named = None
        for _ in range(8):
            if "$ref" in schema:
                named = str(schema["$ref"]).rpartition("/")[2]
                schema = self._components.get(named, {})
                continue
            options = [o for o in schema.get("anyOf", ()) if o != {"type": "null"}]
            if len(options) == 1 and not schema.get("type"):
                schema = options[0]
                continue
            break
        return schema, named

    def output(self, schema: Json, hint: str) -> Any:
        """Return the type of an answer."""
        schema, named = self._resolve(schema)
        kind = _kind(schema)
        if kind == "array":
            return GraphQLList(self.output(schema.get("items", {}), hint))
        if kind != "object":
            return _scalar(schema, kind)
        properties = schema.get("properties", {})
        if not properties or not all(map(_NAME.fullmatch, properties)):
            return JSON
        if named is None and "items" in properties:
            hint += "Page"
        # Of an answer nothing is promised, so it is alike whether or not all of it is required.
        promised = {each: of for each, of in schema.items() if each != "required"}
        name = self._name(_pascal(named or hint), promised)
        if name not in self._outputs:
            inner = hint.removesuffix("Page")

            def fields() -> dict[str, GraphQLField]:
                return {
                    each: GraphQLField(
                        self.output(of, inner if each == "items" else name + _pascal(each)),
                        description=of.get("description"),
                    )
                    for each, of in properties.items()
                }

            self._outputs[name] = GraphQLObjectType(
                name, fields, description=schema.get("description")
            )
        return self._outputs[name]

    def input(self, schema: Json, hint: str, *, required: bool) -> Any:
        """Return the type of an argument, or of a part of one."""
        resolved, named = self._resolve(schema)
        kind = _kind(resolved)
        made: Any
        if kind == "array":
            made = GraphQLList(self.input(resolved.get("items", {}), hint, required=False))
        elif kind != "object":
            made = _scalar(resolved, kind)
        else:
            made = self._input_object(resolved, named, hint)
        nullable = not required or _takes_null(schema) or (made is JSON and kind != "object")
        return made if nullable else GraphQLNonNull(made)

    def _input_object(self, schema: Json, named: str | None, hint: str) -> Any:
        properties = schema.get("properties", {})
        if not properties or not all(map(_NAME.fullmatch, properties)):
            return JSON
        name = self._name(_pascal(named or hint) + "Input", schema)
        if name not in self._inputs:
            needed = set(schema.get("required", ()))

            def fields() -> dict[str, GraphQLInputField]:
                return {
                    each: GraphQLInputField(
                        self.input(of, name + _pascal(each), required=each in needed),
                        description=of.get("description"),
                    )
                    for each, of in properties.items()
                }

            self._inputs[name] = GraphQLInputObjectType(name, fields)
        return self._inputs[name]

    def _name(self, wanted: str, schema: Json) -> str:
        """Return a name that no other schema has."""
        said = msgspec.json.encode(schema, order="deterministic")
        name, count = wanted, 1
        while name in _TAKEN or self._names.setdefault(name, said) != said:
            count += 1
            name = f"{wanted}{count}"
        return name


_TAKEN = frozenset({"Query", "Mutation", "Subscription", "JSON", "Long", "Int", "Float", "String",
                    "Boolean", "ID"})  # fmt: skip


def _expanding(answer: Json) -> dict[str, Any]:
    """Give records the member that what they refer to is told in."""
    properties = dict(answer.get("properties", {}))
    if "items" in properties:
        items = properties["items"]
        properties["items"] = {**items, "items": _expanding(items.get("items", {}))}
    elif properties:
        properties.setdefault("expand", {"description": "what `expand` asked for"})
    return {**answer, "properties": properties}


def _pascal(name: str) -> str:
    made = "".join(part[:1].upper() + part[1:] for part in _ILLEGAL.split(name))
    return made if made[:1].isalpha() else "T" + made


def _kind(schema: Json) -> str:
    kind = schema.get("type", "")
    if isinstance(kind, list | tuple):
        others = [each for each in kind if each != "null"]
        kind = others[0] if len(others) == 1 else ""
    values = schema.get("enum", [schema["const"]] if "const" in schema else ())
    if not kind and values and all(isinstance(v, str | None) for v in values):
        kind = "string"
    return str(kind)


def _takes_null(schema: Json) -> bool:
    kind = schema.get("type")
    listed = isinstance(kind, list | tuple) and "null" in kind
    return listed or {"type": "null"} in schema.get("anyOf", ())


def _scalar(schema: Json, kind: str) -> GraphQLScalarType:
    if kind == "integer":
        low, high = schema.get("minimum", -LONG_MAX), schema.get("maximum", LONG_MAX)
        return GraphQLInt if low >= -INT_MAX and high <= INT_MAX else LONG
    known = {"string": GraphQLString, "number": GraphQLFloat, "boolean": GraphQLBoolean}
    return known.get(kind, JSON)
