"""The webhooks service's tables and all its SQL."""

import msgspec

from mainspring.kernel.table import Query, Statement, Table


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


class RouteRow(msgspec.Struct, frozen=True):
    """What decides whether an endpoint wants an event.

    ``since_seq`` is its creation's place in the log, and null while that has none.
    """

    id: str
    types: str
    filter: str | None
    actor: str
    since_seq: int | None


class Revision(msgspec.Struct, frozen=True):
    """The newest change to a tenant's endpoints (empty: it never had one), and when that was so."""

    revision: str
    seq: int


class DueRow(msgspec.Struct, frozen=True):
    """All that an attempt needs, in one read. The last four are null before the first attempt."""

    url: str
    personal: bool
    enabled: bool
    failing_since_ms: int | None
    secret: bytes
    old_secret: bytes | None
    old_secret_until_ms: int
    actor: str
    tenant: str
    seq: int
    type: str
    body: str
    attempts: str | None
    attempts_made: int | None
    tries: int | None
    created_ms: int | None


class LoggedId(msgspec.Struct, frozen=True):
    """An event of the log as far as a replay looks at it."""

    seq: int
    id: str
    tenant: str
    type: str
    body: str


class Stale(msgspec.Struct, frozen=True):
    """An endpoint that may have deliveries to forget."""

    id: str
    tenant: str


ENDPOINTS = Table("webhooks_endpoints", EndpointRow, key=("id",))
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

# Routing. The revision is read before the routes: what was built may then be newer than its
# revision, never older. ``seq`` is the newest event of the same moment: every event up to it was
# committed before, so the revision holds for all of them.
REVISION = Query(
    "webhooks.revision",
    "SELECT COALESCE((SELECT revision FROM webhooks_tenants WHERE tenant = :tenant), '') "
    "AS revision, (SELECT COALESCE(MAX(seq), 0) FROM events) AS seq",
    Revision,
)
ROUTES = Query(
    "webhooks.routes",
    "SELECT e.id, e.types, e.filter, e.actor, "
    "CASE WHEN v.id IS NULL THEN 0 ELSE v.seq END AS since_seq "
    "FROM webhooks_endpoints e LEFT JOIN events v ON v.id = e.created_event "
    "WHERE e.tenant = :tenant AND e.enabled",
    RouteRow,
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
    "e.old_secret_until_ms, e.actor, v.tenant, v.seq, v.type, v.body, "
    "d.attempts, d.attempts_made, d.tries, d.created_ms "
    "FROM webhooks_endpoints e JOIN events v ON v.id = :event_id "
    "LEFT JOIN webhooks_deliveries d ON d.endpoint_id = e.id AND d.event_id = v.id "
    "WHERE e.id = :endpoint_id AND v.tenant = e.tenant",
    DueRow,
)
DELIVERY = Query(
    "webhooks.delivery",
    f"SELECT {DELIVERIES.columns} FROM webhooks_deliveries "
    "WHERE endpoint_id = :endpoint_id AND event_id = :event_id",
    DELIVERIES,
)
BEGIN_SERIES = Statement(
    "webhooks.begin_series",
    "UPDATE webhooks_deliveries SET tries = 0 "
    "WHERE endpoint_id = :endpoint_id AND event_id = :event_id",
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

# Event ids are made in the order of time, so a window of time is a range of ids.
EVENTS_BETWEEN = Query(
    "webhooks.events_between",
    "SELECT seq, id, tenant, type, body FROM events "
    "WHERE id > :after AND id < :before AND seq IS NOT NULL ORDER BY id LIMIT :limit",
    LoggedId,
)
