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

from mainspring.kernel.cel import tree
from mainspring.kernel.cel.types import Type


def certain(condition: tree.Node) -> tree.Node:
    """Return the condition that this one is certainly true."""
    return _certain(condition, True)


def _certain(node: tree.Node, wanted: bool) -> tree.Node:
    """The condition that a condition is certainly true, or certainly false."""
    asked = _expected(node)
    if not asked:
        return node if wanted else tree.Not(node)
    match node:
        case tree.Not(part):
            return _certain(part, not wanted)
        case tree.All(parts) | tree.Any(parts):
            make = tree.All if isinstance(node, tree.All) is wanted else tree.Any
            return make(tuple(_certain(part, wanted) for part in parts))
        case tree.Same(tree.Pick(Type.BOOL, test, yes, no), tree.Const(Type.BOOL, True)):
            a, b = (_certain(tree.condition(branch), wanted) for branch in (yes, no))
            chosen = tree.condition(tree.Pick(Type.BOOL, test, a, b))
            return _where_known(_expected(test), chosen)
        case tree.Among(value, tuple(items)) if wanted:
            return _among(value, items)
    return _where_known(asked, node if wanted else tree.Not(node))


def _among(value: tree.Node, items: tuple[tree.Node, ...]) -> tree.Node:
    plain = tuple(item for item in items if not _expected(item))
    found: list[tree.Node] = [tree.Among(value, plain)] if plain else []
    found += [
        _where_known(names, tree.Same(value, item)) for item in items if (names := _expected(item))
    ]
    return _where_known(_expected(value), tree.Any(tuple(found)))


def _where_known(names: Iterable[tree.Context], condition: tree.Node) -> tree.Node:
    present = tuple(tree.Present(name) for name in names)
    return tree.All((*present, condition)) if present else condition


def _expected(node: tree.Node) -> dict[tree.Context, None]:
    """The names of the call without which the node is unknown, in order of appearance."""
    if isinstance(node, tree.Context):
        # What a caller sends may be left out, as ``request.data`` may: that is JSON.
        plain = node.json or node.type in (Type.JSON, Type.CALLER)
        return {} if plain else {node: None}
    if isinstance(node, tree.Present):
        return {}
    return {name: None for inner in tree.children(node) for name in _expected(inner)}
