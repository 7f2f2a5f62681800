"""One request of a connection: its body as it comes, and its answer as it goes out."""

import asyncio
import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Protocol

HEADER_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token (RFC 9110, section 5.6.2)
NO_HEADER_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
UNREAD_BYTES_MAX = 65_536  # of a body in memory before its peer is told to wait
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
STATUS_LINES = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, _PHRASES.get(status, b""))
    for status in range(100, 600)
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE = b"connection: close\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"

Headers = Sequence[tuple[bytes, bytes]]
Address = tuple[str, int]


class PeerGone(Exception):
    """The peer went away, or reads nothing any more. Nobody is left to be answered."""


class Wire(Protocol):
    """What a request needs of the connection that it came by."""

    writing_paused: bool
    address: str
    network: str
    peer: Address | None
    server: Address | None

    @property
    def transport(self) -> asyncio.Transport:
        """Where the answer is written."""
        ...

    def date_line(self) -> bytes:
        """Return the ``Date`` header of an answer that begins now."""
        ...

    def pause_reading(self) -> None:
        """Have the peer wait with what it still sends."""
        ...

    def resume_reading(self) -> None:
        """Take what the peer sends."""
        ...

    async def writable(self) -> None:
        """Wait until the peer has taken most of what was written, or is gone."""
        ...

    def finished(self) -> None:
        """Go on: the answer is whole."""
        ...


class Request:
    """What a peer asked, and the way to answer it.

    ``target`` is the raw path, ``authority`` the host that a whole URI as target names, and
    ``network`` what a limit on its ``address`` counts. ``status`` is what was answered, 0 until
    then. ``closes`` says that the answer is the last of its connection. ``gone`` says that nobody
    takes it any more, ``complete`` that it is whole, ``drains`` that the server wants to end:
    nobody but one that does cancels an answer.
    """

    # As long as nothing else is said. Most requests have no body and a whole answer.
    authority: bytes | None = None
    version = "1.1"
    status = 0
    gone = complete = started = drains = closes = expects_continue = False
    _told = False  # whether there is news of the body that nobody has taken
    _ended = False  # whether the body has come to its end
    _body: bytes | bytearray = b""
    _news: asyncio.Event | None = None
    _on_over: Callable[[], None] | None = None
    _chunked = False
    _left_bytes = 0  # of an answer whose length was said
    task: asyncio.Task[None] | None = None

    def __init__(
        self,
        wire: Wire,
        method: str,
        target: bytes,
        query: bytes,
        path: str,
        raw_headers: list[tuple[bytes, bytes]],
    ) -> None:
        self.wire = wire
        self.method = method
        self.target = target
        self.query = query
        self.path = path
        self.raw_headers = raw_headers
        self.headers = dict(raw_headers)
        # A body is announced by one of these, or there is none (RFC 9112, section 6.3).
        self.body_unread = b"content-length" in self.headers or b"transfer-encoding" in self.headers
        self.address = wire.address
        self.network = wire.network

    # The body

    def body_came(self, part: bytes) -> None:
        """Keep a part of the body until somebody reads it; nobody does beside an endless answer."""
        if self._on_over is not None:
            return
        if not self._body:
            self._body = part
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += part
        if len(self._body) > UNREAD_BYTES_MAX:
            self.wire.pause_reading()
        self._tell()

    def body_ended(self) -> None:
        """Note that the body has come to its end."""
        self._ended = True
        self._tell()

    def peer_left(self) -> None:
        """Note that nobody is there to be answered."""
        self.gone = True
        self._tell()
        over, self._on_over = self._on_over, None
        if over is not None:
            over()

    def _tell(self) -> None:
        self._told = True
        if self._news is not None:
            self._news.set()

    def take_body(self) -> bytes | None:
        """Return the whole body when it is here already and unread; else None."""
        if not self._ended or self.gone or self.complete:
            return None
        body, self._body, self._told = self._body, b"", False
        return bytes(body)

    async def receive(self) -> tuple[bytes, bool]:
        """Return the next part of the body, and whether more is to come.

        After the end it waits until the peer leaves or has its answer. Raises PeerGone then.
        """
        if self.expects_continue and not self.wire.transport.is_closing():
            self.wire.transport.write(CONTINUE)
        self.expects_continue = False
        if not (self._told or self.gone or self.complete):
            self.wire.resume_reading()
            if self._news is None:
                self._news = asyncio.Event()
            while not (self._told or self.gone or self.complete):
                self._news.clear()
                await self._news.wait()
        if self.gone or self.complete:
            raise PeerGone
        body, self._body, self._told = self._body, b"", False
        return bytes(body), not self._ended

    # The answer

    def whole(self, status: int, lines: bytes, body: bytes) -> bool:
        """Write a whole answer at once; ``lines`` are its headers, each with its line break.

        They bring a Content-Length where one belongs. Returns False, and does nothing, when the
        peer is gone or reads too slowly.
        """
        wire = self.wire
        if self.gone or self.started or wire.writing_paused:
            return False
        self.status = status
        if self.closes:
            lines += CLOSE
        if self.method == "HEAD":
            body = b""
        wire.transport.write(
            b"%b%b%b\r\n%b" % (STATUS_LINES[status], wire.date_line(), lines, body)
        )
        self.started = True
        self._complete()
        return True

    async def wholly(self, status: int, lines: bytes, body: bytes) -> None:
        """Write a whole answer once the peer reads, and nothing where it is gone."""
        self.status = status
        await self.wire.writable()
        self.whole(status, lines, body)

    async def begin(self, status: int, headers: Headers, also: bytes = b"") -> None:
        """Send the status line and headers, ``also`` such as are written already.

        Raises RuntimeError for one that is none.
        """
        await self.wire.writable()
        self.begin_now(status, headers, also)

    def begin_now(self, status: int, headers: Headers, also: bytes = b"") -> None:
        """Write the status line and headers, whether or not the peer takes them by now."""
        if self.gone:
            self.status = status
            return
        lines = [STATUS_LINES[status]]
        length: int | None = None
        dated = False
        for name, value in headers:
            if HEADER_NAME.fullmatch(name) is None or NO_HEADER_VALUE.search(value):
                raise RuntimeError(
                    f"{name!r}: {value!r} cannot be sent: a header is a token and text"
                )
            name = name.lower()
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                continue  # how an answer is cut is the connection's to say
            elif name == b"connection":
                self.closes = self.closes or b"close" in value.lower()
                continue
            dated = dated or name == b"date"
            lines.append(b"%b: %b\r\n" % (name, value))
        if not dated:
            lines.append(self.wire.date_line())
        if length is not None:
            self._left_bytes = length
        elif self.method != "HEAD" and status not in {204, 304}:
            if self.version == "1.1":
                self._chunked = True
                lines.append(CHUNKED)
            else:
                self.closes = True  # its end is that of the connection
                self._left_bytes = -1
        lines.append(also)
        if self.closes:
            lines.append(CLOSE)
        self.status = status
        self.started = True
        self.expects_continue = False
        self.wire.transport.write(b"".join(lines) + b"\r\n")

    async def send(self, part: bytes, *, more: bool) -> None:
        """Send a part of the body. Raises RuntimeError where that is not what was announced."""
        await self.wire.writable()
        self.send_now(part, more=more)

    def send_now(self, part: bytes, *, more: bool) -> None:
        """Write a part of the body, whether or not the peer takes it by now."""
        if self.gone:
            return
        if not self.started or self.complete:
            raise RuntimeError("a body comes behind its headers, and ends once")
        write = self.wire.transport.write
        if self.method == "HEAD":
            self._left_bytes = 0
        elif self._chunked:
            cut = chunk(part) if part else b""
            if cut or not more:
                write(cut if more else cut + b"0\r\n\r\n")
        elif self._left_bytes < 0:
            write(part)
        else:
            if len(part) > self._left_bytes:
                raise RuntimeError("the body is longer than its Content-Length")
            self._left_bytes -= len(part)
            write(part)
        if not more:
            if self._left_bytes > 0:
                raise RuntimeError("the body is shorter than its Content-Length")
            self._complete()

    def _complete(self) -> None:
        self.complete = True
        self.expects_continue = False
        self._on_over = None
        self._tell()
        if self.closes:
            self.wire.transport.close()
        self.wire.finished()

    # The end of a connection

    def abort(self) -> None:
        """Cut the connection off: its peer takes nothing any more."""
        self.gone = True
        self.wire.transport.abort()

    def break_off(self) -> None:
        """End the connection amid the answer: only that tells the peer that it is not whole."""
        self.wire.transport.close()

    @property
    def endless(self) -> bool:
        """Whether this answer has no end of its own."""
        return self._on_over is not None

    @property
    def chunked(self) -> bool:
        """Whether each part of the answer goes out as a chunk."""
        return self._chunked

    def lasts_until(self, over: Callable[[], None]) -> None:
        """Say that this answer has no end of its own.

        ``over`` is called once the peer has left, and once the server wants to end.
        """
        self._on_over = over
        self.wire.resume_reading()  # or nobody would notice that the peer leaves
        self._body = b""
        if self.gone or self.drains:
            over()

    def drain(self) -> None:
        """Say that the server wants to end. An endless answer is to end by itself then."""
        self.drains = True
        if self._on_over is not None:
            self._on_over()


def chunk(part: bytes) -> bytes:
    """Cut a part of a body as a chunk (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(part), part)
