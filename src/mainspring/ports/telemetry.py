"""The telemetry port: what the platform and its services count and time, and who reads it.

Observing never waits, never raises and never fails a call, whatever becomes of what was observed.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from mainspring.kernel.metric import Counter, Gauge, Histogram, Labels

C_co = TypeVar("C_co", covariant=True)
Refresh = Callable[[], Awaitable[None]]

SERIES_MAX = 2_000  # label sets of one metric; more are counted together as "other"
OTHER = "other"
TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class CounterSeries(Protocol):
    """A counter under one set of labels."""

    def add(self, amount: float = 1) -> None:
        """Count ``amount`` more."""
        ...


class GaugeSeries(Protocol):
    """A gauge under one set of labels."""

    def set(self, value: float) -> None:
        """Replace the value."""
        ...

    def add(self, amount: float = 1) -> None:
        """Move the value; a negative amount lowers it."""
        ...


class HistogramSeries(Protocol):
    """A histogram under one set of labels."""

    def observe(self, value: float) -> None:
        """Count a value; one that equals a boundary counts below it."""
        ...


class Family(Protocol[C_co]):
    """One metric: a series for each set of labels that was seen."""

    def of(self, *labels: str) -> C_co:
        """Return the series of these label values, in the order of the metric's ``labels``.

        Past ``SERIES_MAX`` series, new label sets share one whose labels all say "other". Raises
        ValueError for another number of labels. A series may be kept: it stays the same.
        """
        ...

    def series(self) -> Iterator[tuple[Labels, C_co]]:
        """Every series with its label values."""
        ...


class Telemetry(Protocol):
    """Takes observations from any part of the process.

    A metric is declared by asking for it; asking again returns the same family. Raises ValueError
    when its name is taken by another kind, or by one with other labels.
    """

    def counter(self, metric: Counter) -> Family[CounterSeries]:
        """Return what counts this."""
        ...

    def gauge(self, metric: Gauge) -> Family[GaugeSeries]:
        """Return what holds this."""
        ...

    def histogram(self, metric: Histogram) -> Family[HistogramSeries]:
        """Return what distributes this."""
        ...

    def span(self, name: str) -> AbstractContextManager[None]:
        """Time a piece of work; what raises has failed, and what it raised goes on.

        ``name`` is a word of the code (``webhooks.deliver``) and never made from input.
        """
        ...

    def before_scrape(self, refresh: Refresh) -> None:
        """Have ``refresh`` set gauges that only others know, before each reading."""
        ...

    async def text(self) -> bytes:
        """Write every metric in Prometheus' text format 0.0.4 (``TEXT_TYPE``).

        Works while a part is down: what a refresh could not set keeps its last value.
        """
        ...
