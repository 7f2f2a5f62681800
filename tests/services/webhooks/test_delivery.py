"""From an event to a receiver that verifies it, and what happens when that does not work."""

import asyncio
from typing import Any

import msgspec
import pytest

from mainspring.kernel.clock import rfc3339
from mainspring.kernel.errors import Conflict, NotFound
from mainspring.kernel.table import Query
from mainspring.ports.http_client import HttpClient, WebAnswer
from mainspring.services.webhooks.api import (
    DeliveryQuery,
    NewWebhook,
    ReplayWindow,
    WebhookChanges,
)
from tests.deadline import DEADLINE_S
from tests.services.webhooks.receiver import Receiver, Shop

DELIVERIES_LEFT = Query("test.left", "SELECT COUNT(*) FROM webhooks_deliveries", int)


async def hook(platform: Shop, receiver: Receiver, **fields: object) -> dict[str, str]:
    new = NewWebhook(url=receiver.url(), **fields)  # type: ignore[arg-type]
    made: dict[str, str] = await platform.value("create_webhook", new=new)
    return made


async def deliveries(platform: Shop, webhook_id: str, **query: object) -> list[dict[str, object]]:
    page = await platform.value(
        "list_deliveries",
        webhook_id=webhook_id,
        query=DeliveryQuery(**query),  # type: ignore[arg-type]
    )
    found: list[dict[str, object]] = page["items"]
    return found


async def test_an_event_reaches_its_receiver_signed(platform: Shop, receiver: Receiver) -> None:
    made = await hook(platform, receiver, types=["shop.order.paid"])
    event_id = await platform.pay(1099)
    received = await receiver.next()
    received.verify(made["secret"])
    assert received.headers["webhook-id"] == event_id
    assert received.headers["content-type"] == "application/cloudevents+json"
    event = received.event
    assert event["id"] == event_id
    assert event["type"] == "shop.order.paid"
    assert event["data"]["total"] == 1099
    assert event["specversion"] == "1.0"
    (seen,) = await platform.whole.events("shop.order.paid")
    assert event["seq"] == seen.seq
    await platform.idle()
    (delivery,) = await deliveries(platform, made["id"])
    assert delivery["id"] == event_id
    assert delivery["state"] == "delivered"
    assert delivery["next_attempt_at"] is None
    (attempt,) = delivery["attempts"]  # type: ignore[misc]
    assert attempt["status"] == 200
    assert attempt["excerpt"] == ""  # what a private address says is not for its owner to read
    assert attempt["error"] is None
    assert [job.state for job in await platform.jobs()] == ["done"]


async def test_types_and_filter_choose(platform: Shop, receiver: Receiver) -> None:
    await hook(platform, receiver, types=["shop.*"], filter="data.total > 100")
    await hook(platform, receiver, types=["webhooks.secret.*"])
    await platform.pay(100)
    wanted = await platform.pay(101)
    await platform.idle()
    assert receiver.count == 1
    assert (await receiver.next()).event["id"] == wanted


async def test_each_endpoint_gets_its_own_signature(platform: Shop, receiver: Receiver) -> None:
    made = [await hook(platform, receiver, types=["shop.*"]) for _ in range(3)]
    await platform.pay()
    await platform.idle()
    assert receiver.count == 3
    secrets = {endpoint["secret"] for endpoint in made}
    for _ in range(3):
        secrets.remove((await receiver.next()).signed_by(secrets))
    assert secrets == set()


async def test_both_secrets_sign_for_a_day_after_a_rotation(
    platform: Shop, receiver: Receiver
) -> None:
    made = await hook(platform, receiver, types=["shop.*"])
    rotated = await platform.value("rotate_secret", id=made["id"])
    assert rotated["secret"] != made["secret"]
    await platform.pay()
    received = await receiver.next()
    received.verify(made["secret"])
    received.verify(rotated["secret"])
    assert len(received.headers["webhook-signature"].split()) == 2
    await platform.idle()
    platform.clock.move(24 * 3600)
    await platform.pay()
    received = await receiver.next()
    assert len(received.headers["webhook-signature"].split()) == 1


async def test_a_failing_delivery_is_retried_on_schedule_and_then_dead(
    platform: Shop, receiver: Receiver
) -> None:
    receiver.answer(500, body=b"broken \x00 \xff")
    made = await hook(platform, receiver, types=["shop.*"])
    event_id = await platform.pay()
    first = await receiver.next()
    await platform.idle()
    (delivery,) = await deliveries(platform, made["id"], state="retrying")
    assert delivery["attempts"][0]["status"] == 500  # type: ignore[index]
    assert delivery["next_attempt_at"] == rfc3339(platform.clock.now_ms() + 5_000)
    assert (await platform.value("get_webhook", id=made["id"]))["failing_since"] is not None
    for wait_s in (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400):
        await platform.pass_time(wait_s - 1)
        assert receiver.arrived.empty()
        await platform.pass_time(1)
        again = await receiver.next()
        assert again.headers["webhook-id"] == first.headers["webhook-id"] == event_id
        assert int(again.headers["webhook-timestamp"]) == platform.clock.now_ms() // 1000
        assert again.body == first.body
    await platform.idle()
    (delivery,) = await deliveries(platform, made["id"], state="failed")
    assert delivery["attempts_made"] == 10
    assert len(delivery["attempts"]) == 10  # type: ignore[arg-type]
    assert [job.name for job in await platform.jobs("dead")] == ["webhooks.deliver"]
    assert await platform.jobs("scheduled", "ready") == []


async def test_a_success_ends_the_failing(platform: Shop, receiver: Receiver) -> None:
    receiver.answers = [(503, {}, b""), (204, {}, b"")]
    made = await hook(platform, receiver, types=["shop.*"])
    event_id = await platform.pay()
    await receiver.next()
    await platform.idle()
    await platform.pass_time(5)
    await platform.idle()
    delivery = await platform.value("get_delivery", webhook_id=made["id"], id=event_id)
    assert delivery["state"] == "delivered"
    assert [a["status"] for a in delivery["attempts"]] == [503, 204]
    assert (await platform.value("get_webhook", id=made["id"]))["failing_since"] is None


async def test_failing_since_a_time_that_is_not_yet_is_since_now(
    platform: Shop, receiver: Receiver
) -> None:
    receiver.answer(500)
    made = await hook(platform, receiver, types=["shop.*"])
    platform.clock.move(365 * 24 * 3600)
    await platform.pay()
    await receiver.next()
    await platform.idle()
    platform.clock.move(-365 * 24 * 3600)
    await platform.pay()
    await receiver.next()
    await platform.idle()
    failing_since = (await platform.value("get_webhook", id=made["id"]))["failing_since"]
    assert failing_since == rfc3339(platform.clock.now_ms())


async def test_retry_after_is_honoured_within_its_bound(platform: Shop, receiver: Receiver) -> None:
    receiver.answers = [
        (429, {"Retry-After": "120"}, b""),
        (503, {"Retry-After": "999999999"}, b""),
    ]
    made = await hook(platform, receiver, types=["shop.*"])
    await platform.pay()
    await receiver.next()
    await platform.idle()
    now_ms = platform.clock.now_ms()
    (delivery,) = await deliveries(platform, made["id"])
    assert delivery["next_attempt_at"] == rfc3339(now_ms + 120_000)
    await platform.pass_time(120)
    await receiver.next()
    await platform.idle()
    (delivery,) = await deliveries(platform, made["id"])
    assert delivery["next_attempt_at"] == rfc3339(platform.clock.now_ms() + 86_400_000)


async def test_a_redirect_is_a_failure(platform: Shop, receiver: Receiver) -> None:
    receiver.answer(307, {"Location": receiver.url("/elsewhere")})
    made = await hook(platform, receiver, types=["shop.*"])
    await platform.pay()
    await platform.idle()
    assert receiver.count == 1
    (delivery,) = await deliveries(platform, made["id"])
    assert (delivery["state"], delivery["attempts"][0]["status"]) == ("retrying", 307)  # type: ignore[index]


async def test_nobody_there_is_recorded_with_its_reason(platform: Shop, receiver: Receiver) -> None:
    made = await hook(platform, receiver, types=["shop.*"])
    await receiver.stop()
    await platform.pay()
    await platform.idle()
    (delivery,) = await deliveries(platform, made["id"])
    (attempt,) = delivery["attempts"]  # type: ignore[misc]
    assert attempt["status"] is None
    assert attempt["error"] == "connect_failed"


async def test_410_disables_at_once_and_says_so(platform: Shop, receiver: Receiver) -> None:
    receiver.answer(410)
    made = await hook(platform, receiver, types=["shop.*"])
    listener = Receiver()
    await listener.start()
    await hook(platform, listener, types=["webhooks.*"])
    await platform.pay()
    await receiver.next()
    await platform.idle()
    shown = await platform.value("get_webhook", id=made["id"])
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "gone")
    while (said := (await listener.next()).event)["type"] != "webhooks.endpoint.disabled":
        pass
    assert said["subject"] == made["id"]
    assert said["data"]["reason"] == "gone"
    assert "hook" not in said["data"]["host"]  # a URL's path may hold a key
    await platform.pay()
    await platform.idle()
    assert receiver.count == 1
    await listener.stop()


async def test_five_days_of_failure_disable(platform: Shop, receiver: Receiver) -> None:
    receiver.answer(500)
    made = await hook(platform, receiver, types=["shop.*"])
    for _ in range(5):
        await platform.pay()
        await receiver.next()
        await platform.idle()
        assert (await platform.value("get_webhook", id=made["id"]))["enabled"] is True
        await platform.pass_time(24 * 3600)
        while not receiver.arrived.empty():
            receiver.arrived.get_nowait()
    await platform.pay()
    await platform.idle()
    shown = await platform.value("get_webhook", id=made["id"])
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "failing")
    waiting = await deliveries(platform, made["id"], state="retrying")
    assert waiting
    sent = receiver.count
    await platform.pass_time(3 * 24 * 3600)
    assert receiver.count == sent
    assert await deliveries(platform, made["id"], state="retrying") == []


async def test_a_test_goes_to_that_endpoint_alone(platform: Shop, receiver: Receiver) -> None:
    made = await hook(platform, receiver, types=["webhooks.secret.*"])
    await hook(platform, receiver, types=["*"])
    await platform.idle()
    before = receiver.count
    while not receiver.arrived.empty():
        receiver.arrived.get_nowait()
    sent = await platform.value("test_webhook", id=made["id"])
    received = await receiver.next()
    received.verify(made["secret"])
    assert received.event["type"] == "webhooks.endpoint.tested"
    await platform.idle()
    assert receiver.count == before + 1
    delivery = await platform.value("get_delivery", webhook_id=made["id"], id=sent["event_id"])
    assert delivery["state"] == "delivered"


async def test_a_retry_brings_a_waiting_one_forward(platform: Shop, receiver: Receiver) -> None:
    receiver.answers = [(500, {}, b""), (500, {}, b""), (200, {}, b"")]
    made = await hook(platform, receiver, types=["shop.*"])
    event_id = await platform.pay()
    await receiver.next()
    await platform.idle()
    await platform.value("retry_delivery", webhook_id=made["id"], id=event_id)
    await receiver.next()
    await platform.pass_time(0)
    (delivery,) = await deliveries(platform, made["id"])
    assert delivery["attempts_made"] == 2
    assert len(await platform.jobs("scheduled")) == 1  # not two for one delivery
    await platform.value("retry_delivery", webhook_id=made["id"], id=event_id)
    await receiver.next()
    await platform.pass_time(0)
    assert (await deliveries(platform, made["id"]))[0]["state"] == "delivered"


async def test_a_redriven_delivery_has_all_its_retries_again(
    platform: Shop, receiver: Receiver
) -> None:
    receiver.answer(500)
    made = await hook(platform, receiver, types=["shop.*"])
    event_id = await platform.pay()
    await receiver.next()
    await platform.idle()
    await platform.pass_time(400_000)
    for _ in range(8):
        await platform.pass_time(90_000)
    assert (await deliveries(platform, made["id"]))[0]["state"] == "failed"
    receiver.answers = [(500, {}, b""), (200, {}, b"")]
    await platform.value("update_webhook", id=made["id"], changes=WebhookChanges(enabled=True))
    await platform.value("retry_delivery", webhook_id=made["id"], id=event_id)
    await platform.idle()
    assert (await deliveries(platform, made["id"]))[0]["state"] == "retrying"
    await platform.pass_time(5)
    assert (await deliveries(platform, made["id"]))[0]["state"] == "delivered"


async def test_a_delivered_event_can_be_sent_again(platform: Shop, receiver: Receiver) -> None:
    made = await hook(platform, receiver, types=["shop.*"])
    event_id = await platform.pay()
    await receiver.next()
    await platform.idle()
    await platform.value("retry_delivery", webhook_id=made["id"], id=event_id)
    assert (await receiver.next()).event["id"] == event_id
    await platform.idle()
    (delivery,) = await deliveries(platform, made["id"])
    assert (delivery["state"], delivery["attempts_made"]) == ("delivered", 2)


async def test_a_replay_sends_what_was_missed(platform: Shop, receiver: Receiver) -> None:
    since_ms = platform.clock.now_ms()
    made = await hook(platform, receiver, types=["shop.*"])
    await platform.run("update_webhook", id=made["id"], changes=WebhookChanges(enabled=False))
    missed = []
    for _ in range(3):
        platform.clock.move(1)
        missed.append(await platform.pay())
    await platform.idle()
    assert receiver.count == 0
    with pytest.raises(Conflict):
        await platform.run(
            "replay_events", id=made["id"], window=ReplayWindow(since=rfc3339(since_ms))
        )
    await platform.run("update_webhook", id=made["id"], changes=WebhookChanges(enabled=True))
    until_ms = platform.clock.now_ms() - 1_000  # without the last one
    await platform.value(
        "replay_events",
        id=made["id"],
        window=ReplayWindow(since=rfc3339(since_ms), until=rfc3339(until_ms)),
    )
    await platform.idle()
    assert receiver.count == 2
    assert {(await receiver.next()).event["id"] for _ in range(2)} == set(missed[:2])


async def test_personal_fields_are_sent_where_that_was_asked_for(
    platform: Shop, receiver: Receiver
) -> None:
    await hook(platform, receiver, types=["shop.*"], personal=True)
    event_id = await platform.pay(email="ann@example.com")
    assert (await receiver.next()).event["data"]["email"] == "ann@example.com"
    plain = Receiver()
    await plain.start()
    await hook(platform, plain, types=["shop.*"])
    await platform.pay(email="ann@example.com")
    received = await plain.next()
    assert received.event["data"]["email"] is None
    assert received.event["sealedfields"] == "email"
    assert received.event["id"] != event_id
    await plain.stop()


async def test_deleting_ends_what_waits(platform: Shop, receiver: Receiver) -> None:
    receiver.answer(500)
    made = await hook(platform, receiver, types=["shop.*"])
    await platform.pay()
    await receiver.next()
    await platform.idle()
    await platform.run("delete_webhook", id=made["id"])
    await platform.pass_time(5)
    assert receiver.count == 1
    with pytest.raises(NotFound):
        await platform.run("get_webhook", id=made["id"])
    await platform.pass_time(300)
    assert await platform.jobs("scheduled", "ready", "dead") == []
    assert await platform.runtime.database.read(DELIVERIES_LEFT, ()) == [0]


class TestSlowReceiver:
    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"webhooks.concurrency_per_endpoint": 2}

    async def test_it_does_not_hold_others_up(self, platform: Shop, receiver: Receiver) -> None:
        slow = Receiver()
        await slow.start()
        slow.held.clear()
        made = await hook(platform, slow, types=["shop.*"])
        quick = await hook(platform, receiver, types=["shop.*"])
        for _ in range(10):
            await platform.pay()
        for _ in range(10):
            (await receiver.next()).verify(quick["secret"])
        assert slow.running_max == 2

        async def others_wait() -> bool:
            return len(await platform.jobs("ready")) == 8

        await platform.until(others_wait)
        slow.held.set()
        for _ in range(20):
            await platform.pass_time(1)
        assert slow.running_max == 2
        assert slow.count == 10
        assert len(await deliveries(platform, made["id"], state="delivered")) == 10
        await slow.stop()


class TestQueuesThatAreFull:
    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"queues.webhooks": 1, "queues.notifications": 1}

    async def test_receivers_that_hang_delay_no_message(
        self, platform: Shop, receiver: Receiver
    ) -> None:
        """Deliveries have a queue of their own: a password reset does not wait for them."""
        receiver.held.clear()
        for _ in range(3):
            await hook(platform, receiver, types=["shop.*"])
        await platform.pay()
        await receiver.next()  # it has the only place
        job_id = await platform.value("shop.write_letter")

        async def written() -> bool:
            return job_id in {job.id for job in await platform.jobs("done")}

        await platform.until(written)
        assert receiver.running == 1


class FromOutside:
    """The real client, as it would tell of answers that came from public addresses."""

    def __init__(self, web: HttpClient) -> None:
        self._web = web

    async def post(self, *args: Any, **options: Any) -> WebAnswer:
        return msgspec.structs.replace(await self._web.post(*args, **options), public=True)


async def test_only_what_a_public_address_answers_is_shown(
    platform: Shop, receiver: Receiver
) -> None:
    receiver.answer(500, body=b"broken \x00 \xff")
    made = await hook(platform, receiver, types=["shop.*"])
    await platform.pay()
    await platform.idle()
    platform.runtime.resources[HttpClient] = FromOutside(platform.runtime.resources[HttpClient])
    await platform.pass_time(5)
    (delivery,) = await deliveries(platform, made["id"])
    inside, outside = delivery["attempts"]  # type: ignore[misc]
    assert (inside["status"], inside["excerpt"]) == (500, "")
    assert (outside["status"], outside["excerpt"]) == (500, "broken \ufffd \ufffd")


async def test_an_attempt_does_not_tell_what_a_name_means_inside(
    platform: Shop, receiver: Receiver
) -> None:
    made = await hook(platform, receiver, types=["shop.*"])
    port = made["url"].rpartition(":")[2].partition("/")[0]
    await receiver.stop()
    await platform.pay()
    await platform.idle()
    (delivery,) = await deliveries(platform, made["id"])
    (attempt,) = delivery["attempts"]  # type: ignore[misc]
    assert attempt["error"] == "connect_failed"
    assert attempt["excerpt"] == "no connection could be made"
    for job in await platform.jobs():
        assert port not in f"{attempt} {job.error}"


async def test_a_restart_loses_nothing(at_rest: Shop, receiver: Receiver) -> None:
    """The job is the durable intent: it is there before anything was sent."""
    made = await hook(at_rest, receiver, types=["shop.*"])
    event_id = await at_rest.pay()
    await at_rest.whole.place_events()
    await at_rest.runtime.consumer_runner.run_due()
    assert len(await at_rest.jobs("ready")) == 1
    assert await deliveries(at_rest, made["id"]) == []
    await at_rest.runtime.start()
    async with asyncio.timeout(DEADLINE_S):
        assert (await receiver.next()).event["id"] == event_id
    await at_rest.runtime.stop(1.0)
