"""What a caller may call: found by words, and described one at a time.

A hundred operations as a hundred tools would fill a context before anything is asked.
"""

import re
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from mainspring.interfaces.mcp.settings import McpSettings
from mainspring.interfaces.openapi import OpenApiDocument
from mainspring.kernel.authority import authorise
from mainspring.kernel.caller import Caller
from mainspring.kernel.errors import Failure, Forbidden, Invalid, NotFound
from mainspring.kernel.impersonation import require_in_person
from mainspring.kernel.operation import Input, Kind, Operation, OperationVariant
from mainspring.kernel.policy import RateClass
from mainspring.kernel.registry import Registry

WRITE_SCOPE = "mcp:write"
FOUND_MAX = 50
CURSOR_CHARS_MAX = 9
WORDS_MAX = 16  # of a query that are looked for

_WORD = re.compile(r"[a-z0-9]+")
Shapes = Sequence[OperationVariant]


class SearchArguments(Input, frozen=True):
    """What ``search`` takes."""

    query: str = ""
    limit: int = 20
    cursor: str | None = None


class DescribeArguments(Input, frozen=True):
    """What ``describe`` takes."""

    operation: str
    collection: str | None = None


class FoundOperation(msgspec.Struct, frozen=True, omit_defaults=True):
    """An operation, or what it is for one collection. One that ``tries`` can only be dry."""

    operation: str
    summary: str
    collection: str | None = None
    writes: bool = False
    dry_run_only: bool = False


class FoundPage(msgspec.Struct, frozen=True):
    """A page of what was found."""

    items: list[FoundOperation]
    next_cursor: str | None


class _Entry:
    """An operation and the words it is found by."""

    __slots__ = ("doc", "name", "operation", "summary")

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.name = frozenset(_words(f"{operation.name} {operation.path}"))
        self.summary = frozenset(_words(operation.summary))
        self.doc = frozenset(_words(operation.doc))

    def score(self, wanted: Iterable[str]) -> int:
        """Count the words that fit, those of the name most."""
        parts = ((self.name, 4), (self.summary, 2), (self.doc, 1))
        return sum(
            max((weight for words, weight in parts if _fits(word, words)), default=0)
            for word in wanted
        )


class Catalog:
    """The operations that answer JSON at once, as one caller may call them."""

    def __init__(self, registry: Registry, settings: McpSettings) -> None:
        self._settings = settings
        self._entries = {
            operation.name: _Entry(operation)
            for operation in sorted(registry.operations.values(), key=lambda o: o.name)
            if operation.kind is Kind.UNARY
        }
        self._known = registry.operations
        self._document = OpenApiDocument(
            registry.services.values(), title="Mainspring", version=version("mainspring")
        )

    def operation(self, name: str) -> Operation:
        """Return an operation that can be called here. Raises NotFound."""
        entry = self._entries.get(name)
        if entry is not None:
            return entry.operation
        other = self._known.get(name)
        if other is None:
            raise NotFound(f"there is no operation {name[:100]!r}: search for one")
        raise NotFound(
            f"{name} takes or answers something else than JSON at once: it is "
            f"{other.method} {other.path} over REST"
        )

    def require_write(self, operation: Operation, caller: Caller) -> None:
        """Raise Forbidden, or Unauthenticated, for who may only try what writes."""
        if operation.writes:
            if not self._settings.writes:
                raise Forbidden(
                    "this platform takes no writes over MCP ([mcp] writes): try it with dry_run"
                )
            authorise(WRITE_SCOPE, caller)

    def may_write(self, caller: Caller) -> bool:
        """Tell whether anything can be written by this caller."""
        return self._settings.writes and caller.allows(WRITE_SCOPE)

    def search(self, asked: SearchArguments, caller: Caller, shapes: Shapes) -> FoundPage:
        """Return what fits some of the words, the best first; without words everything."""
        wanted = list(dict.fromkeys(_words(asked.query)))[:WORDS_MAX]
        scored: list[tuple[int, FoundOperation]] = []
        for entry in self._entries.values():
            if not self._shown(entry.operation, caller):
                continue
            score = entry.score(wanted)
            if score or not wanted:
                scored.append((score, self._found(entry.operation, caller)))
        for shape in shapes:
            words = frozenset(_words(shape.name))
            named = [word for word in wanted if _fits(word, words)]
            described = self._entries.get(shape.operation)
            if named and described is not None and self._shown(described.operation, caller):
                score = 5 * len(named) + described.score(wanted)
                scored.append((score, self._found(described.operation, caller, shape.name)))
        scored.sort(key=lambda each: -each[0])  # what scores alike stays in the order of names
        begin = _position(asked.cursor)
        end = begin + max(1, min(asked.limit, FOUND_MAX))
        following = str(end) if end < len(scored) else None
        return FoundPage([found for _, found in scored[begin:end]], following)

    def describe(self, asked: DescribeArguments, caller: Caller, shapes: Shapes) -> dict[str, Any]:
        """Return what an operation takes and answers. Raises NotFound for one not to be called."""
        operation = self.operation(asked.operation)
        if not self._shown(operation, caller):
            raise NotFound(f"there is no operation {operation.name!r} that you may call")
        shape = None
        if asked.collection is not None:
            fits = (s for s in shapes if s.operation == operation.name)
            shape = next((s for s in fits if s.name == asked.collection), None)
            if shape is None:
                raise NotFound(f"{operation.name} is not there for a collection of that name")
        described = self._document.describe(operation, shape)
        return {**msgspec.to_builtins(self._found(operation, caller)), **described}

    def _shown(self, operation: Operation, caller: Caller) -> bool:
        try:
            authorise(operation.scope, caller)
            require_in_person(operation.impersonated, caller)
        except Failure:
            return False
        return not operation.writes or self.may_write(caller) or _can_be_tried(operation)

    def _found(
        self, operation: Operation, caller: Caller, collection: str | None = None
    ) -> FoundOperation:
        tries = operation.writes and not self.may_write(caller)
        return FoundOperation(
            operation.name, operation.summary, collection, operation.writes, tries
        )


def _can_be_tried(operation: Operation) -> bool:
    return not operation.secret and operation.rate is not RateClass.LOGIN


def _position(cursor: str | None) -> int:
    """Where a page begins. Raises Invalid for what was never a cursor here."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= CURSOR_CHARS_MAX):
        raise Invalid.at("/cursor", "not one that search answered")
    return int(cursor)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower().replace("_", " "))


def _fits(word: str, words: frozenset[str]) -> bool:
    """Whether a word is there, in the singular or the plural."""
    other = word.removesuffix("s") if word.endswith("s") else word + "s"
    return word in words or other in words
