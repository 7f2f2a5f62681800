"""``mainspring move``: takes a platform from one engine to another, with everything in it."""

from typing import TYPE_CHECKING, Annotated

import typer

from mainspring.cli import progress
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
        with progress.shown("record", quiet=as_json) as bar:
            task = bar.add_task("", total=None)

            def watch(table: str, rows: int, total: int | None) -> None:
                bar.update(task, advance=rows, description=f"{table:<24}", total=total)

            moved = asyncio.run(offline.move(settings, user_app, to, watch, ahead=ahead))
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
