"""For whom an endpoint acts: whoever made it, or last chose what it is sent and where.

Its own room because routing and replays both ask it, and remember the answer for a moment. What a
delivery sends it asks for itself.
"""

from collections.abc import Iterable, Sequence

from mainspring import Call, Caller, Envelope, ExpiringCache, Registry
from mainspring.kernel.visibility import Visibility, acting_for
from mainspring.services.webhooks.api import service
from mainspring.services.webhooks.model import EventRoute, takes

HELD_MS = 1_000  # for routing alone: events come faster than rights change
HELD_MAX = 4_000


class HeldActors:
    """What those that endpoints act for may do, as of a moment ago."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: ExpiringCache[tuple[str, str], tuple[Caller | None]] = ExpiringCache(HELD_MAX)

    async def acting(self, call: Call, actor: str) -> Call | None:
        """Return a call of this actor, to read with; None when there is no such caller."""
        key = (call.tenant, actor)
        if (held := self._held.get(key, call.now_ms)) is None:
            acting = await acting_for(call, actor)
            held = (acting.caller if acting else None,)
            self._held.put(key, held, call.now_ms, call.now_ms + HELD_MS)
            return acting
        (caller,) = held
        return None if caller is None else call.of(caller)

    def forget_all(self) -> None:
        """Ask again who may do what."""
        self._held.clear()


service.provide(HeldActors)


async def allowed(
    call: Call, routes: Iterable[EventRoute], event: Envelope
) -> tuple[list[str], list[str]]:
    """Return the endpoints that act for one who may read the event, and those that act for nobody.

    Both by their ids.
    """
    ids, gone = [], []
    for route in routes:
        acting = await call.use(HeldActors).acting(call, route.actor)
        if acting is None:
            gone.append(route.endpoint_id)
        elif await _has(acting, route, event):
            ids.append(route.endpoint_id)
    return ids, gone


async def _has(acting: Call, route: EventRoute, event: Envelope) -> bool:
    visibility = Visibility(acting)
    if not takes(route, event, visibility.unasked(event.type)):
        return False
    return await visibility.withheld(event) is not None


def withholds(call: Call, event: Envelope) -> Sequence[str]:
    """Return what may be withheld of an event from some who are shown the rest."""
    declared = call.use(Registry).events.get(event.type)
    return () if declared is None else declared.withholds
