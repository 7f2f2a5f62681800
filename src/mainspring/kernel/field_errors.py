"""All that is wrong with an input: msgspec stops at the first error, so the rest is walked for.

Only what was refused is walked: an input that fits never comes here. A walk visits each value at
most once and writes a pointer only for an error that is told, so it is linear in what came.
"""

import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any

import msgspec
from msgspec import inspect

from mainspring.kernel.errors import FIELD_ERROR_CHARS_MAX, FieldErrors

VALUES_MAX = 20_000  # values of one input that are looked at; of the rest no error is told

_WHERE = re.compile(r" - at `(?:key in )?(\$[^`]*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`")
_MISSING = re.compile(r"Object missing required field `([^`]*)`")
_UNHELPFUL = ("Invalid enum value", "Expected `str` matching regex")

# Where a walk is: the step before, and the name or index that led on; None is the whole input.
Path = tuple["Path", str | int] | None


def collect(
    error: msgspec.ValidationError,
    kind: Any,
    value: Any = msgspec.UNSET,
    *,
    at: str = "",
    strict: bool = True,
) -> FieldErrors:
    """Tell all that keeps a decoded value from being a ``kind``, in the order it was sent.

    ``error`` is what msgspec said of it; it is told alone where no value is given, or where the
    walk finds nothing (a rule of a struct as a whole). ``at`` is the JSON Pointer of the value in
    the input. ``strict`` is as for ``msgspec.convert``: False reads numbers from text.
    """
    walk = _Walk(at, strict)
    if value is not msgspec.UNSET:
        walk.value(value, kind, None)
    if not walk.errors:
        pointer, detail = explain(error, kind)
        walk.errors.add(at + pointer, detail)
    return walk.errors


class _Walk:
    """One walk over a value and its type."""

    def __init__(self, at: str, strict: bool) -> None:
        self.errors = FieldErrors()
        self._at = at
        self._strict = strict
        self._left = VALUES_MAX
        # By the id of a type that is kept beside what it led to: its id is its own while it lives.
        self._readers: dict[int, tuple[Any, Callable[[Any], object]]] = {}
        self._structs: dict[int, tuple[Any, dict[str, Any]]] = {}

    def value(self, value: Any, kind: Any, path: Path) -> None:
        self._left -= 1
        if self._left < 0:
            return
        inner = _member(kind, value)
        origin = typing.get_origin(inner) or inner
        if isinstance(value, dict) and _is_struct(origin):
            self._members(value, inner, path)
        elif isinstance(value, dict) and origin in (dict, Mapping):
            self._sizes(value, kind, path)
            names, values = typing.get_args(inner) or (str, Any)
            for name, part in islice(value.items(), max(self._left, 0)):
                if typing.get_origin(names) is Annotated:
                    self._alone(name, names, (path, name))
                self.value(part, values, (path, name))
        elif isinstance(value, list) and _is_array(inner):
            self._sizes(value, kind, path)
            items = (typing.get_args(inner) or (Any,))[0]
            for index, part in enumerate(value[: max(self._left, 0)]):
                self.value(part, items, (path, index))
        else:
            self._alone(value, kind, path)

    def _members(self, value: dict[str, Any], kind: Any, path: Path) -> None:
        config = (typing.get_origin(kind) or kind).__struct_config__
        known = self._known(kind)
        for name, part in value.items():
            if name in known:
                self.value(part, known[name].type, (path, name))
            elif config.forbid_unknown_fields and name != config.tag_field:
                self._add((path, name), "unknown field")
        for name, field in known.items():
            if field.required and name not in value:
                self._add((path, name), "required")

    def _known(self, kind: Any) -> dict[str, Any]:
        found = self._structs.get(id(kind))
        if found is None:
            fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
            found = self._structs[id(kind)] = (kind, fields)
        return found[1]

    def _sizes(self, value: dict[str, Any] | list[Any], kind: Any, path: Path) -> None:
        """Check how many items there may be, whatever they are."""
        hollow = dict.fromkeys(value) if isinstance(value, dict) else [None] * len(value)
        for mark in getattr(kind, "__metadata__", ()):
            if isinstance(mark, msgspec.Meta):
                self._alone(hollow, Annotated[type(hollow), mark], path)

    def _alone(self, value: Any, kind: Any, path: Path) -> None:
        """Read a value that has no errors but its own."""
        if kind is Any:
            return
        try:
            self._reader(kind)(value)
        except msgspec.ValidationError as error:
            pointer, detail = ("", "") if self.errors.full else explain(error, kind)
            self._add(path, detail, pointer)

    def _reader(self, kind: Any) -> Callable[[Any], object]:
        found = self._readers.get(id(kind))
        if found is None:
            found = self._readers[id(kind)] = (kind, self._read_as(kind))
        return found[1]

    def _read_as(self, kind: Any) -> Callable[[Any], object]:
        if not self._strict:
            return lambda value: msgspec.convert(value, kind, strict=False)
        encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(kind).decode
        return lambda value: decode(encode(value))

    def _add(self, path: Path, detail: str, below: str = "") -> None:
        if self.errors.full:
            self.errors.more += 1
        else:
            self.errors.add(self._at + _pointer(path) + below, detail)


def wrong_texts(value: Any, wrong: Callable[[str], bool], detail: str) -> FieldErrors:
    """Point at every text in decoded JSON, names of members included, that is wrong.

    Raises RecursionError where it nests too deep.
    """
    errors = FieldErrors()

    def walk(value: dict[str, Any] | list[Any], path: Path) -> None:
        parts: Iterable[tuple[str | int, Any]]
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for step, part in parts:  # most are no arrays or objects, and those need no path
            if isinstance(step, str) and wrong(step):
                add(path)
            elif isinstance(part, str):
                if wrong(part):
                    add(None if errors.full else (path, step))
            elif isinstance(part, dict | list):
                walk(part, (path, step))

    def add(path: Path) -> None:
        errors.add("" if errors.full else _pointer(path), detail)

    if isinstance(value, dict | list):
        walk(value, None)
    elif isinstance(value, str) and wrong(value):
        add(None)
    return errors


def _pointer(path: Path) -> str:
    """Write a path as a JSON Pointer, as far as one is told."""
    steps: list[str | int] = []
    while path is not None:
        path, step = path
        steps.append(step)
    pointer = ""
    while steps and len(pointer) <= FIELD_ERROR_CHARS_MAX:
        pointer += "/" + escape(str(steps.pop())[: FIELD_ERROR_CHARS_MAX + 1])
    return pointer


def escape(name: str) -> str:
    """Write a member's name as one step of a JSON Pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def _member(kind: Any, value: Any) -> Any:
    """The member of a union that a value of this shape is meant as, without what annotates it.

    The type itself where it is no union, or where the shape does not tell the members apart.
    """
    kind = _plain(kind)
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return kind
    shape = _is_array if isinstance(value, list) else _is_object
    fitting = [member for member in map(_plain, typing.get_args(kind)) if shape(member)]
    if len(fitting) > 1 and isinstance(value, dict):
        fitting = [member for member in fitting if _tagged(member, value)]
    return fitting[0] if len(fitting) == 1 else kind


def _plain(kind: Any) -> Any:
    return _plain(typing.get_args(kind)[0]) if typing.get_origin(kind) is Annotated else kind


def _is_array(kind: Any) -> bool:
    """Whether it is an array whose items are all of one type."""
    origin, args = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin is tuple:
        return len(args) == 2 and args[1] is Ellipsis
    return origin in (list, set, frozenset, Sequence)


def _is_object(kind: Any) -> bool:
    origin = typing.get_origin(kind) or kind
    return origin in (dict, Mapping) or _is_struct(origin)


def _is_struct(kind: Any) -> bool:
    struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    return struct and not kind.__struct_config__.array_like


def _tagged(kind: Any, value: dict[str, Any]) -> bool:
    config = getattr(typing.get_origin(kind) or kind, "__struct_config__", None)
    return (
        config is not None and config.tag is not None and value.get(config.tag_field) == config.tag
    )


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
