"""``mainspring config``: every setting, its value and where that came from."""

from typing import Annotated

import typer

from mainspring.cli.options import AppName, AsJson, ConfigFile, DataDir, find_folder, read_settings

EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring config[/bold]  every setting as it is in force here\n\n"
    "  [bold]mainspring config --changed[/bold]  only what differs from the defaults\n\n"
    "  [bold]mainspring config --defaults > mainspring.toml[/bold]  a file to start from, with "
    "every setting explained\n\n"
    "  [bold]MAINSPRING_SERVER__PORT=9000 mainspring config --json[/bold]"
)


def config(
    app: AppName = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    changed: Annotated[
        bool, typer.Option("--changed", help="Leave out what has its default.")
    ] = False,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="Print the commented reference file instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the settings: defaults < mainspring.toml < environment < flags. Secrets are masked."""
    import json
    from importlib.resources import files

    from mainspring.cli.user_app import load_app
    from mainspring.settings import DEFAULT

    if defaults:
        typer.echo(files("mainspring").joinpath("defaults.toml").read_text(), nl=False)
        return
    user_app = load_app(app) if app else None
    settings = read_settings(user_app, config, data_dir=data_dir, any_app=True)
    if data_dir is not None:
        find_folder(settings)
    for name, source in settings.others.items():
        typer.echo(f"{source}: [{name}] is not shown: name the app that reads it", err=True)
    rows = settings.shown()
    if changed:
        rows = [row for row in rows if row.source != DEFAULT]
    if as_json:
        shown = {row.path: {"value": row.value, "source": row.source} for row in rows}
        typer.echo(json.dumps(shown, indent=2))
        return
    _print_table([(row.path, json.dumps(row.value), row.source) for row in rows])


def _print_table(rows: list[tuple[str, str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("source", overflow="fold")
    for path, value, source in rows:
        style = "dim" if source == "default" else "green"
        table.add_row(Text(path), Text(value), Text(source, style=style))
    console = Console()
    if not console.is_terminal:
        console = Console(width=max([80, *(len("  ".join(row)) + 4 for row in rows)]))
    console.print(table)
