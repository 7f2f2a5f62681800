"""Telemetry kept as sums in the process, written for Prometheus when somebody asks.

Observing is a dictionary look-up and an addition, without a lock: a series has one writing thread.
The client library is loaded by the first scrape and only writes the text.
"""

import asyncio
import contextlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from mainspring.kernel.clock import Clock
from mainspring.kernel.metric import WORK_SECONDS, Counter, Gauge, Histogram, Labels, Metric
from mainspring.ports.opening import SYSTEM_SOURCES, Sources, require_bare
from mainspring.ports.telemetry import (
    OTHER,
    SERIES_MAX,
    CounterSeries,
    Family,
    GaugeSeries,
    HistogramSeries,
    Refresh,
)  # fmt: skip

C = TypeVar("C", "Sum", "Distribution")

REFRESH_TIMEOUT_S = 2.0
SCRAPE_FAILURES = Counter(
    "mainspring_scrape_failures", "Refreshes of gauges that failed or took too long."
)
SPANS = Histogram(
    "mainspring_span_duration_seconds",
    "Pieces of work by name: done, or failed.",
    ("span", "outcome"),
    WORK_SECONDS,
)


def open(url: str, sources: Sources = SYSTEM_SOURCES) -> "Rollups":
    """Keep sums in this process: ``rollups:``. Raises StartError."""
    require_bare(url)
    return Rollups(sources.clock)


class Sum:
    """A counter or a gauge under one set of labels."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, amount: float = 1) -> None:
        """Move the value."""
        self.value += amount

    def set(self, value: float) -> None:
        """Replace the value."""
        self.value = value


class Distribution:
    """A histogram under one set of labels."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class RollupFamily(Generic[C]):
    """One metric and its series, of which there are a bounded number."""

    __slots__ = ("_make", "_series", "metric")

    def __init__(self, metric: Metric, make: Callable[[], C]) -> None:
        self.metric = metric
        self._make: Callable[[], C] = make
        self._series: dict[Labels, C] = {}

    def of(self, *labels: str) -> C:
        """Return the series of these label values, as the port says."""
        series = self._series.get(labels)
        if series is None:
            metric = self.metric
            if len(labels) != len(metric.labels):
                raise ValueError(f"{metric.name} has the labels {metric.labels}, not {labels}")
            if len(self._series) >= SERIES_MAX:
                labels = (OTHER,) * len(metric.labels)
            series = self._series.setdefault(labels, self._make())
        return series

    def series(self) -> Iterator[tuple[Labels, C]]:
        """Every series with its label values."""
        yield from list(self._series.items())


class Rollups:
    """Fills the port; one per process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._families: dict[str, RollupFamily[Any]] = {}
        self._refreshers: list[Refresh] = []

    def counter(self, metric: Counter) -> Family[CounterSeries]:
        """Return what counts this."""
        return self._family(metric, Sum)

    def gauge(self, metric: Gauge) -> Family[GaugeSeries]:
        """Return what holds this."""
        return self._family(metric, Sum)

    def histogram(self, metric: Histogram) -> Family[HistogramSeries]:
        """Return what distributes this."""
        return self._family(metric, lambda: Distribution(metric.bounds))

    def _family(self, metric: Metric, make: Callable[[], C]) -> RollupFamily[C]:
        """Return the family of a metric; one without labels shows at once, as nought."""
        there = self._families.get(metric.name)
        if there is None:
            there = self._families[metric.name] = RollupFamily(metric, make)
            if not metric.labels:
                there.of()
        elif (type(there.metric), there.metric.labels) != (type(metric), metric.labels):
            raise ValueError(f"{metric.name} is declared already, with other labels or kind")
        return there

    @contextlib.contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Time a piece of work, in a histogram by name and outcome."""
        started_s, outcome = self._clock.monotonic_s(), "failed"
        try:
            yield
            outcome = "done"
        finally:
            seconds = self._clock.monotonic_s() - started_s
            self.histogram(SPANS).of(name, outcome).observe(seconds)

    def before_scrape(self, refresh: Refresh) -> None:
        """Have ``refresh`` set gauges that only others know, before each scrape."""
        self._refreshers.append(refresh)

    async def text(self) -> bytes:
        """Write every metric in Prometheus' text format 0.0.4.

        Gauges whose refresh fails or takes longer than ``REFRESH_TIMEOUT_S`` keep their last value
        and are counted in ``mainspring_scrape_failures_total``.
        """
        failures = self.counter(SCRAPE_FAILURES).of()
        for refresh in self._refreshers:
            try:
                async with asyncio.timeout(REFRESH_TIMEOUT_S):
                    await refresh()
            except Exception:  # noqa: BLE001 - a scrape must work while a part is down
                failures.add()
        return _exposition(self._families)


def _exposition(families: Mapping[str, RollupFamily[Any]]) -> bytes:
    from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
    from prometheus_client import metrics_core as written
    from prometheus_client.exposition import generate_latest
    from prometheus_client.registry import Collector

    class Exposed(Collector):
        def collect(self) -> Iterator[written.Metric]:
            for family in families.values():
                metric = family.metric
                if isinstance(metric, Histogram):
                    shown = written.HistogramMetricFamily(
                        metric.name, metric.doc, labels=metric.labels
                    )
                    for labels, series in family.series():
                        shown.add_metric(labels, _cumulated(series), series.sum)
                    yield shown
                    continue
                plain = (
                    written.CounterMetricFamily
                    if isinstance(metric, Counter)
                    else written.GaugeMetricFamily
                )(metric.name, metric.doc, labels=metric.labels)
                for labels, series in family.series():
                    plain.add_metric(labels, series.value)
                yield plain

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(Exposed())
    return generate_latest(registry)


def _cumulated(series: Distribution) -> list[tuple[str, float]]:
    total = 0
    buckets: list[tuple[str, float]] = []
    names = [*(str(float(bound)) for bound in series.bounds), "+Inf"]
    for name, count in zip(names, list(series.counts), strict=True):
        total += count
        buckets.append((name, total))
    return buckets
