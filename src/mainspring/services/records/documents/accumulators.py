"""``$group``: by what documents are put together, and what is made of those of one group."""

from collections.abc import Callable
from typing import Any

from mainspring import Invalid
from mainspring.cel.types import INTEGER_MAX
from mainspring.services.records.documents.projections import ID
from mainspring.services.records.documents.values import (
    MISSING,
    Budget,
    Document,
    Path,
    key,
    read_path,
    taken,
    token,
)

GROUPS_MAX = 1_000  # of one stage
FIELDS_MAX = 20  # of one stage
PUSHED_MAX = 1_000  # items of one list
_NAMES = ("$sum", "$avg", "$min", "$max", "$push", "$count")

Grouping = Callable[[list[Document], Budget], list[Document]]
_Value = Callable[[Document, Budget], Any]


def read_group(source: Any, pointer: str) -> Grouping:
    """Read a ``$group``. Raises Invalid. Groups come in the order in which they begin."""
    if not isinstance(source, dict) or ID not in source:
        raise Invalid.at(pointer, "say in _id what to group by: null, '$field' or {'a': '$a'}")
    if len(source) > FIELDS_MAX:
        raise Invalid.at(pointer, f"a group has at most {FIELDS_MAX} fields")
    by = _by(source[ID], f"{pointer}/{ID}")
    made = {
        name: _read(name, v, f"{pointer}/{token(name)}") for name, v in source.items() if name != ID
    }

    def group(documents: list[Document], budget: Budget) -> list[Document]:
        groups: dict[Any, tuple[Any, list[Document]]] = {}
        for document in documents:
            value = by(document, budget)
            found = groups.setdefault(key(value, budget), (value, []))
            found[1].append(document)
            if len(groups) > GROUPS_MAX:
                raise Invalid.at(pointer, f"makes more than {GROUPS_MAX} groups: group by less")
        return [
            {
                ID: None if value is MISSING else value,
                **{name: of(members, budget) for name, of in made.items()},
            }
            for value, members in groups.values()
        ]

    return group


def _by(source: Any, pointer: str) -> _Value:
    if source is None:
        return lambda document, budget: None
    if isinstance(source, str) and source.startswith("$"):
        path = read_path(source[1:], pointer)
        return lambda document, budget: taken(document, path, budget)
    if not isinstance(source, dict) or not 0 < len(source) <= FIELDS_MAX:
        raise Invalid.at(pointer, "null, '$field' or {'a': '$a', 'b': '$b.c'}")
    paths: dict[str, Path] = {}
    for name, value in source.items():
        at = f"{pointer}/{token(name)}"
        if not isinstance(value, str) or not value.startswith("$"):
            raise Invalid.at(at, "a path that begins with $: '$user.name'")
        if len(read_path(name, at)) > 1:
            raise Invalid.at(at, "a name without dots")
        paths[name] = read_path(value[1:], at)

    def by(document: Document, budget: Budget) -> Any:
        values = {name: taken(document, path, budget) for name, path in paths.items()}
        return {name: value for name, value in values.items() if value is not MISSING}

    return by


def _read(name: str, source: Any, pointer: str) -> Callable[[list[Document], Budget], Any]:
    if len(read_path(name, pointer)) > 1:
        raise Invalid.at(pointer, "a name without dots")
    if not isinstance(source, dict) or len(source) != 1:
        raise Invalid.at(pointer, "an object with one accumulator: {'$sum': '$amount'}")
    ((kind, operand),) = source.items()
    if kind == "$count" and operand == {}:
        return lambda members, budget: len(members)
    if kind == "$sum" and isinstance(operand, int | float) and not isinstance(operand, bool):
        if abs(operand) > INTEGER_MAX:
            raise Invalid.at(pointer, f"a number that is summed lies within {INTEGER_MAX}")
        return lambda members, budget: operand * len(members)
    of = _ACCUMULATORS.get(kind)
    if of is None:
        raise Invalid.at(pointer, f"{kind[:40]!r} is not here: {', '.join(_NAMES)} are")
    if not isinstance(operand, str) or not operand.startswith("$"):
        raise Invalid.at(pointer, "a path that begins with $: {'$sum': '$amount'}")
    path = read_path(operand[1:], pointer)
    return lambda members, budget: of([taken(m, path, budget) for m in members], budget, pointer)


def _numbers(values: list[Any]) -> list[int | float]:
    return [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]


def _sum(values: list[Any], budget: Budget, pointer: str) -> Any:
    return sum(_numbers(values))


def _average(values: list[Any], budget: Budget, pointer: str) -> Any:
    numbers = _numbers(values)
    return sum(numbers) / len(numbers) if numbers else None


def _least(values: list[Any], budget: Budget, pointer: str) -> Any:
    return min(_some(values), key=lambda value: key(value, budget), default=None)


def _largest(values: list[Any], budget: Budget, pointer: str) -> Any:
    return max(_some(values), key=lambda value: key(value, budget), default=None)


def _some(values: list[Any]) -> list[Any]:
    return [value for value in values if value is not MISSING and value is not None]


def _pushed(values: list[Any], budget: Budget, pointer: str) -> Any:
    pushed = [value for value in values if value is not MISSING]
    if len(pushed) > PUSHED_MAX:
        raise Invalid.at(pointer, f"$push makes a list of more than {PUSHED_MAX}: group by more")
    return pushed


_ACCUMULATORS: dict[str, Callable[[list[Any], Budget, str], Any]] = {
    "$sum": _sum, "$avg": _average, "$min": _least, "$max": _largest, "$push": _pushed,
}  # fmt: skip
