"""What may be wrong with a declaration, told where it is declared and with what would fit."""

import functools
import inspect
import re
import typing
from collections.abc import Callable
from typing import Any

import msgspec

_SCOPE = re.compile(r"[a-z][a-z0-9_]*:[a-z][a-z0-9_]*")
_FITS = "a msgspec.Struct, a dataclass, a TypedDict, or what JSON knows"


class Misdeclared(TypeError, ValueError):
    """A service, operation, event, job or app that cannot be as it was declared."""


def is_struct(kind: object) -> bool:
    """Tell whether an annotation is a struct, and not one of several things."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def place(handler: Callable[..., Any]) -> str:
    """Say where a handler is written: ``app.py:12``."""
    code = inspect.unwrap(handler).__code__
    return f"{code.co_filename.rpartition('/')[2]}:{code.co_firstlineno}"


def signature(name: str, handler: Callable[..., Any]) -> tuple[list[str], dict[str, Any]]:
    """Return the parameters of a handler after its call, and every annotation. Raises Misdeclared.

    Each parameter has a type and can be given by its name.
    """
    try:
        hints = typing.get_type_hints(handler, include_extras=True)
    except (NameError, TypeError, SyntaxError) as error:
        raise Misdeclared(f"{name}: an annotation cannot be read: {error}") from None
    parameters = list(inspect.signature(handler).parameters.values())
    if not parameters:
        raise Misdeclared(f"{name} takes no call: write {_form(handler)}(call: Call, ...)")
    for parameter in parameters[1:]:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise Misdeclared(f"{name}: {parameter} cannot be given by a name: list parameters")
        if parameter.name not in hints:
            raise Misdeclared(
                f"{name}: parameter {parameter.name!r} has no type: write "
                f"{parameter.name}: str, say"
            )
    return [parameter.name for parameter in parameters[1:]], hints


def require_async(name: str, handler: Callable[..., Any], *, generator: bool = False) -> None:
    """Refuse a handler that cannot be awaited, or iterated over with ``async for``."""
    plain = inspect.unwrap(handler)
    while isinstance(plain, functools.partial):
        plain = plain.func
    if generator and not inspect.isasyncgenfunction(plain):
        raise Misdeclared(f"{name} streams nothing: write {_form(handler)} with a yield in it")
    if not generator and not inspect.iscoroutinefunction(plain):
        raise Misdeclared(f"{name} cannot be awaited: write {_form(handler)} without a yield")


def require_scope(name: str, scope: str) -> None:
    """Refuse what is not written as a scope."""
    if not _SCOPE.fullmatch(scope):
        raise Misdeclared(
            f"{name}: {scope!r} is not a scope: write 'links:write', say, or None for everybody"
        )


def require_json(name: str, kind: Any, what: str) -> None:
    """Refuse a type that JSON cannot be made of."""
    try:
        info = msgspec.inspect.type_info(kind)
    except (TypeError, NameError) as error:
        raise Misdeclared(f"{name}: {what} has no form in JSON: {error}") from None
    if isinstance(info, msgspec.inspect.CustomType):
        shown = getattr(kind, "__qualname__", kind)
        raise Misdeclared(f"{name}: {what} is a {shown}, which has no form in JSON: use {_FITS}")


def _form(handler: Callable[..., Any]) -> str:
    return f"async def {getattr(handler, '__name__', 'handler')}"
