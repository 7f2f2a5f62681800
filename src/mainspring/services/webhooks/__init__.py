"""Webhooks: every event of the log, sent to whoever asked for its type, signed and retried.

Signed by Standard Webhooks 1.0: ``webhook-id`` is the event's id and stays through retries,
``webhook-timestamp`` is the attempt's, ``webhook-signature`` has one ``v1`` HMAC-SHA256 per secret
in force. The body is the event as CloudEvents 1.0 in JSON. Delivery is at least once, and in no
promised order: a receiver tells repeats by ``webhook-id`` and orders by ``seq``.

Owns the tables ``webhooks_endpoints``, ``webhooks_tenants`` and ``webhooks_deliveries``; reads the
event log. Takes every event; emits ``webhooks.endpoint.*`` and ``webhooks.secret.rotated``, and
none per delivery, so that sending events cannot make more of them. Filters see fields that are
marked personal as null.
"""

from mainspring.services.webhooks.api import service

__all__ = ["service"]
