"""What is certain of an expression: what an absent caller or relation leaves open lets nobody in.

A null of the record is a value: ``record.owner == null`` asks for it. So is one of the record as it
was (``before``), where there is one: where not, nothing of it is known. A null of the call's own
names (``caller.id`` of somebody who is not logged in) is none, and so is what a record that is not
there would have: a comparison in which it stands is neither true nor false, nor is its negation.
Such an unknown goes through ``&&``, ``||`` and ``!`` as in Kleene's logic, each item of a list is a
comparison of its own, and a choice whose test is unknown is unknown. ``exists()`` is true where its
condition is certain of a row, and false where it is certainly false of every one. A whole
expression holds only where it is certain to, so what holds for nobody holds for everybody.
``has(caller.id)`` and ``caller == null`` ask on purpose, and are always known.

The rewriting happens once, on the typed tree: what runs it knows of two values only. Where the
typed tree has a field of a related row, the rewritten one has a ``Reaching`` around what asks it.
"""

from collections.abc import Iterable, Mapping

from mainspring.cel import ast
from mainspring.cel.types import BEFORE, Hop, Type

Unsure = ast.ContextValue | int  # a name of the call, or the number of a row


def certain(condition: ast.Node, hops: Mapping[int, Hop]) -> ast.Node:
    """Return the condition that this one is certainly true; ``hops`` are those to its rows."""
    return _Certainty(hops).of(condition, True, frozenset({0}))


class _Certainty:
    """Rewrites one expression. ``bound`` are the rows that something around a node goes over."""

    def __init__(self, hops: Mapping[int, Hop]) -> None:
        self._hops = hops

    def of(self, node: ast.Node, wanted: bool, bound: frozenset[int]) -> ast.Node:
        """The condition that a condition is certainly true, or certainly false."""
        asked = self._unsure(node, bound)
        if not asked and not ast.reaches(node):
            return node if wanted else ast.Not(node)
        match node:
            case ast.Reaching(row, hop, condition):
                inner = self.of(condition, wanted, bound | {row})
                found: ast.Node = ast.Reaching(row, hop, inner if wanted else ast.Not(inner))
                found = found if wanted else ast.Not(found)
                return self._where_known(self._way(hop.source, bound), found)
            case ast.Some(row, items, condition):
                inner = self.of(condition, wanted, bound)
                some: ast.Node = ast.Some(row, items, inner if wanted else ast.Not(inner))
                some = some if wanted else ast.Not(some)
                return self._where_known(self._unsure(items, bound), some)
            case ast.Not(part):
                return self.of(part, not wanted, bound)
            case ast.All(parts) | ast.Any(parts):
                make = ast.All if isinstance(node, ast.All) is wanted else ast.Any
                return make(tuple(self.of(part, wanted, bound) for part in parts))
            case ast.Same(ast.Pick(Type.BOOL, test, yes, no), ast.Const(Type.BOOL, True)):
                a, b = (self.of(ast.condition(branch), wanted, bound) for branch in (yes, no))
                chosen = ast.condition(ast.Pick(Type.BOOL, test, a, b))
                return self._where_known(self._unsure(test, bound), chosen)
            case ast.Among(value, tuple(items)) if wanted:
                return self._among(value, items, bound)
        return self._where_known(asked, node if wanted else ast.Not(node))

    def _among(
        self, value: ast.Node, items: tuple[ast.Node, ...], bound: frozenset[int]
    ) -> ast.Node:
        plain = tuple(item for item in items if not self._unsure(item, bound))
        found: list[ast.Node] = [ast.Among(value, plain)] if plain else []
        found += [
            self._where_known(names, ast.Same(value, item))
            for item in items
            if (names := self._unsure(item, bound))
        ]
        return self._where_known(self._unsure(value, bound), ast.Any(tuple(found)))

    def _where_known(self, unsure: Iterable[Unsure], condition: ast.Node) -> ast.Node:
        rows = sorted((u for u in unsure if isinstance(u, int)), reverse=True)
        for row in rows:  # a row's number is larger than that of the one its hop starts at
            condition = ast.Reaching(row, self._hops[row], condition)
        present = tuple(ast.Present(u) for u in unsure if not isinstance(u, int))
        return ast.All((*present, condition)) if present else condition

    def _way(self, row: int, bound: frozenset[int]) -> dict[Unsure, None]:
        """The rows on the way to this one that nothing goes over yet."""
        found: dict[Unsure, None] = {}
        while row not in bound:
            found[row] = None
            row = self._hops[row].source
        return found

    def _unsure(self, node: ast.Node, bound: frozenset[int]) -> dict[Unsure, None]:
        """Without what of the call and of other rows the node is unknown, as it appears."""
        match node:
            case ast.ContextValue(kind, path, json):
                if kind is Type.CALLER:
                    return {}
                if path[0] == BEFORE:
                    return {ast.ContextValue(Type.TEXT, (BEFORE, "id")): None}
                # What a caller sends may be left out, as ``request.data`` may: that is JSON. What
                # is known of a caller in JSON is there or not, like the rest of them.
                sent = (json or kind is Type.JSON) and path[0] != "caller"
                return {} if sent else {node: None}
            case ast.FieldValue():
                return self._way(node.row, bound)
            case ast.Present():
                return {}
            case ast.Reaching(row, hop, condition):
                inner = self._unsure(condition, bound | {row})
                return self._way(hop.source, bound) | {
                    u: None for u in inner if not isinstance(u, int) or not self._on(row, u)
                }
        return {u: None for inner in ast.children(node) for u in self._unsure(inner, bound)}

    def _on(self, row: int, way: int) -> bool:
        """Tell whether the way to a row goes over this one."""
        while way > row:
            way = self._hops[way].source
        return way == row
