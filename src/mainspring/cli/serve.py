"""One serving process: starts the platform, says where it is, and drains it on a signal."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import structlog

from mainspring import gateway_process
from mainspring.app import Instance, build, share
from mainspring.cli import cores
from mainspring.cli.instance_file import Announce, Running, told
from mainspring.cli.log_writer import show_dropped
from mainspring.cli.loop import serve_loop
from mainspring.cli.prefork import Prefork
from mainspring.cli.process_end import END_S
from mainspring.gateway_process import GatewayProcess
from mainspring.interfaces.http.server import bind
from mainspring.interfaces.http.server_settings import ServerSettings
from mainspring.kernel.errors import Unavailable
from mainspring.kernel.process_role import ProcessRole, Seat
from mainspring.kernel.user_app import App
from mainspring.ports.database import StartError
from mainspring.settings import DEFAULT, PlatformSettings, Settings, SettingsError

# Of these there are as many processes as somebody starts, each at an address of its own.
_ALONE = (ProcessRole.OWN, ProcessRole.RELAY)
_STOPPING = (signal.SIGTERM, signal.SIGINT)


def run(settings: Settings, user_app: App | None, say: Callable[[Running], None]) -> None:
    """Serve until a signal, then drain. Raises StartError when it cannot start.

    ``say`` hears where it listens, once it does.
    """

    @contextlib.contextmanager
    def announce(running: Running) -> Iterator[None]:
        # Other commands look for a process that takes their calls.
        finds = running.role in (ProcessRole.ALL, ProcessRole.SERVE)
        with told(Path(running.data_dir), running) if finds else contextlib.nullcontext():
            with contextlib.suppress(OSError):  # whoever started us may read no more
                say(running)
                sys.stdout.flush()
            yield

    workers = _workers(settings)
    if workers == 1:
        serve_loop(_serve(settings, user_app, announce))
        return
    if settings.of(PlatformSettings).role is ProcessRole.GATEWAY:
        shared = gateway_process.share(settings, workers)
    else:
        shared = share(settings, workers, user_app)

    def serve(listener: socket.socket, tell: Announce, seat: Seat) -> None:
        serve_loop(_serve(settings, user_app, tell, listener, shared(seat)))

    server = settings.of(ServerSettings)
    with bind(server.host, server.port) as listener:
        end_s = 2 * settings.of(PlatformSettings).drain_s + END_S  # of calls, then of jobs
        Prefork(workers, listener, serve, end_s).run(announce)


def _workers(settings: Settings) -> int:
    """Return how many processes there are to be. Raises SettingsError."""
    workers = settings.of(PlatformSettings).workers
    if settings.of(PlatformSettings).role in _ALONE:
        return 1
    if isinstance(workers, int):
        if workers > 1 and not hasattr(os, "fork"):
            source = settings.sources.get("platform.workers", DEFAULT)
            raise SettingsError(
                f"{source}: platform.workers: {sys.platform} cannot fork processes: leave it at 1"
            )
        return workers
    if settings.of(PlatformSettings).role is ProcessRole.GATEWAY:
        return 1  # what stands in front of others is scaled by who runs it, unless told otherwise
    choice = cores.chosen()
    if choice.why:
        structlog.get_logger().info("one_process", why=choice.why)
    return choice.processes


async def _serve(
    settings: Settings,
    user_app: App | None,
    announce: Announce,
    listener: socket.socket | None = None,
    ports: Mapping[type, Any] | None = None,
) -> None:
    log = structlog.get_logger()
    with _signals(alone=listener is None) as stop:
        platform = await _built(settings, user_app, [listener] if listener else [], ports)
        show_dropped(platform.telemetry)
        started = False
        try:
            started = await _unless(stop, _started(platform))
            if started:
                gc.freeze()  # what is there by now stays: nobody is to wait for a look through it
                database = await platform.engine()
                with announce(_where(platform, settings, database)):
                    await asyncio.shield(stop)
        finally:
            if started:
                log.info("draining")
                process = settings.of(PlatformSettings)
                # Whoever pressed Ctrl-C waits for it.
                told = stop.done() and stop.result() == signal.SIGTERM
                lame_duck_s = process.lame_duck_s if told else 0.0
                await platform.drain(process.drain_s, lame_duck_s=lame_duck_s)
                log.info("stopped")
            else:
                await _abandon(platform)


Process = Instance | GatewayProcess


async def _built(
    settings: Settings,
    user_app: App | None,
    sockets: Sequence[socket.socket],
    ports: Mapping[type, Any] | None,
) -> Process:
    if settings.of(PlatformSettings).role is ProcessRole.GATEWAY:
        return GatewayProcess(settings, user_app, sockets=sockets, ports=ports)
    return await build(settings, user_app, sockets=sockets, ports=ports)


async def _started(platform: Process) -> None:
    """Start it. Raises StartError, also for a disk that is full or must not be written."""
    try:
        await platform.start()
    except Unavailable as error:
        raise StartError(error.detail) from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise StartError(f"cannot start: {where}{error.strerror or error}") from error


async def _abandon(platform: Process) -> None:
    """Let go of a platform that did not start: parts that were never opened may say so."""
    for close in (platform.drain(0), platform.let_go()):
        try:
            await close
        except Exception as error:  # noqa: BLE001 - what went wrong first is what matters
            structlog.get_logger().debug("not_closed", error=repr(error))


async def _unless(stop: asyncio.Future[int], starting: Awaitable[None]) -> bool:
    """Wait for the start; give it up when told to stop meanwhile. Returns whether it started."""
    start = asyncio.ensure_future(starting)
    either: set[asyncio.Future[Any]] = {start, stop}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not start.done():
        start.cancel()
        await asyncio.wait({start})
        return False
    start.result()
    return True


@contextlib.contextmanager
def _signals(*, alone: bool) -> Iterator[asyncio.Future[int]]:
    """Yield what the first signal will be; at the second leave without another word.

    One of several drains on: a terminal or systemd signals it and its parent, which passes that
    on, and which ends its processes when it is told a second time.
    The interpreter's own handlers: the loop's are deaf while user code has broken it off.
    """
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[int] = loop.create_future()
    caught = 0

    def catch(number: int, _: FrameType | None) -> None:
        nonlocal caught
        caught += 1
        if caught == 1:
            loop.call_soon_threadsafe(stop.set_result, number)
        elif alone:
            os._exit(128 + number)

    before = {number: signal.signal(number, catch) for number in _STOPPING}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _where(platform: Process, settings: Settings, database: str) -> Running:
    data_dir = Path(settings.of(PlatformSettings).data_dir).resolve()
    certificate = settings.of(ServerSettings).tls_certificate
    return Running(
        url=platform.url,
        docs=f"{platform.url}/docs",
        data_dir=str(data_dir),
        admin_key=str(data_dir / "admin.key"),
        database=database,
        pid=os.getpid(),
        version=version("mainspring"),
        new=platform.new,
        role=platform.role,
        certificate=str(Path(certificate).resolve()) if certificate else "",
    )
