"""Routing: every event of the log to the endpoints that want it."""

from mainspring.kernel.call import Call
from mainspring.kernel.event import Envelope
from mainspring.services.webhooks import store
from mainspring.services.webhooks.acting import allowed
from mainspring.services.webhooks.api import WebhookSettings, service
from mainspring.services.webhooks.jobs import disable_for_nobody, enqueue_delivery
from mainspring.services.webhooks.model import TESTED_TYPE, Routes

TENANTS_HELD_MAX = 1_000  # whose routes a process remembers


@service.state
class HeldRoutes:
    """The routes of each tenant, the revision they were built at, and the event it holds up to."""

    __slots__ = ("_by_tenant",)

    def __init__(self) -> None:
        self._by_tenant: dict[str, tuple[store.Revision, Routes]] = {}

    async def of(self, call: Call, seq: int) -> Routes:
        """Return routes that know every endpoint from before event ``seq``.

        Costs one small read per batch of events while endpoints do not change.
        """
        held = self._by_tenant.get(call.tenant)
        if held is not None and seq <= held[0].seq:
            return held[1]
        newest = await call.one(store.REVISION, tenant=call.tenant)
        if held is not None and held[1].settled and held[0].revision == newest.revision:
            routes = held[1]
        else:
            routes = Routes(await call.all(store.ROUTES, tenant=call.tenant))
        self._by_tenant.pop(call.tenant, None)
        if len(self._by_tenant) >= TENANTS_HELD_MAX:
            del self._by_tenant[next(iter(self._by_tenant))]
        self._by_tenant[call.tenant] = (newest, routes)
        return routes


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
    wanting = (await call.use(HeldRoutes).of(call, event.seq)).wanting(event)
    ids, gone = await allowed(call, wanting, event)
    for endpoint_id in ids:
        enqueue_delivery(call, endpoint_id, event.id, run_at_ms=first_ms)
    for endpoint_id in gone:
        disable_for_nobody(call, endpoint_id)
