"""``mainspring audit``: takes the log out, and checks it anywhere without us."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainspring.cli.options import AsJson, DataDir, PlatformUrl, find_platform

if TYPE_CHECKING:
    from mainspring.services.audit.verify import Report

group = typer.Typer(
    help="Export the audit log, and verify an export offline.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

EXPORT_EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring audit export audit.ndjson[/bold]  from the platform that runs here\n\n"
    "  [bold]mainspring audit export audit.ndjson --url https://api.example[/bold]\n\n"
    "Besides the file, note the verifier key it prints, somewhere else: an export that was forged "
    "as a whole, key included, is told by nothing but that."
)
VERIFY_EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring audit verify audit.ndjson --key 'mainspring.local/audit+…'[/bold]\n\n"
    "  [bold]mainspring audit verify new.ndjson --older old.ndjson[/bold]  also that nothing was "
    "cut off or rewritten since\n\n"
    "Exits with 1 when anything was changed, removed, reordered or truncated."
)


@group.command(epilog=EXPORT_EPILOG)
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write. Must not exist.")],
    url: PlatformUrl = None,
    key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="API key. Default: DATA_DIR/admin.key")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Write the whole log, with its proofs and a signed checkpoint, to a file."""
    from mainspring.ports.database import StartError

    platform = find_platform(url, key_file, data_dir)
    try:
        with file.open("xb") as out:
            for chunk in platform.download("/v1/audit/export"):
                out.write(chunk)
    except FileExistsError:
        raise StartError(f"{file} exists: choose another name") from None
    checkpoint = platform.call("GET", "/v1/audit/checkpoint")
    typer.echo(f"wrote {file} ({file.stat().st_size:,} bytes)")
    typer.echo(f"verifier key: {checkpoint['key']}")


@group.command(epilog=VERIFY_EPILOG)
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An export.")],
    key: Annotated[
        str | None, typer.Option(help="The verifier key, as you learnt it from elsewhere.")
    ] = None,
    older: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An earlier export of the same log.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check an export without a server, and name every event that something was done to."""
    import msgspec

    from mainspring.cli import EXIT_FOUND
    from mainspring.ports.database import StartError
    from mainspring.services.audit.model import BadNote
    from mainspring.services.audit.verify import verify_file

    try:
        report = verify_file(file, key, older=older)
    except (OSError, BadNote) as error:
        raise StartError(f"cannot verify {file}: {error}") from None
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        _print(report)
    if not report.ok:
        raise typer.Exit(EXIT_FOUND)


def _print(report: "Report") -> None:
    if report.ok:
        typer.echo(f"intact: {report.events:,} events, checkpoint of {report.time}")
    else:
        typer.echo(f"NOT INTACT: {report.problems_found:,} problems")
        for problem in report.problems:
            events = ""
            if problem.first is not None:
                events = f" (events {problem.first} to {problem.last or problem.first})"
            typer.echo(f"  {problem.kind}: {problem.detail}{events}")
    typer.echo(f"root {report.root}")
    if not report.trusted:
        typer.echo(
            f"The key is the export's own: {report.key}\n"
            "Compare it with the one you noted, or give that with --key."
        )
