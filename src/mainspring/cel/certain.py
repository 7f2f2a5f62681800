"""What is certain of an expression: what an absent caller leaves open lets nobody in.

A null of the record is a value: ``record.owner == null`` asks for it. A null of the call's own
names (``caller.id`` of somebody who is not logged in) is none: a comparison in which it stands is
neither true nor false, nor is its negation. Such an unknown goes through ``&&``, ``||`` and ``!``
as in Kleene's logic, each item of a list is a comparison of its own, and a choice whose test is
unknown is unknown. A whole expression holds only where it is certain to, so what holds for nobody
holds for everybody. ``has(caller.id)`` and ``caller == null`` ask on purpose, and are always known.

The rewriting happens once, on the typed tree: evaluator and SQL know of two values only.
"""

from collections.abc import Iterable

from mainspring.cel import ast
from mainspring.cel.types import Type


def certain(condition: ast.Node) -> ast.Node:
    """Return the condition that this one is certainly true."""
    return _certain(condition, True)


def _certain(node: ast.Node, wanted: bool) -> ast.Node:
    """The condition that a condition is certainly true, or certainly false."""
    asked = _expected(node)
    if not asked:
        return node if wanted else ast.Not(node)
    match node:
        case ast.Not(part):
            return _certain(part, not wanted)
        case ast.All(parts) | ast.Any(parts):
            make = ast.All if isinstance(node, ast.All) is wanted else ast.Any
            return make(tuple(_certain(part, wanted) for part in parts))
        case ast.Same(ast.Pick(Type.BOOL, test, yes, no), ast.Const(Type.BOOL, True)):
            a, b = (_certain(ast.condition(branch), wanted) for branch in (yes, no))
            chosen = ast.condition(ast.Pick(Type.BOOL, test, a, b))
            return _where_known(_expected(test), chosen)
        case ast.Among(value, tuple(items)) if wanted:
            return _among(value, items)
    return _where_known(asked, node if wanted else ast.Not(node))


def _among(value: ast.Node, items: tuple[ast.Node, ...]) -> ast.Node:
    plain = tuple(item for item in items if not _expected(item))
    found: list[ast.Node] = [ast.Among(value, plain)] if plain else []
    found += [
        _where_known(names, ast.Same(value, item)) for item in items if (names := _expected(item))
    ]
    return _where_known(_expected(value), ast.Any(tuple(found)))


def _where_known(names: Iterable[ast.ContextValue], condition: ast.Node) -> ast.Node:
    present = tuple(ast.Present(name) for name in names)
    return ast.All((*present, condition)) if present else condition


def _expected(node: ast.Node) -> dict[ast.ContextValue, None]:
    """The names of the call without which the node is unknown, in order of appearance."""
    if isinstance(node, ast.ContextValue):
        # What a caller sends may be left out, as ``request.data`` may: that is JSON.
        plain = node.json or node.type in (Type.JSON, Type.CALLER)
        return {} if plain else {node: None}
    if isinstance(node, ast.Present):
        return {}
    return {name: None for inner in ast.children(node) for name in _expected(inner)}
