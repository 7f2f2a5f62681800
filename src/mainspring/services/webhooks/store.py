"""The webhooks service's tables and all its SQL."""

import msgspec

from mainspring import Query, Statement, Table
from mainspring.kernel.sealed import SealedColumn
from mainspring.kernel.sweep import Sweep, count_of


class EndpointRow(msgspec.Struct, frozen=True):
    """An endpoint. Secrets are sealed for the purpose ``webhooks``; ``types`` is a JSON list.

    ``actor`` is whoever it acts for.
    """

    id: str
    tenant: str
    url: str
    types: str
    filter: str | None
    description: str
    personal: bool
    enabled: bool
    disabled_reason: str | None
    failing_since_ms: int | None
    secret: bytes
    old_secret: bytes | None
    old_secret_until_ms: int
    created_event: str
    created_ms: int
    updated_ms: int
    actor: str
    version: int = 1


class DeliveryRow(msgspec.Struct, frozen=True):
    """One event at one endpoint. ``tries`` counts the attempts of the current series of retries."""

    endpoint_id: str
    event_id: str
    type: str
    state: str
    attempts: str
    attempts_made: int
    tries: int
    next_ms: int | None
    created_ms: int
    updated_ms: int


class ListeningEndpoint(msgspec.Struct, frozen=True):
    """What decides whether an endpoint wants an event; ``created_event`` told of its creation."""

    id: str
    types: str
    filter: str | None
    actor: str
    created_event: str


class DueRow(msgspec.Struct, frozen=True):
    """All that an attempt needs of us. The last four are null before the first attempt."""

    url: str
    personal: bool
    enabled: bool
    failing_since_ms: int | None
    secret: bytes
    old_secret: bytes | None
    old_secret_until_ms: int
    actor: str
    tenant: str
    attempts: str | None
    attempts_made: int | None
    tries: int | None
    created_ms: int | None


class Stale(msgspec.Struct, frozen=True):
    """An endpoint that may have deliveries to forget."""

    id: str
    tenant: str


ENDPOINTS = Table("webhooks_endpoints", EndpointRow, key=("id",))
SECRET = SealedColumn(ENDPOINTS, "secret", "webhooks")
OLD_SECRET = SealedColumn(ENDPOINTS, "old_secret", "webhooks", bound_as="secret")
DELIVERIES = Table("webhooks_deliveries", DeliveryRow, key=("endpoint_id", "event_id"))

ENDPOINT = Query(
    "webhooks.endpoint",
    f"SELECT {ENDPOINTS.columns} FROM webhooks_endpoints WHERE id = :id AND tenant = :tenant",
    ENDPOINTS,
)
ENDPOINTS_AFTER = Query(
    "webhooks.endpoints_after",
    f"SELECT {ENDPOINTS.columns} FROM webhooks_endpoints "
    "WHERE tenant = :tenant AND id > :after ORDER BY id LIMIT :limit",
    ENDPOINTS,
)
ALL_ENDPOINTS_AFTER = Query(
    "webhooks.all_endpoints_after",
    "SELECT id, tenant FROM webhooks_endpoints WHERE id > :after ORDER BY id LIMIT :limit",
    Stale,
)

# Routing
REVISION = Query(
    "webhooks.revision", "SELECT revision FROM webhooks_tenants WHERE tenant = :tenant", str
)
LISTENING = Query(
    "webhooks.listening",
    "SELECT id, types, filter, actor, created_event FROM webhooks_endpoints "
    "WHERE tenant = :tenant AND enabled",
    ListeningEndpoint,
)
COUNT_IN = Statement(
    "webhooks.count_in",
    "INSERT INTO webhooks_tenants (tenant, endpoints, revision) VALUES (:tenant, 1, :revision) "
    "ON CONFLICT (tenant) DO UPDATE SET endpoints = webhooks_tenants.endpoints + 1, "
    "revision = excluded.revision WHERE webhooks_tenants.endpoints < :endpoints_max",
)
COUNT_OUT = Statement(
    "webhooks.count_out",
    "UPDATE webhooks_tenants SET endpoints = endpoints - 1, revision = :revision "
    "WHERE tenant = :tenant",
)
REVISE = Statement(
    "webhooks.revise", "UPDATE webhooks_tenants SET revision = :revision WHERE tenant = :tenant"
)

# Deliveries
DUE = Query(
    "webhooks.due",
    "SELECT e.url, e.personal, e.enabled, e.failing_since_ms, e.secret, e.old_secret, "
    "e.old_secret_until_ms, e.actor, e.tenant, "
    "d.attempts, d.attempts_made, d.tries, d.created_ms "
    "FROM webhooks_endpoints e LEFT JOIN webhooks_deliveries d "
    "ON d.endpoint_id = e.id AND d.event_id = :event_id WHERE e.id = :endpoint_id",
    DueRow,
)
DELIVERY = Query(
    "webhooks.delivery",
    f"SELECT {DELIVERIES.columns} FROM webhooks_deliveries "
    "WHERE endpoint_id = :endpoint_id AND event_id = :event_id",
    DELIVERIES,
)
GIVE_UP = Statement(
    "webhooks.give_up",
    "UPDATE webhooks_deliveries SET state = 'failed', next_ms = NULL, updated_ms = :now_ms "
    "WHERE endpoint_id = :endpoint_id AND event_id = :event_id AND state = 'retrying'",
)
_PAGE = (
    f"SELECT {DELIVERIES.columns} FROM webhooks_deliveries "
    "WHERE endpoint_id = :endpoint_id AND event_id {beyond} :after {state} "
    "ORDER BY event_id {order} LIMIT :limit"
)


def _page(name: str, *, newest_first: bool, state: str | None) -> Query[DeliveryRow]:
    # The state stands in the text, so that the planner sees which of the indexes covers it.
    return Query(
        f"webhooks.{name}",
        _PAGE.format(
            beyond="<" if newest_first else ">",
            order="DESC" if newest_first else "ASC",
            state=""
            if state is None
            else f"AND state = '{state}' {'' if state == 'delivered' else _UNDELIVERED}",
        ),
        DELIVERIES,
    )


_UNDELIVERED = "AND state <> 'delivered'"
DELIVERY_PAGES = {
    (newest_first, state): _page(
        f"deliveries_{state or 'all'}_{'down' if newest_first else 'up'}",
        newest_first=newest_first,
        state=state,
    )
    for newest_first in (False, True)
    for state in (None, "delivered", "retrying", "failed")
}
MARK_FAILING = Statement(
    "webhooks.mark_failing",
    "UPDATE webhooks_endpoints SET failing_since_ms = :now_ms "
    "WHERE id = :id AND (failing_since_ms IS NULL OR failing_since_ms > :late_ms)",
)
MARK_WORKING = Statement(
    "webhooks.mark_working",
    "UPDATE webhooks_endpoints SET failing_since_ms = NULL "
    "WHERE id = :id AND failing_since_ms IS NOT NULL",
)
FORGET_DELIVERIES = Statement(
    "webhooks.forget_deliveries",
    "DELETE FROM webhooks_deliveries WHERE endpoint_id = :endpoint_id AND event_id IN ("
    "SELECT event_id FROM webhooks_deliveries "
    "WHERE endpoint_id = :endpoint_id AND event_id < :before ORDER BY event_id LIMIT :limit)",
)
FORGETTABLE = Query(
    "webhooks.forgettable",
    "SELECT COUNT(*) FROM (SELECT 1 FROM webhooks_deliveries "
    "WHERE endpoint_id = :endpoint_id AND event_id < :before LIMIT :limit) AS page",
    int,
)
_LEFT = (
    "SELECT tenant FROM webhooks_tenants WHERE endpoints = 0 "
    "AND CAST(:before_ms AS bigint) > 0 LIMIT :limit"
)
# Of tenants whose last endpoint has gone. Whoever remembers that there were none is right still.
SWEEP_TENANTS = Sweep(
    "tenants without endpoints",
    Statement(
        "webhooks.sweep_tenants",
        f"DELETE FROM webhooks_tenants WHERE endpoints = 0 AND tenant IN ({_LEFT}) RETURNING 1",
        postgres="DELETE FROM webhooks_tenants "
        f"WHERE endpoints = 0 AND tenant = ANY (ARRAY({_LEFT})) RETURNING 1",
    ),
    count_of("webhooks_tenants", where="endpoints = 0"),
)
COUNT_DELIVERIES = count_of("webhooks_deliveries")
