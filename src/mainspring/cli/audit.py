"""``mainspring audit``: takes the log out, and checks it anywhere without us."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainspring.cli.options import (
    AsJson,
    DataDir,
    KeyFile,
    PlatformUrl,
    find_platform,
    read_settings,
    require_platform,
)

if TYPE_CHECKING:
    from mainspring.services.audit.verify import Report

group = typer.Typer(
    help="Export the audit log, and verify an export offline.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

EXPORT_EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring audit export audit.ndjson[/bold]  the log here, platform up or not\n\n"
    "  [bold]mainspring audit export audit.ndjson --url https://api.example[/bold]\n\n"
    "Besides the file, note the verifier key it prints, somewhere else: an export that was forged "
    "as a whole, key included, is told by nothing but that."
)
VERIFY_EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring audit verify audit.ndjson --key 'mainspring.local/audit+…'[/bold]\n\n"
    "  [bold]mainspring audit verify new.ndjson --older old.ndjson[/bold]  also that nothing was "
    "cut off or rewritten since\n\n"
    "Exits with 1 when anything was changed, removed, reordered or truncated, and when events are "
    "withheld that --allow-withheld does not expect. Only --key tells who signed it: without it "
    "the best verdict is 'consistent, signer unknown', which a forgery made as a whole gets too."
)


@group.command(epilog=EXPORT_EPILOG)
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write. Must not exist.")],
    url: PlatformUrl = None,
    key_file: KeyFile = None,
    data_dir: DataDir = None,
) -> None:
    """Write the whole log, with its proofs and a signed checkpoint, to a file.

    It comes from the platform that runs over the data directory or at the URL; where none runs,
    from the database itself.
    """
    import asyncio

    from mainspring.cli.instance_file import find_running
    from mainspring.cli.offline import export_log
    from mainspring.kernel.errors import Failure
    from mainspring.ports.database import StartError
    from mainspring.settings import PlatformSettings

    if file.exists():
        raise StartError(f"{file} exists: choose another name")
    settings = read_settings(None, None, data_dir=data_dir, any_app=True)
    folder = Path(settings.of(PlatformSettings).data_dir)
    if url is None:
        require_platform(folder)
    # Nobody else may read it, since the log says who did what, and nobody else writes it.
    descriptor, part = tempfile.mkstemp(prefix=f"{file.name}.", suffix=".part", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as out:
            if url is None and find_running(folder) is None:
                key = asyncio.run(export_log(settings, out))
            else:
                platform = find_platform(url, key_file, data_dir)
                out.writelines(platform.download("/v1/audit/export"))
                key = platform.call("GET", "/v1/audit/checkpoint")["key"]
        Path(part).replace(file)
    except Failure as failure:
        raise StartError(failure.detail) from failure
    finally:
        Path(part).unlink(missing_ok=True)
    typer.echo(f"wrote {file} ({file.stat().st_size:,} bytes)")
    typer.echo(f"verifier key: {key}")


@group.command(epilog=VERIFY_EPILOG)
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An export.")],
    key: Annotated[
        str | None, typer.Option(help="The verifier key, as you learnt it from elsewhere.")
    ] = None,
    older: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An earlier export of the same log.")
    ] = None,
    allow_withheld: Annotated[
        bool,
        typer.Option(
            "--allow-withheld",
            help="Expect events without their content: those of others than who made the export.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check an export without a server, and name every event that something was done to."""
    import msgspec

    from mainspring.cli import EXIT_FOUND
    from mainspring.ports.database import StartError
    from mainspring.services.audit.model import BadNote
    from mainspring.services.audit.verify import verify_file

    try:
        report = verify_file(file, key, older=older, allow_withheld=allow_withheld)
    except OSError as error:
        raise StartError(f"cannot verify {error.filename or file}: {error.strerror}") from None
    except BadNote as error:
        raise StartError(f"cannot verify {file}: --key: {error}") from None
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        _print(report)
    if not report.ok:
        raise typer.Exit(EXIT_FOUND)


def _print(report: "Report") -> None:
    if report.ok:
        verdict = "intact" if report.trusted else "consistent, signer unknown"
        typer.echo(f"{verdict}: {report.events:,} events, checkpoint of {report.time}")
        if report.withheld:
            typer.echo(
                f"{report.withheld:,} of them are withheld: proved to be there, content not shown"
            )
    else:
        plural = "" if report.problems_found == 1 else "s"
        typer.echo(f"NOT INTACT: {report.problems_found:,} problem{plural}")
        for problem in report.problems:
            events = ""
            if problem.first is not None:
                events = f" (events {problem.first} to {problem.last or problem.first})"
            typer.echo(f"  {problem.kind}: {problem.detail}{events}")
    if not report.root:  # nothing of it could be read
        return
    typer.echo(f"root {report.root}")
    if not report.trusted:
        typer.echo(
            f"The key is the export's own: {report.key}\n"
            "Whoever forges an export as a whole brings a key of their own. Compare this one with "
            "the one you noted, or give that with --key."
        )
