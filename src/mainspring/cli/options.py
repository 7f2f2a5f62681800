"""Options that several commands share, and the settings they lead to."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainspring.kernel.user_app import App
from mainspring.ports.database import StartError
from mainspring.settings import Flag, PlatformSettings, Settings, load, settings_files

if TYPE_CHECKING:
    from mainspring.cli.remote import Remote

AppName = Annotated[
    str | None,
    typer.Argument(
        metavar="APP", help="Your App: module:attribute, or a file with or without :attribute."
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file instead of ./mainspring.toml."),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Where data lives. Default: ./mainspring-data"),
]
Host = Annotated[
    str | None,
    typer.Option("--host", metavar="HOST", help="Address to listen on. Default: 127.0.0.1"),
]
Port = Annotated[
    int | None,
    typer.Option("--port", metavar="PORT", help="Default: 8080; 0 takes any free port."),
]
WorkerCount = Annotated[
    str | None,
    typer.Option(
        metavar="N",
        help="Processes that serve one address. Default: auto, one for each core, at most 8.",
    ),
]
PlatformUrl = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="A running platform. Default: the one of DATA_DIR."),
]
KeyFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="API key. Default: DATA_DIR/admin.key")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def counted(workers: str | None) -> int | str | None:
    """Return what ``--workers`` says, which the settings judge."""
    return int(workers) if workers and workers.isdecimal() else workers


def require_platform(folder: Path) -> None:
    """Refuse a directory that no platform was ever started over. Raises StartError."""
    if not any((folder / name).exists() for name in ("keyring.json", "mainspring.db", "admin.key")):
        raise StartError(
            f"no platform has ever run over {folder}: say where it is with --data-dir, or start "
            "one with mainspring up"
        )


def find_folder(settings: Settings) -> Path:
    """Return the data directory of a platform that exists. Raises StartError."""
    folder = Path(settings.of(PlatformSettings).data_dir)
    require_platform(folder)
    return folder


def find_platform(url: str | None, key_file: Path | None, data_dir: Path | None) -> "Remote":
    """Return the platform to call: the one at ``url``, or the one that runs over ``data_dir``.

    Raises StartError when none runs or there is no key.
    """
    from mainspring.cli.instance_file import reach_running
    from mainspring.cli.remote import Remote, read_key

    folder = Path(
        read_settings(None, None, data_dir=data_dir, any_app=True).of(PlatformSettings).data_dir
    )
    if url is None or key_file is None:
        require_platform(folder)
    key, certificate = read_key(key_file or folder / "admin.key"), ""
    if url is None:
        running = reach_running(folder)
        if running is None:
            raise StartError(f"no platform runs over {folder}: start it, or say where with --url")
        url, certificate = running.url, running.certificate
    return Remote(url, key, certificate)


def read_settings(
    user_app: App | None,
    config: Path | None,
    *,
    data_dir: Path | None,
    any_app: bool = False,
    **flags: object,
) -> Settings:
    """Load every source. ``flags`` are named by their setting: ``server__port=8080``.

    A command that does its work for ``any_app`` leaves sections alone that an app may have brought.
    """
    from mainspring.app import sections

    given = [Flag("--data-dir", "platform.data_dir", str(data_dir) if data_dir else None)]
    for name, value in flags.items():
        section, _, key = name.partition("__")
        given.append(Flag("--" + key.replace("_", "-"), f"{section}.{key}", value))
    return load(
        sections(user_app),
        files=settings_files(os.environ, Path.cwd(), config),
        environ=os.environ,
        flags=given,
        others=any_app and user_app is None,
    )
