"""Contracts: what can be called, declared apart from the handler that does it."""

import inspect
from collections.abc import Callable
from typing import Any, Generic, ParamSpec

from mainspring.kernel import declaration
from mainspring.kernel.declaration import Misdeclared, place

P = ParamSpec("P")  # what it takes beside its call


class Contract(Generic[P]):
    """A name, a signature and a doc. Whoever calls it needs no more; a handler does it.

    Until a handler is attached, calling ``handler`` raises Misdeclared.
    """

    __slots__ = ("declared", "doc", "handled", "handler", "name")

    def __init__(self, name: str, declared: Callable[..., Any]) -> None:
        self.name = name
        self.declared = declared
        self.doc = inspect.getdoc(declared) or ""
        self.handled = False
        self.handler: Callable[..., Any] = self._unhandled

    def attach(self, handler: Callable[..., Any]) -> None:
        """Have this function do it. Raises Misdeclared where it does not fit, or one does it."""
        if self.handled:
            raise Misdeclared(
                f"{place(handler)}: {self.name} has a handler already, at {place(self.handler)}: "
                "remove one"
            )
        if handler is not self.declared:
            wanted, _ = declaration.signature(self.name, self.declared)
            taken, _ = declaration.signature(f"{place(handler)}: {self.name}", handler)
            if set(taken) != set(wanted):
                raise Misdeclared(
                    f"{place(handler)}: {self.name} is declared with the parameters "
                    f"({', '.join(['call', *wanted])}) at {place(self.declared)}, and handled with "
                    f"({', '.join(['call', *taken])}): give them the same names"
                )
        self.handler, self.handled = handler, True

    def require_handler(self) -> None:
        """Raise Misdeclared when nothing does what is declared here."""
        if not self.handled:
            raise Misdeclared(
                f"{place(self.declared)}: {self.name} is declared and has no handler: write "
                f"@handles({self.declared.__name__}) over one, in a module that the service names "
                "in handlers="
            )

    def named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Name positional arguments. Raises TypeError when they do not fit the signature."""
        return self.bound(args, kwargs) if args else kwargs

    def bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Name all arguments. Raises TypeError when one is missing, or none is called so."""
        bound = inspect.signature(self.declared).bind(None, *args, **kwargs)
        return dict(list(bound.arguments.items())[1:])  # without the call

    def _unhandled(self, *_: Any, **__: Any) -> Any:
        self.require_handler()
