"""The operations of webhooks. Made of the declarations by ``make clients``: edit those."""

from collections.abc import Mapping
from typing import Any, Literal

from mainspring.client.client import Client, Pages
from mainspring.services.webhooks.api import (
    Delivery,
    NewWebhook,
    ReplayStarted,
    ReplayWindow,
    RotatedSecret,
    SentTest,
    Webhook,
    WebhookChanges,
    WebhookWithSecret,
)


class Webhooks:
    """The operations of webhooks."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(
        self, new: NewWebhook | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> WebhookWithSecret:
        """Have events sent to a URL, signed with a secret that only this answer shows.

        Every event whose type and filter match and which the caller may read is sent, in no promised
        order and at least once: tell repeats by ``webhook-id``. What the caller may read is asked again
        for each event; once it is revoked the endpoint is disabled.

        ``POST /v1/webhooks``
        """
        return self._client.send(
            "POST", "/v1/webhooks", {}, WebhookWithSecret, json=new, idempotency_key=idempotency_key
        )

    def delete(
        self, id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Remove an endpoint with its deliveries. What waits is not sent any more.

        ``DELETE /v1/webhooks/{id}``
        """
        self._client.send(
            "DELETE",
            "/v1/webhooks/{id}",
            {"id": id},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def get_delivery(self, webhook_id: str, id: str) -> Delivery:
        """Show what became of one event at an endpoint, with each attempt.

        ``GET /v1/webhooks/{webhook_id}/deliveries/{id}``
        """
        return self._client.send(
            "GET",
            "/v1/webhooks/{webhook_id}/deliveries/{id}",
            {"webhook_id": webhook_id, "id": id},
            Delivery,
        )

    def get(self, id: str) -> Webhook:
        """Show an endpoint. Its secret is not shown again.

        ``GET /v1/webhooks/{id}``
        """
        return self._client.send("GET", "/v1/webhooks/{id}", {"id": id}, Webhook)

    def list_deliveries(
        self,
        webhook_id: str,
        *,
        limit: int | None = None,
        state: Literal["delivered", "retrying", "failed"] | None = None,
        sort: Literal["id", "-id"] | None = None,
    ) -> Pages[Delivery]:
        """List what was sent to an endpoint, each with its attempts.

        ``GET /v1/webhooks/{webhook_id}/deliveries``
        """
        return self._client.pages(
            "/v1/webhooks/{webhook_id}/deliveries",
            {"webhook_id": webhook_id},
            Delivery,
            {"limit": limit, "state": state, "sort": sort},
        )

    def list(self, *, limit: int | None = None) -> Pages[Webhook]:
        """List endpoints, oldest first.

        ``GET /v1/webhooks``
        """
        return self._client.pages("/v1/webhooks", {}, Webhook, {"limit": limit})

    def replay_events(
        self,
        id: str,
        window: ReplayWindow | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
    ) -> ReplayStarted:
        """Send the events of a time again, delivered or not, as far as types and filter match now.

        They keep their ``webhook-id``. Events that wait for a retry are not sent twice.

        ``POST /v1/webhooks/{id}:replay``
        """
        return self._client.send(
            "POST",
            "/v1/webhooks/{id}:replay",
            {"id": id},
            ReplayStarted,
            json=window,
            idempotency_key=idempotency_key,
        )

    def retry_delivery(
        self, webhook_id: str, id: str, *, idempotency_key: str | None = None
    ) -> Delivery:
        """Send an event again now. A retry that waits is brought forward; else a new one is made.

        ``POST /v1/webhooks/{webhook_id}/deliveries/{id}:retry``
        """
        return self._client.send(
            "POST",
            "/v1/webhooks/{webhook_id}/deliveries/{id}:retry",
            {"webhook_id": webhook_id, "id": id},
            Delivery,
            idempotency_key=idempotency_key,
        )

    def rotate_secret(self, id: str, *, idempotency_key: str | None = None) -> RotatedSecret:
        """Make a new secret. For 24 h every delivery carries a signature by each of the two.

        ``POST /v1/webhooks/{id}:rotate_secret``
        """
        return self._client.send(
            "POST",
            "/v1/webhooks/{id}:rotate_secret",
            {"id": id},
            RotatedSecret,
            idempotency_key=idempotency_key,
        )

    def test(self, id: str, *, idempotency_key: str | None = None) -> SentTest:
        """Send a ``webhooks.endpoint.tested`` event to this endpoint alone.

        ``POST /v1/webhooks/{id}:test``
        """
        return self._client.send(
            "POST", "/v1/webhooks/{id}:test", {"id": id}, SentTest, idempotency_key=idempotency_key
        )

    def update(
        self,
        id: str,
        changes: WebhookChanges | Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Webhook | None:
        """Change an endpoint. Deliveries that wait go to the new URL, or end when it is disabled.

        Whoever changes where it sends what, or enables it, is whom it acts for from then on: nobody has
        sent to them what others may read. The endpoint is answered to those who may read endpoints,
        others hear 204.

        ``PATCH /v1/webhooks/{id}``
        """
        return self._client.send(
            "PATCH",
            "/v1/webhooks/{id}",
            {"id": id},
            Webhook,
            json=changes,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )
