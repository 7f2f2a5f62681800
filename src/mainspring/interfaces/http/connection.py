"""One connection of HTTP/1.1, parsed by llhttp, with bounds on what it may cost.

Everything in it is bounded: heads, framing, trailers, unread bodies and answers, and time.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from enum import Enum
from typing import Any
from urllib.parse import unquote

import httptools
import structlog

from mainspring.interfaces.http import security_headers
from mainspring.interfaces.http.exchange import Exchange, lines_of
from mainspring.interfaces.http.lingering import LINGER_BYTES_MAX, LINGER_S, Lingering
from mainspring.interfaces.http.problem import MEDIA_TYPE, Defect, body_of, headers_of
from mainspring.interfaces.http.proxies import Proxies, network_of
from mainspring.interfaces.http.request import CLOSE, STATUS_LINES, Address
from mainspring.interfaces.http.server_settings import ServerSettings
from mainspring.kernel.errors import Failure, HeadersTooLarge, Malformed, Timeout
from mainspring.kernel.ids import IdMaker
from mainspring.kernel.pool import Pool

UNSENT_BYTES_MAX = 1 << 30  # of answers that peers have not taken yet; beyond it calls are refused
UNSENT_BYTES_SHARE = 256 << 20  # of them by one address
FAREWELL_S = 1.0  # how long an endless answer may take to end once the server drains
PARTING_S = 1.0  # who used a connection within it may be about to ask again when the server drains
FRAMING_PER_BYTE_MAX = (
    16  # what chunking may add to a byte of a body: a chunk each, its size padded
)
PIECE_BYTES = 16_384  # parsed at a time: requests behind a running one are not held as objects
VERSIONS = frozenset({"1.0", "1.1"})

Serve = Callable[[Exchange], Coroutine[Any, Any, None]]

log = structlog.get_logger("mainspring.http")


class Phase(Enum):
    """What a server is about to do."""

    SERVING = 1
    LEAVING = 2  # it serves on; each answer says that it is the last of its connection
    DRAINING = 3  # it takes no new connections, and closes each once it has nothing to answer


class Shared:
    """What the connections of one server have in common. ``serve`` answers a request."""

    def __init__(self, serve: Serve, settings: ServerSettings, ids: IdMaker) -> None:
        self.serve = serve
        self.bounds = settings
        self.ids = ids
        self.places = Pool(
            "connections", settings.connections_max, settings.connections_per_address_max
        )
        self.unsent = Pool("unread bytes", UNSENT_BYTES_MAX, UNSENT_BYTES_SHARE)
        self.proxies = Proxies(settings.trusted_proxies)
        self.phase = Phase.SERVING
        self.connections: set[HttpConnection] = set()
        self.running: set[Exchange] = set()
        self.handshakes: set[asyncio.Task[Any]] = set()  # of TLS, before a first request
        self.idle = asyncio.Event()  # once it drains: nobody is connected, and nothing runs
        self._date = b""
        self._date_until_s = 0.0

    def date_line(self, now_s: float) -> bytes:
        """Return the ``Date`` header (RFC 9110, section 6.6.1), made once a second."""
        if now_s >= self._date_until_s:
            self._date = b"date: %b\r\n" % formatdate(usegmt=True).encode()
            self._date_until_s = now_s + 1.0
        return self._date

    def left(self) -> None:
        """Note that a connection or a request has come to its end."""
        busy = self.connections or self.running or self.handshakes
        if self.phase is Phase.DRAINING and not busy:
            self.idle.set()


class HttpConnection(asyncio.Protocol):
    """One connection. At most one request of it runs; those behind it wait their turn."""

    transport: Lingering

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._parser: Any = httptools.HttpRequestParser(self)
        # A request behind one that says ``HttpConnection: close`` is dropped, and no error.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.address = self.network = ""
        self.peer: Address | None = None
        self.server: Address | None = None
        self.writing_paused = False
        self._reading_paused = False
        self._writable: asyncio.Event | None = None
        self._holder: str | None = None
        self._unsent_bytes = 0
        # The clock: what happens when the time is up.
        self._due_s = 0.0
        self._then: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0
        self._used_s = self._loop.time()
        self._keep_alive_s = shared.bounds.keep_alive_s
        # The requests: the one that runs, those that wait, and the one whose body comes.
        self._running: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._coming: Exchange | None = None
        # What is being parsed.
        self._unparsed = b""
        self._in_head = True
        self._head_bytes = 0
        self._body_bytes = self._framing_bytes = self._quiet_bytes = self._lingered_bytes = 0
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._expects_continue = False

    # The transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock for the first request; refuse one connection too many."""
        self.transport = Lingering(transport, self._loop)
        self._shared.connections.add(self)
        try:
            if self._holder is None:
                self.meet(
                    transport.get_extra_info("peername"), transport.get_extra_info("sockname")
                )
        except Failure as failure:
            self._refuse(failure)
            return
        self._within(self._shared.bounds.header_timeout_s, self._too_slow)
        if self._shared.phase is Phase.DRAINING:
            self.shutdown()

    def meet(self, peer: Any, server: Any) -> None:
        """Note who the peer is and count this connection for its address. Raises Failure.

        Each that a proxy makes is somebody else's. With TLS it comes before the handshake.
        """
        self.peer, self.server = _address(peer), _address(server)
        if self.peer is not None:
            self.address = self.peer[0]
        self.network = network_of(self.address)
        proxied = self._shared.proxies.trusts(self.address)
        holder = f"proxied {id(self)}" if proxied else self.network
        self._shared.places.take(holder)
        self._holder = holder

    def give_back_place(self) -> None:
        """Leave the place to another."""
        if self._holder is not None:
            self._shared.places.give_back(self._holder)
            self._holder = None

    def connection_lost(self, _: Exception | None) -> None:
        """Stop the clock, tell who answers, and leave the place to another."""
        self._then = None
        if self._timer is not None:
            self._timer.cancel()
        self.transport.lost()
        self._note_sent()
        self.give_back_place()
        for request in (self._running, self._coming, *self._waiting):
            if request is not None and not request.complete:
                request.peer_left()
        # Each holds this connection: in a circle, they would wait for the garbage collector.
        self._running = self._coming = None
        self._waiting.clear()
        self._resume_writing()
        self._parser = None  # it holds this connection
        self._shared.connections.discard(self)
        self._shared.left()

    def pause_writing(self) -> None:  # used by asyncio
        """Note what of an answer waits for its peer: an unread one stays in memory for a while.

        One without an end is cut off where that is too much: its follower resumes where it was.
        """
        self.writing_paused = True
        if self._holder is None or self._unsent_bytes:
            return
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._shared.unsent.note(self._holder, self._unsent_bytes)
        if self._running is not None and self._running.endless:
            try:
                self._shared.unsent.check(self._holder, 0)
            except Failure:
                self._running.abort()

    def resume_writing(self) -> None:  # used by asyncio
        """Note that the peer has taken it."""
        self._note_sent()
        self._resume_writing()

    def _resume_writing(self) -> None:
        self.writing_paused = False
        if self._writable is not None:
            self._writable.set()

    def _note_sent(self) -> None:
        if self._holder is not None and self._unsent_bytes:
            self._shared.unsent.give_back(self._holder, self._unsent_bytes)
        self._unsent_bytes = 0

    async def writable(self) -> None:
        """Wait until the peer has taken most of what was written, or is gone."""
        while self.writing_paused:
            if self._writable is None:
                self._writable = asyncio.Event()
            self._writable.clear()
            await self._writable.wait()

    def pause_reading(self) -> None:
        """Have the peer wait with what it still sends."""
        if not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take what the peer sends."""
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resume_reading()

    def date_line(self) -> bytes:
        """Return the ``Date`` header of an answer that begins now."""
        return self._shared.date_line(self._loop.time())

    # The end

    def leave(self) -> None:
        """Have the answer say that it is the last of this connection, if it has not begun."""
        last = self._coming
        if last is not None and not last.started:
            last.closes = True

    def shutdown(self) -> None:
        """Begin to close: after the answer, which is asked to end, or when nobody asks any more.

        A client that did not hear of it and got an answer a moment ago may be about to send its
        next request, which would be lost: it has ``PARTING_S`` for that.
        """
        self.transport.hasten(FAREWELL_S)
        self._keep_alive_s = PARTING_S
        last = self._coming
        if last is not None and not last.complete:
            if last.endless or not last.started:
                last.closes = True
            if self._running is not None:
                self._drain(self._running)
        elif not self._in_head:
            self.transport.close()
        elif not self._head_bytes:
            self._within(max(0.0, self._used_s + PARTING_S - self._loop.time()), self._part)

    def _drain(self, request: Exchange) -> None:
        """Ask an endless answer to end; cut it off when its peer does not take even that."""
        request.drain()
        if request.endless:
            self._loop.call_later(FAREWELL_S, self._cut_off, request)

    def _cut_off(self, request: Exchange) -> None:
        if not request.complete:
            request.abort()

    def _part(self) -> None:
        """Close, unless the next request has begun to come meanwhile."""
        if self._head_bytes:
            self._within(self._shared.bounds.header_timeout_s, self._too_slow)
        else:
            self.transport.close()

    # What comes in

    def data_received(self, data: bytes) -> None:  # used by asyncio
        """Take what came. Raises nothing: what cannot be parsed is answered and closed upon."""
        if self.transport.is_closing():
            self.transport.drop(len(data))
            return
        if self._unparsed or self._waiting or len(data) > PIECE_BYTES:
            self._unparsed = self._unparsed + data if self._unparsed else data
        else:
            self._parse(data)
        self._parse_on()

    def _parse_on(self) -> None:
        """Parse until a request has to wait for the one before it; the rest stays as it came.

        A request of thirty bytes is thousands once it is parsed, and a peer may send any number
        before it takes an answer.
        """
        while self._unparsed and not (self._waiting or self.transport.is_closing()):
            data, self._unparsed = self._unparsed[:PIECE_BYTES], self._unparsed[PIECE_BYTES:]
            self._parse(data)
        if self._waiting:
            self.pause_reading()
        elif self._in_head and self._head_bytes and self._then != self._too_slow:
            self._within(self._shared.bounds.header_timeout_s, self._too_slow)
        if self._unparsed and self.transport.is_closing():
            self._unparsed = b""

    def _parse(self, data: bytes) -> None:
        size = len(data)
        if self._in_head:
            self._head_bytes += size
        elif not self._bears_framing(size):
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The offer is ignored (RFC 9110, section 7.8); what follows it is another protocol.
            if self._coming is not None:
                self._coming.closes = True
        except (httptools.HttpParserError, UnicodeError):
            self._refuse(Malformed("this is not HTTP/1.1"))
        if self._head_bytes > self._shared.bounds.header_bytes_max and self._in_head:
            self._refuse(HeadersTooLarge(self._headers_max()))

    def _bears_framing(self, size: int) -> bool:
        """Bound what comes behind a head and is no body: chunk sizes, extensions, trailers.

        It is the parser that drops extensions, and that holds a trailer until its end. Returns
        False once this connection was refused.
        """
        answered = self._coming is None or self._coming.complete
        if answered:
            self._lingered_bytes += size
            if self._lingered_bytes > LINGER_BYTES_MAX:
                self.transport.abort()
                return False
        self._framing_bytes += size
        self._quiet_bytes += size
        header_bytes_max = self._shared.bounds.header_bytes_max
        framing_max = header_bytes_max + FRAMING_PER_BYTE_MAX * self._body_bytes
        if (
            self._quiet_bytes - size <= header_bytes_max
            and self._framing_bytes - size - self._body_bytes <= framing_max
        ):
            return True
        if answered:
            self.transport.abort()
        else:
            self._refuse(HeadersTooLarge("chunk extensions or trailers over the bound of headers"))
        return False

    # What the parser finds

    def on_message_begin(self) -> None:  # used by httptools
        """Begin the next request's bounds; it may have begun behind another in one packet."""
        self._in_head = True
        self._head_bytes = self._head_bytes or 1
        self._url = b""
        self._headers = []
        self._expects_continue = False

    def on_url(self, url: bytes) -> None:  # used by httptools
        """Take a part of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:  # used by httptools
        """Take a header. A trailer is none (RFC 9110, section 6.5.1), and nobody asks for any."""
        if self._in_head:
            name, value = name.lower(), value.rstrip(b" \t")  # RFC 9110, section 5.5
            if name == b"expect" and value.lower() == b"100-continue":
                self._expects_continue = True
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:  # used by httptools
        """Check the size of what was parsed, then hand the request over."""
        shared = self._shared
        if self._head_bytes > shared.bounds.header_bytes_max:
            size = len(self._url) + sum(len(n) + len(v) + 4 for n, v in self._headers)
            if size > shared.bounds.header_bytes_max:
                return  # _parse refuses it: it is still in its head
        version = self._parser.get_http_version()
        if version not in VERSIONS:
            raise httptools.HttpParserError("another version of HTTP")
        if shared.unsent.taken and self._holder is not None:
            try:
                shared.unsent.check(self._holder, 0)
            except Failure as failure:
                self._refuse(failure)
                return
        self._in_head = False
        self._head_bytes = self._body_bytes = self._framing_bytes = self._quiet_bytes = 0
        self._then = None
        self._coming = exchange = self._exchange()
        if version != "1.1":
            exchange.version = version
            exchange.closes = True
        elif shared.phase is not Phase.SERVING or not self._parser.should_keep_alive():
            exchange.closes = True
        if self._expects_continue:
            exchange.expects_continue = True
        if self._running is None:
            self._start(exchange)
        else:
            self.pause_reading()
            self._waiting.append(exchange)

    def _exchange(self) -> Exchange:
        """Read method, path and query. Raises UnicodeError, HttpParserError."""
        url, authority = self._url, None
        if url[:1] == b"/" and b"#" not in url:
            target, _, query = url.partition(b"?")
        elif url == b"*":
            target, query = url, b""
        else:
            parsed = httptools.parse_url(url)
            if parsed.userinfo is not None:
                raise httptools.HttpParserError("credentials in a target")
            target, query = parsed.path or b"/", parsed.query or b""
            # It counts, and not what Host says (RFC 9112, section 3.2.2).
            authority = parsed.host or b""
        path = target.decode("ascii")
        if "%" in path:
            path = unquote(path)
        method = self._parser.get_method().decode("ascii")
        exchange = Exchange(self, method, target, query, path, self._headers)
        if authority is not None:
            exchange.authority = authority
        if self.transport.secure:
            exchange.scheme = "https"
        return exchange

    def on_body(self, body: bytes) -> None:  # used by httptools
        """Take a part of the body."""
        if not self._in_head:
            self._body_bytes += len(body)
            self._quiet_bytes = 0
            if self._coming is not None and not self._coming.complete:
                self._coming.body_came(body)

    def on_message_complete(self) -> None:
        """Note the end of a request."""
        if self._in_head:
            return
        self._in_head = True
        self._head_bytes = self._lingered_bytes = 0
        coming = self._coming
        if coming is not None and not coming.complete:
            coming.body_ended()
        elif self._running is None:
            self._rest()  # what lingered has come to its end

    # The turn of each request

    @property
    def waiting(self) -> int:
        """How many requests wait for the one that runs."""
        return len(self._waiting)

    def _start(self, exchange: Exchange) -> None:
        self._running = exchange
        self._shared.running.add(exchange)
        if self._shared.phase is Phase.DRAINING:
            exchange.drains = True
        exchange.task = self._loop.create_task(self._serve(exchange))

    async def _serve(self, exchange: Exchange) -> None:
        """Have a request answered; whatever went wrong ends its connection, and no other."""
        try:
            await self._shared.serve(exchange)
            if not (exchange.complete or exchange.gone):
                exchange.break_off()
        except Exception as error:
            log.error("answer_failed", exc_info=error, request_id=exchange.request_id)
            if exchange.started:
                exchange.break_off()
            else:
                self._refuse(Defect())
        finally:
            exchange.task = None  # its context holds what holds the exchange
            self._shared.running.discard(exchange)
            if self._shared.phase is Phase.DRAINING:
                self._shared.left()

    def finished(self) -> None:
        """Go on to the next request, or wait a while for the rest of this one."""
        self._used_s = self._loop.time()
        self._running = None
        if self.transport.is_closing():
            return
        if self._waiting:
            self._start(self._waiting.popleft())
        elif self._in_head:
            self._rest()
        else:
            self._within(LINGER_S, self.transport.abort)
        if not self._waiting:
            self.resume_reading()
        if self._unparsed or self._head_bytes:
            self._parse_on()

    def _rest(self) -> None:
        """Wait for the next request."""
        self._within(self._keep_alive_s, self._close_unused)

    def _close_unused(self) -> None:
        self.transport.close()

    # The clock

    def _within(self, seconds: float, then: Callable[[], None]) -> None:
        """Have something done after a while, in place of what was to be done before.

        A timer that runs goes on where it is early enough, and looks again: requests that follow
        one another need none of their own.
        """
        self._due_s = self._loop.time() + seconds
        self._then = then
        if self._timer is None or self._timer_s > self._due_s:
            self._look_in(seconds)

    def _look_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = self._loop.time() + seconds
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        then = self._then
        if then is None:
            return
        left_s = self._due_s - self._loop.time()
        if left_s > 0:
            self._look_in(left_s)
            return
        self._then = None
        then()

    def _too_slow(self) -> None:
        if self._in_head and self._head_bytes:
            limit = self._shared.bounds.header_timeout_s
            self._refuse(Timeout(f"the headers took longer than {limit:g} s"))
        else:
            self.transport.close()  # connected and never said a word

    # Refusals

    def _headers_max(self) -> str:
        return f"headers have at most {self._shared.bounds.header_bytes_max} bytes"

    def _refuse(self, failure: Failure) -> None:
        """Answer in place of the app, unless its answer has begun, and close."""
        if self.transport.is_closing():
            return
        last = self._coming
        running = last is not None and not last.complete
        if last is None or not running or not (last.started or self._waiting):
            request_id = self._shared.ids.new("req")
            # What it was for could not be read, or is still to come.
            body = body_of(failure, instance="", request_id=request_id)
            head = lines_of([
                (b"content-type", MEDIA_TYPE), (b"content-length", b"%d" % len(body)),
                (b"request-id", request_id.encode()),
                security_headers.NO_STORE, *security_headers.API, *headers_of(failure),
            ])  # fmt: skip
            self.transport.write(STATUS_LINES[failure.status] + head + CLOSE + b"\r\n" + body)
        if last is not None and running:
            last.peer_left()
        if self._holder is None:
            self.transport.close_now()
        else:
            self.transport.close()


def _address(name: Any) -> Address | None:
    """Read what a socket says of one of its ends; there is none on a Unix socket."""
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
