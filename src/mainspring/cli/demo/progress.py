"""The progress bars of the demo: live on a terminal, a line per step where nobody watches."""

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)


class Board:
    """Bars for customers, orders, webhooks and figures, and what is being done after them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def begin(self, *, customers: int, orders: int) -> None:
        """Set the bars up."""
        totals = {
            "customers": customers, "orders": orders, "webhooks": customers + orders,
            "figures": orders,
        }  # fmt: skip
        for name, total in totals.items():
            self._tasks[name] = self._progress.add_task(name, total=total)
        self.say(f"loading {customers:,} customers and {orders:,} orders")

    def advance(self, name: str, by: int = 1) -> None:
        """Move a bar on."""
        self._progress.advance(self._tasks[name], by)

    def reach(self, name: str, at: int) -> None:
        """Put a bar where it is now."""
        self._progress.update(self._tasks[name], completed=at)

    def say(self, what: str) -> None:
        """Tell what is being done."""
        if self._console.is_terminal:
            self._progress.console.print(f"[dim]{what}[/]")
        else:
            self._console.print(what, highlight=False)

    def __enter__(self) -> "Board":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
