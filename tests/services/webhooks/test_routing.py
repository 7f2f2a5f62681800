"""Who gets an event when endpoints come and go around it."""

import asyncio

from structlog.testing import capture_logs

from mainspring.kernel.call import SYSTEM
from mainspring.kernel.table import Query, Statement
from mainspring.runtime.tables import LAST_SEQ
from mainspring.services.webhooks.api import NewWebhook, WebhookChanges
from mainspring.services.webhooks.consumers import HeldRoutes
from tests.deadline import DEADLINE_S
from tests.services.webhooks.receiver import Receiver, Shop


async def hook(platform: Shop, receiver: Receiver, path: str) -> str:
    new = NewWebhook(url=receiver.url(path), types=["shop.*"])
    made: str = (await platform.value("create_webhook", new=new))["id"]
    return made


async def test_an_endpoint_gets_every_event_after_its_own_creation(
    platform: Shop, receiver: Receiver
) -> None:
    await platform.pay()
    paths: list[str] = []
    expected: list[tuple[str, str]] = []
    for n in range(10):
        paths.append(f"/{n}")
        await hook(platform, receiver, paths[-1])
        event_id = await platform.pay()
        expected += [(path, event_id) for path in paths]
    await platform.idle()
    arrived = [await receiver.next() for _ in range(receiver.count)]
    assert sorted((r.path, r.headers["webhook-id"]) for r in arrived) == sorted(expected)


async def test_routes_are_held_as_long_as_that_is_certain(
    platform: Shop, receiver: Receiver
) -> None:
    """As another process would: these routes hear of no change but through the database."""
    held = HeldRoutes()
    call = platform.runtime.dispatcher.call(SYSTEM, request_id="req_1")
    nobody = await held.of(call, 1)
    first = await hook(platform, receiver, "/1")
    await platform.pay()
    await platform.idle()
    (seq,) = await platform.runtime.database.read(LAST_SEQ, ())
    some = await held.of(call, seq)
    assert some is not nobody
    assert await held.of(call, seq) is some
    await platform.run("update_webhook", id=first, changes=WebhookChanges(enabled=False))
    assert await held.of(call, seq) is some  # an event from before the change
    await platform.idle()
    newest = await held.of(call, seq + 1)
    assert newest is not some
    assert await held.of(call, seq + 2) is newest  # looked again: nothing had changed


SET_CURSOR = Statement(
    "test.set_cursor",
    "UPDATE consumer_cursors SET position = 900000 WHERE consumer = 'webhooks.route'",
)
CURSOR = Query(
    "test.cursor", "SELECT position FROM consumer_cursors WHERE consumer = 'webhooks.route'", int
)


async def test_a_consumer_past_the_end_says_so_and_is_fed_again(
    at_rest: Shop, receiver: Receiver
) -> None:
    """A log that was restored without the cursors: routing would wait there for ever."""
    await at_rest.run("create_webhook", new=NewWebhook(url=receiver.url(), types=["shop.*"]))
    await at_rest.whole.drain()
    end = await at_rest.runtime.database.read(LAST_SEQ, ())
    await at_rest.runtime.database.commit([SET_CURSOR()])

    async def at_the_end() -> bool:
        return await at_rest.runtime.database.read(CURSOR, ()) == end

    with capture_logs() as said:
        await at_rest.runtime.start()
        await at_rest.until(at_the_end)
        event_id = await at_rest.pay()
        async with asyncio.timeout(DEADLINE_S):
            assert (await receiver.next()).event["id"] == event_id
    (line,) = [line for line in said if line["event"] == "cursor_out_of_reach"]
    assert (line["consumer"], line["was_at"], line["log_level"]) == (
        "webhooks.route", 900_000, "error",
    )  # fmt: skip
    assert [line["held_to"]] == end
    await at_rest.runtime.stop(1.0)
