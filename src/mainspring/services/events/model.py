"""Who wants which event, without I/O."""

from collections.abc import Callable, Collection

import msgspec

from mainspring.cel import compile_cel
from mainspring.cel.event import EVENT_NAMES
from mainspring.kernel.service import pattern_covers
from mainspring.runtime.events.feed import LogEntry, require_known

Selector = Callable[[LogEntry], bool]


def selector(
    tenant: str, types: str, filter_source: str | None, known: Collection[str]
) -> Selector:
    """Return the test of which entries a reader asks for.

    Raises Invalid for a bad filter, and for a type that fits none of the ``known`` ones.
    """
    patterns = tuple(types.split(","))
    require_known(patterns, known, "/type")
    program = compile_cel(filter_source, EVENT_NAMES, "/filter") if filter_source else None
    covered: dict[str, bool] = {}  # as many as there are types of event

    def wanted(entry: LogEntry) -> bool:
        if entry.tenant != tenant:
            return False
        if (covers := covered.get(entry.type)) is None:
            covers = any(pattern_covers(pattern, entry.type) for pattern in patterns)
            covered[entry.type] = covers
        if not covers or program is None:
            return covers
        return program.test({**msgspec.json.decode(entry.body), "seq": entry.seq})

    return wanted
