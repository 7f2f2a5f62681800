"""What of a document is shown: names kept or left out, and in a pipeline values under new names."""

from collections.abc import Callable
from typing import Any

from mainspring import Invalid
from mainspring.services.records.documents.values import (
    MISSING,
    Budget,
    Document,
    Path,
    read_path,
    taken,
    token,
    weigh,
)

ID = "_id"
NAMES_MAX = 100
Project = Callable[[Document, Budget], Document]
_Tree = dict[str, Any]  # by name: a tree of what is within, or True


def read_projection(source: Any, pointer: str) -> Project:
    """Read the projection of a find: ``{"title": 1}`` keeps, ``{"notes": 0}`` leaves out."""
    return _read(source, pointer, computes=False)


def read_project(source: Any, pointer: str) -> Project:
    """Read a ``$project``: as a projection, and ``{"name": "$user.name"}``. Raises Invalid."""
    if source == {}:
        raise Invalid.at(pointer, "name at least one field")
    return _read(source, pointer, computes=True)


def _read(source: Any, pointer: str, *, computes: bool) -> Project:
    if not isinstance(source, dict) or len(source) > NAMES_MAX:
        raise Invalid.at(pointer, f"it takes an object of at most {NAMES_MAX} names")
    kept: list[Path] = []
    left_out: list[Path] = []
    computed: dict[str, Path] = {}
    for name, value in source.items():
        at = f"{pointer}/{token(name)}"
        path = read_path(name, at)
        if isinstance(value, bool) or (isinstance(value, int | float) and value in (0, 1)):
            (kept if value else left_out).append(path)
        elif computes and isinstance(value, str) and value.startswith("$"):
            if len(path) > 1:
                raise Invalid.at(at, "a computed field has a name without dots")
            computed[name] = read_path(value[1:], at)
        else:
            fits = "1, 0 or a path such as '$user.name'" if computes else "1 or 0"
            raise Invalid.at(at, f"say {fits}")
    without_id = (ID,) in left_out
    left_out = [path for path in left_out if path != (ID,)]
    if left_out and (computed or any(path != (ID,) for path in kept)):
        raise Invalid.at(pointer, "keep names or leave names out, not both: _id alone may differ")
    if without_id and not kept and not computed:
        left_out.append((ID,))
    if left_out or not (kept or computed):
        tree = _tree(left_out, pointer)
        return lambda document, budget: _without(document, tree, budget)
    id_kept = without_id or ID in computed or (ID,) in kept
    tree = _tree([*kept, *([] if id_kept else [(ID,)])], pointer)
    if clash := computed.keys() & tree.keys():
        raise Invalid.at(pointer, f"{min(clash)!r} is named twice")
    return lambda document, budget: _made(document, tree, computed, budget)


def _made(document: Document, tree: _Tree, computed: dict[str, Path], budget: Budget) -> Document:
    made = dict(_within(document, tree, budget))
    for name, path in computed.items():
        value = taken(document, path, budget)
        if value is not MISSING:
            weigh(value, budget)
            made[name] = value
    return made


def _tree(paths: list[Path], pointer: str) -> _Tree:
    tree: _Tree = {}
    for path in paths:
        at = tree
        for name in path[:-1]:
            at = at.setdefault(name, {})
            if at is True:
                raise Invalid.at(pointer, f"{'.'.join(path)!r} lies in another that is named")
        if path[-1] in at:
            raise Invalid.at(pointer, f"another that is named lies in {'.'.join(path)!r}")
        at[path[-1]] = True
    return tree


def _within(value: Any, tree: _Tree, budget: Budget) -> Any:
    """Keep what a tree names."""
    budget.spend()
    if isinstance(value, list):
        items = [_within(item, tree, budget) for item in value]
        return [item for item in items if item is not MISSING]
    if not isinstance(value, dict):
        return MISSING
    made = {}
    for name, inner in value.items():
        wanted = tree.get(name)
        shown = inner if wanted is True else MISSING
        if isinstance(wanted, dict):
            shown = _within(inner, wanted, budget)
        if shown is not MISSING:
            made[name] = shown
    return made


def _without(value: Any, tree: _Tree, budget: Budget) -> Any:
    """Leave out what a tree names."""
    budget.spend()
    if isinstance(value, list):
        return [_without(item, tree, budget) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: inner if name not in tree else _without(inner, tree[name], budget)
        for name, inner in value.items()
        if tree.get(name) is not True
    }
