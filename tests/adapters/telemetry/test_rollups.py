"""Sums in the process: spans by the clock, and observing that costs next to nothing."""

import timeit

from mainspring.adapters.telemetry.rollups import Rollups
from mainspring.kernel.metric import Histogram
from mainspring.testing.clock import FakeClock


async def lines(rollups: Rollups) -> list[str]:
    return (await rollups.text()).decode().splitlines()


async def test_spans_are_summed_by_name_and_outcome() -> None:
    clock = FakeClock()
    rollups = Rollups(clock)
    for failure in (None, None, OSError("gone")):
        try:
            with rollups.span("shop.close"):
                clock.move(0.25)
                if failure:
                    raise failure
        except OSError:
            pass
    found = await lines(rollups)
    name = "mainspring_span_duration_seconds"
    assert f'{name}_sum{{outcome="done",span="shop.close"}} 0.5' in found
    assert f'{name}_count{{outcome="failed",span="shop.close"}} 1.0' in found


async def test_a_refresh_that_fails_is_counted() -> None:
    rollups = Rollups(FakeClock())

    async def refresh() -> None:
        raise OSError("the database is away")

    rollups.before_scrape(refresh)
    assert "mainspring_scrape_failures_total 1.0" in await lines(rollups)
    found = await lines(rollups)
    assert "mainspring_scrape_failures_total 2.0" in found
    assert any(line.startswith("process_resident_memory_bytes ") for line in found)


def test_observing_is_cheap() -> None:
    series = Rollups(FakeClock()).histogram(Histogram("shop_wait_seconds", "Waits.")).of()
    seconds = min(timeit.repeat(lambda: series.observe(0.002), number=20_000, repeat=5))
    # About 0.4 us on a modest machine; the bound leaves room for a busy one.
    assert seconds / 20_000 < 5e-6
