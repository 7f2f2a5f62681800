"""``mainspring move``: takes a platform from one engine to another, with everything in it."""

from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer

from mainspring.cli.options import AppName, AsJson, ConfigFile, DataDir, find_folder, read_settings

if TYPE_CHECKING:
    from mainspring.runtime.move.mover import Moved

EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring move --to postgresql://localhost/shop --ahead[/bold]  while it runs\n\n"
    "  [bold]mainspring move --to postgresql://localhost/shop[/bold]  after it was stopped\n\n"
    "  [bold]mainspring move --to sqlite:mainspring-data/mainspring.db[/bold]  back\n\n"
    "The database in the settings is moved, and the other must be empty, or be one that it was "
    "moved from. --ahead copies most of it, so that the platform is down for as long as it takes "
    "to compare and no longer. A move that was cut goes on where it was. Everything is compared "
    "before the other database is the one in use: rows and SHA-256 of every table, and the root "
    "of the audit log. The one that was left is not served any more, and can be moved back to. "
    "keyring.json and uploaded files stay in the data directory."
)


def move(
    app: AppName = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="URL", envvar="MAINSPRING_MOVE_TO", show_envvar=True,
            help="The database to move to: postgresql://… or sqlite:FILE.",
        ),
    ] = None,
    ahead: Annotated[
        bool, typer.Option("--ahead", help="Copy while the platform runs, and switch nothing.")
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Stay, after a move that was cut.")
    ] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Move the platform's database to another engine: SQLite to PostgreSQL, or back."""
    import asyncio

    from mainspring.cli import EXIT_FOUND, offline
    from mainspring.cli.user_app import load_app
    from mainspring.kernel.errors import Failure
    from mainspring.ports.database import StartError
    from mainspring.runtime.move.mover import Differs

    user_app = load_app(app) if app else None
    settings = read_settings(user_app, config, data_dir=data_dir)
    folder = find_folder(settings)
    if cancel:
        asyncio.run(offline.stay(settings))
        typer.echo("the platform stays: start it as before")
        return
    if to is None:
        raise typer.BadParameter("where to? Say --to URL", param_hint="--to")
    try:
        with _Bar(quiet=as_json) as bar:
            moved = asyncio.run(offline.move(settings, user_app, to, bar, ahead=ahead))
    except Failure as failure:
        raise StartError(failure.detail) from failure
    except Differs as differs:
        typer.echo(f"not moved, for the copy is not the same: {differs}", err=True)
        raise typer.Exit(EXIT_FOUND) from None
    if moved is None:
        typer.echo("copied ahead: stop the platform, and run the same without --ahead")
    elif as_json:
        import msgspec

        typer.echo(msgspec.json.encode(moved).decode())
    else:
        _print(moved)
        typer.echo(f"uploaded files and the keyring are still in {folder}")


def _print(moved: "Moved") -> None:
    width = max(len(table.name) for table in moved.tables)
    for table in moved.tables:
        if table.digest.rows:
            typer.echo(f"{table.name:<{width}}  {table.digest.rows:>12,}  {table.digest.sha256}")
    rows = sum(table.digest.rows for table in moved.tables)
    typer.echo(f"the same in both: {len(moved.tables)} tables, {rows:,} rows")
    typer.echo(f"audit log: {moved.events:,} events, root {moved.root}")
    typer.echo(f"moved to {moved.target}: set [database] url to it, and start")


class _Bar:
    """How far a move has come: a bar on a terminal, nothing where nobody watches."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as TimeLeftColumn

        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("rows"), TimeLeftColumn(),
            console=console, disable=quiet or not console.is_terminal,
        )  # fmt: skip
        self._task = self._progress.add_task("", total=None)

    def expect(self, rows: int) -> None:
        """Say how many there are to go through."""
        self._progress.update(self._task, total=rows)

    def __call__(self, table: str, rows: int) -> None:
        """Move it on."""
        self._progress.update(self._task, advance=rows, description=table)

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
