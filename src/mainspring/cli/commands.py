"""The list of commands, and what ``mainspring`` alone says."""

from typing import Annotated

import typer

from mainspring.cli import (
    admin,
    audit,
    certs,
    config,
    demo,
    doctor,
    keyring,
    move,
    restored,
    run,
    transfers,
    up,
    users,
)

_EPILOG = (
    "Start with [bold]mainspring up[/bold]; see it at work with [bold]mainspring demo[/bold].\n\n"
    "Exit codes: 0 well, 1 a check found something wrong, 2 the command line, a setting or the "
    "app is wrong, 3 it cannot start or be reached, 130 interrupted."
)

app = typer.Typer(
    name="mainspring",
    help="The backend platform behind your product: records, users, events, jobs, webhooks and "
    "an audit log, in one process on SQLite or many on PostgreSQL.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"mainspring {version('mainspring')}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Say which version."),
    ] = False,
) -> None:
    pass


app.command(epilog=up.EPILOG)(up.up)
app.command(epilog=run.EPILOG)(run.run)
app.command(epilog=demo.EPILOG)(demo.demo)
app.command(epilog=config.EPILOG)(config.config)
app.command(epilog=doctor.EPILOG)(doctor.doctor)
app.command("import", epilog=transfers.IMPORT_EPILOG)(transfers.import_)
app.command(epilog=transfers.EXPORT_EPILOG)(transfers.export)
app.command(epilog=move.EPILOG)(move.move)
admin.group.command(epilog=keyring.ROTATE_EPILOG)(keyring.rotate_keyring)
admin.group.command(epilog=keyring.DATA_KEYS_EPILOG)(keyring.rotate_data_keys)
admin.group.command(epilog=keyring.REMOVE_EPILOG)(keyring.remove_data_keys)
admin.group.command(epilog=keyring.NEW_EPILOG)(keyring.new_keyring)
admin.group.command(epilog=restored.EPILOG)(restored.restored)
app.add_typer(admin.group, name="admin")
app.add_typer(audit.group, name="audit")
app.add_typer(users.group, name="users")
app.add_typer(certs.group, name="certs")
