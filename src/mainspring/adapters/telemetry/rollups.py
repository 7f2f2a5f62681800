"""Telemetry kept as sums in the process, written for Prometheus when somebody asks.

Observing is a dictionary look-up and an addition, without a lock: a series has one writing thread.
The client library is loaded by the first scrape and only writes the text. The processes of a crew
keep their sums where all of them read them (``shared.py``).
"""

import asyncio
import contextlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from mainspring.kernel.clock import Clock
from mainspring.kernel.metric import WORK_SECONDS, Counter, Gauge, Histogram, Labels, Metric
from mainspring.kernel.process_role import Seat
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

if TYPE_CHECKING:
    from mainspring.adapters.telemetry.shared import SharedRollups

Series = CounterSeries | GaugeSeries | HistogramSeries
C = TypeVar("C", bound=Series)

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


def share(
    url: str, size: int, sources: Sources = SYSTEM_SOURCES
) -> "Callable[[Seat], SharedRollups]":
    """Let processes that are forked from now on show what all of them count. Raises StartError."""
    from mainspring.adapters.telemetry import ledgers, shared

    require_bare(url)
    theirs = ledgers.share(size)
    return lambda seat: shared.SharedRollups(sources.clock, theirs, seat.number)


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

    def __init__(self, metric: Metric, make: Callable[[Metric, Labels], C]) -> None:
        self.metric = metric
        self._make = make
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
            series = self._series.get(labels)
            if series is None:
                series = self._series.setdefault(labels, self._make(metric, labels))
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
        # Declared first: what finds no room for them raises at the start, and never later.
        self._spans, self._failures = self.histogram(SPANS), self.counter(SCRAPE_FAILURES).of()

    def counter(self, metric: Counter) -> Family[CounterSeries]:
        """Return what counts this."""
        return self._family(metric)

    def gauge(self, metric: Gauge) -> Family[GaugeSeries]:
        """Return what holds this."""
        return self._family(metric)

    def histogram(self, metric: Histogram) -> Family[HistogramSeries]:
        """Return what distributes this."""
        return self._family(metric)

    def _family(self, metric: Metric) -> RollupFamily[Any]:
        """Return the family of a metric; one without labels shows at once, as nought."""
        there = self._families.get(metric.name)
        if there is None:
            there = self._families[metric.name] = self._new_family(metric)
            if not metric.labels:
                there.of()
        elif (type(there.metric), there.metric.labels) != (type(metric), metric.labels):
            raise ValueError(f"{metric.name} is declared already, with other labels or kind")
        return there

    def _new_family(self, metric: Metric) -> RollupFamily[Any]:
        return RollupFamily(metric, _new_series)

    @contextlib.contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Time a piece of work, in a histogram by name and outcome."""
        started_s, outcome = self._clock.monotonic_s(), "failed"
        try:
            yield
            outcome = "done"
        finally:
            seconds = self._clock.monotonic_s() - started_s
            self._spans.of(name, outcome).observe(seconds)

    def before_scrape(self, refresh: Refresh) -> None:
        """Have ``refresh`` set gauges that only others know, before each scrape."""
        self._refreshers.append(refresh)

    async def text(self) -> bytes:
        """Write every metric in Prometheus' text format 0.0.4.

        Gauges whose refresh fails or takes longer than ``REFRESH_TIMEOUT_S`` keep their last value
        and are counted in ``mainspring_scrape_failures_total``.
        """
        for refresh in self._refreshers:
            try:
                async with asyncio.timeout(REFRESH_TIMEOUT_S):
                    await refresh()
            except Exception:  # noqa: BLE001 - a scrape must work while a part is down
                self._failures.add()
        return _exposition(list(self._shown()), self._processes())

    def _shown(self) -> Iterator["ShownMetric"]:
        """Return every metric with what is to be shown of it."""
        for family in self._families.values():
            yield ShownMetric(family.metric, list(family.series()))

    def _processes(self) -> Mapping[str, int]:
        """Return the processes whose memory, time and files are shown one by one, by a name."""
        return {}


class ShownMetric(NamedTuple):
    """A metric and its series as they are written."""

    metric: Metric
    series: Sequence[tuple[Labels, Any]]  # a Distribution of a histogram, else a Sum


def _new_series(metric: Metric, _: Labels) -> Sum | Distribution:
    return Distribution(metric.bounds) if isinstance(metric, Histogram) else Sum()


def _exposition(shown: Iterable[ShownMetric], processes: Mapping[str, int]) -> bytes:
    from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
    from prometheus_client import metrics_core as written
    from prometheus_client.exposition import generate_latest
    from prometheus_client.registry import Collector

    class Exposed(Collector):
        def collect(self) -> Iterator[written.Metric]:
            for metric, series in shown:
                if isinstance(metric, Histogram):
                    family = written.HistogramMetricFamily(
                        metric.name, metric.doc, labels=metric.labels
                    )
                    for labels, one in series:
                        family.add_metric(labels, _cumulated(one), one.sum)
                    yield family
                    continue
                plain = (
                    written.CounterMetricFamily
                    if isinstance(metric, Counter)
                    else written.GaugeMetricFamily
                )(metric.name, metric.doc, labels=metric.labels)
                for labels, one in series:
                    plain.add_metric(labels, one.value)
                yield plain

    def of_process(pid: int) -> Collector:
        return ProcessCollector(pid=lambda: pid, registry=None)

    class Each(Collector):
        """What the system knows of a process, of each of several, which a label tells apart."""

        def collect(self) -> Iterator[written.Metric]:
            families: dict[str, written.Metric] = {}
            for name, pid in processes.items():
                for found in of_process(pid).collect():
                    family = families.setdefault(found.name, found)
                    samples = [s._replace(labels={"process": name}) for s in found.samples]
                    family.samples = samples if family is found else [*family.samples, *samples]
            yield from families.values()

    registry = CollectorRegistry()
    registry.register(Each() if processes else ProcessCollector(registry=None))
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
