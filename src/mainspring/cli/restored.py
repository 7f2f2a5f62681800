"""``mainspring admin restored``: tells a database that it went back in time."""

import typer

from mainspring.cli.options import ConfigFile, DataDir, find_folder, read_settings

EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring admin restored[/bold]  with the backup in place, before it starts\n\n"
    "Positions in the log that readers hold from before are refused from then on (410 "
    "position_gone): what happens next takes the places of what was lost. A new key in "
    "keyring.json signs the audit log, since the older ones have signed for what was lost: take "
    "the file to every machine, and tell whoever verifies the log the verifier key it prints."
)


def restored(config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Say that the database was restored from a backup, or fell back to an earlier state."""
    import asyncio

    from mainspring.cli.offline import note_restore

    settings = read_settings(None, config, data_dir=data_dir, any_app=True)
    find_folder(settings)
    epoch, key = asyncio.run(note_restore(settings))
    typer.echo(f"the log is in epoch {epoch}: positions from before it are refused")
    typer.echo("keyring.json has a new key: start every process with this file, and back it up")
    typer.echo(f"verifier key of the audit log from here on: {key}")
