"""``mainspring certs``: an authority for development, and the certificates of services by it."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainspring.cli.options import AsJson
from mainspring.ports.certificates import RootStep

if TYPE_CHECKING:
    from datetime import datetime

    from mainspring.ports.certificates import CertificateState

group = typer.Typer(
    help="Make certificates that say which service a process is, by an authority of your own.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

INIT_EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring certs init certs --trust-domain shop.internal[/bold]\n\n"
    "authority.json holds the root's key: it stays where certificates are made."
)
ISSUE_EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring certs issue certs gateway users records[/bold]\n\n"
    "Give each process its own directory, certs/SERVICE, and nothing else of certs."
)
SHOW_EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring certs show certs[/bold]\n\n"
    "Exits with 1 when a peer would refuse one of them."
)
RENEW_EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring certs renew certs[/bold]  from a timer, three times in their life\n\n"
    "  [bold]mainspring certs renew certs --root add[/bold]  the first of three steps to another "
    "root; then --root switch, then --root drop\n\n"
    "Between the steps let every process read its new files. Until the last, certificates by the "
    "root before and by the next are both taken."
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Where the authority is.")]


@group.command(epilog=INIT_EPILOG)
def init(
    folder: Folder,
    trust_domain: Annotated[
        str, typer.Option(metavar="NAME", help="Whose services these are: shop.internal")
    ],
) -> None:
    """Make an authority: a root certificate for ten years, and its key."""
    from mainspring.engines import open_authority

    open_authority(folder).init(trust_domain)
    typer.echo(f"made the authority of spiffe://{trust_domain} in {folder}")


@group.command(epilog=ISSUE_EPILOG)
def issue(
    folder: Folder,
    services: Annotated[list[str], typer.Argument(metavar="SERVICE…", help="Whom to name.")],
    hours: Annotated[int, typer.Option(help="How long they are good.")] = 24,
) -> None:
    """Make a certificate and a key for each service; what it had is replaced."""
    from mainspring.engines import open_authority

    _print(open_authority(folder).issue(services, hours))


@group.command(epilog=SHOW_EPILOG)
def show(folder: Folder, as_json: AsJson = False) -> None:
    """Tell whose certificates there are, until when, and whether a peer would take them."""
    import msgspec

    from mainspring.cli import EXIT_FOUND
    from mainspring.engines import open_authority
    from mainspring.kernel.clock import SystemClock

    states = open_authority(folder).show()
    now_s = SystemClock().now_ms() / 1_000
    if as_json:
        typer.echo(msgspec.json.encode(states).decode())
    else:
        for state in states:
            typer.echo(_line(state, now_s))
    if any(state.shown is None for state in states):
        raise typer.Exit(EXIT_FOUND)


@group.command(epilog=RENEW_EPILOG)
def renew(
    folder: Folder,
    services: Annotated[
        list[str] | None, typer.Argument(metavar="[SERVICE…]", help="Default: all.")
    ] = None,
    hours: Annotated[
        int | None, typer.Option(help="How long they are good. Default: as those before.")
    ] = None,
    root: Annotated[RootStep | None, typer.Option(help="A step to another root.")] = None,
) -> None:
    """Replace certificates by new ones, each service's files all at once."""
    from mainspring.engines import open_authority

    authority = open_authority(folder)
    if root is None:
        _print(authority.renew(services or (), hours))
    elif services or hours is not None:
        raise typer.BadParameter("renews all, each for as long as before", param_hint="--root")
    else:
        _print(authority.change_root(root))


def _print(identities: list[str]) -> None:
    for identity in identities:
        typer.echo(identity)


def _line(state: "CertificateState", now_s: float) -> str:
    if state.shown is None:
        return f"{state.service}: {state.problem}"
    end: datetime = state.shown.not_after
    left = timedelta(seconds=int(end.timestamp() - now_s))
    soon = "; renew it now" if left < state.shown.life / 3 else ""
    return f"{state.shown.identity}  until {end:%Y-%m-%d %H:%M} UTC, {left} left{soon}"
