"""``mainspring demo``: a real shop's 69,659 orders through a real platform, checked to the cent."""

from typing import Annotated

import typer

from mainspring.cli.options import AsJson

EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring demo[/bold]  everything, on SQLite in a temporary directory\n\n"
    "  [bold]mainspring demo --orders 2000[/bold]  a taste of it\n\n"
    "  [bold]mainspring demo --database postgresql://localhost/empty[/bold]  the same on "
    "PostgreSQL, in an empty database\n\n"
    "  [bold]mainspring demo --move-to postgresql://localhost/empty[/bold]  then move all of it "
    "there, and check it again\n\n"
    "Exits with 1 and names the figure when any of them is off. Needs the extra demo, which make "
    "installs: pip install '.\\[demo]' in a checkout of Mainspring"
)


def demo(
    orders: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Load the first N orders only.")
    ] = None,
    database: Annotated[
        str, typer.Option(metavar="URL", help="An empty PostgreSQL database. Default: SQLite.")
    ] = "",
    move_to: Annotated[
        str,
        typer.Option(metavar="URL", help="An empty database to move it to, and to check it in."),
    ] = "",
    seed: Annotated[int, typer.Option(metavar="N", help="Chooses which calls go wrong.")] = 1997,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the directory with data, log and audit export.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Load real orders through the HTTP API with a faulty client, and check every figure."""
    from mainspring.cli import EXIT_FOUND
    from mainspring.cli.demo.data import find_file
    from mainspring.cli.demo.run import Play, play
    from mainspring.cli.loop import run_loop

    wanted = Play(find_file(), orders, database, move_to, seed, keep)
    if not run_loop(play(wanted, as_json=as_json)):
        raise typer.Exit(EXIT_FOUND)
