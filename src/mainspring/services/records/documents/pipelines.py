"""Stages of a pipeline, and the parts of a find: each makes documents of documents."""

from collections.abc import Callable
from typing import Any

from mainspring import Invalid
from mainspring.services.records.documents.accumulators import read_group
from mainspring.services.records.documents.filters import read_filter
from mainspring.services.records.documents.projections import read_project, read_projection
from mainspring.services.records.documents.values import (
    MISSING,
    Budget,
    Document,
    Path,
    ordered_by,
    read_path,
    sort_key,
    token,
    weigh,
)

__all__ = ["Stage", "read_pipeline", "read_projection", "read_sort"]

STAGES_MAX = 20
SORT_KEYS_MAX = 8
SKIP_MAX = 1_000_000

_Documents = list[Document]
Stage = Callable[[_Documents, Budget], _Documents]


def read_pipeline(source: list[Any], pointer: str) -> list[Stage]:
    """Read the stages of a pipeline. Raises Invalid at what is not in the subset."""
    if len(source) > STAGES_MAX:
        raise Invalid.at(pointer, f"a pipeline has at most {STAGES_MAX} stages")
    return [_stage(stage, f"{pointer}/{i}") for i, stage in enumerate(source)]


def _stage(source: Any, pointer: str) -> Stage:
    if not isinstance(source, dict) or len(source) != 1:
        raise Invalid.at(pointer, "a stage is an object with one member: {'$match': {…}}")
    ((name, operand),) = source.items()
    read = _STAGES.get(name)
    if read is None:
        raise Invalid.at(
            f"{pointer}/{token(name)}", f"{name[:40]!r} is not here: {', '.join(_STAGES)} are"
        )
    return read(operand, f"{pointer}/{token(name)}")


def _match(operand: Any, pointer: str) -> Stage:
    matches = read_filter(operand, pointer)
    return lambda documents, budget: [d for d in documents if matches(d, budget)]


def read_sort(operand: Any, pointer: str) -> Stage:
    """Read ``{"views": -1, "title": 1}``. What is alike stays in the order it had."""
    if not isinstance(operand, dict) or not 0 < len(operand) <= SORT_KEYS_MAX:
        raise Invalid.at(pointer, f"name 1 to {SORT_KEYS_MAX} fields with 1 or -1: {{'views': -1}}")
    parts: list[tuple[Path, bool]] = []
    for name, direction in operand.items():
        if isinstance(direction, bool) or direction not in (1, -1):
            raise Invalid.at(
                f"{pointer}/{token(name)}", "1 puts the smallest first, -1 the largest"
            )
        parts.append((read_path(name, pointer), direction == -1))

    def stage(documents: _Documents, budget: Budget) -> _Documents:
        for path, descending in reversed(parts):
            keys = [_sorted_by(d, path, budget, descending=descending) for d in documents]
            order = sorted(range(len(documents)), key=keys.__getitem__, reverse=descending)
            documents = [documents[at] for at in order]
        return documents

    return stage


def _sorted_by(document: Document, path: Path, budget: Budget, *, descending: bool) -> Any:
    lying = ordered_by(document, path, budget)
    keys = [sort_key(value, budget, descending=descending) for value in lying]
    return max(keys) if descending else min(keys)


def _skip(operand: Any, pointer: str) -> Stage:
    count = _count(operand, pointer, 0)
    return lambda documents, budget: documents[count:]


def _limit(operand: Any, pointer: str) -> Stage:
    count = _count(operand, pointer, 1)
    return lambda documents, budget: documents[:count]


def _count(operand: Any, pointer: str, least: int) -> int:
    whole = isinstance(operand, int) and not isinstance(operand, bool)
    if not whole or not least <= operand <= SKIP_MAX:
        raise Invalid.at(pointer, f"it takes a whole number from {least} to {SKIP_MAX:,}")
    return int(operand)


def _counted(operand: Any, pointer: str) -> Stage:
    path = read_path(operand, pointer)
    if len(path) > 1:
        raise Invalid.at(pointer, "$count takes a name without dots: what the count is called")
    return lambda documents, budget: [{path[0]: len(documents)}] if documents else []


def _project(operand: Any, pointer: str) -> Stage:
    project = read_project(operand, pointer)
    return lambda documents, budget: [project(d, budget) for d in documents]


def _unwind(operand: Any, pointer: str) -> Stage:
    given = operand if isinstance(operand, dict) else {"path": operand}
    if unknown := sorted(given.keys() - {"path", "preserveNullAndEmptyArrays"}):
        raise Invalid.at(
            f"{pointer}/{token(unknown[0])}", "path and preserveNullAndEmptyArrays are here"
        )
    text, keeps = given.get("path"), given.get("preserveNullAndEmptyArrays", False)
    if not isinstance(text, str) or not text.startswith("$"):
        raise Invalid.at(pointer, "the path begins with $: '$tags'")
    if not isinstance(keeps, bool):
        raise Invalid.at(f"{pointer}/preserveNullAndEmptyArrays", "true or false")
    path = read_path(text[1:], pointer)

    def stage(documents: _Documents, budget: Budget) -> _Documents:
        made: _Documents = []
        for document in documents:
            value = _through_objects(document, path, budget)
            if isinstance(value, list) and value:
                budget.spend(len(value) * len(document))
                made += [_with(document, path, item) for item in value]
            elif value == [] or value is None or value is MISSING:
                if keeps:
                    made.append(_with(document, path, MISSING) if value == [] else document)
            else:
                made.append(document)
        return made

    return stage


def _through_objects(document: Document, path: Path, budget: Budget) -> Any:
    """What is at a path that goes through objects only: lists on the way are not gone into."""
    value: Any = document
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return MISSING
        value = value[name]
    budget.spend(len(path))
    return value


def _with(document: Document, path: Path, value: Any) -> Document:
    """A document with another value at a path that is there."""
    made = dict(document)
    if len(path) > 1:
        made[path[0]] = _with(made[path[0]], path[1:], value)
    elif value is MISSING:
        del made[path[0]]
    else:
        made[path[0]] = value
    return made


def _grouped(operand: Any, pointer: str) -> Stage:
    group = read_group(operand, pointer)

    def stage(documents: _Documents, budget: Budget) -> _Documents:
        made = group(documents, budget)
        for document in made:
            weigh(document, budget)
        return made

    return stage


_STAGES: dict[str, Callable[[Any, str], Stage]] = {
    "$match": _match, "$sort": read_sort, "$limit": _limit, "$skip": _skip,
    "$project": _project, "$group": _grouped, "$unwind": _unwind, "$count": _counted,
}  # fmt: skip
