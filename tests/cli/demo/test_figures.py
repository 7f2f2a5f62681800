"""The demo's verdict: every figure right only when the platform holds exactly the file."""

from typing import Any

import msgspec

from mainspring.cli.demo.data import Order
from mainspring.cli.demo.figures import (
    Figure,
    StoredFigures,
    dollars,
    event_figures,
    job_figures,
    stored_figures,
)
from mainspring.cli.demo.receiver import Receiver

ORDERS = [
    Order(1, "00001", "1998-06-29", 1, 1177),
    Order(2, "00002", "1998-06-01", 2, 100),
    Order(3, "00002", "1998-06-30", 1, 5),
]


def stored() -> StoredFigures:
    return StoredFigures(
        customers=[{"id": "rec_a", "number": "00001"}, {"id": "rec_b", "number": "00002"}],
        orders=[_order(1, "rec_a"), _order(2, "rec_b"), _order(3, "rec_b")],
        rfm=[
            {"customer": "rec_a", "recency_days": 1, "frequency": 1, "monetary_cents": 1177},
            {"customer": "rec_b", "recency_days": 0, "frequency": 2, "monetary_cents": 105},
        ],
        events=["evt_1", "evt_2", "evt_3", "evt_4", "evt_5"],
    )


def _order(number: int, customer: str) -> dict[str, Any]:
    order = ORDERS[number - 1]
    return {
        "id": f"rec_o{number}", "number": number, "customer": customer, "placed_on": order.day,
        "cds": order.cds, "total_cents": order.cents,
    }  # fmt: skip


def wrong(figures: list[Figure]) -> set[str]:
    return {figure.name for figure in figures if not figure.right}


def test_everything_right() -> None:
    figures = stored_figures(ORDERS, stored())
    assert wrong(figures) == set()
    assert {f.name: f.found for f in figures}["revenue"] == "$12.82"


def test_a_doubled_order_is_found() -> None:
    doubled = msgspec.structs.replace(stored(), orders=[*stored().orders, _order(3, "rec_b")])
    assert wrong(stored_figures(ORDERS, doubled)) == {"orders", "revenue"}


def test_a_changed_cent_is_found() -> None:
    changed = [*stored().orders[:2], {**_order(3, "rec_b"), "total_cents": 6}]
    found = msgspec.structs.replace(stored(), orders=changed)
    assert wrong(stored_figures(ORDERS, found)) == {"orders unlike the file", "revenue"}


def test_an_order_of_the_wrong_customer_is_found() -> None:
    moved = msgspec.structs.replace(stored(), orders=[*stored().orders[:2], _order(3, "rec_a")])
    assert wrong(stored_figures(ORDERS, moved)) == {"orders unlike the file"}


def test_a_stale_figure_is_found() -> None:
    stale = [{**stored().rfm[1], "frequency": 1}, stored().rfm[0]]
    found = msgspec.structs.replace(stored(), rfm=stale)
    assert wrong(stored_figures(ORDERS, found)) == {"RFM figures right"}


async def test_deliveries_are_held_against_the_events() -> None:
    receiver = Receiver()
    receiver.events = set(stored().events)
    receiver.deliveries = 6
    assert wrong(event_figures(stored().events, receiver, 2, 3)) == set()
    receiver.events = {"evt_1", "evt_9"}
    receiver.refused = 1
    assert wrong(event_figures([*stored().events, "evt_1"], receiver, 2, 3)) == {
        "events of records", "events there twice", "webhooks verified",
        "webhooks of unknown events", "webhooks not verified",
    }  # fmt: skip


def test_cents_are_written_as_dollars() -> None:
    assert dollars(250031763) == "$2,500,317.63"
    assert dollars(5) == "$0.05"


def test_jobs_are_counted_from_the_metrics() -> None:
    counted = 'mainspring_job_duration_seconds_count{job="rfm.compute",outcome="%s"} %s'
    queue = {"name": "bulk", "scheduled": 0, "ready": 0, "running": 0, "dead": 0}
    done = counted % ("done", "2.0")
    assert wrong(job_figures(done, [queue], 2)) == set()
    assert wrong(job_figures(done, [queue], 3)) == {"jobs done"}
    failed = done + "\n" + counted % ("failed", "1.0")
    busy = {**queue, "scheduled": 1}
    assert wrong(job_figures(failed, [busy], 2)) == {"jobs failed", "jobs left over"}
