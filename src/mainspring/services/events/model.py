"""Who wants which event, without I/O."""

from collections.abc import Callable, Collection

import msgspec

from mainspring.cel import compile_cel
from mainspring.cel.event import EVENT_NAMES
from mainspring.kernel.event_log import BusEvent, require_known
from mainspring.kernel.service import pattern_covers

Selector = Callable[[BusEvent], bool]


def selector(
    tenant: str, types: str, filter_source: str | None, known: Collection[str]
) -> Selector:
    """Return the test of which events a reader asks for.

    Raises Invalid for a bad filter, and for a type that fits none of the ``known`` ones.
    """
    patterns = tuple(types.split(","))
    require_known(patterns, known, "/type")
    program = compile_cel(filter_source, EVENT_NAMES, "/filter") if filter_source else None
    covered: dict[str, bool] = {}  # as many as there are types of event

    def wanted(event: BusEvent) -> bool:
        if event.tenant != tenant:
            return False
        if (covers := covered.get(event.type)) is None:
            covers = any(pattern_covers(pattern, event.type) for pattern in patterns)
            covered[event.type] = covers
        if not covers or program is None:
            return covers
        return program.test(msgspec.json.decode(event.body))

    return wanted
