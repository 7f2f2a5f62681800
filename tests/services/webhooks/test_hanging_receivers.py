"""Receivers that take a request and never answer: those who do answer are served all the same."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.services.webhooks.receiver import Receiver, Shop
from tests.services.webhooks.test_delivery import hook

PLACES = 16
PER_ENDPOINT = 8
EVENTS = 60


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"queues.webhooks": PLACES, "webhooks.concurrency_per_endpoint": PER_ENDPOINT}


@pytest.fixture(params=[1, 7])
async def hanging(request: pytest.FixtureRequest) -> AsyncIterator[list[Receiver]]:
    found = [Receiver() for _ in range(request.param)]
    for each in found:
        await each.start()
        each.held.clear()
    yield found
    for each in found:
        await each.stop()


async def test_a_receiver_that_answers_is_served_beside_those_that_hang(
    platform: Shop, receiver: Receiver, hanging: list[Receiver]
) -> None:
    """They hang until the end of the test, so whoever waits for one of them waits in vain."""
    for each in hanging:
        await hook(platform, each, types=["shop.*"])
    await platform.pay()
    for each in hanging:
        await each.next()
    await hook(platform, receiver, types=["shop.*"])
    paid = {await platform.pay() for _ in range(EVENTS)}
    arrived = {(await receiver.next()).headers["webhook-id"] for _ in range(EVENTS)}
    assert arrived == paid
    running = [each.running for each in hanging]
    assert max(running) <= PER_ENDPOINT
    assert sum(running) < PLACES
    for each in hanging:
        each.held.set()


async def test_a_reset_mail_goes_out_beside_them(platform: Shop, hanging: list[Receiver]) -> None:
    whole = platform.whole
    await whole.as_user("ann@example.org")
    for each in hanging:
        await hook(platform, each, types=["shop.*"])
    for _ in range(PLACES):
        await platform.pay()
    for each in hanging:
        await each.next()
    sent = len(await whole.mails("ann@example.org"))
    await whole.call("users.request_password_reset", {"email": "ann@example.org"})

    async def mailed() -> bool:
        return len(await whole.mails("ann@example.org")) > sent

    await platform.until(mailed)
    assert all(each.running for each in hanging)
    for each in hanging:
        each.held.set()
