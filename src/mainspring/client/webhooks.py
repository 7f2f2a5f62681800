"""Checks that a webhook was sent by the platform (Standard Webhooks 1.0)."""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from mainspring.client.errors import ClientError
from mainspring.kernel.clock import Clock, SystemClock

TOLERANCE_S = 300  # how far the sender's clock and ours may be apart


class NotVerified(ClientError):
    """It is not from who has the secret, or too old: do nothing, and answer 400."""


def verify_webhook(
    secret: str | Iterable[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    clock: Clock | None = None,
) -> Any:
    """Return what a webhook tells: the event. ``body`` is as it came, before it was read.

    Give all secrets that are good while one is rotated. What comes twice bears the same
    ``webhook-id``. Raises NotVerified.
    """
    found = {name.lower(): value for name, value in headers.items()}
    try:
        id, timestamp = found["webhook-id"], found["webhook-timestamp"]
        signatures = found["webhook-signature"].split()
    except KeyError as missing:
        raise NotVerified(f"the header {missing} is not there") from None
    if not (timestamp.isascii() and timestamp.isdigit()):
        raise NotVerified("webhook-timestamp has to be a number of seconds")
    apart_s = abs((clock or SystemClock()).now_ms() / 1000 - int(timestamp))
    if apart_s > TOLERANCE_S:
        raise NotVerified(
            f"it was signed {apart_s:.0f} s from now, and at most {TOLERANCE_S} are taken"
        )
    signed = b".".join((id.encode(), timestamp.encode(), body))
    secrets = (secret,) if isinstance(secret, str) else tuple(secret)
    expected = [_signature(each, signed) for each in secrets]
    given = [each.removeprefix("v1,") for each in signatures if each.startswith("v1,")]
    if not any([hmac.compare_digest(a.encode(), b) for a in given for b in expected]):  # noqa: C419 - each is looked at
        raise NotVerified("no signature is one of these secrets'")
    return msgspec.json.decode(body)


def _signature(secret: str, signed: bytes) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise NotVerified("a secret looks like whsec_ and base64") from None
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
