"""``mainspring export`` and ``mainspring import``: records of a collection that runs, as files."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal

import typer

from mainspring.cli import progress
from mainspring.cli.options import DataDir, KeyFile, PlatformUrl, find_platform

if TYPE_CHECKING:
    from mainspring.cli.exported import Export
    from mainspring.cli.patience import Patience
    from mainspring.cli.remote import Remote

STDIO = Path("-")
ERRORS_SHOWN_MAX = 10
POLL_S = 0.5  # between two looks at a run

FileFormat = Literal["csv", "ndjson", "json"]

EXPORT_EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring export orders orders.csv[/bold]  what a list shows, as a file\n\n"
    "  [bold]mainspring export orders --filter 'record.open' --fields number,total[/bold]  to "
    "standard output, as NDJSON\n\n"
    "A connection that breaks is taken up again. What there is of a file lies beside it as "
    "FILE.….part until it is whole: the same command goes on where it stopped."
)
IMPORT_EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring import orders orders.csv[/bold]  creates a record for each row\n\n"
    "  [bold]mainspring import orders orders.ndjson --by number[/bold]  changes those that are "
    "there by their number\n\n"
    "  [bold]mainspring import --resume run_…[/bold]  follows one that goes on without you\n\n"
    "Exits with 1 when a record was refused; those are told with their lines."
)

FormatOption = Annotated[
    FileFormat | None, typer.Option("--format", help="Default: by the name of FILE.")
]


def export(
    collection: Annotated[str, typer.Argument(metavar="COLLECTION", help="Whose records.")],
    file: Annotated[
        Path, typer.Argument(metavar="[FILE]", help="Where to write. - is standard output.")
    ] = STDIO,
    format: FormatOption = None,
    filter: Annotated[
        str | None, typer.Option("--filter", metavar="CEL", help="Which records. Default: all.")
    ] = None,
    fields: Annotated[
        str | None, typer.Option("--fields", metavar="A,B", help="Which fields. Default: all.")
    ] = None,
    escape_formulas: Annotated[
        bool, typer.Option("--escape-formulas", help="CSV that a spreadsheet does not run.")
    ] = False,
    url: PlatformUrl = None,
    key_file: KeyFile = None,
    data_dir: DataDir = None,
) -> None:
    """Write the records of a collection to a file, as many as there are."""
    from mainspring.cli.exported import Export
    from mainspring.ports.database import StartError

    if file != STDIO and file.exists():
        raise StartError(f"{file} exists: choose another name")
    if file == STDIO and format == "json":
        raise typer.BadParameter("JSON goes to a FILE: standard output takes ndjson or csv")
    kind = format or (_format_of(file) if file != STDIO else "ndjson")
    platform = find_platform(url, key_file, data_dir)
    wanted = Export(platform, collection, kind, filter, fields, escape_formulas)
    with progress.shown("record") as bar:
        task = bar.add_task(collection, total=wanted.count())

        def told(count: int) -> None:
            bar.update(task, completed=count)

        if file == STDIO:
            count = wanted.to_stream(sys.stdout.buffer, told)
        else:
            count = _to_file(wanted, file, told)
    if file != STDIO:
        size_bytes = file.stat().st_size
        typer.echo(f"wrote {file}: {count:,} record{_s(count)}, {size_bytes:,} bytes")


def _to_file(wanted: "Export", file: Path, told: Callable[[int], None]) -> int:
    """Write to a part beside the file, and give it its name once it is whole."""
    part = file.with_name(f"{file.name}.{wanted.digest()}.part")
    try:
        count = wanted.to_part(part, told)
    except KeyboardInterrupt:
        typer.echo(f"interrupted: what there is lies in {part}; {wanted.how_to_go_on()}", err=True)
        raise
    part.replace(file)
    return count


def import_(
    collection: Annotated[
        str | None, typer.Argument(metavar="COLLECTION", help="Where the records go.")
    ] = None,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The records. - is standard input.")
    ] = None,
    format: FormatOption = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by", metavar="FIELD", help="Change what is there by this unique field, or id."
        ),
    ] = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN_ID", help="Follow one that was begun.")
    ] = None,
    errors: Annotated[
        Path | None,
        typer.Option(
            "--errors", metavar="FILE", help="Write all that was refused there, as CSV or NDJSON."
        ),
    ] = None,
    url: PlatformUrl = None,
    key_file: KeyFile = None,
    data_dir: DataDir = None,
) -> None:
    """Bring the records of a file into a collection, and tell which could not be written, and why.

    The file is sent as a whole; then the platform goes through it by itself, whether or not you
    watch.
    """
    from mainspring.cli import EXIT_FOUND
    from mainspring.cli.patience import Patience

    if (resume is None) == (collection is None or file is None) or (resume and collection):
        raise typer.BadParameter("say COLLECTION and FILE, or --resume RUN_ID")
    report_format = None if errors is None else _format_of(errors)
    if report_format == "json":
        raise typer.BadParameter(f"{errors}: a report is CSV or NDJSON")
    platform, patience = find_platform(url, key_file, data_dir), Patience()
    if resume is None:
        assert collection is not None
        assert file is not None
        kind = format or _format_of(file)
        with _opened(file) as (content, size_bytes):
            path = _import_path(collection, kind, by)
            run = _send(platform, patience, path, content, size_bytes, f"{file}")
        resume = str(run["id"])
    run = _follow(platform, patience, resume)
    _tell(run, errors)
    if errors is not None and run["failed"]:
        _write_report(platform, patience, run["id"], errors, report_format or "ndjson")
    if run["state"] != "done" or run["failed"]:
        raise typer.Exit(EXIT_FOUND)


def _import_path(collection: str, format: str, by: str | None) -> str:
    from urllib.parse import quote, urlencode

    query = urlencode({"format": format} | ({} if by is None else {"by": by}))
    return f"/v1/collections/{quote(collection, safe='')}/records:import?{query}"


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[tuple[IO[bytes], int]]:
    """Open a file, or bring standard input into one: what breaks off has to be sent again."""
    import shutil
    import tempfile

    if file != STDIO:
        with file.open("rb") as content:
            yield content, os.fstat(content.fileno()).st_size
    else:
        with tempfile.TemporaryFile() as spooled:
            shutil.copyfileobj(sys.stdin.buffer, spooled)
            yield spooled, spooled.tell()


def _send(
    platform: "Remote",
    patience: "Patience",
    path: str,
    content: IO[bytes],
    size_bytes: int,
    name: str,
) -> Any:
    """Send a file until it has come whole, and return the run that goes through it.

    All attempts have one key: however often it is sent, it is imported once.
    """
    import secrets

    from mainspring.ports.database import StartError

    key = secrets.token_hex(16)
    with progress.shown("byte") as bar:
        task = bar.add_task(f"sending {name}", total=size_bytes)

        def sent(more_bytes: int) -> None:
            patience.reach()
            bar.advance(task, more_bytes)

        while True:
            content.seek(0)
            bar.update(task, completed=0)
            try:
                run = platform.upload(path, content, size_bytes, idempotency_key=key, sent=sent)
            except StartError as error:
                patience.wait(error)
            except KeyboardInterrupt:
                typer.echo(
                    "interrupted while it was sent: nothing is imported, unless all of it had come "
                    "by then (GET /v1/record_runs lists what goes on)",
                    err=True,
                )
                raise
            else:
                patience.gain()
                return run


def _follow(platform: "Remote", patience: "Patience", id: str) -> Any:
    """Show how far a run is until it has ended, and return it."""
    from urllib.parse import quote

    from mainspring.ports.database import StartError

    try:
        with progress.shown("record") as bar:
            task = bar.add_task(id, total=None)
            while True:
                try:
                    run = platform.call("GET", f"/v1/record_runs/{quote(id, safe='')}")
                except StartError as error:
                    patience.wait(error)
                    continue
                patience.gain()
                handled = run["done"] + run["skipped"] + run["failed"]
                share = run["progress"]
                total = round(handled / share) if share and handled else None
                told = f"{run['collection']}, {run['failed']:,} refused"
                bar.update(task, completed=handled, total=total, description=told)
                if run["state"] != "running":
                    return run
                time.sleep(POLL_S)
    except KeyboardInterrupt:
        typer.echo(
            f"interrupted: {id} goes on in the platform; mainspring import --resume {id} follows "
            f"it, POST /v1/record_runs/{id}:cancel ends it",
            err=True,
        )
        raise


def _write_report(
    platform: "Remote", patience: "Patience", id: str, file: Path, format: str
) -> None:
    """Write what a run refused to a file, from the start again where the connection breaks."""
    from mainspring.ports.database import StartError

    while True:
        try:
            with file.open("wb") as out:
                out.writelines(platform.download(f"/v1/record_runs/{id}/errors?format={format}"))
        except StartError as error:
            patience.wait(error)
        else:
            return


def _tell(run: Any, report: Path | None) -> None:
    """Say what became of a run, and what is wrong with the first records that were refused."""
    for error in run["errors"][:ERRORS_SHOWN_MAX]:
        where = f"line {error['line']}" if "line" in error else error["id"]
        told = [f"{each['pointer']}: {each['detail']}" for each in error.get("errors", ())]
        typer.echo(f"{where}: {'; '.join(told) or error['detail']}", err=True)
    more = run["failed"] - min(ERRORS_SHOWN_MAX, len(run["errors"]))
    if more:
        where = f"{report} has them"
        if report is None:
            where = f"mainspring import --resume {run['id']} --errors FILE writes them"
        if run["reported"] < run["failed"]:
            where += f", up to {run['reported']:,}"
        typer.echo(f"and {more:,} more: {where}", err=True)
    said = f"{run['done']:,} imported, {run['failed']:,} refused"
    if run["state"] != "done":
        because = "" if run["problem"] is None else f": {run['problem']}"
        said = f"{run['state']} after {said}{because}"
    typer.echo(said)


def _format_of(file: Path) -> FileFormat:
    found: dict[str, FileFormat] = {
        ".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "json",
    }  # fmt: skip
    if file.suffix.lower() not in found:
        raise typer.BadParameter(
            f"{file}: say which --format it has, csv, ndjson or json: its name does not tell"
        )
    return found[file.suffix.lower()]


def _s(count: int) -> str:
    return "" if count == 1 else "s"
