"""What an adapter says of a store that it does not have: all is in the process."""

from collections.abc import Callable

from mainspring.ports.telemetry import CounterSeries


class InProcess:
    """Asks nobody, so nobody can be away."""

    __slots__ = ()

    async def open(self, owner: str) -> None:
        """Begin: nobody else reads what is in a process."""

    async def close(self) -> None:
        """Let go of nothing."""

    def away(self) -> str:
        """Say that it can be asked."""
        return ""

    def measure(self, series: Callable[[str], CounterSeries]) -> None:
        """Count nothing: there is no store whose use could be wondered at."""

    def version(self) -> str:
        """Name no store."""
        return ""
