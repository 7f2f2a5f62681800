"""The demo's own App, as a user would write it: recency, frequency and monetary value by customer.

Every order that is created is noted and asks for a job; a burst of orders of one customer asks
once. Noting an order moves the version of its customer's row, so a job that read too early fails
its guard and runs again: no order is ever left out, whatever the timing.
"""

from datetime import date
from importlib.resources import files
from typing import Annotated

import msgspec

from mainspring import App, Call, Input, Page, Query, Service, Statement, Table
from mainspring.cli.demo.data import LAST_DAY

BURST_MS = 500  # how long a customer's job waits for more orders of the same burst

rfm = Service(
    "rfm",
    doc="Recency, frequency and monetary value of every customer, kept up to date by events.",
    migrations=files("mainspring.cli.demo") / "migrations",
)
app = App("demo", services=[rfm])


class NotedOrder(msgspec.Struct, frozen=True):
    """An order as this service keeps it."""

    id: str
    customer: str
    day: str
    cents: int


class Customer(msgspec.Struct, frozen=True):
    """A customer's figures; ``seen`` orders have come, ``frequency`` are counted."""

    customer: str
    version: int
    seen: int
    recency_days: int
    frequency: int
    monetary_cents: int


ORDERS = Table("rfm_orders", NotedOrder, key=("id",))
CUSTOMERS = Table("rfm_customers", Customer, key=("customer",))
ORDERS_OF = Query(
    "rfm.orders_of", f"SELECT {ORDERS.columns} FROM rfm_orders WHERE customer = :customer", ORDERS
)
CUSTOMER = Query(
    "rfm.customer",
    f"SELECT {CUSTOMERS.columns} FROM rfm_customers WHERE customer = :customer",
    CUSTOMERS,
)
CUSTOMERS_AFTER = Query(
    "rfm.customers_after",
    f"SELECT {CUSTOMERS.columns} FROM rfm_customers WHERE customer > :after "
    "ORDER BY customer LIMIT :limit",
    CUSTOMERS,
)
STALE = Query(
    "rfm.stale", "SELECT COUNT(*) FROM rfm_customers WHERE seen <> frequency", int, scans=True
)
COUNTED = Query(
    "rfm.counted", "SELECT CAST(COALESCE(SUM(seen), 0) AS bigint) FROM rfm_customers", int,
    scans=True,
)  # fmt: skip
NOTE_CUSTOMER = Statement(
    "rfm.note_customer",
    "INSERT INTO rfm_customers (customer, version, seen, recency_days, frequency, monetary_cents) "
    "VALUES (:customer, 1, 1, 0, 0, 0) ON CONFLICT (customer) DO UPDATE "
    "SET version = rfm_customers.version + 1, seen = rfm_customers.seen + 1",
)


class Created(msgspec.Struct, frozen=True):
    """What this service reads of a created record; customers have no order in them."""

    id: str
    collection: str
    customer: str = ""
    placed_on: str = ""
    total_cents: int = 0


class CustomersQuery(Input, frozen=True):
    """Where a page of customers starts."""

    after: Annotated[str, msgspec.Meta(max_length=128)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 500


class FiguresProgress(msgspec.Struct, frozen=True):
    """How far the figures are: orders noted, customers whose figures are behind."""

    orders: int
    stale: int


@rfm.on("records.record.created", from_start=True)
async def note_order(call: Call, record: Created) -> None:
    """Note an order and ask for its customer's figures."""
    if record.collection != "orders":
        return
    noted = NotedOrder(record.id, record.customer, record.placed_on, record.total_cents)
    call.write(ORDERS.insert(noted), NOTE_CUSTOMER(customer=record.customer))
    soon = compute.configure(unique_key=f"rfm {record.customer}", run_at_ms=call.now_ms + BURST_MS)
    call.enqueue(soon, customer=record.customer)


@rfm.job(queue="bulk")
async def compute(call: Call, customer: str) -> None:
    """Compute one customer's figures from the orders noted so far."""
    row = await call.one(CUSTOMER, customer=customer)
    orders = await call.all(ORDERS_OF, customer=customer)
    last = date.fromisoformat(max(order.day for order in orders))
    call.write(
        CUSTOMERS.update(
            row,
            recency_days=(date.fromisoformat(LAST_DAY) - last).days,
            frequency=len(orders),
            monetary_cents=sum(order.cents for order in orders),
        )
    )


@rfm.operation("GET /v1/rfm/customers", scope="rfm:read")
async def list_customers(call: Call, query: CustomersQuery) -> Page[Customer]:
    """List customers and their figures, by customer."""
    rows = await call.page(CUSTOMERS_AFTER, after=query.after, limit=query.limit)
    return Page.of(rows, lambda row: row, lambda row: row.customer)


@rfm.operation("GET /v1/rfm/progress", scope="rfm:read")
async def get_progress(call: Call) -> FiguresProgress:
    """Tell how many orders are noted and how many customers' figures are behind."""
    return FiguresProgress((await call.all(COUNTED))[0], (await call.all(STALE))[0])
