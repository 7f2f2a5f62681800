"""What the platform itself counts, named by OpenTelemetry's conventions."""

from collections.abc import Iterable

from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.metric import WORK_SECONDS, Counter, Gauge, Histogram
from mainspring.kernel.service import Service
from mainspring.ports.telemetry import Family, HistogramSeries, Telemetry

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

REQUESTS = Histogram(
    "http_server_request_duration_seconds",
    "Duration of HTTP server requests by route template.",
    ("http_route", "http_request_method", "http_response_status_code"),
)
ACTIVE_REQUESTS = Gauge("http_server_active_requests", "HTTP requests being served.")
REFUSALS = Counter("mainspring_limiter_refusals", "Calls refused by a rate limit.", ("policy",))
REPLAYS = Counter("mainspring_idempotent_replays", "Calls answered from an idempotency record.")
IDENTIFIED = Counter("mainspring_auth_cache", "Credentials looked up in the cache.", ("result",))
COMMITS = Counter(
    "mainspring_commits",
    "Calls whose commit ended: committed, rerun (a guard failed), refused or failed.",
    ("outcome",),
)
COMMIT_BATCH = Histogram(
    "mainspring_commit_batch_size", "Calls committed in one transaction.", (), BATCH_SIZES
)
COMMIT_SECONDS = Histogram(
    "mainspring_commit_duration_seconds", "From a call's staged writes to their durability."
)
LOOP_LATE = Histogram(
    "mainspring_loop_late_seconds",
    "How late the event loop came to what was due, asked ten times a second.",
    (),
    (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
COMMIT_QUEUE = Gauge("mainspring_commit_queue_depth", "Calls waiting for their commit.")
EVENT_LAG = Gauge(
    "mainspring_event_lag", "Events a consumer has yet to take.", ("consumer",), newest=True
)
EVENT_LAG_SECONDS = Gauge(
    "mainspring_event_lag_seconds",
    "How long ago the next event happened that a consumer has yet to take; 0 for none.",
    ("consumer",),
    newest=True,
)
STORE_AWAY = Gauge(
    "mainspring_store_away",
    "Whether a store that calls go on without cannot be asked by who answers this: 1, or 0.",
    ("part",),
    newest=True,
)
PEER_AWAY = Gauge(
    "mainspring_peer_away",
    "Whether an owner of a service is not called by who answers this, as it does not answer: 1.",
    ("service", "owner"),
    newest=True,
)
PEER_PENDING = Gauge(
    "mainspring_peer_pending_calls",
    "Calls that an owner of a service has yet to answer.",
    ("service", "owner"),
)
PEER_RETRIES = Counter(
    "mainspring_peer_retries",
    "Calls to owners of a service that were made once more.",
    ("service",),
)
PEER_REFUSALS = Counter(
    "mainspring_peer_refusals",
    "Calls that failed at once, as no owner of the service was there to take them.",
    ("service",),
)
CERTIFICATE_ENDS = Gauge(
    "mainspring_certificate_expiry_timestamp_seconds",
    "When the certificate that this process shows its peers ends, in seconds since the Unix epoch.",
    newest=True,
)
STORE_USES = Counter(
    "mainspring_store_uses",
    "What came of what was asked of a cache (near, hit, miss; keys invalidated, times emptied) or "
    "of counted limits (questions asked; calls counted, refused, decided alone), where shared.",
    ("part", "result"),
)
LAGGING_READS = Counter(
    "mainspring_lagging_reads",
    "Calls that a replica may answer, by where they began to read: replica or primary.",
    ("where",),
)
REPLICA_READS = Counter(
    "mainspring_replica_reads",
    "Reads at a replica: served, or left to the primary when they failed there.",
    ("replica", "outcome"),
)
REPLICA_USED = Gauge(
    "mainspring_replica_used",
    "Whether who answers this reads from the replica: 1, or 0.",
    ("replica",),
    newest=True,
)
REPLICA_LAG = Gauge(
    "mainspring_replica_lag_seconds",
    "How old the rows of a replica are at most, as seen by who answers this; -1 if not known.",
    ("replica",),
    newest=True,
)
JOBS = Gauge(
    "mainspring_jobs",
    "Jobs that are not done, by where they stand.",
    ("queue", "state"),
    newest=True,
)
JOB_SECONDS = Histogram(
    "mainspring_job_duration_seconds",
    "Attempts of jobs: done, failed, lost (the lease passed on), refused (no commit).",
    ("job", "outcome"),
    WORK_SECONDS,
)

_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}
)


class RouteMeter:
    """Durations of one route and method; an interface makes one per route when it starts."""

    __slots__ = ("_by_status", "_family", "_method", "_route")

    def __init__(self, family: Family[HistogramSeries], route: str, method: str) -> None:
        self._family = family
        self._route = route
        self._method = method if method in _METHODS else "_OTHER"
        self._by_status: dict[int, HistogramSeries] = {}

    def observe(self, status: int, seconds: float) -> None:
        """Count an answered request."""
        series = self._by_status.get(status)
        if series is None:
            series = self._family.of(self._route, self._method, str(status))
            self._by_status[status] = series
        series.observe(seconds)


class Metrics:
    """The platform's own metrics, ready to observe. One per process."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.telemetry = telemetry
        self.requests = telemetry.histogram(REQUESTS)
        self.active_requests = telemetry.gauge(ACTIVE_REQUESTS).of()
        self.limited = telemetry.counter(REFUSALS)
        self.replays = telemetry.counter(REPLAYS).of()
        identified = telemetry.counter(IDENTIFIED)
        self.auth_hits, self.auth_misses = identified.of("hit"), identified.of("miss")
        self.commits = telemetry.counter(COMMITS)
        self.committed = self.commits.of("committed")
        self.commit_batch = telemetry.histogram(COMMIT_BATCH).of()
        self.commit_seconds = telemetry.histogram(COMMIT_SECONDS).of()
        self.commit_queue = telemetry.gauge(COMMIT_QUEUE).of()
        self.lagging_reads = telemetry.counter(LAGGING_READS)
        self.loop_late = telemetry.histogram(LOOP_LATE).of()
        self.event_lag = telemetry.gauge(EVENT_LAG)
        self.event_lag_seconds = telemetry.gauge(EVENT_LAG_SECONDS)
        self.jobs = telemetry.gauge(JOBS)
        self.job_seconds = telemetry.histogram(JOB_SECONDS)

    def declare(self, services: Iterable[Service]) -> None:
        """Have the metrics of services shown. Raises Misdeclared when a name is taken."""
        for service, metric in [(s, metric) for s in services for metric in s.metrics]:
            try:
                if isinstance(metric, Counter):
                    self.telemetry.counter(metric)
                elif isinstance(metric, Gauge):
                    self.telemetry.gauge(metric)
                else:
                    self.telemetry.histogram(metric)
            except ValueError as error:
                raise Misdeclared(f"{service.name}: {error}: rename the metric") from None

    def route(self, route: str, method: str) -> RouteMeter:
        """Return the meter of one route template (never a raw path) and method."""
        return RouteMeter(self.requests, route, method)
