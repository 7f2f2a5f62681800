"""Who wants which event, without I/O."""

from collections.abc import Collection, Sequence

import msgspec

from mainspring import LruCache
from mainspring.cel import compile_cel
from mainspring.cel.event import EVENT_NAMES
from mainspring.kernel.event import without
from mainspring.kernel.event_log import BusEvent, require_known
from mainspring.kernel.service import pattern_covers
from mainspring.services.events.api import service

SELECTORS_MAX = 256  # kept for the next who asks for the same


class Selector:
    """The test of which events a reader asks for.

    Raises Invalid for a bad filter, and for a type that fits none of the ``known`` ones.
    """

    __slots__ = ("_covered", "_judged", "_passed", "_patterns", "_program", "_tenant")

    def __init__(
        self, tenant: str, types: str, filter_source: str | None, known: Collection[str]
    ) -> None:
        self._tenant = tenant
        self._patterns = tuple(types.split(","))
        require_known(self._patterns, known, "/type")
        self._program = (
            compile_cel(filter_source, EVENT_NAMES, "/filter") if filter_source else None
        )
        self._covered: dict[str, bool] = {}  # as many as there are types of event
        # Of the event that the filter was asked last, and without what: whether it passed.
        self._judged: tuple[str, Sequence[str]] = ("", ())
        self._passed = False

    def takes(self, event: BusEvent, unasked: Sequence[str]) -> bool:
        """Tell whether this event is asked for, by a filter that sees it without some members."""
        if event.tenant != self._tenant:
            return False
        if (covers := self._covered.get(event.type)) is None:
            covers = any(pattern_covers(pattern, event.type) for pattern in self._patterns)
            self._covered[event.type] = covers
        if not covers or self._program is None:
            return covers
        if (event.id, unasked) != self._judged:
            self._passed = self._program.test(msgspec.json.decode(without(event.body, unasked)))
            self._judged = event.id, unasked
        return self._passed


class Selectors:
    """The selectors of a process: readers who ask for the same share one, which tests once."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: LruCache[tuple[str, str, str | None], Selector] = LruCache(SELECTORS_MAX)

    def of(
        self, tenant: str, types: str, filter_source: str | None, known: Collection[str]
    ) -> Selector:
        """Return the selector for this. Raises Invalid."""
        key = (tenant, types, filter_source)
        found = self._kept.get(key)
        if found is None:
            found = Selector(tenant, types, filter_source, known)
            self._kept.put(key, found)
        return found


service.provide(Selectors)
