"""Loads the customers and orders into two collections of the platform, many calls at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from time import perf_counter
from typing import TypeVar

import msgspec

from mainspring.cli.demo.client import DemoClient
from mainspring.cli.demo.data import Order

T = TypeVar("T")

CALLS_AT_ONCE = 64
CUSTOMERS = "/v1/collections/customers/records"
ORDERS = "/v1/collections/orders/records"
COLLECTIONS: tuple[dict[str, object], ...] = (
    {
        "name": "customers",
        "fields": [{"name": "number", "type": "text", "required": True, "max": 16, "unique": True}],
    },
    {
        "name": "orders",
        "fields": [
            {"name": "number", "type": "integer", "required": True, "unique": True},
            {"name": "customer", "type": "relation", "collection": "customers", "required": True},
            {"name": "placed_on", "type": "text", "required": True, "max": 10},
            {"name": "cds", "type": "integer", "required": True},
            {"name": "total_cents", "type": "integer", "required": True},
        ],
    },
)

_encode = msgspec.json.Encoder().encode


class Loaded(msgspec.Struct, frozen=True):
    """What loading came to: each customer's record id by number, and how long it took."""

    customers: dict[str, str]
    seconds: float


async def make_collections(client: DemoClient) -> None:
    """Declare what the records look like. Raises CallFailed."""
    for collection in COLLECTIONS:
        await client.post("/v1/collections", collection, f"demo {collection['name']}")


async def load(
    client: DemoClient, orders: Iterable[Order], told: Callable[[str, int], None]
) -> Loaded:
    """Create every customer, then every order. ``told`` hears of each record that is safe."""
    orders = list(orders)
    ids: dict[str, str] = {}

    async def customer(number: str) -> None:
        body = _encode({"number": number})
        ids[number] = await client.create(CUSTOMERS, body, f"demo customer {number}")
        told("customers", 1)

    async def order(order: Order) -> None:
        body = _encode(
            {
                "number": order.number,
                "customer": ids[order.customer],
                "placed_on": order.day,
                "cds": order.cds,
                "total_cents": order.cents,
            }
        )
        await client.create(ORDERS, body, f"demo order {order.number}")
        told("orders", 1)

    started = perf_counter()
    await at_once(dict.fromkeys(o.customer for o in orders), customer)
    await at_once(orders, order)
    return Loaded(ids, perf_counter() - started)


async def at_once(items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Work through the items with ``CALLS_AT_ONCE`` calls under way; the first failure ends it."""
    left: Iterator[T] = iter(items)

    async def worker() -> None:
        for item in left:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLS_AT_ONCE):
            group.create_task(worker())
