"""The HTTP server: listens, serves, drains."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

import structlog

from mainspring.interfaces.http.connection import (
    FAREWELL_S,
    PARTING_S,
    HttpConnection,
    Phase,
    Shared,
)
from mainspring.interfaces.http.exchange import Exchange
from mainspring.interfaces.http.open_files import connections_for, raise_open_files
from mainspring.interfaces.http.server_settings import ServerSettings
from mainspring.interfaces.http.tls import EdgeCertificate, TlsListener
from mainspring.kernel.clock import Clock, SystemClock
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

    __slots__ = (
        "_app", "_clock", "_ended", "_listeners", "_settings", "_sockets", "certificate", "shared",
        "url",
    )  # fmt: skip

    def __init__(
        self,
        app: HttpApp,
        settings: ServerSettings,
        *,
        ids: IdMaker,
        sockets: Sequence[socket.socket] = (),
        clock: Clock = SystemClock(),  # noqa: B008 - it has no state
    ) -> None:
        self._app = app
        self._clock = clock
        self._settings = settings
        self._sockets = list(sockets)
        self.shared = Shared(app.__call__, settings, ids)
        self._listeners: list[asyncio.Server | TlsListener] = []
        self._ended = asyncio.Event()
        self.certificate: EdgeCertificate | None = None
        self.url = ""

    async def start(self) -> None:
        """Bind and begin to serve. Raises StartError: no address is to be had, no certificate.

        As many files are opened as the system lets this process have, and some are left to the
        rest of the platform: the connection that is one too many is refused in words.
        """
        connections, places = connections_for(raise_open_files()), self.shared.places
        places.size = min(places.size, connections)
        places.share = min(places.share, max(1, connections // 2))
        if self._settings.tls_certificate:
            self.certificate = EdgeCertificate(self._settings, self._clock)
        if not self._sockets:
            self._sockets = [bind(self._settings.host, self._settings.port)]
        host, port = self._sockets[0].getsockname()[:2]
        scheme = "http" if self.certificate is None else "https"
        self.url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
        try:
            await self._app.start()
        except RuntimeError as error:
            raise StartError(str(error)) from error
        loop = asyncio.get_running_loop()
        for listener in self._sockets:
            if self.certificate is None:
                server = await loop.create_server(self.connection, sock=listener, backlog=BACKLOG)
                self._listeners.append(server)
            else:
                secure = TlsListener(self.shared, listener, self.certificate)
                secure.start(BACKLOG)
                self._listeners.append(secure)

    def degraded(self) -> list[str]:
        """Say what is wrong with the certificate: it serves on, with the last good one."""
        failing = None if self.certificate is None else self.certificate.failing()
        return [] if failing is None else [f"certificate: {failing}"]

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
        asyncio.get_running_loop().call_later(PARTING_S, self._end_handshakes)
        shared.left()
        if not await _within(seconds, shared.idle.wait):
            await self._cut_off()
        await self._app.stop()
        self._ended.set()

    async def _stop_accepting(self) -> None:
        """Take those who have connected by now: what still waits at a listener is reset with it."""
        loop = asyncio.get_running_loop()
        taken = [connection for listener in self._sockets for connection in _waiting(listener)]
        shaking = [server for server in self._listeners if isinstance(server, TlsListener)]
        for server in self._listeners:
            server.close()
        self._listeners = []
        for listener in self._sockets:
            listener.close()
        if shaking:
            for one in taken:
                shaking[0].take(one)
            return
        accepting = [loop.connect_accepted_socket(self.connection, one) for one in taken]
        await asyncio.gather(*accepting, return_exceptions=True)

    def _end_handshakes(self) -> None:
        for handshake in list(self.shared.handshakes):
            handshake.cancel()

    async def _cut_off(self) -> None:
        """Cancel what has not ended in time, and leave it a moment to say so."""
        shared = self.shared
        self._end_handshakes()
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
