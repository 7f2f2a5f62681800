"""``mainspring admin``: what an operator does to a running platform."""

from pathlib import Path
from typing import Annotated

import typer

from mainspring.cli.options import (
    AsJson,
    ConfigFile,
    DataDir,
    PlatformUrl,
    find_platform,
    read_settings,
)

group = typer.Typer(
    help="Make API keys and users on a running platform.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

KEY_EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring admin key importer --scope records:write[/bold]\n\n"
    "  [bold]mainspring admin key auditor --scope audit:read --days 30[/bold]\n\n"
    "  [bold]mainspring admin key --recover[/bold]  after the administrator's key was lost or"
    " revoked\n\n"
    "The key is shown once. It uses DATA_DIR/admin.key, never grants more than that holds, and ends"
    " with it."
)
USER_EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring admin user ann@example.com[/bold]  asks for the password\n\n"
    "  [bold]mainspring admin user ann@example.com < password.txt[/bold]"
)
MAIL_EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring admin mail reset_password[/bold]  as it would be sent to somebody\n\n"
    "  [bold]mainspring admin mail reset_password --html > page.html[/bold]"
)
AdminKey = Annotated[
    Path | None,
    typer.Option("--key-file", metavar="FILE", help="API key. Default: DATA_DIR/admin.key"),
]


@group.command(epilog=KEY_EPILOG)
def key(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="What it is for.")] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(metavar="SCOPE", help="May be given more than once. Default: every scope."),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(min=1, max=3650, metavar="N", help="Days until it expires. Default: never."),
    ] = None,
    recover: Annotated[
        bool,
        typer.Option("--recover", help="Make DATA_DIR/admin.key anew, whatever became of it."),
    ] = False,
    url: PlatformUrl = None,
    key_file: AdminKey = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key and print it; or bring the administrator's back, on the machine itself."""
    import json
    import time

    from mainspring.kernel.clock import rfc3339
    from mainspring.ports.database import StartError

    if recover:
        from mainspring.cli.recovery import recover as recover_key

        if name or scope or days or url or key_file:
            raise StartError("--recover goes with --data-dir alone: it makes DATA_DIR/admin.key")
        file = recover_key(read_settings(None, None, data_dir=data_dir, any_app=True))
        typer.echo(json.dumps({"admin_key": str(file)}) if as_json else str(file))
        return
    if name is None:
        raise StartError("say what the key is for: mainspring admin key NAME")
    wanted: dict[str, object] = {"name": name, "scopes": scope or ["*"]}
    if days is not None:
        wanted["expires_at"] = rfc3339(int((time.time() + days * 86_400) * 1000))
    made = find_platform(url, key_file, data_dir).call("POST", "/v1/api_keys", wanted)
    typer.echo(json.dumps(made, indent=2) if as_json else made["key"])


@group.command(epilog=USER_EPILOG)
def user(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="What the user signs in with.")],
    role: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE", help="May be given more than once. Default: user."),
    ] = None,
    url: PlatformUrl = None,
    key_file: AdminKey = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a user. The password is asked for, or read from standard input."""
    import json
    import sys

    from mainspring.ports.database import StartError

    platform = find_platform(url, key_file, data_dir)
    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise StartError("no password: type one, or write it to standard input")
    wanted: dict[str, object] = {"email": email, "password": password}
    if role:
        wanted["roles"] = role
    made = platform.call("POST", "/v1/users", wanted)
    typer.echo(json.dumps(made, indent=2) if as_json else made["id"])


@group.command(epilog=MAIL_EPILOG)
def mail(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="What it is for: verify_email, log_in and so on.")
    ],
    html: Annotated[bool, typer.Option("--html", help="Show the page and not the text.")] = False,
    locale: Annotated[
        str, typer.Option("--locale", help="Of somebody who reads this language: de-AT.")
    ] = "",
    config: ConfigFile = None,
) -> None:
    """Show a mail in the words of `[users] mail_templates`; nothing has to run."""
    from mainspring.kernel.language_tag import language_tag
    from mainspring.ports.database import StartError
    from mainspring.services.users import mail_texts, mailing
    from mainspring.services.users.api import UsersSettings
    from mainspring.services.users.mail_templates import MailTemplates

    if kind not in list(mailing.Purpose):
        raise StartError(f"no mail is of the kind {kind!r}: {', '.join(sorted(mailing.Purpose))}")
    settings = read_settings(None, config, data_dir=None, any_app=True).of(UsersSettings)
    try:
        locale = language_tag(locale) if locale else ""
    except ValueError as error:
        raise StartError(f"--locale {locale}: {error}") from None
    filled = MailTemplates(settings).fill(mail_texts.sample(mailing.Purpose(kind), locale))
    if html and not filled.html:
        raise StartError(f"there is no {kind}.html in [users] mail_templates")
    typer.echo(filled.html if html else f"Subject: {filled.subject}\n\n{filled.text}", nl=False)
