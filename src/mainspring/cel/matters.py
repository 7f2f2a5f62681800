"""Whether a change of a related row can make a condition otherwise, without asking a database.

For each row that a condition goes over: what can be told of the changed row alone is told, and what
asks for other rows is left open (Kleene's logic). A row that certainly did not count before, and
certainly does not after, changes nothing; neither does one that is the same in all that is asked.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from mainspring.cel import ast
from mainspring.cel.evaluate import closure

Row = Mapping[str, Any]


def matters(condition: ast.Node, collection: str, old: Row | None, new: Row | None) -> bool:
    """Tell whether records may meet a folded condition by a change of a row, or not any more.

    The row is of ``collection``, by its id; None stands for one that is not there.
    """
    return any(
        _counts(through, old, new)
        for through in _through(condition)
        if through.hop.collection == collection
    )


def _counts(through: ast.Reaching, old: Row | None, new: Row | None) -> bool:
    states = [state for state in (old, new) if state is not None]
    if not through.hop.back and len(states) < 2:
        return False  # nothing points at what is not there yet, or is to go
    asked = _asked(through.condition, through.row)
    if through.hop.back:
        asked.add(through.hop.field)
    if old is not None and new is not None and all(old.get(n) == new.get(n) for n in asked):
        return False
    return any(_holds(through.condition, through.row, state) is not False for state in states)


def _through(node: ast.Node) -> list[ast.Reaching]:
    own = [node] if isinstance(node, ast.Reaching) else []
    return own + [found for inner in ast.children(node) for found in _through(inner)]


def _asked(node: ast.Node, row: int) -> set[str]:
    """The fields of a row that a condition asks for, also to find what it is related to."""
    own = set[str]()
    if isinstance(node, ast.FieldValue) and node.row == row:
        own = {node.path[0]}
    if isinstance(node, ast.Reaching) and node.hop.source == row and not node.hop.back:
        own = {node.hop.field}
    return own.union(*(_asked(inner, row) for inner in ast.children(node)))


def _holds(node: ast.Node, row: int, state: Row) -> bool | None:
    """Tell whether a condition holds of a row; None where that is for other rows to say."""
    match node:
        case ast.Not(part):
            held = _holds(part, row, state)
            return None if held is None else not held
        case ast.All(parts):
            found = [_holds(part, row, state) for part in parts]
            return False if False in found else None if None in found else True
        case ast.Any(parts):
            found = [_holds(part, row, state) for part in parts]
            return True if True in found else None if None in found else False
    if ast.reaches(node) or ast.rows(node) - {row}:
        return None
    alone = ast.with_fields(node, lambda field: msgspec.structs.replace(field, row=0))
    return closure(alone)(state, {}) is True
