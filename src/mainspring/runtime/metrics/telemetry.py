"""What a running platform counts, named by OpenTelemetry's conventions, written for Prometheus.

Observing is a dictionary look-up and an addition, without a lock: a series has one writing thread.
The client library is loaded by the first scrape and only writes the text.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

Labels = tuple[str, ...]
Refresh = Callable[[], Awaitable[None]]
C = TypeVar("C", "Counter", "Gauge", "Histogram")

SERIES_MAX = 2_000  # label sets of one family; more are counted together as "other"
REFRESH_TIMEOUT_S = 2.0
TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"

# The boundaries OpenTelemetry advises for request durations, with finer steps below 5 ms.
REQUEST_SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075,
    0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
)  # fmt: skip
WORK_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 3600)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}
)


class Counter:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, amount: float = 1) -> None:
        """Count ``amount`` more."""
        self.value += amount


LOG_LINES_DROPPED = Counter()  # of the process, as its log is; counted before there is a platform


class Gauge:
    """A number that comes and goes."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def set(self, value: float) -> None:
        """Replace the value."""
        self.value = value

    def add(self, amount: float = 1) -> None:
        """Move the value; a negative amount lowers it."""
        self.value += amount


class Histogram:
    """How often values fell up to each boundary, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Family(Generic[C]):
    """One metric: its name, labels and a series per label set that was seen."""

    __slots__ = ("_make", "_series", "doc", "kind", "labels", "name")

    def __init__(
        self, name: str, doc: str, labels: Labels, kind: type[C], make: Callable[[], C]
    ) -> None:
        self.name = name
        self.doc = doc
        self.labels = labels
        self.kind: type[C] = kind
        self._make: Callable[[], C] = make
        self._series: dict[Labels, C] = {}

    def of(self, *labels: str) -> C:
        """Return the series of these label values, in the order of ``labels``.

        Past ``SERIES_MAX`` series, new label sets share one whose labels all say "other".
        """
        series = self._series.get(labels)
        if series is None:
            if len(labels) != len(self.labels):
                raise ValueError(f"{self.name} has the labels {self.labels}, not {labels}")
            if len(self._series) >= SERIES_MAX:
                labels = (OTHER,) * len(self.labels)
            series = self._series.setdefault(labels, self._make())
        return series

    def series(self) -> Iterator[tuple[Labels, C]]:
        """Every series with its label values."""
        yield from list(self._series.items())


class RouteMeter:
    """Durations of one route and method; the gateway makes one per route when it starts."""

    __slots__ = ("_by_status", "_family", "_method", "_route")

    def __init__(self, family: Family[Histogram], route: str, method: str) -> None:
        self._family = family
        self._route = route
        self._method = method if method in _METHODS else "_OTHER"
        self._by_status: dict[int, Histogram] = {}

    def observe(self, status: int, seconds: float) -> None:
        """Count an answered request."""
        series = self._by_status.get(status)
        if series is None:
            series = self._family.of(self._route, self._method, str(status))
            self._by_status[status] = series
        series.observe(seconds)


class Metrics:
    """The platform's own metrics as attributes, and a place for those of services.

    One per process, handed to every part that counts; services reach it by ``call.use(Metrics)``.
    """

    def __init__(self) -> None:
        self._families: dict[str, Family[Any]] = {}
        self._refreshers: list[Refresh] = []
        self._declare_http()
        self._declare_commits()
        self._declare_work()

    def _declare_http(self) -> None:
        self.requests = self.histogram(
            "http_server_request_duration_seconds",
            "Duration of HTTP server requests by route template.",
            ("http_route", "http_request_method", "http_response_status_code"),
            REQUEST_SECONDS,
        )
        self.active_requests = self.gauge(
            "http_server_active_requests", "HTTP requests being served."
        ).of()
        self.limited = self.counter(
            "mainspring_limiter_refusals", "Calls refused by a rate limit.", ("policy",)
        )
        self.replays = self.counter(
            "mainspring_idempotent_replays", "Calls answered from an idempotency record."
        ).of()
        self.identified = self.counter(
            "mainspring_auth_cache", "Credentials looked up in the cache.", ("result",)
        )
        self.auth_hits, self.auth_misses = self.identified.of("hit"), self.identified.of("miss")

    def _declare_commits(self) -> None:
        self.commits = self.counter(
            "mainspring_commits",
            "Calls whose commit ended: committed, rerun (a guard failed), refused or failed.",
            ("outcome",),
        )
        self.committed = self.commits.of("committed")
        self.commit_batch = self.histogram(
            "mainspring_commit_batch_size", "Calls committed in one transaction.", (), BATCH_SIZES
        ).of()
        self.commit_seconds = self.histogram(
            "mainspring_commit_duration_seconds",
            "From a call's staged writes to their durability.",
            (),
            REQUEST_SECONDS,
        ).of()
        self.commit_queue = self.gauge(
            "mainspring_commit_queue_depth", "Calls waiting for their commit."
        ).of()
        self.event_lag = self.gauge(
            "mainspring_event_lag", "Events a consumer has yet to take.", ("consumer",)
        )

    def _declare_work(self) -> None:
        self.jobs = self.gauge(
            "mainspring_jobs", "Jobs that are not done, by where they stand.", ("queue", "state")
        )
        self.job_seconds = self.histogram(
            "mainspring_job_duration_seconds",
            "Attempts of jobs: done, failed, lost (the lease passed on), refused (no commit).",
            ("job", "outcome"),
            WORK_SECONDS,
        )
        self._declare(
            Family(
                "mainspring_log_lines_dropped",
                "Log lines that could not be written: the reader was slow or gone, the disk full.",
                (),
                Counter,
                lambda: LOG_LINES_DROPPED,
            )
        ).of()
        self.deliveries = self.counter(
            "mainspring_webhook_deliveries",
            "Webhook attempts: delivered, refused (another status), or why no answer came.",
            ("outcome",),
        )
        self.delivery_seconds = self.histogram(
            "mainspring_webhook_delivery_duration_seconds",
            "Webhook attempts, from connecting to the answer.",
            (),
            REQUEST_SECONDS,
        ).of()

    # Declaring

    def counter(self, name: str, doc: str, labels: Labels = ()) -> Family[Counter]:
        """Declare a counter; the text adds ``_total`` to its name."""
        return self._declare(Family(name, doc, labels, Counter, Counter))

    def gauge(self, name: str, doc: str, labels: Labels = ()) -> Family[Gauge]:
        """Declare a gauge."""
        return self._declare(Family(name, doc, labels, Gauge, Gauge))

    def histogram(
        self, name: str, doc: str, labels: Labels, bounds: tuple[float, ...]
    ) -> Family[Histogram]:
        """Declare a histogram with these upper boundaries, in rising order."""
        return self._declare(Family(name, doc, labels, Histogram, lambda: Histogram(bounds)))

    def _declare(self, family: Family[C]) -> Family[C]:
        """Add a family. Raises ValueError when its name is taken by another kind or labels."""
        there = self._families.setdefault(family.name, family)
        if (there.kind, there.labels) != (family.kind, family.labels):
            raise ValueError(f"{family.name} is declared already, with other labels or kind")
        return there

    def route(self, route: str, method: str) -> RouteMeter:
        """Return the meter of one route template (never a raw path) and method."""
        return RouteMeter(self.requests, route, method)

    # Reading

    def before_scrape(self, refresh: Refresh) -> None:
        """Have ``refresh`` set gauges that only the database knows, before each scrape."""
        self._refreshers.append(refresh)

    async def text(self) -> bytes:
        """Write every metric in Prometheus' text format 0.0.4 (``TEXT_TYPE``).

        Gauges whose refresh fails or takes longer than ``REFRESH_TIMEOUT_S`` keep their last value
        and are counted in ``mainspring_scrape_failures_total``.
        """
        failures = self.counter(
            "mainspring_scrape_failures", "Refreshes of gauges that failed or took too long."
        ).of()
        for refresh in self._refreshers:
            try:
                async with asyncio.timeout(REFRESH_TIMEOUT_S):
                    await refresh()
            except Exception:  # noqa: BLE001 - a scrape must work while a part is down
                failures.add()
        return _exposition(self._families)


def _exposition(families: Mapping[str, Family[Any]]) -> bytes:
    from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
    from prometheus_client.exposition import generate_latest
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.registry import Collector

    class Exposed(Collector):
        def collect(self) -> Iterator[Metric]:
            for family in families.values():
                if family.kind is Histogram:
                    shown = HistogramMetricFamily(family.name, family.doc, labels=family.labels)
                    for labels, series in family.series():
                        shown.add_metric(labels, _cumulated(series), series.sum)
                    yield shown
                    continue
                kind = CounterMetricFamily if family.kind is Counter else GaugeMetricFamily
                plain = kind(family.name, family.doc, labels=family.labels)
                for labels, series in family.series():
                    plain.add_metric(labels, series.value)
                yield plain

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(Exposed())
    return generate_latest(registry)


def _cumulated(series: Histogram) -> list[tuple[str, float]]:
    total = 0
    buckets: list[tuple[str, float]] = []
    names = [*(str(float(bound)) for bound in series.bounds), "+Inf"]
    for name, count in zip(names, list(series.counts), strict=True):
        total += count
        buckets.append((name, total))
    return buckets
