"""Finds what a path is: a dictionary for fixed paths, a tree of segments for the others.

``/v1/jobs/{id}:cancel`` is a custom verb: the last colon of a segment ends its value. A path with a
slash at its end is another path. Methods of a fixed path hide those of a pattern it would match.
"""

import re
from collections.abc import Mapping
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from mainspring.kernel.errors import NotFound

R = TypeVar("R")

PATH_CHARS_MAX = 4_096
SEGMENTS_MAX = 32

_VALUE = re.compile(r"\{[a-z_]+\}(?::([a-z_]+))?")

Methods = dict[str, R]


class _Node(Generic[R]):
    __slots__ = ("fixed", "methods", "value", "verbs")

    def __init__(self) -> None:
        self.fixed: dict[str, _Node[R]] = {}
        self.value: _Node[R] | None = None
        self.verbs: dict[str, _Node[R]] = {}
        self.methods: Methods[R] = {}


class Router(Generic[R]):
    """Routes by path template and method. Built when the platform starts, then only read."""

    __slots__ = ("_fixed", "_root")

    def __init__(self) -> None:
        self._fixed: dict[str, Methods[R]] = {}
        self._root: _Node[R] = _Node()

    def add(self, method: str, template: str, route: R) -> None:
        """Add a route. Raises ValueError when one is there already."""
        methods = self._methods_of(template)
        if method in methods:
            raise ValueError(f"{method} {template} is there already")
        methods[method] = route

    def _methods_of(self, template: str) -> Methods[R]:
        node = self._root
        has_value = False
        for segment in template[1:].split("/"):
            match = _VALUE.fullmatch(segment)
            if match is None:
                if "{" in segment:
                    raise ValueError(f"{template!r}: a value is a whole segment")
                node = node.fixed.setdefault(segment, _Node())
                continue
            has_value = True
            if match[1] is not None:
                node = node.verbs.setdefault(match[1], _Node())
            else:
                node.value = node.value or _Node()
                node = node.value
        if not has_value:
            self._fixed[template] = node.methods
        return node.methods

    def find(self, path: str) -> tuple[Mapping[str, R], tuple[str, ...]] | None:
        """Return the methods of a path, still percent-encoded, and the values in it; or None.

        Raises NotFound when a value is not text.
        """
        fixed = self._fixed.get(path)
        if fixed is not None:
            return fixed, ()
        segments = path.split("/")
        if len(segments) > SEGMENTS_MAX or len(path) > PATH_CHARS_MAX:
            return None
        found = _walk(self._root, segments, 1, ())
        if found is None:
            return None
        methods, values = found
        if "%" in path:
            values = tuple(decode_segment(value) if "%" in value else value for value in values)
        return methods, values

    def routes(self) -> list[R]:
        """Every route."""
        return _collect(self._root)


def _walk(
    node: _Node[R], segments: list[str], at: int, values: tuple[str, ...]
) -> tuple[Methods[R], tuple[str, ...]] | None:
    while at < len(segments):
        segment = segments[at]
        at += 1
        fixed = node.fixed.get(segment)
        if fixed is not None:
            only = node.value is None and not node.verbs
            if only or (at == len(segments) and fixed.methods):
                node = fixed
                continue
            found = _walk(fixed, segments, at, values)
            if found is not None:
                return found
        if node.verbs and ":" in segment:
            value, _, verb = segment.rpartition(":")
            after = node.verbs.get(verb)
            if after is not None and value:
                found = _walk(after, segments, at, (*values, value))
                if found is not None:
                    return found
        if node.value is None or not segment:
            return None
        node = node.value
        values = (*values, segment)
    return (node.methods, values) if node.methods else None


def _collect(node: _Node[R]) -> list[R]:
    found = list(node.methods.values())
    below = [*node.fixed.values(), *node.verbs.values(), *([node.value] if node.value else [])]
    for inner in below:
        found.extend(_collect(inner))
    return found


def decode_segment(segment: str) -> str:
    """Percent-decode one path segment. Raises NotFound when it is not text without NUL."""
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise NotFound() from None
    if "\0" in text:
        raise NotFound()
    return text
