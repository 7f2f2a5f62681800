"""The demo's receiver believes what verifies and nothing else."""

from datetime import UTC, datetime, timedelta

import aiohttp
from standardwebhooks.webhooks import Webhook

from mainspring.cli.demo.receiver import Receiver

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"id":"evt_1","type":"records.record.created","data":{}}'


def headers(body: str, at: datetime, secret: str = SECRET) -> dict[str, str]:
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign("evt_1", at, body),
    }


async def test_only_a_verified_delivery_counts() -> None:
    receiver = Receiver()
    now = datetime.now(UTC)
    async with receiver.serving() as url, aiohttp.ClientSession() as session:

        async def deliver(body: str, signed: dict[str, str]) -> int:
            async with session.post(url, data=body, headers=signed) as answer:
                return answer.status

        assert await deliver(BODY, headers(BODY, now)) == 401  # no secret is known yet
        receiver.trust(SECRET)
        assert await deliver(BODY, headers(BODY, now)) == 204
        assert await deliver(BODY, headers(BODY, now)) == 204
        assert await deliver(BODY.replace("{}", "[]"), headers(BODY, now)) == 401
        assert await deliver(BODY, headers(BODY, now - timedelta(minutes=6))) == 401
        assert await deliver(BODY, headers(BODY, now, "whsec_" + "A" * 32)) == 401
        assert await deliver(BODY, {}) == 401
        assert await deliver("{", headers("{", now)) == 401
    assert receiver.events == {"evt_1"}
    assert (receiver.deliveries, receiver.refused) == (8, 6)
