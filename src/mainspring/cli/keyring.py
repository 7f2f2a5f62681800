"""``mainspring admin``: what is done to keyring.json itself, and to the data keys of a database."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import typer

from mainspring.cli.options import AppName, ConfigFile, DataDir, find_folder, read_settings
from mainspring.kernel.user_app import App
from mainspring.settings import Settings

ROTATE_EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring admin rotate-keyring[/bold]  then take keyring.json to every machine, and "
    "restart every process\n\n"
    "Processes that are not restarted yet read what the others seal and sign with the new key, "
    "once keyring.json has it where they run: restart them one after another, in any order. "
    "The older keys stay in the file: they read what they sealed, verify tokens until those "
    "expire, and sign the audit log beside the new one, so that a verifier key noted earlier "
    "still verifies."
)
DATA_KEYS_EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring admin rotate-data-keys[/bold]  over PostgreSQL while it runs, over SQLite "
    "after it was stopped\n\n"
    "Every purpose is given a new data key. Processes that run seal with it within five minutes, "
    "and what is stored under older ones is sealed anew in the background, by a process that "
    "works: mainspring doctor says when all is. The older ones stay, to open what is not yet."
)
REMOVE_EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring admin remove-data-keys[/bold]  two days after rotate-data-keys\n\n"
    "A data key goes when newer ones are a day old, all was looked at twice for them, and no value "
    "that is stored is under it: each is looked at. Backups of the database hold their own."
)
NEW_EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring admin new-keyring[/bold]  says what is lost\n\n"
    "  [bold]mainspring admin new-keyring --accept-loss[/bold]\n\n"
    "Only for a keyring.json that is gone for good. Stop the platform first."
)
LOSS = (
    "Without its keyring this database loses, for good: the personal fields of all events so far, "
    "every session, every unused link in a mail, every webhook's secret (rotate each), stored "
    "answers that hold secrets, and the proof that one signer wrote the audit log: "
    "its verifier key is another from here on. Records, users, passwords and API keys stay."
)


def rotate_keyring(config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Add a key to keyring.json that signs and seals from the next start on."""
    import asyncio

    from mainspring.cli import offline

    settings = read_settings(None, config, data_dir=data_dir, any_app=True)
    find_folder(settings)
    key, verifier = asyncio.run(offline.rotate_keyring(settings))
    typer.echo(f"added the key {key}")
    typer.echo("Take keyring.json to every machine, then restart every process, in any order.")
    typer.echo(f"verifier key of the audit log from then on: {verifier}")


def rotate_data_keys(
    app: AppName = None, config: ConfigFile = None, data_dir: DataDir = None
) -> None:
    """Make new data keys, and have all that is stored sealed anew under them."""
    from mainspring.cli import offline

    made, columns = _on_data_keys(offline.rotate_data_keys, app, config, data_dir)
    typer.echo(f"made {made} data keys, of which {columns} columns are sealed anew")


def remove_data_keys(
    app: AppName = None, config: ConfigFile = None, data_dir: DataDir = None
) -> None:
    """Take older data keys out of the database that nothing stored is sealed with."""
    from mainspring.cli import offline

    gone, left = _on_data_keys(offline.remove_data_keys, app, config, data_dir)
    typer.echo(f"removed {gone} data keys that nothing is under; {left} older ones stay")


def _on_data_keys(
    work: Callable[[Settings, App | None], Coroutine[Any, Any, tuple[int, int]]],
    app: AppName,
    config: ConfigFile,
    data_dir: DataDir,
) -> tuple[int, int]:
    """Do something with the data keys of a platform that stands still. Raises StartError."""
    import asyncio

    from mainspring.cli.user_app import load_app
    from mainspring.kernel.errors import Failure
    from mainspring.ports.database import StartError

    user_app = load_app(app) if app else None
    settings = read_settings(user_app, config, data_dir=data_dir, any_app=True)
    find_folder(settings)
    try:
        return asyncio.run(work(settings, user_app))
    except Failure as failure:
        raise StartError(failure.detail) from failure


def new_keyring(
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="Do it, and lose what is named without this option."),
    ] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Let a database go on with a new keyring when its own is lost."""
    import asyncio

    from mainspring.cli import EXIT_USAGE, offline

    settings = read_settings(None, config, data_dir=data_dir, any_app=True)
    find_folder(settings)
    if not accept_loss:
        typer.echo(f"{LOSS} Repeat with --accept-loss to go on.", err=True)
        raise typer.Exit(EXIT_USAGE)
    kept = asyncio.run(offline.replace_keyring(settings))
    if kept is not None:
        typer.echo(f"the keyring that was here is {kept}")
    typer.echo("made a new keyring.json: back it up, then start the platform")
