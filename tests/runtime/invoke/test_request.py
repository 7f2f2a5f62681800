"""Requesting a change of another service: once, as whom, until when, and who is told of the end."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from mainspring import (
    App,
    Call,
    Conflict,
    Input,
    RequestOutcome,
    Response,
    Service,
    StreamItem,
    Transaction,
)
from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.errors import AskDenied, Failure, InFlight, RateLimited, Unavailable
from mainspring.kernel.operation import Operation
from mainspring.kernel.table import Command, Write
from mainspring.runtime.invoke.requests import REPEATED_MS_MAX, REQUEST, RETRY
from mainspring.runtime.tables import FINISH_JOB
from mainspring.testing import Platform

SAID: list[Failure] = []  # what the stock says instead, one after the other
TOLD: list[RequestOutcome] = []


class Taken(msgspec.Struct, frozen=True):
    thing: str
    copies: int
    by: str | None
    correlation: str


class Copies(Input, frozen=True):
    copies: int = 1


class Refused(Conflict):
    """Not so many are left."""

    code, title = "sold_out", "Sold out"


def services() -> App:
    stock, shop = Service("stock", doc="Stock."), Service("shop", doc="A shop.")
    stock.event("stock.copies.taken", subject="thing")(Taken)

    @stock.operation("POST /v1/stock/{thing}", scope="stock:write", status=201)
    async def take(call: Call, thing: str, new: Copies) -> Response[Taken]:
        """Take some."""
        if SAID:
            raise SAID.pop(0)
        taken = Taken(thing, new.copies, call.caller.actor, call.correlation_id)
        call.emit(taken)
        return Response(taken)

    @stock.operation("GET /v1/stock", scope="stock:read")
    async def look(call: Call) -> None:
        """Look."""

    @stock.operation("POST /v1/stock_keys", scope="stock:write", secret=True)
    async def make_key(call: Call) -> str:
        """Make a key."""
        return "secret"

    @stock.stream("GET /v1/stock_changes", scope="stock:read")
    async def follow(call: Call) -> AsyncIterator[StreamItem]:
        """Follow."""
        yield StreamItem(b"{}")

    @shop.job()
    async def ended(call: Call, outcome: RequestOutcome) -> None:
        """Hear how it ended."""
        TOLD.append(outcome)

    @shop.operation("POST /v1/orders/{thing}", scope="shop:write")
    async def order(call: Call, thing: str, new: Copies) -> list[str]:
        """Order a thing."""
        request_id = call.request(take.then(ended), thing, new=new)
        if new.copies > 9:
            raise Conflict("too many")
        return [request_id, call.correlation_id]

    @shop.transaction("POST /v1/orders_inside/{thing}", scope="shop:write")
    async def order_inside(call: Transaction, thing: str) -> str:
        """Order a thing inside a transaction."""
        return call.request(take, thing, Copies())

    @shop.operation("POST /v1/wrong/{what}", scope="shop:write")
    async def wrong(call: Call, what: str) -> None:
        """Request what cannot be requested."""
        wanted: Any = {"read": look, "secret": make_key, "stream": follow}[what]
        call.request(wanted)

    @shop.job()
    async def as_nobody(call: Call) -> None:
        """Request without a caller."""
        call.request(take, "pen", Copies())

    @shop.job()
    async def as_itself(call: Call) -> None:
        """Request as the service."""
        call.as_service().request(take, "pen", Copies())

    @shop.job()
    async def lost(call: Call) -> None:
        """Stage what nobody commits."""
        call.as_service().enqueue(as_itself)

    shop.acts("stock:write")
    open_to_all(stock, shop, take)
    return App("things", services=[stock, shop])


def open_to_all(stock: Service, shop: Service, take: Operation[[str, Copies], Taken]) -> None:
    @stock.operation("POST /v1/wishes/{thing}", scope=None)
    async def wish(call: Call, thing: str) -> None:
        """Wish for a thing, whoever does."""
        call.emit(Taken(thing, 0, call.caller.actor, call.correlation_id))

    @shop.operation("POST /v1/restocks/{thing}", scope=None)
    async def restock(call: Call, thing: str) -> None:
        """Have a thing taken by the shop, and wished for by whoever calls."""
        call.as_service().request(take, thing, Copies())
        call.request(wish, thing)


@pytest.fixture
async def platform(platform_server: str | None) -> AsyncIterator[Platform]:
    SAID.clear()
    TOLD.clear()
    async with Platform(services(), database=platform_server) as platform:
        yield platform


async def taken(platform: Platform) -> list[Taken]:
    events = await platform.events("stock.copies.taken")
    return [msgspec.json.decode(event.data, type=Taken) for event in events]


async def requests(platform: Platform) -> list[tuple[str, int]]:
    return [(job.state, job.attempts) for job in await platform.jobs(REQUEST)]


async def test_it_is_made_after_the_commit_by_whoever_called(platform: Platform) -> None:
    buyer = await platform.as_key("shop:write", "stock:write")
    request_id, correlation = await buyer.call("shop.order", "7", Copies(copies=2))
    assert await taken(platform) == []
    await platform.drain()
    assert await taken(platform) == [Taken("7", 2, buyer.id, correlation)]
    (told,) = TOLD
    assert (told.request_id, told.operation, told.failure) == (request_id, "stock.take", None)
    assert (told.status, msgspec.json.decode(told.body)["copies"]) == (201, 2)
    assert msgspec.json.decode(msgspec.json.encode(told.arguments))["thing"] == "7"
    assert await requests(platform) == [("done", 1)]


async def test_it_is_dropped_with_its_call(platform: Platform) -> None:
    with pytest.raises(Conflict, match="too many"):
        await platform.call("shop.order", "pen", Copies(copies=10))
    await platform.drain()
    assert await requests(platform) == []
    assert await taken(platform) == []


async def test_a_transaction_requests_too(platform: Platform) -> None:
    await platform.call("shop.order_inside", "pen")
    await platform.drain()
    assert [one.thing for one in await taken(platform)] == ["pen"]


async def test_the_seam_carries_it(platform_server: str | None) -> None:
    async with Platform(services(), database=platform_server, encoded=True) as platform:
        SAID[:], TOLD[:] = [Refused("none left")], []
        await platform.call("shop.order", '"7"', Copies(copies=3))
        await platform.call("shop.order", "8", Copies())
        await platform.drain(failing=[REQUEST])
        assert sorted(told.failure or "" for told in TOLD) == ["", "sold_out"]
        assert len(await taken(platform)) == 1


async def test_an_end_that_is_not_written_down_is_repeated_without_effect(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sibling has committed, and the commit of the request's end fails: it runs again."""
    await platform.call("shop.order", "pen", Copies())
    database = platform.app.database
    commit = database.commit
    broken: list[list[Taken]] = []
    end = FINISH_JOB(id="", claim=0, now_ms=0)

    async def fail_once(writes: list[Write], *rest: Any) -> None:
        ends = any(isinstance(write, Command) and write.sql == end.sql for write in writes)
        if ends and not broken:
            await platform.place_events()
            broken.append(await taken(platform))
            raise RuntimeError("something broke")  # while it is only away, the end is kept
        await commit(writes, *rest)

    monkeypatch.setattr(database, "commit", fail_once)
    await platform.pass_time(minutes=1, failing=[REQUEST])
    assert [len(found) for found in broken] == [1]
    assert len(await taken(platform)) == 1
    assert await requests(platform) == [("done", 2)]
    assert [(told.status, told.failure) for told in TOLD] == [(200, None)]  # a repetition


async def test_what_is_refused_is_a_dead_letter_and_its_requester_knows(
    platform: Platform,
) -> None:
    SAID.append(Refused("two are left"))
    await platform.call("shop.order", "pen", Copies(copies=3))
    await platform.drain(failing=[REQUEST])
    (job,) = await platform.jobs(REQUEST, state="dead")
    assert job.attempts == 1
    assert job.error == "JobFailed: stock.take: sold_out: two are left"
    (told,) = TOLD
    assert (told.status, told.failure, told.detail) == (409, "sold_out", "two are left")


@pytest.mark.parametrize(
    ("failure", "retry_s"),
    [
        (Unavailable(), 1),
        (Unavailable(retry_after_s=7), 7),
        (RateLimited(retry_after_s=7), 7),
        (InFlight(), 1),
    ],
)
async def test_what_passes_is_tried_again(
    platform: Platform, failure: Failure, retry_s: float
) -> None:
    SAID.append(failure)
    await platform.call("shop.order", "pen", Copies())
    await platform.pass_time(seconds=retry_s * 0.49)
    assert await requests(platform) == [("scheduled", 1)]
    (job,) = await platform.jobs(REQUEST)
    assert job.error is not None
    assert "stock.take" in job.error
    assert TOLD == []
    await platform.pass_time(seconds=retry_s * 0.51)
    assert await requests(platform) == [("done", 2)]
    assert [told.failure for told in TOLD] == [None]


async def test_the_last_attempt_tells(platform: Platform) -> None:
    SAID.extend(Unavailable("away") for _ in range(RETRY.max_attempts))
    await platform.call("shop.order", "pen", Copies())
    await platform.pass_time(hours=23, failing=[REQUEST])
    assert await requests(platform) == [("dead", RETRY.max_attempts)]
    assert [(told.status, told.failure) for told in TOLD] == [(503, "unavailable")]


async def test_it_is_not_repeated_once_a_repetition_is_not_known_any_more(
    platform: Platform,
) -> None:
    SAID.append(Unavailable("away"))
    await platform.call("shop.order", "pen", Copies())
    await platform.drain()
    platform.clock.move_to(platform.clock.now_ms() + REPEATED_MS_MAX + 1)
    await platform.drain(failing=[REQUEST])
    assert [told.failure for told in TOLD] == ["outcome_unknown"]
    assert await taken(platform) == []


async def test_rights_that_were_taken_are_gone(platform: Platform) -> None:
    buyer = await platform.as_key("shop:write", "stock:write")
    await buyer.call("shop.order", "pen", Copies())
    (await platform.admin.delete(f"/v1/api_keys/{buyer.id}")).expect(204)
    await platform.drain(failing=[REQUEST])
    assert await taken(platform) == []
    (job,) = await platform.jobs(REQUEST, state="dead")
    assert job.error is not None
    assert f"unauthenticated: {buyer.id}, who requested it, is revoked" in job.error
    assert [told.status for told in TOLD] == [401]


async def test_nobody_and_a_service_request_as_what_they_are(platform: Platform) -> None:
    await platform.anonymous.call("shop.restock", "pen")
    await platform.drain()
    assert sorted(one.by or "" for one in await taken(platform)) == ["anonymous", "shop"]


async def test_a_service_that_declares_nothing_any_more_is_refused(platform: Platform) -> None:
    await platform.anonymous.call("shop.restock", "pen")
    platform.app.runtime.registry.services["shop"].scopes = frozenset()
    await platform.drain(failing=[REQUEST])
    assert [one.by for one in await taken(platform)] == ["anonymous"]
    (job,) = await platform.jobs(REQUEST, state="dead")
    assert job.error is not None
    assert "unauthenticated: shop, who requested it" in job.error


async def test_who_may_not_there_may_not_here(platform: Platform) -> None:
    buyer = await platform.as_key("shop:write")
    with pytest.raises(AskDenied, match=r"stock\.take: this needs the scope stock:write"):
        await buyer.call("shop.order", "pen", Copies())
    assert await requests(platform) == []


async def test_a_job_requests_as_its_service_and_as_nobody_else(platform: Platform) -> None:
    jobs = platform.app.runtime.registry.services["shop"].jobs
    await platform.enqueue(jobs["shop.as_itself"])
    await platform.drain()
    assert [(one.thing, one.by) for one in await taken(platform)] == [("pen", "shop")]
    await platform.enqueue(jobs["shop.as_nobody"])
    with pytest.raises(AssertionError, match="as_nobody has no caller for whom it could request"):
        await platform.drain()
    await platform.enqueue(jobs["shop.lost"])
    with pytest.raises(AssertionError, match="nothing commits what it stages"):
        await platform.drain()


async def test_only_what_writes_and_keeps_no_secret_is_requested(platform: Platform) -> None:
    for what, told in (
        ("read", r"stock\.look: only a unary operation that writes"),
        ("stream", r"stock\.follow: only a unary operation that writes"),
        ("secret", r"stock\.make_key: its answer holds a secret"),
    ):
        with pytest.raises(Misdeclared, match=f"shop.wrong cannot request {told}"):
            await platform.call("shop.wrong", what)


async def test_who_acts_as_a_user_is_named_by_what_was_requested(platform: Platform) -> None:
    admin = await platform.as_user("root@example.com", roles=["admin", "user"])
    ann = await platform.as_user("ann@example.com")
    why = {"reason": "ticket 12", "write": True}
    begun = (await admin.post(f"/v1/users/{ann.id}:impersonate", why)).expect(201)
    acting = platform.as_bearer(begun["access_token"])
    (await acting.post("/v1/restocks/pen")).expect(204)
    await platform.drain()
    taken = await platform.events("stock.copies.taken")
    assert {(event.actor, event.impersonator) for event in taken} == {
        ("shop", None), (ann.id, admin.id)
    }  # fmt: skip
