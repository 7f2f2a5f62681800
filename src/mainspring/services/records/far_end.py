"""A list whose condition reaches other collections, read from its far end.

``record.team.owner == caller.id`` is true of few records where the caller owns few teams: an index
of teams finds those, and the links that relations keep lead back to the records. What is found so
may be more than the condition allows, never less; the condition is asked of each all the same.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from mainspring.cel import ast
from mainspring.services.records.model import CompiledCollection
from mainspring.services.records.query_planner import Sort, choose, equal_fields
from mainspring.services.records.store import Texts
from mainspring.services.records.store.far_end import (
    Way,
    either,
    in_range,
    linked,
    linked_back,
)

# Whether few are found; once they are many, that costs time and nothing else.
REMEMBERED_MS = 10_000
FOUND_MAX = 2_000  # more are not looked up one by one: then a page is soon full, in any order
TARGETS_MAX = 200  # of which the first records are merged: PostgreSQL reads a page of each
_ANY_ORDER = Sort([], None)


class FarEnd(msgspec.Struct, frozen=True):
    """The SQL of the ids that are found from the far end, and its parameters.

    ``before`` are the texts of what is found on the way there.

    ``exact`` says that the condition is true of what is found: it need not be asked again. By
    ``ways``, where there are some, the same are found in the order of their ids, one by one.
    """

    texts: Texts
    params: Mapping[str, Any]
    exact: bool
    before: tuple[Texts, ...] = ()
    ways: tuple[Way, ...] = ()


class Search:
    """Looks for the far end of one condition. ``wanted`` are indexes that would make one."""

    def __init__(self, home: CompiledCollection, others: Mapping[str, CompiledCollection]) -> None:
        self._collections = {home.id: home, **others}
        self._home = home
        self._named = 0
        self.wanted: list[tuple[str, list[str]]] = []  # a collection's name, and the fields

    def of(self, condition: ast.Node) -> FarEnd | None:
        """Return where to begin with a condition on records of the home collection, if anywhere."""
        return self._ids(self._home, 0, condition)

    def _ids(self, collection: CompiledCollection, row: int, condition: ast.Node) -> FarEnd | None:
        if isinstance(condition, ast.Any):
            found = [self._ids(collection, row, part) for part in condition.parts]
            ends = [end for end in found if end is not None]
            if len(ends) < len(found):
                return None
            params = {name: value for end in ends for name, value in end.params.items()}
            texts = either([end.texts for end in ends])
            before = tuple(text for end in ends for text in end.before)
            ways = [way for end in ends for way in end.ways] if all(e.ways for e in ends) else []
            return FarEnd(texts, params, all(e.exact for e in ends), before, tuple(ways))
        parts = condition.parts if isinstance(condition, ast.All) else (condition,)
        direct = self._direct(collection, row, parts)
        if direct is not None:
            return direct
        for part in parts:
            end = None
            if isinstance(part, ast.Reaching) and part.hop.source == row:
                end = self._beyond(part)
            elif isinstance(part, ast.Any):
                end = self._ids(collection, row, part)
            if end is not None:
                return msgspec.structs.replace(end, exact=end.exact and len(parts) == 1)
        return None

    def _direct(
        self, collection: CompiledCollection, row: int, parts: tuple[ast.Node, ...]
    ) -> FarEnd | None:
        """The records that an index of the collection itself finds."""
        own = tuple(
            ast.with_fields(part, lambda field: msgspec.structs.replace(field, row=0))
            for part in parts
            if not ast.reaches(part) and ast.rows(part) == {row}
        )
        if not own:
            return None
        plan = choose(collection, ast.All(own), _ANY_ORDER)
        if not plan.narrows:
            fields = [name for name in equal_fields(own) if name in collection.fields]
            if fields and collection is not self._home:
                self.wanted.append((collection.name, fields))
            return None
        at, low, high = self._name(), self._name(), self._name()
        params: dict[str, Any] = {at: collection.id}
        if plan.low is not None:
            params[low] = plan.low
        if plan.high is not None and not plan.exact:
            params[high] = plan.high
        texts = in_range(
            plan.column, at, low if low in params else None, high if high in params else None,
            exact=plan.exact,
        )  # fmt: skip
        exact = plan.rest is ast.TRUE and len(own) == len(parts)
        return FarEnd(texts, params, exact)

    def _beyond(self, part: ast.Reaching) -> FarEnd | None:
        """The records from which a hop leads to some that are found."""
        hop = part.hop
        inner = self._ids(self._collections[hop.collection], part.row, part.condition)
        if inner is None:
            return None
        at, field, start = self._name(), self._name(), self._name()
        params = {**inner.params, at: hop.collection, field: hop.field, start: hop.start}
        make = linked_back if hop.back else linked
        texts = make(inner.texts, at=at, field=field, start=start)
        before = (*inner.before, inner.texts)
        way = () if hop.back else (Way(inner.texts, at, field, inner.params, before),)
        return FarEnd(texts, params, inner.exact, before, way)

    def _name(self) -> str:
        self._named += 1
        return f"far{self._named}"
