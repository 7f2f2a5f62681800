"""What callers see of endpoints and deliveries, and the tags of those versions."""

import msgspec

from mainspring import Call, rfc3339
from mainspring.kernel.etag import version_tag
from mainspring.kernel.visibility import Visibility
from mainspring.services.webhooks.api import Attempt, Delivery, Webhook
from mainspring.services.webhooks.store import DeliveryRow, EndpointRow

_types = msgspec.json.Decoder(list[str]).decode
_attempts = msgspec.json.Decoder(list[Attempt]).decode


def present_webhook(row: EndpointRow) -> Webhook:
    """Write an endpoint as callers see one."""
    return Webhook(
        id=row.id,
        url=row.url,
        types=_types(row.types),
        filter=row.filter,
        description=row.description,
        personal=row.personal,
        acts_for=row.actor,
        enabled=row.enabled,
        disabled_reason=row.disabled_reason,
        failing_since=None if row.failing_since_ms is None else rfc3339(row.failing_since_ms),
        created_at=rfc3339(row.created_ms),
        updated_at=rfc3339(row.updated_ms),
    )


def webhook_tag(row: EndpointRow) -> str:
    """Changes with everything the representation shows, failures included."""
    return version_tag(row.version, row.failing_since_ms or 0)


def present_delivery(call: Call, row: DeliveryRow) -> Delivery:
    """Write a delivery as the caller sees it.

    What was answered to an event may repeat it, so it takes the event's scope.
    """
    attempts = _attempts(row.attempts)
    if not Visibility(call).shows_type(row.type):
        attempts = [
            msgspec.structs.replace(each, excerpt="") if each.error is None else each
            for each in attempts
        ]
    return Delivery(
        id=row.event_id,
        webhook_id=row.endpoint_id,
        type=row.type,
        state=row.state,  # type: ignore[arg-type]  # only these three are written
        attempts=attempts,
        attempts_made=row.attempts_made,
        next_attempt_at=None if row.next_ms is None else rfc3339(row.next_ms),
        created_at=rfc3339(row.created_ms),
        updated_at=rfc3339(row.updated_ms),
    )
