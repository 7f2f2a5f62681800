"""Counting in a crew: whichever process is asked shows what all count, and no counter goes back."""

import os
import signal
import timeit
from collections.abc import Callable

import pytest

from mainspring.adapters.telemetry import ledgers, rollups
from mainspring.adapters.telemetry.shared import SharedRollups
from mainspring.kernel.metric import Counter, Gauge, Histogram
from mainspring.kernel.process_role import Seat
from mainspring.ports.opening import Sources
from mainspring.ports.telemetry import OTHER
from mainspring.testing.clock import FakeClock, SeededEntropy

SALES = Counter("shop_sales", "Sales.", ("town",))
WAITS = Histogram("shop_wait_seconds", "Waits.", (), (0.5, 1))
OPEN = Gauge("shop_open", "Tills that are open.", ("town",))
STOCK = Gauge("shop_stock", "What is left.", ("shelf",), newest=True)

Own = Callable[[int], SharedRollups]


def crew(size: int, clock: FakeClock | None = None) -> Own:
    own = rollups.share("rollups:", size, Sources(clock or FakeClock(), SeededEntropy(1)))
    return lambda number: own(Seat(number, size, first=number == 0))


async def lines(one: SharedRollups) -> list[str]:
    return (await one.text()).decode().splitlines()


def in_a_process(work: Callable[[], object]) -> None:
    """Do it in a fork, which is killed when it is done."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


async def test_any_of_them_shows_what_all_have_counted() -> None:
    own = crew(3)
    members = [own(number) for number in range(3)]
    for number, one in enumerate(members):
        one.counter(SALES).of("Bern").add(number + 1)
        one.histogram(WAITS).of().observe(number)
        one.gauge(OPEN).of("Bern").add(2)
    members[1].counter(SALES).of('a"b').add()
    for one in members:
        wanted = {
            'shop_sales_total{town="Bern"} 6.0',
            'shop_sales_total{town="a\\"b"} 1.0',
            'shop_wait_seconds_bucket{le="0.5"} 1.0',
            'shop_wait_seconds_bucket{le="1.0"} 2.0',
            'shop_wait_seconds_bucket{le="+Inf"} 3.0',
            "shop_wait_seconds_sum 3.0",
            'shop_open{town="Bern"} 6.0',
        }
        found = await lines(one)
        assert not wanted - set(found), found


async def test_a_metric_that_one_alone_has_declared_is_shown_by_all() -> None:
    own = crew(2)
    first, second = own(0), own(1)
    with second.span("shop.close"):
        pass
    name = "mainspring_span_duration_seconds_count"
    assert f'{name}{{outcome="done",span="shop.close"}} 1.0' in await lines(first)


async def test_what_a_killed_process_counted_stays_and_goes_on() -> None:
    own = crew(2)
    asked = own(0)

    def sell() -> None:
        one = own(1)
        one.counter(SALES).of("Bern").add()
        one.histogram(WAITS).of().observe(0.1)
        one.gauge(OPEN).of("Bern").set(1)

    for times in (1.0, 2.0, 3.0):
        in_a_process(sell)
        found = await lines(asked)
        assert f'shop_sales_total{{town="Bern"}} {times}' in found
        assert f"shop_wait_seconds_count {times}" in found
        # What is open is open in a process, and none is left that has it.
        assert 'shop_open{town="Bern"} 0.0' in found
    successor = own(1)
    successor.counter(SALES).of("Bern").add()
    assert 'shop_sales_total{town="Bern"} 4.0' in await lines(asked)
    assert 'shop_open{town="Bern"} 0.0' in await lines(asked)


async def test_what_is_no_process_s_own_is_shown_once() -> None:
    clock = FakeClock()
    own = crew(2, clock)
    first, second = own(0), own(1)
    first.gauge(STOCK).of("tea").set(7)
    clock.move(1)
    second.gauge(STOCK).of("tea").set(5)
    assert 'shop_stock{shelf="tea"} 5.0' in await lines(first)
    clock.move(1)
    # Also what another has begun can be set by who knows that nothing is left.
    first.gauge(STOCK).of("rum").set(3)
    clock.move(1)
    for labels, _ in second.gauge(STOCK).series():
        second.gauge(STOCK).of(*labels).set(0)
    found = await lines(first)
    assert {'shop_stock{shelf="tea"} 0.0', 'shop_stock{shelf="rum"} 0.0'} <= set(found)


async def test_what_the_system_knows_of_a_process_is_told_of_each() -> None:
    own = crew(3)
    first = own(0)
    in_a_process(lambda: own(1))
    own(2)
    found = await lines(first)
    name = "process_resident_memory_bytes"
    assert [line.split()[0] for line in found if line.startswith(name)] == [
        f'{name}{{process="0"}}', f'{name}{{process="2"}}',
    ]  # fmt: skip


async def test_what_finds_no_room_counts_as_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "LEDGER_BYTES", 1 << 16)
    one = crew(2)(0)
    sales = one.counter(SALES)
    for town in range(1_900):
        sales.of(f"town {town}").add()
    found = [line.rpartition(" ") for line in await lines(one) if line.startswith("shop_sales_")]
    counts = {name: float(count) for name, _, count in found}
    assert sum(counts.values()) == 1_900
    assert counts[f'shop_sales_total{{town="{OTHER}"}}'] > 1_000
    with pytest.raises(ValueError, match="shop_sums: there are too many metrics"):
        one.counter(Counter("shop_sums", "x" * (1 << 16)))


def test_observing_is_cheap() -> None:
    series = crew(2)(0).histogram(Histogram("shop_wait_seconds", "Waits.")).of()
    seconds = min(timeit.repeat(lambda: series.observe(0.002), number=20_000, repeat=5))
    # About 0.5 us on a modest machine; the bound leaves room for a busy one.
    assert seconds / 20_000 < 5e-6
