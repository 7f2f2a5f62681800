"""How far a command has come that takes long: what it counts, how fast, and the time left."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.progress import Progress


def shown(what: Literal["record", "byte"], *, quiet: bool = False) -> "Progress":
    """Return a bar with rate and time left on standard error, where somebody may watch."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Records, or rows, in a second."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f}/s")

    counted: list[ProgressColumn] = [MofNCompleteColumn(), Rate()]
    if what == "byte":
        counted = [DownloadColumn(), TransferSpeedColumn()]
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *counted,
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
    )
