"""Holds what the platform now has against what the file says, figure by figure."""

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from mainspring.cli.demo.client import DemoClient
from mainspring.cli.demo.data import Order, Spending, spending
from mainspring.cli.demo.load import CUSTOMERS, ORDERS
from mainspring.cli.demo.receiver import Receiver

PAGE = 500
CREATED = "records.record.created"
_JOBS_COUNTED = re.compile(
    r'mainspring_job_duration_seconds_count\{job="rfm\.compute",outcome="(\w+)"\} (\S+)'
)


class Figure(msgspec.Struct, frozen=True):
    """A line of the final table. ``expected`` is null for what is only reported."""

    name: str
    found: str
    expected: str | None = None

    @property
    def right(self) -> bool:
        """Tell whether it is what it should be."""
        return self.expected is None or self.found == self.expected


class StoredFigures(msgspec.Struct, frozen=True):
    """What the platform holds, read back through its API."""

    customers: Sequence[Mapping[str, Any]]
    orders: Sequence[Mapping[str, Any]]
    rfm: Sequence[Mapping[str, Any]]
    events: Sequence[str]


async def read_back(client: DemoClient) -> StoredFigures:
    """Page through everything that was stored. Raises CallFailed."""
    return StoredFigures(
        [record async for record in _pages(client, CUSTOMERS, "cursor")],
        [record async for record in _pages(client, ORDERS, "cursor")],
        [row async for row in _pages(client, "/v1/rfm/customers", "after")],
        [event["id"] async for event in _pages(client, "/v1/events", "after", type=CREATED)],
    )


async def _pages(
    client: DemoClient, path: str, cursor: str, **query: str
) -> AsyncIterator[dict[str, Any]]:
    at: dict[str, str] = {}
    while True:
        page = await client.get(path, limit=PAGE, **query, **at)
        for item in page["items"]:
            yield item
        if page["next_cursor"] is None:
            return
        at = {cursor: page["next_cursor"]}


def stored_figures(orders: Sequence[Order], stored: StoredFigures) -> list[Figure]:
    """Customers, orders, revenue and RFM: equal to the file's own, and nothing there twice."""
    names = {record["id"]: record["number"] for record in stored.customers}
    expected = sorted((o.number, o.customer, o.day, o.cds, o.cents) for o in orders)
    found = sorted(
        (r["number"], names.get(r["customer"], "?"), r["placed_on"], r["cds"], r["total_cents"])
        for r in stored.orders
    )
    different = len(set(expected) ^ set(found))
    return [
        _count("customers", len(names), len({order.customer for order in orders})),
        _count("orders", len(found), len(expected)),
        _count("orders unlike the file", different, 0),
        Figure(
            "revenue",
            dollars(sum(record["total_cents"] for record in stored.orders)),
            dollars(sum(order.cents for order in orders)),
        ),
        *_rfm_figures(spending(orders), stored.rfm, names),
    ]


def _rfm_figures(
    expected: Mapping[str, Spending], rows: Iterable[Mapping[str, Any]], names: Mapping[str, str]
) -> list[Figure]:
    found = {
        names.get(row["customer"], "?"): Spending(
            row["recency_days"], row["frequency"], row["monetary_cents"]
        )
        for row in rows
    }
    right = sum(found.get(customer) == figures for customer, figures in expected.items())
    return [
        _count("customers with RFM figures", len(found), len(expected)),
        _count("RFM figures right", right, len(expected)),
    ]


def record_events(events: Sequence[str], records: int) -> Figure:
    """One event for each record that was created."""
    return _count("events of records", len(events), records)


def event_figures(
    events: Sequence[str], receiver: Receiver, customers: int, orders: int
) -> list[Figure]:
    """One event per record, each delivered at least once, every delivery verified."""
    there = set(events)
    return [
        record_events(events, customers + orders),
        _count("events there twice", len(events) - len(there), 0),
        _count("webhooks verified", len(receiver.events & there), len(there)),
        _count("webhooks of unknown events", len(receiver.events - there), 0),
        _count("webhooks not verified", receiver.refused, 0),
        _count("webhooks delivered again", receiver.deliveries - len(receiver.events)),
    ]


def job_figures(
    metrics: str | None, queues: Sequence[Mapping[str, Any]], customers: int
) -> list[Figure]:
    """A job per customer at least, none of them failed, dead or left over.

    Without ``metrics`` of who ran them only what became of them is known.
    """
    dead = sum(q["dead"] for q in queues)
    left = sum(q["scheduled"] + q["ready"] + q["running"] for q in queues if q["name"] == "bulk")
    if metrics is None:
        return [_count("jobs dead", dead, 0), _count("jobs left over", left, 0)]
    counts: dict[str, int] = {}
    for line in metrics.splitlines():
        if match := _JOBS_COUNTED.match(line):
            counts[match[1]] = int(float(match[2]))
    done = counts.pop("done", 0)
    return [
        Figure("jobs done", f"{done:,}", _at_least(customers, done)),
        _count("jobs failed", sum(counts.values()) + dead, 0),
        _count("jobs left over", left, 0),
    ]


def client_figures(client: DemoClient, seconds: float) -> list[Figure]:
    """What the faults came to, and how fast it went."""
    tally = client.tally
    return [
        _count("calls repeated", tally.repeated),
        _count("answers dropped", tally.dropped),
        Figure("duplicates absorbed", f"{tally.absorbed:,}", _at_least(1, tally.absorbed)),
        _count("repeats answered otherwise", tally.disagreeing, 0),
        Figure("calls per second", f"{tally.calls / seconds:,.0f}"),
        Figure("p50", f"{tally.percentile_ms(0.50):,.1f} ms"),
        Figure("p99", f"{tally.percentile_ms(0.99):,.1f} ms"),
    ]


def _at_least(least: int, found: int) -> str:
    return f"{found:,}" if found >= least else f"at least {least:,}"


def _count(name: str, found: int, expected: int | None = None) -> Figure:
    return Figure(name, f"{found:,}", None if expected is None else f"{expected:,}")


def dollars(cents: int) -> str:
    """Write integer cents as dollars: 250031763 is $2,500,317.63."""
    return f"${cents // 100:,}.{cents % 100:02d}"
