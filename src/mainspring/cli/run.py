"""``mainspring run``: one part of a platform whose services run in processes of their own."""

from typing import Annotated

import typer

from mainspring.cli.options import AsJson, ConfigFile, DataDir, Host, Port, counted, read_settings
from mainspring.kernel.process_role import ProcessRole

PARTS = {
    "gateway": ProcessRole.GATEWAY,
    "worker": ProcessRole.WORK,
    "relay": ProcessRole.RELAY,
}
EPILOG = (
    "Examples:\n\n"
    "  [bold]mainspring run users records --listen grpc://127.0.0.1:7101 --port 0[/bold]\n\n"
    "  [bold]mainspring run worker --port 0[/bold]  jobs, consumers and schedules of all\n\n"
    "  [bold]mainspring run gateway[/bold]  in front; \\[peers] services says where the others are"
    "\n\n"
    "All read the same settings, and all but the gateway the same PostgreSQL and keyring.json. "
    "--port is where each shows /healthz, /readyz and /metrics; a gateway takes calls there. "
    "SIGTERM drains."
)


def run(
    parts: Annotated[
        list[str],
        typer.Argument(
            metavar="PART…", help="gateway, worker or relay; or the services that it owns."
        ),
    ],
    app: Annotated[
        str | None,
        typer.Option(metavar="APP", help="Your own App, as `mainspring up` takes it."),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where it takes calls of peers: grpc://127.0.0.1:7100."),
    ] = None,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    workers: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Processes of a gateway or worker at one address. Default: one for a gateway.",
        ),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Start one part of a platform: a gateway, the owner of services, a worker or a relay."""
    from mainspring.cli.up import start

    role = PARTS.get(parts[0], ProcessRole.OWN)
    if role is not ProcessRole.OWN and len(parts) > 1:
        raise typer.BadParameter(f"{parts[0]} is run by itself", param_hint="PART")
    if workers is not None and role in (ProcessRole.OWN, ProcessRole.RELAY):
        raise typer.BadParameter(
            f"{parts[0]} is one process: start more of them, each at an address of its own",
            param_hint="--workers",
        )
    if inside := sorted(PARTS.keys() & set(parts[1:])):
        raise typer.BadParameter(
            f"{inside[0]} is run by itself; beside {parts[0]} go names of services",
            param_hint="PART",
        )
    start(
        app,
        as_json,
        lambda user_app: read_settings(
            user_app,
            config,
            data_dir=data_dir,
            server__host=host,
            server__port=port,
            platform__role=role,
            platform__workers=counted(workers),
            peers__listen=listen,
            peers__owns=tuple(parts) if role is ProcessRole.OWN else None,
        ),
    )
