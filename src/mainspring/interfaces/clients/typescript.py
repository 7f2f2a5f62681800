"""The modules of the TypeScript client that the declarations say: tables of methods, and types."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from mainspring.interfaces.clients.names import method_name
from mainspring.interfaces.clients.python import callable_ones
from mainspring.interfaces.openapi import Json, OpenApiDocument
from mainspring.kernel.operation import Kind, Operation
from mainspring.kernel.service import Service

_MADE = "// Made of the declarations by `make clients`: edit those."
_HIDDEN = frozenset({"cursor", "last_event_id"})  # the client's own business
_PAGE = frozenset({"items", "next_cursor"})
_REF = "#/components/schemas/"
_WORD = re.compile(r"[A-Za-z_$][\w$]*")
_JSON = """/** Any JSON. */
export type Json =
  | null | boolean | number | string | Json[] | { [name: string]: Json };"""
_CORE_TYPES = "About, Call, Change, File, Options, SessionTokens, Storage, StreamEvent, Write"
_RESERVED = frozenset({"delete", "export", "function", "import", "in", "new", "this", "with"})


def modules(services: Sequence[Service]) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each module that is made."""
    document = OpenApiDocument(services, title="", version="").build()
    said = {
        each["operationId"]: each for path in document["paths"].values() for each in path.values()
    }
    types = _Types(document["components"]["schemas"])
    for service in services:
        operations = sorted(callable_ones(service.operations.values()), key=lambda each: each.name)
        siblings = {each.name for each in operations}
        methods = {camel(method_name(each.name, siblings)): each for each in operations}
        yield f"services/{service.name}.js", _table(service.name, methods, said, types)
        yield f"services/{service.name}.d.ts", _declared(service.name, methods, said, types)
    yield "types.d.ts", _type_module(document, types)
    yield "index.js", _index(services)
    yield "index.d.ts", _index_types(services)


def camel(name: str) -> str:
    """Write a name as JavaScript does: ``create_session`` is ``createSession``."""
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)


class _Types:
    """Schemas as types of TypeScript. ``used`` are the names that a module refers to."""

    def __init__(self, components: Json) -> None:
        self.components = components
        self.used: set[str] = set()

    def of(self, schema: Json) -> str:
        """Write the type of a schema."""
        if "$ref" in schema:
            name = schema["$ref"].removeprefix(_REF)
            self.used.add(name)
            return str(name)
        if "const" in schema:
            return _literal(schema["const"])
        if "enum" in schema:
            return " | ".join(_literal(each) for each in schema["enum"])
        for several in ("anyOf", "oneOf"):
            if several in schema:
                return " | ".join(dict.fromkeys(self.of(each) for each in schema[several]))
        kind = schema.get("type")
        if isinstance(kind, list):
            return " | ".join(self.of({**schema, "type": each}) for each in kind)
        if kind == "array":
            return self._array(schema)
        if kind == "object":
            return self._object(schema)
        plain = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean"}
        return {**plain, "null": "null"}.get(kind or "", "unknown")

    def _array(self, schema: Json) -> str:
        if "prefixItems" in schema:
            return "[" + ", ".join(self.of(each) for each in schema["prefixItems"]) + "]"
        item = self.of(schema.get("items", {}))
        return f"({item})[]" if " " in item else f"{item}[]"

    def _object(self, schema: Json) -> str:
        if "properties" not in schema:
            values = schema.get("additionalProperties")
            kind = self.of(values) if isinstance(values, dict) else "unknown"
            return f"{{ [name: string]: {kind} }}"
        return "{ " + " ".join(self.properties(schema)) + " }"

    def properties(self, schema: Json) -> Iterator[str]:
        """Yield an object's fields. One that has a default may be left out."""
        required = schema.get("required", [])
        for name, each in schema["properties"].items():
            written = name if _WORD.fullmatch(name) else _literal(name)
            yield f"{written}{'' if name in required else '?'}: {self.of(each)};"


def _literal(value: Any) -> str:
    return (
        '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        if isinstance(value, str)
        else str(value)
    )


def _doc(text: str, indent: str = "") -> str:
    lines = textwrap.dedent(text).strip().replace("*/", "*\\/").replace("``", "`").splitlines()
    if len(lines) == 1:
        return f"{indent}/** {lines[0]} */"
    body = "\n".join(f"{indent} * {line.strip()}".rstrip() for line in lines)
    return f"{indent}/**\n{body}\n{indent} */"


def _answer(said: Json) -> Json | None:
    """The schema of what an operation answers; None where it answers nothing."""
    for status in ("200", "201", "202"):
        content = said["responses"].get(status, {}).get("content", {})
        if "application/json" in content:
            schema: Json = content["application/json"]["schema"]
            return schema
    return None


def _page(operation: Operation, said: Json, types: _Types) -> Json | None:
    """The schema of the page that a list answers; None of what is no list."""
    answer = _answer(said)
    if answer is None or operation.method != "GET" or operation.kind is not Kind.UNARY:
        return None
    page: Json = types.components.get(answer.get("$ref", "").removeprefix(_REF), {})
    return page if page.get("properties", {}).keys() >= _PAGE else None


def _how(operation: Operation, said: Json, types: _Types) -> str:
    """How a method is called, as service.js reads it."""
    if operation.kind is Kind.STREAM:
        return " s"
    if operation.kind is Kind.RAW:
        return " d"
    if operation.kind is Kind.UPLOAD:
        return " u"
    if _page(operation, said, types) is not None:
        asked = {each["name"] for each in said["parameters"] if each["in"] == "query"}
        return " p" if "cursor" in asked or "after" not in asked else " p:after"
    return " b" if operation.body_param is not None else ""


def _table(name: str, methods: dict[str, Operation], said: Json, types: _Types) -> str:
    rows = "".join(
        f'  {method}: "{each.method} {each.path}{_how(each, said[each.name], types)}",\n'
        for method, each in methods.items()
    )
    return (
        f'{_MADE}\n\nimport {{ service }} from "../service.js";\n\n'
        f"export const {name} = /* @__PURE__ */ service({{\n{rows}}});\n"
    )


def _declared(name: str, methods: dict[str, Operation], said: Json, types: _Types) -> str:
    types.used.clear()
    written = [_method(method, each, said[each.name], types) for method, each in methods.items()]
    body = "\n".join(written)
    own = {"Call", "Change", "Core", "File", "StreamEvent", "Write"}
    core = sorted(each for each in own if re.search(rf"\b{each}\b", body) or each == "Core")
    reading = sorted(each for each in ("Download", "Pages") if re.search(rf"\b{each}\b", body))
    lines = [_MADE, "", f'import type {{ {", ".join(core)} }} from "../core.js";']
    if reading:
        lines.append(f'import type {{ {", ".join(reading)} }} from "../service.js";')
    used = sorted(each for each in types.used | {"RecordData"} if re.search(rf"\b{each}\b", body))
    if used:
        lines.append(f'import type {{ {", ".join(used)} }} from "../types.js";')
    title = camel("_" + name)
    return "\n".join([
        *lines, "", f"export interface {title} {{", body, "}", "",
        f"export declare const {name}: (core: Core) => {title};", "",
    ])  # fmt: skip


def _method(name: str, operation: Operation, said: Json, types: _Types) -> str:
    takes = [f"{camel(each)}: string" for each in operation.path_params]
    page = _page(operation, said, types)
    generic = ""
    if operation.kind is Kind.UPLOAD:
        takes.append("file: Blob | ArrayBuffer | Uint8Array | ReadableStream | string")
    elif operation.body_param is not None:
        body = said["requestBody"]
        schema = body["content"]["application/json"]["schema"]
        kind = types.of(schema)
        kind = "RecordData" if kind == "Json" else kind
        given = camel(operation.body_param)
        given = "given" if given in _RESERVED else given
        takes.append(f"{given}{'' if body['required'] else '?'}: {kind}")
    query = [
        _asked(each, types)
        for each in said["parameters"]
        if each["in"] == "query" and each["name"] not in _HIDDEN
    ]
    needed = any("?:" not in each for each in query)
    control = "Call"
    if operation.kind is Kind.UPLOAD:
        control = "File"
    elif operation.writes:
        control = "Change" if operation.method != "POST" else "Write"
    options = f"{{ {' '.join(query)} }} & {control}" if query else control
    takes.append(f"options{'' if needed else '?'}: {options}")
    if operation.kind is Kind.STREAM:
        returns = "AsyncGenerator<StreamEvent, void, undefined>"
    elif operation.kind is Kind.RAW:
        returns = "Download"
    elif page is not None:
        item = types.of(page["properties"]["items"]["items"])
        if item in ("Json", "unknown"):
            generic, item = "<T = RecordData>", "T"
        returns = f"Pages<{item}>"
    else:
        answer = _answer(said)
        kind = "undefined" if answer is None else types.of(answer)
        if answer is not None and kind in ("unknown", "Json"):
            generic, kind = "<T = RecordData>", "T"
        # A record that is written is answered only to those who may view it.
        silent = operation.may_be_silent or (operation.response is msgspec.Raw and operation.writes)
        returns = f"Promise<{kind}{' | undefined' if silent else ''}>"
    doc = _doc(f"{operation.doc.strip()}\n\n`{operation.method} {operation.path}`", "  ")
    return f"{doc}\n  {name}{generic}({', '.join(takes)}): {returns};"


def _asked(parameter: Json, types: _Types) -> str:
    needed = "" if parameter["required"] else "?"
    return f"{parameter['name']}{needed}: {types.of(parameter['schema'])};"


def _type_module(document: Json, types: _Types) -> str:
    parts = [_MADE, "", "/** What a record, or any other object that the data knows, holds. */",
             "export type RecordData = { [name: string]: any };"]  # fmt: skip
    told = "\n".join(f'  | "{each["code"]}"' for each in document["x-errors"])
    parts += ["", "/** What a refusal is called. Later versions may know more. */",
              f"export type ErrorCode =\n{told};"]  # fmt: skip
    for name, schema in types.components.items():
        parts.append("")
        if name == "Json":
            parts.append(_JSON)
            continue
        if schema.get("description"):
            parts.append(_doc(schema["description"]))
        if schema.get("type") == "object" and "properties" in schema:
            fields = "\n".join(f"  {each}" for each in types.properties(schema))
            parts.append(f"export interface {name} {{\n{fields}\n}}")
        else:
            parts.append(f"export type {name} = {types.of(schema)};")
    return "\n".join([*parts, ""])


def _index(services: Sequence[Service]) -> str:
    imports = "".join(
        f'import {{ {each.name} }} from "./services/{each.name}.js";\n' for each in services
    )
    fields = "".join(f"    this.{each.name} = {each.name}(this);\n" for each in services)
    return (
        f'{_MADE}\n\nimport {{ Core }} from "./core.js";\n{imports}\n'
        'export { answerOf } from "./core.js";\nexport * from "./errors.js";\n\n'
        "export class Client extends Core {\n  constructor(options) {\n    super(options);\n"
        f"{fields}  }}\n}}\n"
    )


def _index_types(services: Sequence[Service]) -> str:
    imports = "".join(
        f'import type {{ {camel("_" + each.name)} }} from "./services/{each.name}.js";\n'
        for each in services
    )
    fields = "".join(
        f"{_doc(each.doc or each.name, '  ')}\n  readonly {each.name}: {camel('_' + each.name)};\n"
        for each in services
    )
    return (
        f'{_MADE}\n\nimport {{ Core, type Options }} from "./core.js";\n{imports}\n'
        'export { answerOf } from "./core.js";\n'
        f'export type {{ {_CORE_TYPES} }} from "./core.js";\n'
        'export * from "./errors.js";\nexport type { Download, Pages } from "./service.js";\n'
        'export type * from "./types.js";\n\n'
        "/** A platform's client, with a namespace per built-in service. */\n"
        "export declare class Client extends Core {\n"
        f"  constructor(options: Options);\n{fields}}}\n"
    )
