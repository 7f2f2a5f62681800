"""OpenAPI 3.1 from the operations, and from the shapes that only the data knows.

The document says what the gateway does: every status an operation can answer is listed, and
strings exclude NUL, so that what a schema allows is what is accepted.
"""

import inspect
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import msgspec

from mainspring.interfaces.http.security_headers import cache_control
from mainspring.kernel import errors
from mainspring.kernel.errors import Failure, FieldError
from mainspring.kernel.impersonation import Impersonated
from mainspring.kernel.operation import Kind, Operation, OperationVariant
from mainspring.kernel.policy import CachePolicy
from mainspring.kernel.service import Service
from mainspring.runtime.invoke.validate import absent_body

Json = dict[str, Any]

REF = "#/components/schemas/{name}"
PROBLEM = "application/problem+json"
NO_NUL = "^[^\\u0000]*$"

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class Problem(msgspec.Struct, frozen=True):
    """A failure (RFC 9457). ``code`` is stable; ``errors`` point at what is wrong in the input.

    Where there is more wrong than is told, ``errors_more`` counts the rest.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    errors: tuple[FieldError, ...] = ()
    errors_more: int = 0


class _Schemas(NamedTuple):
    components: dict[str, Json]
    parts: dict[tuple[str, str], Json]  # by operation, and whether of its body or its response


class OpenApiDocument:
    """Builds the document. The part that the code knows is made once, shapes are added to it."""

    def __init__(self, services: Iterable[Service], *, title: str, version: str) -> None:
        self._services = list(services)
        self._operations = [o for s in self._services for o in s.operations.values()]
        self._info = {"title": title, "version": version, "description": _ABOUT}
        self._failures = _failures(self._operations)

    @cached_property
    def _typed(self) -> "_Schemas":
        """What the types say. Made when the document is asked for first: few starts need it."""
        types: list[Any] = [Problem]
        slots: list[tuple[str, str, int]] = []
        for operation in self._operations:
            for part, kind in (("body", operation.body), ("response", operation.response)):
                if kind is not None and kind is not type(None) and operation.kind in _TYPED[part]:
                    slots.append((operation.name, part, len(types)))
                    types.append(kind)
        schemas, components = msgspec.json.schema_components(
            types, ref_template=REF, schema_hook=lambda kind: {}
        )
        ours = {"Problem", "FieldError"}  # their pointers repeat whatever a request held
        shown = {
            name: schema if name in ours else _plain(schema) for name, schema in components.items()
        }
        parts = {(name, part): _plain(schemas[i]) for name, part, i in slots}
        return _Schemas({**shown, "Json": _JSON}, parts)

    def build(self, shapes: Iterable[OperationVariant] = ()) -> Json:
        """Return the whole document; a shape stands in place of its operation's general form."""
        shaped: dict[str, list[OperationVariant]] = {}
        for shape in shapes:
            shaped.setdefault(shape.operation, []).append(shape)
        paths: dict[str, Json] = {}
        for service in self._services:
            for operation in service.operations.values():
                for face in shaped.get(operation.name) or (None,):
                    path = operation.path if face is None else _filled(operation.path, face.values)
                    described = self._operation(operation, service.name, face)
                    paths.setdefault(path, {})[operation.method.lower()] = described
        return {
            "openapi": "3.1.0",
            "info": self._info,
            "servers": [{"url": "/"}],
            "tags": [{"name": s.name, "description": s.doc} for s in self._services],
            "paths": paths,
            "components": {
                "schemas": self._typed.components,
                "responses": {f.__name__: _response(f) for f in self._failures.values()},
                "headers": _HEADERS,
                "parameters": {
                    "IdempotencyKey": _IDEMPOTENCY_KEY,
                    "IfMatch": _IF_MATCH,
                    "ReadAfter": _READ_AFTER,
                },
                "securitySchemes": {
                    "bearer": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "An access token (JWT) or an API key (`msk_…`).",
                    },
                    "stream_token": {
                        "type": "apiKey",
                        "in": "query",
                        "name": "stream_token",
                        "description": "What `POST /v1/stream_tokens` answers: for `EventSource`.",
                    },
                },
            },
            "x-errors": [
                {"code": f.code, "status": f.status, "title": f.title, "doc": inspect.getdoc(f)}
                for f in sorted(self._failures.values(), key=lambda f: (f.status, f.code))
            ],
        }

    def describe(self, operation: Operation, shape: OperationVariant | None) -> Json:
        """Describe one operation by itself, with the schemas that its own refer to."""
        described: Json = {
            "description": operation.doc,
            "rest": f"{operation.method} {operation.path}",
            "scope": operation.scope,
        }
        for place in ("path", "query"):
            told = [p for p in _parameters(operation, shape) if p["in"] == place]
            if told:
                described[place] = _object(told)
        if shape is not None:
            fixed = {name: {"const": value} for name, value in shape.values.items()}
            path = described.setdefault("path", {"type": "object", "properties": {}})
            path["properties"] = {**fixed, **path["properties"]}
            path["required"] = [*fixed, *path.get("required", [])]
        body, answer = (None, None) if shape is None else (shape.body, shape.response)
        for part, of, own in (("body", "body", body), ("answer", "response", answer)):
            known = self._typed.parts.get((operation.name, of))
            if own is not None or known is not None:
                described[part] = known if own is None else _plain(dict(own))
        described["errors"] = sorted(f.code for f in _possible(operation))
        components: Json = {}
        waiting = _references(described)
        while waiting:
            name = waiting.pop()
            if name not in components:
                components[name] = self._typed.components[name]
                waiting |= _references(components[name])
        if components:
            described["components"] = {"schemas": components}
        return described

    def _operation(
        self, operation: Operation, service: str, shape: OperationVariant | None
    ) -> Json:
        described: Json = {
            "operationId": operation.name if shape is None else f"{operation.name}.{shape.name}",
            "tags": [service],
            "summary": operation.summary.rstrip("."),
            "parameters": _parameters(operation, shape),
            "responses": self._responses(operation, shape),
        }
        detail = operation.doc.partition("\n")[2].strip()
        if detail:
            described["description"] = detail
        if operation.scope is not None:
            described["security"] = [{"bearer": []}]
            described["x-scope"] = operation.scope
            if operation.recent_s is not None:
                described["x-recent-s"] = operation.recent_s
        else:
            described["security"] = []
        described["x-impersonated"] = operation.impersonated.value
        if operation.kind is Kind.STREAM:
            described["security"] = [*(described["security"] or [{}]), {"stream_token": []}]
        if headers := _headers(operation):
            described["x-headers"] = [{"$ref": f"#/components/parameters/{h}"} for h in headers]
        body = self._body(operation, shape)
        if body is not None:
            described["requestBody"] = body
        return described

    def _body(self, operation: Operation, shape: OperationVariant | None) -> Json | None:
        if operation.kind is Kind.UPLOAD:
            # Without a body it is an empty file.
            return {"required": False, "content": {"application/octet-stream": {}}}
        if operation.takes_form and operation.writes:
            fields = {"type": "object", "properties": _fields(operation.query)}
            return {
                "required": False,
                "content": {"application/x-www-form-urlencoded": {"schema": fields}},
            }
        if operation.body_param is None:
            return None
        schema = self._typed.parts.get((operation.name, "body"), _ANY)
        if shape is not None and shape.body is not None:
            schema = _plain(dict(shape.body))
        required = absent_body(operation) is msgspec.UNSET
        content: Json = {"application/json": {"schema": schema}}
        if operation.files_param is not None and (shape is None or shape.files):
            content["multipart/form-data"] = _form(schema, shape)
        return {"required": required, "content": content}

    def _responses(self, operation: Operation, shape: OperationVariant | None) -> Json:
        answers: Json = {}
        if operation.kind is Kind.STREAM:
            content: Json = {"text/event-stream": {}, "application/x-ndjson": {}}
            answers["200"] = {"description": "Items as they come.", "content": content}
        elif operation.kind is Kind.RAW:
            headers = {"headers": kept} if (kept := _kept(operation)) else {}
            answers["2XX"] = {
                "description": "The bytes, or nothing.", **headers, "content": {"*/*": {}},
            }  # fmt: skip
            answers["3XX"] = {"description": "A redirect, or nothing new.", **headers}
        else:
            schema = self._typed.parts.get((operation.name, "response"))
            schema = {} if schema == _ANY else schema
            if shape is not None and shape.response is not None:
                schema = _plain(dict(shape.response))
            answers[str(operation.status)] = _success(operation, schema, "")
            if operation.may_be_silent:
                answers["204"] = _success(operation, None, " You may not read what is there now.")
            if operation.writes and operation.status == 201:
                answers["200"] = _success(operation, schema, " Replayed: the first answer again.")
            if operation.shows is not None and schema is not None:
                answers["204"] = {
                    "description": "Done. What came of it is not the caller's to see."
                }
            if operation.method == "GET":
                answers["304"] = {"description": "`If-None-Match` holds this version already."}
        if operation.tells is not None:
            told = {"description": "A failure, as its own standard has it.", "content": {"*/*": {}}}
            return {**answers, "4XX": told, "5XX": told}
        by_status: dict[int, list[type[Failure]]] = {}
        for failure in _possible(operation):
            by_status.setdefault(failure.status, []).append(failure)
        for status, failures in sorted(by_status.items()):
            answers[str(status)] = {"$ref": f"#/components/responses/{failures[0].__name__}"}
        return answers


def _form(schema: Json, shape: OperationVariant | None) -> Json:
    """The JSON in its part, which comes first, and each file in the part named like its field."""
    file = {"type": "string", "format": "binary"}
    files = {} if shape is None else shape.files
    form = {
        "type": "object", "properties": {"record": schema, **dict.fromkeys(files, file)},
        "required": ["record"] if schema.get("required") else [],  # without it, it is ``{}``
        "additionalProperties": file if shape is None else False,
    }  # fmt: skip
    typed = {name: {"contentType": ", ".join(kinds)} for name, kinds in files.items() if kinds}
    return {"schema": form, "encoding": {"record": {"contentType": "application/json"}, **typed}}


def _success(operation: Operation, schema: Json | None, note: str) -> Json:
    name = "Done." if schema is None else "The answer."
    answer: Json = {
        "description": name + note,
        "headers": {
            "Request-Id": {"$ref": "#/components/headers/RequestId"},
            "RateLimit": {"$ref": "#/components/headers/RateLimit"},
            **_kept(operation),
        },
    }
    if schema is not None:
        answer["content"] = {"application/json": {"schema": schema}}
        answer["headers"]["ETag"] = {"$ref": "#/components/headers/ETag"}
    return answer


def _kept(operation: Operation) -> Json:
    """The header that says how long an answer may be shown without asking, where it may."""
    policy = operation.cache
    if policy is None or policy == CachePolicy():
        return {}
    said = {"type": "string", "const": cache_control(policy)}
    return {"Cache-Control": {"description": "Who may keep it.", "schema": said}}


def _parameters(operation: Operation, shape: OperationVariant | None) -> list[Json]:
    fixed = {} if shape is None else shape.values
    found: list[Json] = []
    for name, kind in operation.path_params.items():
        if name not in fixed:
            schema = {"minLength": 1, **_inline(kind)}
            found.append({"name": name, "in": "path", "required": True, "schema": schema})
    if operation.query is not None and not (operation.takes_form and operation.writes):
        for field in msgspec.structs.fields(operation.query):
            schema = _without_null(_inline(field.type))
            parameter: Json = {"name": field.encode_name, "in": "query", "required": field.required}
            if "description" in schema:
                parameter["description"] = schema.pop("description")
            if isinstance(field.default, str | int | float):
                schema["default"] = field.default
            found.append({**parameter, "schema": schema})
    return found


def _object(parameters: list[Json]) -> Json:
    """Parameters as the object that holds them."""
    return {
        "type": "object",
        "properties": {
            p["name"]: {**p["schema"], **{n: p[n] for n in ("description",) if n in p}}
            for p in parameters
        },
        "required": [p["name"] for p in parameters if p["required"]],
        "additionalProperties": False,
    }


def _references(schema: Any) -> set[str]:
    """The components that a schema names itself."""
    if isinstance(schema, list | tuple):
        return {name for value in schema for name in _references(value)}
    if not isinstance(schema, dict):
        return set()
    found = {name for value in schema.values() for name in _references(value)}
    ref = schema.get("$ref")
    return found | {ref.rpartition("/")[2]} if isinstance(ref, str) else found


def _fields(form: Any) -> Json:
    """The fields of a form that is posted. Text, whatever else is in them."""
    return {
        field.encode_name: _without_null(_inline(field.type))
        for field in msgspec.structs.fields(form)
    }


def _headers(operation: Operation) -> list[str]:
    """Headers an operation understands, by their name in ``components``.

    They are not among its parameters: what a key may be depends on what it was used for before,
    and a tool that fills in parameters at random would only ever meet 412 and 422.
    """
    matched = operation.method in {"PUT", "PATCH", "DELETE"} and operation.path_params
    named = {"IdempotencyKey": operation.writes, "IfMatch": matched, "ReadAfter": operation.may_lag}
    return [name for name, understood in named.items() if understood]


def _inline(kind: Any) -> Json:
    """The schema of a parameter, without references."""
    (schema,), components = msgspec.json.schema_components([kind], ref_template="{name}")
    if "$ref" in schema:
        schema = components[schema["$ref"]]
    made: Json = _plain(schema)
    return made


def _without_null(schema: Json) -> Json:
    """A parameter is left out rather than null."""
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    if rest.get("default", 0) is None:
        del rest["default"]
    if len(options) == 1:
        return {**options[0], **rest}
    return {**rest, "anyOf": options} if options else rest


def _plain(schema: Any) -> Any:
    """Say of every free text that it holds no NUL, however deep it is; write tuples as arrays."""
    if isinstance(schema, list | tuple):
        return [_plain(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    if not schema.keys() - _ANNOTATIONS:
        return {**schema, **_ANY}
    made = {name: _plain_part(name, value) for name, value in schema.items()}
    kind = made.get("type")
    if kind == "string" and not made.keys() & {"pattern", "format", "enum", "const"}:
        made["pattern"] = NO_NUL
    if kind == "array":
        made.setdefault("items", _ANY)
    if kind == "object" and "properties" not in made:
        made.setdefault("additionalProperties", _ANY)
        made.setdefault("propertyNames", {"pattern": NO_NUL})
    return made


def _plain_part(name: str, value: Any) -> Any:
    if name == "properties":
        return {property: _plain(schema) for property, schema in value.items()}
    if name in {"default", "enum", "const", "example", "examples", "propertyNames"}:
        return list(value) if isinstance(value, tuple) else value
    return _plain(value)


def _subclasses(kind: type[Failure]) -> list[type[Failure]]:
    below = kind.__subclasses__()
    return [*below, *(inner for each in below for inner in _subclasses(each))]


def _filled(path: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), path)


def _possible(operation: Operation) -> list[type[Failure]]:
    """Every failure the pipeline can answer for this operation, and those it declares."""
    found: list[type[Failure]] = [errors.Malformed, errors.Unauthenticated, errors.Forbidden,
                                  errors.NotFound, errors.RateLimited, errors.HeadersTooLarge,
                                  errors.Unavailable, errors.DeadlineExceeded]  # fmt: skip
    if operation.kind is Kind.STREAM:
        found.append(errors.NotAcceptable)
    if operation.kind is Kind.RAW and operation.method == "GET":
        found.append(errors.RangeNotSatisfiable)
    if operation.writes:
        found += [
            errors.OutcomeUnknown,
            errors.Timeout,
            errors.Conflict,
        ]
    if operation.takes_body:
        found += [errors.TooLarge, errors.UnsupportedMedia]
    if operation.method in {"PUT", "PATCH", "DELETE"}:
        found.append(errors.PreconditionFailed)
    if operation.recent_s is not None:
        found.append(errors.StepUpRequired)
    if operation.impersonated is not Impersonated.READS:
        found.append(errors.NotForImpersonators)
    found.append(errors.Invalid)
    declared = [f for f in operation.raises if isinstance(f, type) and issubclass(f, Failure)]
    return list(dict.fromkeys([*found, *declared]))


def _failures(operations: Iterable[Operation]) -> dict[str, type[Failure]]:
    """Every failure with a code of its own, by code."""
    kernel = [f for f in _subclasses(Failure) if f.__module__ == errors.__name__]
    declared = [f for operation in operations for f in _possible(operation)]
    return {f.code: f for f in [*declared, *sorted(kernel, key=lambda f: f.__name__)]}


def _response(failure: type[Failure]) -> Json:
    headers: Json = {"Request-Id": {"$ref": "#/components/headers/RequestId"}}
    if failure.status in {429, 503}:
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    return {
        "description": failure.title,
        "headers": headers,
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


_ANNOTATIONS = {"description", "title", "default", "examples"}
_ANY: Json = {"$ref": "#/components/schemas/Json"}
_JSON: Json = {
    "title": "Json",
    "description": "Any JSON whose texts hold no NUL.",
    "anyOf": [
        {"type": "null"},
        {"type": "boolean"},
        {"type": "number"},
        {"type": "string", "pattern": NO_NUL},
        {"type": "array", "items": _ANY},
        {
            "type": "object",
            "propertyNames": {"pattern": NO_NUL},
            "additionalProperties": _ANY,
        },
    ],
}
_TYPED = {"body": {Kind.UNARY, Kind.RAW}, "response": {Kind.UNARY, Kind.UPLOAD}}
_HEADERS = {
    "RequestId": {"description": "Names this request in logs.", "schema": {"type": "string"}},
    "ETag": {"description": "The version, for `If-Match`.", "schema": {"type": "string"}},
    "RateLimit": {"description": "What is left of the limit.", "schema": {"type": "string"}},
    "RetryAfter": {"description": "Seconds to wait.", "schema": {"type": "integer"}},
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes a retry safe: the same key and request have one effect, for 24 hours.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` that was read; another version answers 412.",
    "schema": {"type": "string"},
}
_READ_AFTER = {
    "name": "Read-After",
    "in": "header",
    "required": False,
    "description": "Lets a replica answer: `any`, or what the answer of a write said under this "
    "name, to see that write.",
    "schema": {"type": "string", "maxLength": 64},
}
_ABOUT = (
    "Errors are problem details (RFC 9457). Lists take `limit` and `cursor`. Every write takes "
    "`Idempotency-Key`: a retry with the same key has one effect. `If-Match` takes the `ETag` of "
    "what was read and answers 412 when it has changed. Times are RFC 3339 in UTC."
)
