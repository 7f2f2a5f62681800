"""CEL, the one language of filters, access rules, webhook filters and subscriptions.

A subset of the Common Expression Language with one meaning everywhere: absent is null; ``==`` and
``!=`` are ``IS [NOT] DISTINCT FROM``; an order with null is false; a null boolean counts as false;
text compares by code point; division by zero is null; numbers compare by value across integer and
double. Names and types are checked when an expression is compiled, and what is not supported is
refused there, with the character. An expression is evaluated in Python or written as SQL for both
engines from the same tree. What is asked of a part of the call that is absent, as ``caller.id`` of
an anonymous caller is, decides nothing, and neither does its negation: see ``certain``. What asks
for related records is SQL only: where they are is for the database to know, in one moment.
"""

from collections.abc import Mapping
from typing import Any

from mainspring.cel import ast, evaluate, sql, syntax
from mainspring.cel.check import Checker
from mainspring.cel.syntax import RESERVED_WORDS, Part, parts
from mainspring.cel.types import Hop, Lead, Names, Type

__all__ = [
    "RESERVED_WORDS", "Hop", "Lead", "Names", "Part", "Program", "Type", "compile_cel", "parts",
]  # fmt: skip

_NOTHING: Mapping[str, Any] = {}


class Program:
    """A compiled condition. Immutable; safe to share.

    ``asks_context`` are the names of the context it asks for, ``asks_record`` whether it asks for
    anything of the record: what it does not ask for need not be worked out. One that ``reaches``
    other records is judged by a database.
    """

    __slots__ = ("_test", "asks_context", "asks_record", "reaches", "source", "tree")

    def __init__(self, source: str, node: ast.Node) -> None:
        self.source = source
        self.asks_context = evaluate.context_names(node)
        self.asks_record = evaluate.uses_record(node)
        self.tree = node if self.asks_context else evaluate.fold(node, _NOTHING)
        self.reaches = ast.reaches(self.tree)
        self._test = None if self.reaches else evaluate.closure(self.tree)

    def test(self, record: Mapping[str, Any], context: Mapping[str, Any] = _NOTHING) -> bool:
        """Tell whether the condition holds; it must not reach further. Total: it never raises."""
        assert self._test is not None
        return self._test(record, context) is True

    def residual(self, context: Mapping[str, Any] = _NOTHING) -> ast.Node:
        """What is left to ask of each record once the context is known: a constant, or a tree."""
        if not self.asks_record:
            return ast.TRUE if self.test(_NOTHING, context) else ast.FALSE
        return evaluate.fold(self.tree, context) if self.asks_context else self.tree

    def sql(self, column: str, context: Mapping[str, Any] = _NOTHING) -> sql.Fragment:
        """Write the condition as SQL over records stored as JSON text in ``column``."""
        return sql.fragment(self.residual(context), column)


def compile_cel(source: str, names: Names, pointer: str = "") -> Program:
    """Compile an expression that decides yes or no.

    Raises Invalid with an error at ``pointer`` that names the character and what is wrong: syntax,
    an unknown name, types that do not compare, a function or bound that is not supported.
    """
    typed = Checker(names, pointer).whole(syntax.parse(source, pointer))
    program = Program(source, typed)
    try:
        sql.require_short(typed)
    except sql.TooLong:
        raise syntax.refusal(pointer, "the expression is too large") from None
    return program
