"""Routing: every event of the log to the endpoints that want it."""

from mainspring.kernel.call import Call
from mainspring.kernel.event import Envelope
from mainspring.services.webhooks import store
from mainspring.services.webhooks.api import WebhookSettings, service
from mainspring.services.webhooks.jobs import enqueue_delivery
from mainspring.services.webhooks.model import TESTED_TYPE, Routes

ROUTES_HELD_MAX = 1_000  # tenants whose routes this process remembers

# By revision, which is an id that no other tenant, database or moment has: what is held under it
# needs no invalidation.
_held: dict[str, Routes] = {}


@service.on("*")
async def route(call: Call, event: Envelope) -> None:
    """Stage one delivery per endpoint that wants the event.

    An endpoint that was there when the event was committed gets it. A delivery emits no event, so
    no loop can come of sending webhooks' own events too; disabling an endpoint emits one, once.
    """
    if event.type == TESTED_TYPE:
        wanting = [event.subject]
    else:
        routes = await _routes(call)
        wanting = [] if routes is None else routes.wanting(event)
    if wanting:
        first_ms = call.now_ms + int(call.use(WebhookSettings).retry_after_s[0] * 1000)
        for endpoint_id in wanting:
            enqueue_delivery(call, endpoint_id, event.id, run_at_ms=first_ms)


async def _routes(call: Call) -> Routes | None:
    """The tenant's routes as of its newest revision: one small read while nothing changes."""
    revision = await call.find(store.REVISION, tenant=call.tenant)
    if revision is None:
        return None
    routes = _held.get(revision)
    if routes is None:
        routes = Routes(await call.all(store.ROUTES, tenant=call.tenant))
        if len(_held) >= ROUTES_HELD_MAX:
            del _held[next(iter(_held))]
        _held[revision] = routes
    return routes
