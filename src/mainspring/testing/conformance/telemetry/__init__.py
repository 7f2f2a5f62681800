"""What every ``Telemetry`` must do. Run each of ``CHECKS`` on a fresh one.

@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_telemetry(check):
    await check(open("rollups:"))
"""

from collections.abc import Awaitable, Callable

from mainspring.kernel.metric import Counter, Gauge, Histogram
from mainspring.ports.telemetry import OTHER, SERIES_MAX, Telemetry

SALES = Counter("shop_sales", "Sales.", ("town",))
OPEN = Gauge("shop_open", "Shops that are open.")
WAITS = Histogram("shop_wait_seconds", "Waits.", (), (0.5, 1))


async def _lines(telemetry: Telemetry) -> set[str]:
    return set((await telemetry.text()).decode().splitlines())


async def check_what_is_observed_is_written(telemetry: Telemetry) -> None:
    """Counters add up, gauges move, histograms count below inclusive bounds; labels are escaped."""
    sales = telemetry.counter(SALES)
    sales.of("Bern").add()
    sales.of("Bern").add(2)
    sales.of('a"b\\c\nd').add()
    shops = telemetry.gauge(OPEN).of()
    shops.set(5)
    shops.add(-2)
    waits = telemetry.histogram(WAITS).of()
    for seconds in (0.5, 0.75, 9):
        waits.observe(seconds)
    wanted = {
        'shop_sales_total{town="Bern"} 3.0',
        'shop_sales_total{town="a\\"b\\\\c\\nd"} 1.0',
        "shop_open 3.0",
        'shop_wait_seconds_bucket{le="0.5"} 1.0',
        'shop_wait_seconds_bucket{le="1.0"} 2.0',
        'shop_wait_seconds_bucket{le="+Inf"} 3.0',
        "shop_wait_seconds_sum 10.25",
    }
    missing = wanted - await _lines(telemetry)
    assert not missing, missing


async def check_a_declared_metric_shows_before_it_is_observed(telemetry: Telemetry) -> None:
    """One without labels is nought, one with labels has no series yet."""
    telemetry.counter(SALES)
    telemetry.gauge(OPEN)
    lines = await _lines(telemetry)
    assert {"shop_open 0.0", "# TYPE shop_sales_total counter"} <= lines, lines


async def check_a_name_means_one_thing(telemetry: Telemetry) -> None:
    """Asking again gives the same series; another kind, and other labels, are refused."""
    telemetry.counter(SALES).of("Bern").add()
    telemetry.counter(Counter(SALES.name, SALES.doc, SALES.labels)).of("Bern").add()
    assert 'shop_sales_total{town="Bern"} 2.0' in await _lines(telemetry)
    _refused(lambda: telemetry.gauge(Gauge(SALES.name, SALES.doc, SALES.labels)))
    _refused(lambda: telemetry.counter(Counter(SALES.name, SALES.doc, ("street",))))
    _refused(lambda: telemetry.counter(SALES).of("Bern", "Main Street"))


def _refused(declare: Callable[[], object]) -> None:
    try:
        declare()
    except ValueError:
        return
    raise AssertionError("a metric was taken that fits no other of its name")


async def check_series_are_bounded(telemetry: Telemetry) -> None:
    """Labels without end are counted together from ``SERIES_MAX`` on, and none is lost."""
    sales = telemetry.counter(SALES)
    for town in range(SERIES_MAX + 10):
        sales.of(f"town {town}").add()
    assert len(list(sales.series())) == SERIES_MAX + 1
    assert f'shop_sales_total{{town="{OTHER}"}} 10.0' in await _lines(telemetry)


async def check_a_span_fails_with_what_it_raises(telemetry: Telemetry) -> None:
    """What is raised inside a span is raised out of it, and nothing else."""
    with telemetry.span("shop.close"):
        pass
    try:
        with telemetry.span("shop.close"):
            raise LookupError("no key")
    except LookupError:
        return
    raise AssertionError("the span swallowed what was raised in it")


async def check_gauges_are_read_before_each_scrape(telemetry: Telemetry) -> None:
    """What a refresh cannot set keeps its last value, and the text is written all the same."""
    shops, counts = telemetry.gauge(OPEN).of(), [4.0, 2.0]

    async def refresh() -> None:
        shops.set(counts.pop(0))

    telemetry.before_scrape(refresh)
    assert "shop_open 4.0" in await _lines(telemetry)
    assert "shop_open 2.0" in await _lines(telemetry)
    assert "shop_open 2.0" in await _lines(telemetry)


CHECKS: tuple[Callable[[Telemetry], Awaitable[None]], ...] = tuple(
    check for name, check in list(globals().items()) if name.startswith("check_")
)
