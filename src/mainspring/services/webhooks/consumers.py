"""Routing: every event of the log to the endpoints that want it."""

from mainspring import Call, Envelope, EventLog, LruCache
from mainspring.services.webhooks import store
from mainspring.services.webhooks.acting import allowed, withholds
from mainspring.services.webhooks.api import WebhookSettings, service
from mainspring.services.webhooks.jobs import disable_for_nobody, enqueue_delivery
from mainspring.services.webhooks.model import TESTED_TYPE, RouteRow, Routes

TENANTS_HELD_MAX = 1_000  # whose routes a process remembers


class HeldRoutes:
    """The routes of each tenant, the revision they were built at, and the event it holds up to."""

    __slots__ = ("_by_tenant",)

    def __init__(self) -> None:
        self._by_tenant: LruCache[str, tuple[int, str, Routes]] = LruCache(TENANTS_HELD_MAX)

    async def of(self, call: Call, seq: int) -> Routes:
        """Return routes that know every endpoint from before event ``seq``.

        Costs one small read per batch of events while endpoints do not change.
        """
        held = self._by_tenant.get(call.tenant)
        if held is not None and seq <= held[0]:
            return held[2]
        # First how far the log is known: all of that was committed before the revision is read, and
        # what is built then may be newer than its revision, never older.
        seen = max(seq, call.use(EventLog).seen)
        revision = await call.find(store.REVISION, tenant=call.tenant) or ""
        if held is not None and held[2].settled and held[1] == revision:
            routes = held[2]
        else:
            routes = await _routes(call)
        self._by_tenant.put(call.tenant, (seen, revision, routes))
        return routes

    def forget_all(self) -> None:
        """Read them again, for whichever event: the log may have gone back behind what was seen."""
        self._by_tenant.clear()


service.provide(HeldRoutes)


async def _routes(call: Call) -> Routes:
    endpoints = await call.all(store.LISTENING, tenant=call.tenant)
    places = await call.use(EventLog).places([row.created_event for row in endpoints])
    return Routes(
        [
            RouteRow(row.id, row.types, row.filter, row.actor, places.get(row.created_event, 0))
            for row in endpoints
        ]
    )


@service.on("*")
async def route(call: Call, event: Envelope) -> None:
    """Stage one delivery per endpoint that wants the event and acts for one who may read it.

    An endpoint gets the events that come after its creation in the log. A delivery emits no event,
    so sending webhooks' own events too makes no loop; disabling an endpoint emits one, once.
    """
    first_ms = call.now_ms + int(call.use(WebhookSettings).retry_after_s[0] * 1000)
    if event.type == TESTED_TYPE:
        enqueue_delivery(call, event.subject, event.id, run_at_ms=first_ms)
        return
    assert event.seq is not None  # consumers are given events that have their place
    routes = await call.use(HeldRoutes).of(call, event.seq)
    wanting = routes.wanting(event, withholds(call, event))
    ids, gone = await allowed(call, wanting, event)
    for endpoint_id in ids:
        enqueue_delivery(call, endpoint_id, event.id, run_at_ms=first_ms)
    for endpoint_id in gone:
        disable_for_nobody(call, endpoint_id)
