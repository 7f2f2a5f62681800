"""Rate classes that services declare: their default, what an operator sets, and what nobody has."""

import pytest

from mainspring import App, Call, RateClass, Service
from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.registry import Registry
from mainspring.ports.database import StartError
from mainspring.testing import Platform

shop = Service("shop", doc="A shop.")
search = shop.rate_class("search", "2/m")


@shop.operation("GET /v1/shop:search", scope=None, rate=search)
async def find(call: Call) -> str:
    """Search dearly."""
    return "found"


@shop.operation("GET /v1/shop", scope=None)
async def show(call: Call) -> str:
    """Show the window."""
    return "window"


app = App("shop", services=[shop])


async def test_operations_of_a_class_have_a_limit_of_their_own() -> None:
    async with Platform(app, settings={"limits.own.search": "2/m"}) as platform:
        ann = await platform.as_key("shop:read")
        first = await ann.get("/v1/shop:search")
        assert first.headers["ratelimit-policy"] == '"search";q=2;w=60'
        (await ann.get("/v1/shop:search")).expect(200)
        refused = await ann.get("/v1/shop:search")
        assert refused.expect(429)["policy"] == "search"
        (await ann.get("/v1/shop")).expect(200)  # what else there is has its own
        # Another caller has its own, and so have all who are nobody from one address.
        (await (await platform.as_key("shop:read")).get("/v1/shop:search")).expect(200)
        for status in (200, 200, 429):
            (await platform.anonymous.get("/v1/shop:search")).expect(status)


async def test_without_a_setting_it_is_what_the_service_says() -> None:
    async with Platform(app) as platform:
        policies = (await platform.anonymous.get("/v1/shop:search")).headers["ratelimit-policy"]
        assert policies == '"search";q=1000000;w=1'  # a test's limits are lifted
    registry = Registry([shop])
    assert registry.rate_classes == {"search": RateClass("search", "2/m")}


async def test_a_setting_for_a_class_that_nobody_declares_stops_the_start() -> None:
    with pytest.raises(StartError, match=r"'serch'; there are .*search"):
        await Platform(app, settings={"limits.own.serch": "1/s"}).__aenter__()
    with pytest.raises(StartError, match="is not a rate"):
        await Platform(app, settings={"limits.own.search": "1/week"}).__aenter__()


async def test_a_setting_for_a_queue_that_nobody_declares_stops_the_start() -> None:
    with pytest.raises(StartError, match=r"no service has a queue 'imprts'; there are bulk, "):
        await Platform(app, settings={"queues.own.imprts": 3}).__aenter__()


@pytest.mark.parametrize(
    "rate",
    [RateClass("serch", "2/m"), RateClass("search", "9/m"), RateClass("login"), "search"],
)
def test_an_operation_counts_against_a_class_that_is_declared(rate: RateClass) -> None:
    shop = Service("shop", doc="A shop.")
    shop.rate_class("search", "2/m")

    @shop.operation("GET /v1/shop:search", scope=None, rate=rate)
    async def find(call: Call) -> str:
        """Search."""
        return "found"

    with pytest.raises(
        Misdeclared, match=r"shop\.find counts against the rate class '(sea?rch|login)'"
    ):
        Registry([shop])


def test_a_class_is_declared_once_and_named_like_one() -> None:
    first, second = Service("first", doc="First."), Service("second", doc="Second.")
    first.rate_class("search", "2/m")
    second.rate_class("search", "3/m")
    with pytest.raises(Misdeclared, match="second declares the rate class 'search', which another"):
        Registry([first, second])
    with pytest.raises(Misdeclared, match="first declares the rate class 'search' twice"):
        first.rate_class("search", "2/m")
    for name in ("login", "anonymous", "Search", ""):
        with pytest.raises(Misdeclared, match="cannot name a rate class"):
            first.rate_class(name, "2/m")
    with pytest.raises(Misdeclared, match="rate class dear: '2 a day' is not a rate"):
        first.rate_class("dear", "2 a day")
