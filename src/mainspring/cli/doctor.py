"""``mainspring doctor``: looks at everything a start depends on, and says what to do."""

from typing import TYPE_CHECKING

import typer

from mainspring.cli.options import AppName, AsJson, ConfigFile, DataDir, find_folder, read_settings

if TYPE_CHECKING:
    from pathlib import Path

    from mainspring.cli.checks import Check
    from mainspring.settings import Settings

EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring doctor[/bold]  before the first start, or when something is odd\n\n"
    "  [bold]mainspring doctor --json[/bold]  for a health check of the machine\n\n"
    "Exits with 1 when a check fails; warnings do not count."
)


def doctor(
    app: AppName = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Check this machine: Python, SQLite, data directory, disk, port, database, mail, files."""
    import asyncio
    from functools import partial
    from pathlib import Path

    from mainspring.app import services_of
    from mainspring.cli import EXIT_FOUND, checks
    from mainspring.cli.instance_file import find_running
    from mainspring.cli.user_app import load_app
    from mainspring.engines import limits_url, open_database, opened
    from mainspring.gateway.limit import LimitSettings
    from mainspring.interfaces.http.server_settings import ServerSettings
    from mainspring.settings import (
        BusSettings,
        CacheSettings,
        PlatformSettings,
        blobs_url,
        database_url,
        mail_url,
        serving_url,
    )  # fmt: skip

    user_app = load_app(app) if app else None
    settings = read_settings(user_app, config, data_dir=data_dir, any_app=True)
    if data_dir is not None:
        find_folder(settings)
    folder = Path(settings.of(PlatformSettings).data_dir)
    server = settings.of(ServerSettings)
    found = list(checks.local_checks(folder, server.host, server.port))
    found += checks.check_certificate(server)
    url = database_url(settings)
    found.append(asyncio.run(checks.check_mail(lambda: opened("mail", mail_url(settings)))))
    open_blobs = partial(opened, "blobs", blobs_url(settings))
    found.append(asyncio.run(checks.check_blobs(open_blobs)))
    stores = {
        "cache": settings.of(CacheSettings).url,
        "limits": limits_url(settings.of(LimitSettings)),
    }
    for part, where in stores.items():
        if not where.startswith("memory:"):
            found.append(asyncio.run(checks.check_store(part, partial(opened, part, where))))
    if (where := settings.of(BusSettings).url) != "log:":
        found.append(asyncio.run(checks.check_bus(partial(opened, "bus", where))))
    found += _of_kms(settings)
    found.append(checks.check_role(settings.of(PlatformSettings).role, url))
    file = Path(url.removeprefix("sqlite:"))
    if (running := find_running(folder)) is not None:
        found.append(checks.check_running(running.url, running.certificate))
    if not url.startswith("sqlite:") or (file.is_file() and running is None):
        found.append(asyncio.run(checks.check_database(open_database(url))))
        found.append(asyncio.run(checks.check_connections(open_database(url))))
        found += asyncio.run(checks.check_replicas(open_database(serving_url(settings))))
        found.append(asyncio.run(checks.check_kept(open_database(url), services_of(user_app))))
        found.append(asyncio.run(checks.check_uploads(open_database(url), open_blobs)))
        if (folder / "keyring.json").is_file():
            found += _of_keys(settings, folder)
    if as_json:
        typer.echo(checks.as_json(found))
    else:
        _print(found)
    if checks.worst(found) is checks.Verdict.FAIL:
        raise typer.Exit(EXIT_FOUND)


def _of_keys(settings: "Settings", folder: "Path") -> "list[Check]":
    """What the keyring's keys have signed, and what is sealed under which."""
    import asyncio

    from mainspring.cli import checks
    from mainspring.cli.offline import compare_log
    from mainspring.cli.sealed_check import check_sealed
    from mainspring.engines import open_database, opened
    from mainspring.runtime.data_keys import KeyringSettings
    from mainspring.settings import database_url

    keyring = opened("keyring", f"file:{folder / 'keyring.json'}")
    named = settings.of(KeyringSettings)
    schemes = [url.partition(":")[0] for url in (named.kms, named.former_kms)]
    return [
        asyncio.run(checks.check_audit_log(compare_log(settings))),
        asyncio.run(check_sealed(open_database(database_url(settings)), keyring, schemes)),
    ]


def _of_kms(settings: "Settings") -> "list[Check]":
    import asyncio
    from functools import partial

    from mainspring.cli.sealed_check import check_kms
    from mainspring.engines import opened
    from mainspring.runtime.data_keys import KeyringSettings

    named = settings.of(KeyringSettings)
    urls = [url for url in (named.kms, named.former_kms) if url not in ("", "keyring:")]
    return [asyncio.run(check_kms(partial(opened, "kms", url))) for url in urls]


def _print(found: "list[Check]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    styles = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    table = Table(box=None, pad_edge=False, show_header=False)
    for check in found:
        said = Text(check.found)
        if check.advice:
            said.append(f"\n{check.advice}", style="italic")
        table.add_row(Text(check.verdict, style=styles[check.verdict]), check.name, said)
    Console().print(table)
