"""Webhooks are verified as the platform signs them."""

import base64

import pytest

from mainspring.client import verify_webhook
from mainspring.client.webhooks import NotVerified
from mainspring.services.webhooks.model import signature
from mainspring.testing.clock import FakeClock

SECRETS = ["whsec_" + "a" * 32, "whsec_" + "b" * 32]
BODY = b'{"type":"records.record.created"}'
NOW = 1_700_000_000


def headers(secrets: list[str], id: str = "msg_1") -> dict[str, str]:
    keys = [base64.b64decode(each.removeprefix("whsec_")) for each in secrets]
    return {
        "Webhook-Id": id,
        "Webhook-Timestamp": str(NOW),
        "Webhook-Signature": signature(keys, id, NOW, BODY),
    }


@pytest.mark.parametrize("known", [SECRETS, SECRETS[:1], SECRETS[1:], SECRETS[1]])
def test_what_was_signed_with_a_known_secret_is_read(known: list[str] | str) -> None:
    told = verify_webhook(known, headers(SECRETS), BODY, clock=FakeClock((NOW + 299) * 1000))
    assert told == {"type": "records.record.created"}


@pytest.mark.parametrize(
    ("changed", "body", "now_s"),
    [
        ({}, BODY + b" ", NOW),
        ({}, BODY, NOW + 301),
        ({}, BODY, NOW - 301),
        ({"Webhook-Id": "msg_2"}, BODY, NOW),
        ({"Webhook-Timestamp": str(NOW + 1)}, BODY, NOW),
        ({"Webhook-Timestamp": "now"}, BODY, NOW),
        ({"Webhook-Signature": "v1,"}, BODY, NOW),
        ({"Webhook-Signature": "v2,x ü"}, BODY, NOW),
    ],
)
def test_anything_else_is_refused(changed: dict[str, str], body: bytes, now_s: int) -> None:
    with pytest.raises(NotVerified):
        verify_webhook(
            SECRETS[0], {**headers(SECRETS[:1]), **changed}, body, clock=FakeClock(now_s * 1000)
        )
    with pytest.raises(NotVerified, match="webhook-id"):
        verify_webhook(SECRETS[0], {}, BODY, clock=FakeClock(NOW * 1000))
