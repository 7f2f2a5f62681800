"""Metrics: numbers a part of the program declares, and observes without knowing who reads them."""

import msgspec

Labels = tuple[str, ...]

# The boundaries OpenTelemetry advises for request durations, with finer steps below 5 ms.
REQUEST_SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075,
    0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
)  # fmt: skip
WORK_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 3600)


class Counter(msgspec.Struct, frozen=True, tag=True):
    """A number that only grows. Whoever writes it down adds ``_total`` to its name."""

    name: str
    doc: str
    labels: Labels = ()


class Gauge(msgspec.Struct, frozen=True, tag=True):
    """A number that comes and goes.

    Where several processes serve one address, the sum of theirs is shown; with ``newest`` what one
    of them has set last, for a number that is no process's own.
    """

    name: str
    doc: str
    labels: Labels = ()
    newest: bool = False


class Histogram(msgspec.Struct, frozen=True, tag=True):
    """How often values fell up to each of ``bounds``, which rise, and their sum."""

    name: str
    doc: str
    labels: Labels = ()
    bounds: tuple[float, ...] = REQUEST_SECONDS


Metric = Counter | Gauge | Histogram
