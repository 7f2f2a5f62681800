"""What counts until somebody says where to: nothing."""

from mainspring.ports.telemetry import CounterSeries


class _Uncounted:
    __slots__ = ()

    def add(self, amount: float = 1) -> None:
        """Count nothing."""


UNCOUNTED: CounterSeries = _Uncounted()
