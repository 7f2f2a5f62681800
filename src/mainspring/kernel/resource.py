"""Resources: what each running process has one of, and handlers reach with ``call.use``."""

from collections.abc import Callable, Iterable, MutableMapping
from typing import Any

import msgspec

from mainspring.kernel.declaration import Misdeclared


class Resource(msgspec.Struct, frozen=True):
    """What a service provides: ``make`` is given what it needs, in that order.

    What is made may have a ``close``, and a ``forget_all``: for what it concluded from rows, when
    the database may not have them any more.
    """

    service: str
    kind: type
    make: Callable[..., Any]
    needs: tuple[type, ...]


def make_all(declared: Iterable[Resource], held: MutableMapping[type, Any]) -> list[Any]:
    """Put every declared resource among those held, each made after what it needs.

    One that is held already is taken instead. Returns them as they were made: they are closed in
    the reverse order. Raises Misdeclared, before anything is made, when one cannot be.
    """
    waiting = _in_order(list(declared), held)
    for resource in waiting:
        if resource.kind not in held:
            held[resource.kind] = resource.make(*(held[kind] for kind in resource.needs))
    return [held[resource.kind] for resource in waiting]


def _in_order(declared: list[Resource], held: MutableMapping[type, Any]) -> list[Resource]:
    by_kind: dict[type, Resource] = {}
    for resource in declared:
        if other := by_kind.get(resource.kind):
            raise Misdeclared(
                f"{resource.service} and {other.service} both provide {resource.kind.__name__}: "
                "let one of them do, and the other use it"
            )
        by_kind[resource.kind] = resource
    there = {*held, *by_kind}
    for resource in declared:
        for kind in resource.needs:
            if kind not in there:
                names = ", ".join(sorted(each.__name__ for each in there))
                raise Misdeclared(
                    f"{resource.service}: {resource.kind.__name__} needs {kind.__name__}, which "
                    f"nothing provides; there are {names}"
                )
    ordered: dict[type, Resource] = {}
    while waiting := [each for each in declared if each.kind not in ordered]:
        ready = [each for each in waiting if all(n in ordered or n in held for n in each.needs)]
        if not ready:
            names = ", ".join(each.kind.__name__ for each in waiting)
            raise Misdeclared(f"resources need each other in a circle: {names}")
        ordered.update({each.kind: each for each in ready})
    return list(ordered.values())
