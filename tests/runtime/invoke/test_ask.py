"""Asking another service: as whom, within which bounds, and what its failures are to the asker."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from mainspring import (
    App,
    AskFailed,
    Call,
    Input,
    NotFound,
    Operation,
    Response,
    Service,
    StreamItem,
)
from mainspring.kernel.call import ASK_DEPTH_MAX, ASKS_MAX, Transaction
from mainspring.kernel.current_call import CURRENT_CALL
from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.errors import (
    AskDenied,
    AskTimedOut,
    AskUnavailable,
    Conflict,
    DeadlineExceeded,
    Failure,
    Forbidden,
    RateLimited,
    Unavailable,
)
from mainspring.testing import Platform

SAID: dict[str, Failure | None] = {}


class Stock(msgspec.Struct, frozen=True):
    thing: str
    copies: int
    asked_by: str
    correlation: str
    left_s: float | None = None


class Which(Input, frozen=True):
    shelf: str = "top"


class Times(Input, frozen=True):
    times: int = 1


class Done(msgspec.Struct, frozen=True):
    id: str


def services() -> App:
    stock, shop = Service("stock", doc="Stock."), Service("shop", doc="A shop.")

    @stock.operation("GET /v1/stock/{thing}", scope="stock:read", timeout_s=20)
    async def get(call: Call, thing: str, query: Which) -> Response[Stock]:
        """Tell what is there."""
        if failure := SAID.get(thing):
            raise failure
        left_s = None if call.deadline_s is None else call.deadline_s
        return Response(Stock(f"{query.shelf} {thing}", 3, call.caller.actor, call.correlation_id,
                              left_s), etag='"1"')  # fmt: skip

    @stock.operation("POST /v1/stock/{thing}", scope="stock:write")
    async def take(call: Call, thing: str) -> None:
        """Take one."""

    @stock.stream("GET /v1/stock_changes", scope="stock:read")
    async def follow(call: Call) -> AsyncIterator[StreamItem]:
        """Follow."""
        yield StreamItem(b"{}")

    @shop.operation("GET /v1/things/{thing}", scope="shop:read", timeout_s=5)
    async def show(call: Call, thing: str) -> Stock:
        """Show a thing."""
        found = await call.ask(get, thing, query=Which(shelf="low"))
        assert CURRENT_CALL.get() is call
        assert found.left_s is not None
        assert call.deadline_s is not None
        assert found.left_s <= call.deadline_s + 0.01
        return found

    @shop.operation("GET /v1/maybe/{thing}", scope="shop:read")
    async def maybe(call: Call, thing: str) -> str:
        """Show a thing, or nothing."""
        try:
            return (await call.ask(get, thing, Which())).thing
        except AskFailed as error:
            return f"{error.operation} {error.failure.code}"

    @shop.operation("GET /v1/wrong/{what}", scope="shop:read")
    async def wrong(call: Call, what: str) -> None:
        """Ask what cannot be asked."""
        await call.ask(take if what == "write" else follow, *(["x"] if what == "write" else []))

    @shop.operation("GET /v1/many", scope="shop:read")
    async def many(call: Call, query: Times) -> int:
        """Ask often."""
        for _ in range(query.times):
            await call.ask(get, "x", Which())
        return query.times

    _declare_defects(shop, get)
    shop.acts("stock:read")
    return App("things", services=[stock, shop])


def _declare_defects(shop: Service, get: Operation[[str, Which], Response[Stock]]) -> None:
    @shop.operation("GET /v1/circle", scope="shop:read")
    async def circle(call: Call) -> int:
        """Ask somebody who asks back."""
        return await call.ask(back)

    @shop.operation("GET /v1/back", scope="shop:read")
    async def back(call: Call) -> int:
        """Ask back."""
        return await call.ask(circle)

    @shop.transaction("POST /v1/inside", scope="shop:write")
    async def inside(call: Transaction) -> int:
        """Ask inside a transaction."""
        return (await call.ask(get, "x", Which())).copies

    @shop.job()
    async def as_nobody(call: Call) -> None:
        """Ask without a caller."""
        await call.ask(get, "x", Which())

    @shop.job()
    async def as_itself(call: Call, thing: str) -> None:
        """Ask as the service."""
        found = await call.as_service().ask(get, thing, Which())
        FOUND.append(found)


FOUND: list[Stock] = []


@pytest.fixture
async def platform(platform_server: str | None) -> AsyncIterator[Platform]:
    SAID.clear()
    FOUND.clear()
    async with Platform(services(), database=platform_server) as platform:
        yield platform


async def test_it_is_asked_by_the_caller_in_the_time_that_is_left(platform: Platform) -> None:
    reader = await platform.as_key("shop:read", "stock:read")
    found = await reader.call("shop.show", "pen")
    assert (found.thing, found.copies, found.asked_by) == ("low pen", 3, reader.id)
    answer = await reader.get("/v1/things/pen", headers={"X-Correlation-Id": "same"})
    assert answer.expect(200)["asked_by"] == reader.id


async def test_who_may_not_there_may_not_here(platform: Platform) -> None:
    reader = await platform.as_key("shop:read")
    with pytest.raises(AskDenied, match=r"stock\.get: this needs the scope stock:read") as denied:
        await reader.call("shop.show", "pen")
    assert isinstance(denied.value, Forbidden)
    assert (await reader.get("/v1/things/pen")).expect(403)["code"] == "ask_denied"


@pytest.mark.parametrize(
    ("failure", "kind", "status"),
    [
        (NotFound(), AskFailed, 502),
        (Conflict(), AskFailed, 502),
        (Unavailable(retry_after_s=7), AskUnavailable, 503),
        (RateLimited(retry_after_s=7), AskUnavailable, 503),
        (DeadlineExceeded(), AskTimedOut, 504),
    ],
)
async def test_a_failure_there_is_a_typed_one_here(
    platform: Platform, failure: Failure, kind: type[AskFailed], status: int
) -> None:
    SAID["pen"] = failure
    with pytest.raises(AskFailed) as failed:
        await platform.call("shop.show", "pen")
    assert type(failed.value) is kind
    assert failed.value.failure.code == failure.code
    answer = await platform.admin.get("/v1/things/pen")
    told = answer.expect(status)
    assert (told["operation"], told["failure"]) == ("stock.get", failure.code)
    assert answer.headers.get("retry-after") == ("7" if failure.retry_after_s else None)
    assert await platform.call("shop.maybe", "pen") == f"stock.get {failure.code}"


async def test_only_what_reads_is_asked(platform: Platform) -> None:
    for what, name in (("write", "stock.take"), ("stream", "stock.follow")):
        with pytest.raises(Misdeclared, match=f"shop.wrong cannot ask {name}: only a unary"):
            await platform.call("shop.wrong", what)
    with pytest.raises(Misdeclared, match=r"shop\.inside cannot ask stock\.get: it runs inside"):
        await platform.call("shop.inside")


async def test_a_circle_and_a_crowd_are_refused(platform: Platform) -> None:
    circle = "shop.circle asks shop.back asks shop.circle"
    with pytest.raises(Misdeclared, match=f"in a circle: {circle}"):
        await platform.call("shop.circle")
    assert await platform.call("shop.many", Times(times=ASKS_MAX)) == ASKS_MAX
    with pytest.raises(Misdeclared, match=f"shop.many asked {ASKS_MAX} times"):
        await platform.call("shop.many", Times(times=ASKS_MAX + 1))


async def test_handlers_that_wait_for_each_other_are_bounded() -> None:
    deep = Service("deep", doc="Asks itself, ever deeper.")
    for at in range(ASK_DEPTH_MAX + 1):
        _add_step(deep, at)
    async with Platform(App("deep", services=[deep])) as platform:
        with pytest.raises(Misdeclared, match=f"more than {ASK_DEPTH_MAX} handlers wait"):
            await platform.call("deep.step0")
        assert await platform.call("deep.step2") == ASK_DEPTH_MAX - 2


def _add_step(deep: Service, at: int) -> None:
    async def step(call: Call) -> int:
        """Ask the next one."""
        following = deep.operations.get(f"deep.step{at + 1}")
        return 0 if following is None else 1 + await call.ask(following)

    step.__name__ = f"step{at}"
    deep.operation(f"GET /v1/deep/{at}", scope=None)(step)


async def test_a_job_asks_as_its_service_and_as_nobody_else(platform: Platform) -> None:
    shop = platform.app.runtime.registry.services["shop"]
    await platform.enqueue(shop.jobs["shop.as_itself"], thing="pen")
    await platform.drain()
    assert [(found.thing, found.asked_by) for found in FOUND] == [("top pen", "shop")]
    await platform.enqueue(shop.jobs["shop.as_nobody"])
    with pytest.raises(AssertionError, match="as_nobody has no caller for whom it could ask"):
        await platform.drain()


async def test_a_service_that_declares_nothing_has_nothing() -> None:
    lone = Service("lone", doc="Alone.")

    @lone.operation("GET /v1/lone", scope=None)
    async def ask(call: Call) -> None:
        """Act as itself."""
        call.as_service()

    async with Platform(App("lone", services=[lone])) as platform:
        with pytest.raises(Misdeclared, match="the service 'lone' declares no scopes of its own"):
            await platform.call("lone.ask")
    with pytest.raises(Misdeclared, match="'everything' is not a scope"):
        lone.acts("everything")
