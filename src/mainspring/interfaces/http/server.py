"""The HTTP server: uvicorn in process, with bounds on what an unfinished request may cost."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any
from urllib.parse import unquote

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from mainspring.interfaces.http import security_headers
from mainspring.interfaces.http.exchange import AUTHORITY, CYCLE
from mainspring.interfaces.http.lingering import LINGER_BYTES_MAX, LINGER_S, Lingering
from mainspring.interfaces.http.open_files import connections_for, raise_open_files
from mainspring.interfaces.http.problem import MEDIA_TYPE, body_of, headers_of
from mainspring.interfaces.http.proxies import Proxies, network_of
from mainspring.interfaces.http.server_settings import ServerSettings
from mainspring.kernel.errors import Failure, HeadersTooLarge, Malformed, Timeout
from mainspring.kernel.ids import IdMaker
from mainspring.kernel.pool import Pool
from mainspring.kernel.user_app import Asgi
from mainspring.ports.database import StartError

BACKLOG = 2_048
UNSENT_BYTES_MAX = 1 << 30  # of answers that peers have not taken yet; beyond it calls are refused
UNSENT_BYTES_SHARE = 256 << 20  # of them by one address
FAREWELL_S = 1.0  # how long an endless answer may take to end once the server drains
PARTING_S = 1.0  # who used a connection within it may be about to ask again when the server drains
FRAMING_PER_BYTE_MAX = (
    16  # what chunking may add to a byte of a body: a chunk each, its size padded
)
PIECE_BYTES = 16_384  # parsed at a time: requests behind a running one are not held as objects
VERSIONS = frozenset({"1.0", "1.1"})


class Phase(Enum):
    """What a server is about to do."""

    SERVING = 1
    LEAVING = 2  # it serves on; each answer says that it is the last of its connection
    DRAINING = 3  # it takes no new connections, and closes each once it has nothing to answer


class Cycle(RequestResponseCycle):
    """One request and its answer."""

    drains = False  # nobody but a server that does cancels an answer
    _endless: asyncio.Event | None = None

    async def draining(self) -> None:
        """Wait until the server wants to end: for an answer that has no end of its own."""
        if self._endless is None:
            self._endless = asyncio.Event()
        if self.drains:
            self._endless.set()
        await self._endless.wait()

    async def taken(self) -> None:
        """Wait until the peer has taken most of what was written, or is gone."""
        if not self.disconnected:
            await self.flow.drain()

    @property
    def endless(self) -> bool:
        """Whether this answer has no end of its own."""
        return self._endless is not None

    def drain(self) -> None:
        """Ask an endless answer to end; cut it off when its peer does not take even that."""
        self.drains = True
        if self._endless is not None:
            self._endless.set()
            asyncio.get_running_loop().call_later(FAREWELL_S, self._cut_off)

    def _cut_off(self) -> None:
        if not self.response_complete:
            self.abort()

    def whole(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        """Write a whole answer at once, its headers as they are; about a third of a plain GET.

        ``headers`` bring a Content-Length where one belongs. Returns False, and does nothing, when
        the peer is gone or reads too slowly. Raises RuntimeError for a header with a line break.
        """
        if self.disconnected or self.response_started or self.flow.write_paused:
            return False
        parts = [STATUS_LINE[status]]
        parts += [b"%b: %b\r\n" % header for header in self.default_headers]
        parts += [b"%b: %b\r\n" % header for header in headers]
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        head = b"".join(parts)
        if not head.count(b"\n") == head.count(b"\r") == len(parts):
            raise RuntimeError("a header holds a line break")
        self.transport.write(head + b"\r\n" + (b"" if self.scope["method"] == "HEAD" else body))
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False  # used by uvicorn
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True

    def abort(self) -> None:
        """Cut the connection off: its peer takes nothing any more."""
        self.disconnected = True
        self.transport.abort()


class Protocol(HttpToolsProtocol):
    """One connection. Everything in it is bounded: heads, framing, trailers, unread bodies."""

    bounds: ServerSettings
    ids: IdMaker
    places: Pool
    unsent: Pool
    proxies: Proxies
    phase = Phase.SERVING
    transport: Lingering

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock for the first request; refuse one connection too many."""
        self._head_bytes = 0
        self._in_head = True
        self._lingered_bytes = 0
        self._body_bytes = self._framing_bytes = self._quiet_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._holder: str | None = None
        self._unsent_bytes = 0
        self._unparsed = b""
        self._used_s = self.loop.time()
        super().connection_made(Lingering(transport, self.loop))
        try:
            self._take_place()
        except Failure as failure:
            self._refuse(failure)
            return
        self._arm(self.bounds.header_timeout_s, self._too_slow)
        if self.phase is Phase.DRAINING:
            self.shutdown()

    def _take_place(self) -> None:
        """Count this connection for its address; each that a proxy makes is somebody else's."""
        address = self.client[0] if self.client else ""
        proxied = self.proxies.trusts(address)
        holder = f"proxied {id(self)}" if proxied else network_of(address)
        self.places.take(holder)
        self._holder = holder

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock, and leave the place to another."""
        self._disarm()
        self.transport.lost()
        self._note_sent()
        if self._holder is not None:
            self.places.give_back(self._holder)
            self._holder = None
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Note what of an answer waits for its peer: an unread one stays in memory for a while.

        One without an end is cut off where that is too much: its follower resumes where it was.
        """
        super().pause_writing()
        if self._holder is None or self._unsent_bytes:
            return
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self.unsent.note(self._holder, self._unsent_bytes)
        if isinstance(self.cycle, Cycle) and self.cycle.endless:
            try:
                self.unsent.check(self._holder, 0)
            except Failure:
                self.cycle.abort()

    def resume_writing(self) -> None:
        """Note that the peer has taken it."""
        self._note_sent()
        super().resume_writing()

    def _note_sent(self) -> None:
        if self._holder is not None and self._unsent_bytes:
            self.unsent.give_back(self._holder, self._unsent_bytes)
        self._unsent_bytes = 0

    def leave(self) -> None:
        """Have the answer say that it is the last of this connection, if it has not begun."""
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Begin to close: after the answer, which is asked to end, or when nobody asks any more.

        A client that did not hear of it and got an answer a moment ago may be about to send its
        next request, which would be lost: it has ``PARTING_S`` for that.
        """
        self.transport.hasten(FAREWELL_S)
        self.timeout_keep_alive = PARTING_S  # type: ignore[assignment]  # used by uvicorn
        if isinstance(self.cycle, Cycle) and not self.cycle.response_complete:
            if self.cycle.endless or not self.cycle.response_started:
                self.cycle.keep_alive = False
            self.cycle.drain()
        elif not self._in_head:
            self.transport.close()
        elif not self._head_bytes:
            self._unset_keepalive_if_required()
            self._arm(max(0.0, self._used_s + PARTING_S - self.loop.time()), self._part)

    def _part(self) -> None:
        """Close, unless the next request has begun to come meanwhile."""
        self._timer = None
        if self._head_bytes:
            self._arm(self.bounds.header_timeout_s, self._too_slow)
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:  # used by asyncio
        """Take what came. Raises nothing: what cannot be parsed is answered and closed upon."""
        if self.transport.is_closing():
            self.transport.drop(len(data))
            return
        self._unparsed = self._unparsed + data if self._unparsed else data
        self._parse_on()

    def _parse_on(self) -> None:
        """Parse until a request has to wait for the one before it; the rest stays as it came.

        A request of thirty bytes is thousands once it is parsed, and a peer may send any number
        before it takes an answer.
        """
        while self._unparsed and not (self.pipeline or self.transport.is_closing()):
            data, self._unparsed = self._unparsed[:PIECE_BYTES], self._unparsed[PIECE_BYTES:]
            self._parse(data)
        if self.transport.is_closing():
            self._unparsed = b""
        elif self.pipeline:
            self.flow.pause_reading()
        elif self._in_head and self._head_bytes and self._timer is None:
            self._arm(self.bounds.header_timeout_s, self._too_slow)

    def _parse(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        elif not self._bears_framing(len(data)):
            return
        elif self.cycle.response_complete:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > LINGER_BYTES_MAX:
                self.transport.abort()
                return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The offer is ignored (RFC 9110, section 7.8); what follows it is another protocol.
            self.cycle.keep_alive = False
        except (httptools.HttpParserError, UnicodeError):
            self._refuse(Malformed("this is not HTTP/1.1"))
        if (
            self._in_head
            and self._head_bytes > self.bounds.header_bytes_max
            and not self.transport.is_closing()
        ):
            self._refuse(HeadersTooLarge(self._headers_max()))

    def _bears_framing(self, size: int) -> bool:
        """Bound what comes behind a head and is no body: chunk sizes, extensions, trailers.

        It is the parser that drops extensions, and that holds a trailer until its end. Returns
        False once this connection was refused.
        """
        self._framing_bytes += size
        self._quiet_bytes += size
        framing_max = self.bounds.header_bytes_max + FRAMING_PER_BYTE_MAX * self._body_bytes
        if (
            self._quiet_bytes - size <= self.bounds.header_bytes_max
            and self._framing_bytes - size - self._body_bytes <= framing_max
        ):
            return True
        if self.cycle.response_complete:
            self.transport.abort()
        else:
            self._refuse(HeadersTooLarge("chunk extensions or trailers over the bound of headers"))
        return False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header. A trailer is none (RFC 9110, section 6.5.1), and nobody asks for any."""
        if self._in_head:
            super().on_header(name, value)

    def on_message_begin(self) -> None:
        """Begin the next request's bounds; it may have begun behind another in one packet."""
        self._in_head = True
        self._head_bytes = max(1, self._head_bytes)
        super().on_message_begin()

    def on_headers_complete(self) -> None:  # used by httptools
        """Check the size of what was parsed, then hand the request over."""
        if self._head_bytes > self.bounds.header_bytes_max:
            size = len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers)
            if size > self.bounds.header_bytes_max:
                return  # data_received refuses it: it is still in its head
        version = self.parser.get_http_version()
        if version not in VERSIONS:
            raise httptools.HttpParserError("another version of HTTP")
        if self._holder is not None and self.unsent.taken:
            try:
                self.unsent.check(self._holder, 0)
            except Failure as failure:
                self._refuse(failure)
                return
        self._in_head = False
        self._head_bytes = 0
        self._body_bytes = self._framing_bytes = self._quiet_bytes = 0
        self._disarm()
        self._read_target(version)
        scope = self.scope
        cycle = Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0"
            and self.phase is Phase.SERVING
            and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        scope[CYCLE] = cycle  # type: ignore[literal-required]
        before, self.cycle = self.cycle, cycle
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def _read_target(self, version: str) -> None:
        """Put method, path and query into the scope. Raises UnicodeError, HttpParserError."""
        scope, url = self.scope, self.url
        scope["method"] = self.parser.get_method().decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        if url[:1] == b"/" and b"#" not in url:
            raw_path, _, query = url.partition(b"?")
        elif url == b"*":
            raw_path, query = url, b""
        else:
            parsed = httptools.parse_url(url)
            if parsed.userinfo is not None:
                raise httptools.HttpParserError("credentials in a target")
            raw_path, query = parsed.path or b"/", parsed.query or b""
            # It counts, and not what Host says (RFC 9112, section 3.2.2).
            scope[AUTHORITY] = parsed.host or b""
        path = raw_path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = raw_path
        scope["query_string"] = query

    def on_body(self, body: bytes) -> None:
        """Buffer a part of the body."""
        if not self._in_head:
            self._body_bytes += len(body)
            self._quiet_bytes = 0
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of a request."""
        if self._in_head:
            return
        self._in_head = True
        self._head_bytes = self._lingered_bytes = 0
        self._disarm()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on to the next request, or wait a while for the rest of this one."""
        self._used_s = self.loop.time()
        super().on_response_complete()
        if not self._in_head and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self._arm(LINGER_S, self.transport.abort)
        if self._unparsed or self._head_bytes or self.pipeline:
            self._parse_on()

    def _should_upgrade(self) -> bool:  # used by uvicorn
        return False

    def _should_upgrade_to_ws(self) -> bool:  # used by uvicorn
        return False

    # Timers and refusals

    def _arm(self, seconds: float, then: Any) -> None:
        self._disarm()
        self._timer = self.loop.call_later(seconds, then)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self._in_head and self._head_bytes:
            limit = self.bounds.header_timeout_s
            self._refuse(Timeout(f"the headers took longer than {limit:g} s"))
        elif not self.transport.is_closing():
            self.transport.close()  # connected and never said a word

    def _headers_max(self) -> str:
        return f"headers have at most {self.bounds.header_bytes_max} bytes"

    def _refuse(self, failure: Failure) -> None:
        """Answer in place of the app, unless its answer has begun, and close."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        running = cycle is not None and not cycle.response_complete
        if not running or not (cycle.response_started or self.pipeline):
            request_id = self.ids.new("req")
            # What it was for could not be read, or is still to come.
            body = body_of(failure, instance="", request_id=request_id)
            headers = [
                (b"content-type", MEDIA_TYPE), (b"content-length", b"%d" % len(body)),
                (b"request-id", request_id.encode()), (b"connection", b"close"),
                security_headers.NO_STORE, *security_headers.API, *headers_of(failure),
            ]  # fmt: skip
            head = b"".join(b"%b: %b\r\n" % header for header in headers)
            self.transport.write(STATUS_LINE[failure.status] + head + b"\r\n" + body)
        if running:
            cycle.disconnected = True
            cycle.message_event.set()
        if self._holder is None:
            self.transport.close_now()
        else:
            self.transport.close()


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager  # used by uvicorn
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the process, not to the server in it."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take those who have connected by now: what still waits at a listener is reset with it."""
        loop = asyncio.get_running_loop()
        taken = [connection for listener in sockets or [] for connection in _waiting(listener)]
        accepting = [
            asyncio.create_task(loop.connect_accepted_socket(self._connection, connection))
            for connection in taken
        ]
        await super().shutdown(sockets)
        await asyncio.gather(*accepting, return_exceptions=True)

    def _connection(self) -> asyncio.BaseProtocol:
        return self.config.http_protocol_class(
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )  # type: ignore[call-arg]


def _waiting(listener: socket.socket) -> Iterator[socket.socket]:
    """Accept whoever waits at a listener that does not block."""
    with contextlib.suppress(OSError):  # nobody is left, or it is closed
        while True:
            yield listener.accept()[0]


class Server:
    """Listens, serves, drains. One per process. ``url`` is where, with the port it got."""

    __slots__ = ("_places", "_protocol", "_running", "_settings", "_sockets", "_uvicorn", "url")

    def __init__(
        self,
        asgi: Asgi,
        settings: ServerSettings,
        *,
        ids: IdMaker,
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        self._settings = settings
        self._sockets = list(sockets)
        self.url = ""
        self._places = Pool(
            "connections", settings.connections_max, settings.connections_per_address_max
        )
        self._protocol: type[Protocol] = type(
            "BoundProtocol",
            (Protocol,),
            {
                "bounds": settings,
                "ids": ids,
                "places": self._places,
                "unsent": Pool("unread bytes", UNSENT_BYTES_MAX, UNSENT_BYTES_SHARE),
                "proxies": Proxies(settings.trusted_proxies),
            },
        )
        config = uvicorn.Config(
            asgi,
            loop="none",
            http=self._protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(settings.keep_alive_s) or 1,
            backlog=BACKLOG,
        )
        self._uvicorn = _Uvicorn(config)
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bind and begin to serve. Raises StartError when the address is not to be had.

        As many files are opened as the system lets this process have, and some are left to the
        rest of the platform: the connection that is one too many is refused in words.
        """
        connections = connections_for(raise_open_files())
        self._places.size = min(self._places.size, connections)
        self._places.share = min(self._places.share, max(1, connections // 2))
        if not self._sockets:
            self._sockets = [bind(self._settings.host, self._settings.port)]
        host, port = self._sockets[0].getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._running = asyncio.create_task(self._uvicorn.serve(sockets=self._sockets))
        while not self._uvicorn.started:
            if self._running.done():
                await self._running
                raise StartError("the HTTP server did not start")
            await asyncio.sleep(0)

    @property
    def leaving(self) -> bool:
        """Whether it is about to end: who asks whether it is ready is to ask others from now on."""
        return self._protocol.phase is not Phase.SERVING

    async def drain(self, seconds: float, *, lame_duck_s: float = 0.0) -> None:
        """Stop accepting, let running requests finish for at most ``seconds``, then close.

        For ``lame_duck_s`` before that it takes connections and requests as ever, and each answer
        says that it is the last of its connection: nobody's next request is lost.
        """
        if self._running is None:
            return
        self._protocol.phase = Phase.LEAVING
        for connection in list(self._uvicorn.server_state.connections):
            if isinstance(connection, Protocol):
                connection.leave()
        await asyncio.sleep(lame_duck_s)
        self._protocol.phase = Phase.DRAINING
        # Typed as whole seconds, and used as any number of them.
        self._uvicorn.config.timeout_graceful_shutdown = seconds  # type: ignore[assignment]  # used by uvicorn
        self._uvicorn.should_exit = True  # used by uvicorn
        await asyncio.gather(self._running, return_exceptions=True)
        self._running = None

    async def wait(self) -> None:
        """Wait until serving has ended."""
        if self._running is not None:
            await self._running


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
