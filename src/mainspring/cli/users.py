"""``mainspring users``: brings users along from elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainspring.cli.options import DataDir, KeyFile, PlatformUrl, find_platform

if TYPE_CHECKING:
    from mainspring.cli.remote import Remote
    from mainspring.services.users.api.imports import ImportedUser

LINE_BYTES_MAX = 16_384
ERRORS_SHOWN_MAX = 1_000

group = typer.Typer(
    help="Take users over from another system.", no_args_is_help=True, rich_markup_mode="rich"
)
IMPORT_EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring users import users.ndjson[/bold]  into the platform that runs here\n\n"
    "Each line is a JSON object: email, and as they are known password_hash (Argon2, bcrypt, "
    "Django's PBKDF2 and scrypt, Firebase's scrypt), email_verified, display_name, roles. Users "
    "whose address has an account stay as they are, so a run that was broken off is just repeated. "
    "Exits with 1 when a line was refused; those are told with their numbers."
)


class _Tally:
    """What became of the lines so far."""

    __slots__ = ("created", "known", "refused")

    def __init__(self) -> None:
        self.created = self.known = self.refused = 0

    def refuse(self, number: int, why: str) -> None:
        """Count a line that was refused, and say why."""
        self.refused += 1
        if self.refused <= ERRORS_SHOWN_MAX:
            typer.echo(f"line {number}: {why}", err=True)


@group.command("import", epilog=IMPORT_EPILOG)
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Users, one JSON object a line.")],
    url: PlatformUrl = None,
    key_file: KeyFile = None,
    data_dir: DataDir = None,
) -> None:
    """Make users who have passwords elsewhere, a hundred in one commit."""
    import msgspec

    from mainspring.cli import EXIT_FOUND
    from mainspring.ports.database import StartError
    from mainspring.services.users.api.imports import IMPORTED_MAX, ImportedUser

    platform, tally = find_platform(url, key_file, data_dir), _Tally()
    waiting: list[tuple[int, ImportedUser]] = []
    decode = msgspec.json.Decoder(ImportedUser).decode
    try:
        with file.open("rb") as lines:
            number = 0
            while line := lines.readline(LINE_BYTES_MAX + 1):
                number += 1
                if len(line) > LINE_BYTES_MAX:
                    raise StartError(f"line {number} has more than {LINE_BYTES_MAX:,} bytes")
                if not line.strip():
                    continue
                try:
                    waiting.append((number, decode(line)))
                except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
                    tally.refuse(number, str(wrong))
                if len(waiting) == IMPORTED_MAX:
                    _send(platform, waiting, tally)
                    waiting = []
    except OSError as error:
        raise StartError(f"cannot read {file}: {error.strerror}") from None
    if waiting:
        _send(platform, waiting, tally)
    typer.echo(f"{tally.created:,} created, {tally.known:,} known, {tally.refused:,} refused")
    if tally.refused:
        raise typer.Exit(EXIT_FOUND)


def _send(platform: "Remote", waiting: "list[tuple[int, ImportedUser]]", tally: _Tally) -> None:
    """Have some users made, and tell how far it has come. Raises StartError when it is refused."""
    body = {"users": [user for _, user in waiting]}
    outcomes = platform.call("POST", "/v1/users:import", body)["items"]
    for (number, _), outcome in zip(waiting, outcomes, strict=True):
        if outcome["status"] == "created":
            tally.created += 1
        elif outcome["status"] == "known":
            tally.known += 1
        else:
            # A pointer leads into what was sent: behind /users/17 it is the line's own.
            told = [f"/{e['pointer'].split('/', 3)[-1]}: {e['detail']}" for e in outcome["errors"]]
            tally.refuse(number, "; ".join(told))
    typer.echo(f"up to line {waiting[-1][0]:,}", err=True)
