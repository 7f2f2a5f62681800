"""The HTTP server: listens, serves, drains."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

import structlog

from mainspring.interfaces.http.connection import FAREWELL_S, HttpConnection, Phase, Shared
from mainspring.interfaces.http.exchange import Exchange
from mainspring.interfaces.http.open_files import connections_for, raise_open_files
from mainspring.interfaces.http.server_settings import ServerSettings
from mainspring.kernel.ids import IdMaker
from mainspring.ports.database import StartError

BACKLOG = 2_048

log = structlog.get_logger("mainspring.http")


class HttpApp(Protocol):
    """What answers the requests."""

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        ...

    async def start(self) -> None:
        """Begin, before the first request. Raises RuntimeError when something of it cannot."""
        ...

    async def stop(self) -> None:
        """End, after the last request."""
        ...


class Server:
    """Listens, serves, drains. One per process.

    ``url`` is where, with the port it got; ``shared`` has who is connected and what runs.
    """

    __slots__ = ("_app", "_ended", "_listeners", "_settings", "_sockets", "shared", "url")

    def __init__(
        self,
        app: HttpApp,
        settings: ServerSettings,
        *,
        ids: IdMaker,
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        self._app = app
        self._settings = settings
        self._sockets = list(sockets)
        self.shared = Shared(app.__call__, settings, ids)
        self._listeners: list[asyncio.Server] = []
        self._ended = asyncio.Event()
        self.url = ""

    async def start(self) -> None:
        """Bind and begin to serve. Raises StartError when the address is not to be had.

        As many files are opened as the system lets this process have, and some are left to the
        rest of the platform: the connection that is one too many is refused in words.
        """
        connections, places = connections_for(raise_open_files()), self.shared.places
        places.size = min(places.size, connections)
        places.share = min(places.share, max(1, connections // 2))
        if not self._sockets:
            self._sockets = [bind(self._settings.host, self._settings.port)]
        host, port = self._sockets[0].getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        try:
            await self._app.start()
        except RuntimeError as error:
            raise StartError(str(error)) from error
        loop = asyncio.get_running_loop()
        for listener in self._sockets:
            server = await loop.create_server(self.connection, sock=listener, backlog=BACKLOG)
            self._listeners.append(server)

    def connection(self) -> HttpConnection:
        """Make what serves a new connection."""
        return HttpConnection(self.shared)

    @property
    def leaving(self) -> bool:
        """Whether it is about to end: who asks whether it is ready is to ask others from now on."""
        return self.shared.phase is not Phase.SERVING

    async def drain(self, seconds: float, *, lame_duck_s: float = 0.0) -> None:
        """Stop accepting, let running requests finish for at most ``seconds``, then close.

        For ``lame_duck_s`` before that it takes connections and requests as ever, and each answer
        says that it is the last of its connection: nobody's next request is lost.
        """
        shared = self.shared
        if not self._listeners:
            return
        shared.phase = Phase.LEAVING
        for connection in list(shared.connections):
            connection.leave()
        await asyncio.sleep(lame_duck_s)
        shared.phase = Phase.DRAINING
        await self._stop_accepting()
        for connection in list(shared.connections):
            connection.shutdown()
        shared.left()
        if not await _within(seconds, shared.idle.wait):
            await self._cut_off()
        await self._app.stop()
        self._ended.set()

    async def _stop_accepting(self) -> None:
        """Take those who have connected by now: what still waits at a listener is reset with it."""
        loop = asyncio.get_running_loop()
        taken = [connection for listener in self._sockets for connection in _waiting(listener)]
        for server in self._listeners:
            server.close()
        self._listeners = []
        for listener in self._sockets:
            listener.close()
        accepting = [loop.connect_accepted_socket(self.connection, one) for one in taken]
        await asyncio.gather(*accepting, return_exceptions=True)

    async def _cut_off(self) -> None:
        """Cancel what has not ended in time, and leave it a moment to say so."""
        shared = self.shared
        running = list(shared.running)
        if running:
            log.warning("requests_cut_off", count=len(running))
        for exchange in running:
            if exchange.task is not None:
                exchange.task.cancel()
        await _within(FAREWELL_S, shared.idle.wait)

    async def wait(self) -> None:
        """Wait until serving has ended."""
        await self._ended.wait()


async def _within(seconds: float, happens: Callable[[], Awaitable[object]]) -> bool:
    """Tell whether it happens in time."""
    try:
        async with asyncio.timeout(seconds):
            await happens()
    except TimeoutError:
        return False
    return True


def _waiting(listener: socket.socket) -> Iterator[socket.socket]:
    """Accept whoever waits at a listener that does not block."""
    with contextlib.suppress(OSError):  # nobody is left, or it is closed
        while True:
            yield listener.accept()[0]


def bind(host: str, port: int) -> socket.socket:
    """Open a listening address. Raises StartError with one clear line."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        why = error.strerror or str(error)
        raise StartError(
            f"cannot listen on {host}:{port}: {why}; choose another with --host and --port"
        ) from error
    listener.setblocking(False)
    return listener
