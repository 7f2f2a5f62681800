"""Telemetry of a crew: each process counts in a ledger of its own, and any of them shows the sum.

Counters and histograms are summed over all that ever counted, gauges over the processes that live,
or the newest is shown. Whatever a process shows was counted in memory that outlives it, so no
counter goes back, whichever is asked and whichever dies.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

from mainspring.adapters.telemetry.ledgers import Ledger, LedgerEntry
from mainspring.adapters.telemetry.rollups import (
    C,
    Distribution,
    RollupFamily,
    Rollups,
    Series,
    ShownMetric,
    Sum,
)
from mainspring.kernel.clock import Clock
from mainspring.kernel.metric import Gauge, Histogram, Labels, Metric
from mainspring.ports.telemetry import OTHER


class SharedSum:
    """A counter, or a gauge that is summed, under one set of labels."""

    __slots__ = ("_values",)

    def __init__(self, values: "memoryview[float]") -> None:
        self._values = values

    @property
    def value(self) -> float:
        """What this process and its predecessors count."""
        return self._values[0]

    def add(self, amount: float = 1) -> None:
        """Move the value."""
        self._values[0] += amount

    def set(self, value: float) -> None:
        """Replace the value."""
        self._values[0] = value


class SharedNewest(SharedSum):
    """A gauge of which the newest value is shown."""

    __slots__ = ("_clock",)

    def __init__(self, values: "memoryview[float]", clock: Clock) -> None:
        super().__init__(values)
        self._clock = clock

    def add(self, amount: float = 1) -> None:
        """Move the value."""
        self.set(self.value + amount)

    def set(self, value: float) -> None:
        """Replace the value."""
        self._values[0] = value
        self._values[1] = self._clock.monotonic_s()  # one clock for all processes of a machine


class SharedDistribution:
    """A histogram under one set of labels."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...], values: "memoryview[float]") -> None:
        self._bounds = bounds
        self._counts, self._sum = values[:-1], values[-1:]

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum[0] += value


class SharedFamily(RollupFamily[C]):
    """One metric, of which the series are known to all processes."""

    __slots__ = ("_ledgers",)

    def __init__(
        self, metric: Metric, make: Callable[[Metric, Labels], C], ledgers: Sequence[Ledger]
    ) -> None:
        super().__init__(metric, make)
        self._ledgers = ledgers

    def series(self) -> Iterator[tuple[Labels, C]]:
        """Every series with its label values, also those that another process has begun."""
        there = dict.fromkeys(self._series)
        for ledger in self._ledgers:
            there |= dict.fromkeys(
                entry.labels
                for entry in ledger.entries()
                if entry.metric.name == self.metric.name and not entry.is_spare
            )
        yield from [(labels, self.of(*labels)) for labels in there]


class SharedRollups(Rollups):
    """Fills the port in one process of a crew, which has the ledger of its seat."""

    def __init__(self, clock: Clock, ledgers: Sequence[Ledger], number: int) -> None:
        self._ledgers = ledgers
        self._own = ledgers[number]
        self._own.own()
        super().__init__(clock)

    def _open(self, metric: Metric, labels: Labels) -> Series:
        values = self._own.open(metric, labels)
        if isinstance(metric, Histogram):
            return SharedDistribution(metric.bounds, values)
        if isinstance(metric, Gauge) and metric.newest:
            return SharedNewest(values, self._clock)
        return SharedSum(values)

    def _new_family(self, metric: Metric) -> RollupFamily[Series]:
        if metric.labels:  # there is to be room for what finds none
            self._own.open(metric, (OTHER,) * len(metric.labels))
        return SharedFamily(metric, self._open, self._ledgers)

    def _shown(self) -> Iterator[ShownMetric]:
        found: dict[str, tuple[Metric, dict[Labels, list[tuple[bool, LedgerEntry]]]]] = {
            family.metric.name: (family.metric, {}) for family in self._families.values()
        }
        for ledger in self._ledgers:
            lives = ledger.pid != 0
            for entry in ledger.entries():
                if not entry.is_spare:
                    _, series = found.setdefault(entry.metric.name, (entry.metric, {}))
                    series.setdefault(entry.labels, []).append((lives, entry))
        for metric, series in found.values():
            yield ShownMetric(
                metric, [(labels, _together(metric, of)) for labels, of in series.items()]
            )

    def _processes(self) -> dict[str, int]:
        """Return the processes that live, by the number of their seat."""
        living = enumerate(ledger.pid for ledger in self._ledgers)
        return {str(number): pid for number, pid in living if pid}


def _together(metric: Metric, found: list[tuple[bool, LedgerEntry]]) -> Sum | Distribution:
    """Put together what the processes have of one series."""
    if isinstance(metric, Histogram):
        whole = Distribution(metric.bounds)
        for _, entry in found:
            *counts, total = entry.values
            whole.counts = [
                mine + int(more) for mine, more in zip(whole.counts, counts, strict=True)
            ]
            whole.sum += total
        return whole
    one = Sum()
    if not isinstance(metric, Gauge):
        one.value = sum(entry.values[0] for _, entry in found)
    elif metric.newest:
        one.value = max((entry.values[1], entry.values[0]) for _, entry in found)[1]
    else:
        one.value = sum(entry.values[0] for lives, entry in found if lives)
    return one
