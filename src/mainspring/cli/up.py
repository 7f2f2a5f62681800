"""``mainspring up``: starts everything and stays until it is told to stop."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from mainspring.cli.options import (
    AppName,
    AsJson,
    ConfigFile,
    DataDir,
    Host,
    Port,
    WorkerCount,
    counted,
    read_settings,
)
from mainspring.kernel.process_role import ProcessRole

if TYPE_CHECKING:
    from mainspring.kernel.user_app import App
    from mainspring.settings import Settings

EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring up[/bold]  SQLite in ./mainspring-data, on http://127.0.0.1:8080\n\n"
    "  [bold]mainspring up shop/app.py --port 0[/bold]  your own App, on any free port\n\n"
    "  [bold]MAINSPRING_DATABASE__URL=postgresql://localhost/shop mainspring up[/bold]\n\n"
    "  [bold]mainspring up --workers 1[/bold]  one process, however many cores there are\n\n"
    "  [bold]mainspring up --role work --port 8081[/bold]  jobs, consumers and schedules, beside "
    "processes with --role serve\n\n"
    "SIGTERM or Ctrl+C drains: no new calls, running ones finish, then exit 0. A second one quits "
    "at once. The first start writes DATA_DIR/admin.key: an API key with every scope."
)


def up(
    app: AppName = None,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    workers: WorkerCount = None,
    role: Annotated[
        ProcessRole | None,
        typer.Option(
            help="Take calls, work off jobs, consumers and schedules, or both. Default: all; "
            "others need PostgreSQL."
        ),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Start the platform and print its address."""
    start(
        app,
        as_json,
        lambda user_app: read_settings(
            user_app,
            config,
            data_dir=data_dir,
            server__host=host,
            server__port=port,
            platform__workers=counted(workers),
            platform__role=role,
        ),
    )


def start(app: str | None, as_json: bool, settings_for: "Callable[[App | None], Settings]") -> None:
    """Start what the settings say, with an app or without, and stay until it is told to stop."""
    _import_structlog()
    from mainspring.cli.logs import set_up
    from mainspring.cli.serve import run
    from mainspring.cli.user_app import load_app
    from mainspring.settings import LogSettings

    user_app = load_app(app) if app else None
    settings = settings_for(user_app)
    set_up(settings.of(LogSettings))
    run(settings, user_app, lambda running: typer.echo(running.text(as_json=as_json)))


def _import_structlog() -> None:
    """Import structlog without rich, which it would load to draw tracebacks we never ask for.

    That takes 150 ms, a fifth of the time to the first answer.
    """
    import sys

    if "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
