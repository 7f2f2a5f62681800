"""The methods of Python's clients, a module per service and flavour, as source text."""

import re
import textwrap
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec
from msgspec import UnsetType

from mainspring.interfaces.clients.names import method_name
from mainspring.kernel.operation import Kind, Operation

_WIDTH = 100
_HIDDEN = frozenset({"cursor", "last_event_id"})  # the client's own business
_PAGE = frozenset({"items", "next_cursor"})


class _Flavour(msgspec.Struct, frozen=True):
    """How the methods of one of the two clients are written."""

    prefix: str
    module: str
    define: str
    wait: str
    pages: str
    iterator: str


_SYNC = _Flavour("", "client", "def", "", "Pages", "Iterator")
_ASYNC = _Flavour("Async", "async_client", "async def", "await ", "AsyncPages", "AsyncIterator")


def modules(service: str, operations: Sequence[Operation]) -> Iterator[tuple[str, str]]:
    """Yield each module's name and text for the operations of one service."""
    for flavour in (_SYNC, _ASYNC):
        yield (
            f"{flavour.prefix.lower()}{'_' if flavour.prefix else ''}{service}.py",
            _module(service, operations, flavour),
        )


def callable_ones(operations: Iterable[Operation]) -> list[Operation]:
    """Return those that a client has a method for: all but the pages and forms of OAuth."""
    return [each for each in operations if each.kind is not Kind.RAW or _downloads(each)]


def _downloads(operation: Operation) -> bool:
    own = operation.credentials_param is not None or operation.takes_form
    return operation.method == "GET" and not own and "/oauth/" not in operation.path


class _Names:
    """What a module imports: the names that its annotations use, by where they are declared."""

    def __init__(self) -> None:
        self.used: dict[str, set[str]] = {}

    def of(self, annotation: Any) -> str:
        """Write an annotation, and take note of what it names."""
        if annotation is None or annotation is type(None):
            return "None"
        if annotation is UnsetType:
            return self._named(UnsetType)
        origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is typing.Annotated:
            return self.of(parts[0])
        if origin in (typing.Union, types.UnionType):
            return " | ".join(dict.fromkeys(self.of(part) for part in parts))
        if origin is Literal:
            self.used.setdefault("typing", set()).add("Literal")
            return f"Literal[{', '.join(map(repr, parts))}]"
        if origin is not None:
            written = ", ".join("..." if part is ... else self.of(part) for part in parts)
            return f"{self.of(origin)}[{written}]"
        if annotation is Any:
            self.used.setdefault("typing", set()).add("Any")
            return "Any"
        return self._named(annotation)

    def _named(self, kind: Any) -> str:
        if kind.__module__ != "builtins":
            module = "msgspec" if kind is UnsetType else kind.__module__
            self.used.setdefault(module, set()).add(kind.__name__)
        return str(kind.__name__)


def _module(service: str, operations: Sequence[Operation], flavour: _Flavour) -> str:
    names = _Names()
    siblings = {each.name for each in operations}
    methods = [
        _method(each, method_name(each.name, siblings), names, flavour) for each in operations
    ]
    client = f"{flavour.prefix}Client"
    body = "\n\n".join(methods)
    uses = {
        "mainspring.client.core": ("Record",),
        f"mainspring.client.{flavour.module}": (flavour.pages,),
        "mainspring.client.sse": ("StreamEvent",),
        "collections.abc": ("Mapping", flavour.iterator),
        "typing": ("IO", "Any"),
        "msgspec": ("UNSET",),
    }
    for module, found in uses.items():
        for name in found:
            if re.search(rf"\b{name}\b", body):
                names.used.setdefault(module, set()).add(name)
    names.used.setdefault(f"mainspring.client.{flavour.module}", set()).add(client)
    imports = "\n".join(
        f"from {module} import {', '.join(sorted(found))}"
        for module, found in sorted(names.used.items(), key=lambda used: used[0])
    )
    head = f"The operations of {service}. Made of the declarations by ``make clients``: edit those."
    title = service.title().replace("_", "")
    return (
        f'"""{head}"""\n\n{imports}\n\n\nclass {flavour.prefix}{title}:\n'
        f'    """The operations of {service}."""\n\n'
        f"    def __init__(self, client: {client}) -> None:\n"
        f"        self._client = client\n\n{body}\n"
    )


def _method(operation: Operation, name: str, names: _Names, flavour: _Flavour) -> str:
    takes = [f"{each}: {names.of(kind)}" for each, kind in operation.path_params.items()]
    body = operation.body_param
    if operation.upload_param is not None:
        takes.append("file: IO[bytes] | bytes")
    elif body is not None:
        takes.append(f"{body}: {_body(operation, names)}")
    named = [f"{each}: {kind}" for each, kind in _query(operation, names)]
    if operation.upload_param is not None:
        named += ["media_type: str | None = None", "filename: str | None = None"]
    elif operation.kind is Kind.UNARY and operation.method in ("PUT", "PATCH", "DELETE"):
        named.append("if_match: str | None = None")
    if operation.writes:
        named.append("idempotency_key: str | None = None")
    every = ["self", *takes, *(["*", *named] if named else [])]
    returns, call = _call(operation, names, flavour)
    waits = operation.kind in (Kind.UNARY, Kind.UPLOAD) and not _paged(operation)
    define = flavour.define if waits else "def"
    doc = textwrap.indent(_doc(operation, flavour), " " * 8)
    lines = [f"    {define} {name}({', '.join(every)}) -> {returns}:", doc]
    lines.append(f"        {call}" if returns == "None" else f"        return {call}")
    return "\n".join(lines)


def _doc(operation: Operation, flavour: _Flavour) -> str:
    text = textwrap.dedent(operation.doc).strip()
    if flavour.prefix:
        text = operation.summary.strip()
    shape = f"``{operation.method} {operation.path}``"
    if "\n" not in text and flavour.prefix:
        return f'"""{text}"""'
    return f'"""{text}\n\n{shape}\n"""'


def _query(operation: Operation, names: _Names) -> Iterator[tuple[str, str]]:
    if operation.query is None:
        return
    hints = typing.get_type_hints(operation.query, include_extras=True)
    for each in msgspec.structs.fields(operation.query):
        if each.name in _HIDDEN:
            continue
        written = names.of(hints[each.name])
        if each.required:
            yield each.encode_name, written
        else:
            # Left out, the platform's own default holds, also where that is another one by then.
            written = written if "None" in written.split(" | ") else f"{written} | None"
            yield each.encode_name, f"{written} = None"


def _body(operation: Operation, names: _Names) -> str:
    if operation.body is msgspec.Raw:
        return "Mapping[str, Any]"
    return f"{names.of(operation.body)} | Mapping[str, Any]"


def _paged(operation: Operation) -> bool:
    """Tell whether it answers a page of a list."""
    origin = typing.get_origin(operation.response) or operation.response
    fields = set(getattr(origin, "__struct_fields__", ()))
    return operation.kind is Kind.UNARY and operation.method == "GET" and fields >= _PAGE


def _call(operation: Operation, names: _Names, flavour: _Flavour) -> tuple[str, str]:
    """Return what a method returns, and the expression that makes it."""
    values = "{" + ", ".join(f'"{each}": {each}' for each in operation.path_params) + "}"
    pairs = [name for name, _ in _query(operation, _Names())]
    query = "{" + ", ".join(f'"{each}": {each}' for each in pairs) + "}"
    path = f'"{operation.path}"'
    where = f"{path}, {values}, {query}"
    if operation.kind is Kind.STREAM:
        return f"{flavour.iterator}[StreamEvent]", f"self._client.follow({where})"
    if operation.kind is Kind.RAW:
        return f"{flavour.iterator}[bytes]", f"self._client.download({where})"
    if _paged(operation):
        item = _item_type(operation, names)
        place = "after" if "after" in pairs else "cursor"
        sent = f"{path}, {values}, {item}, {query}"
        sent += "" if place == "cursor" else f', place="{place}"'
        return f"{flavour.pages}[{item}]", f"self._client.pages({sent})"
    answer = "Record" if operation.response is msgspec.Raw else names.of(operation.response)
    more = [f"query={query}"] if pairs else []
    if operation.upload_param is not None:
        more += ["media_type=media_type", "filename=filename", "idempotency_key=idempotency_key"]
        sent = f'"{operation.method}", {path}, {values}, {answer}, file, {", ".join(more)}'
        return answer, f"{flavour.wait}self._client.upload({sent})"
    if operation.body_param is not None:
        more.append(f"json={operation.body_param}")
    if operation.method in ("PUT", "PATCH", "DELETE"):
        more.append("if_match=if_match")
    if operation.writes:
        more.append("idempotency_key=idempotency_key")
    sent = ", ".join([f'"{operation.method}"', path, values, answer, *more])
    silent = f"{answer} | None" if operation.may_be_silent else answer
    return silent, f"{flavour.wait}self._client.send({sent})"


def _item_type(operation: Operation, names: _Names) -> str:
    origin = typing.get_origin(operation.response)
    if origin is not None:
        return names.of(typing.get_args(operation.response)[0])
    items = typing.get_type_hints(operation.response)["items"]
    (item,) = typing.get_args(items)
    return "Record" if item is msgspec.Raw else names.of(item)
