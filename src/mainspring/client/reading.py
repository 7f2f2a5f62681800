"""Answers that are read piece by piece: streams that are followed, and downloads."""

from collections.abc import Iterable

from mainspring.client.core import Core, Request, header_lines
from mainspring.client.errors import ClientError, StreamEnded, Unreachable, refusal
from mainspring.client.sse import Parser, StreamEvent

FOLLOW_TRIES = 10  # in a row, of a stream that breaks off: half a minute of waits
_OF_THE_STREAM = frozenset({"ready", "end"})  # told by the platform to the client, not to its user
Headers = Iterable[tuple[str, str]]


class _Tries:
    """How often in a row a connection broke."""

    def __init__(self, tries: int) -> None:
        self._tries = tries
        self.failures = 0

    def broke(self, why: str) -> None:
        """Take note. Raises Unreachable after too many in a row."""
        self.failures += 1
        if self.failures > self._tries:
            raise Unreachable(f"{why} ({self.failures} tries)") from None

    def pause_s(self, core: Core) -> float:
        """Return how long to wait before the next try."""
        return core.pause_s(self.failures) if self.failures else 0.0


class Following(_Tries):
    """A stream, over as many connections as it takes."""

    def __init__(self) -> None:
        super().__init__(FOLLOW_TRIES)
        self.over = False
        self.renew = False  # the session, before it is opened again
        self._parser = Parser()
        self._said_end = False

    def headers(self) -> dict[str, str]:
        """Return what it is opened with: the place after the last event that was handed on."""
        self._parser = Parser(self._parser.last_id)
        self._said_end = False
        sent = {"Accept": "text/event-stream"}
        return {**sent, "Last-Event-ID": self._parser.last_id} if self._parser.last_id else sent

    def began(self, status: int, headers: Headers, body: bytes) -> None:
        """Look at the head of the answer. Raises ApiError, unless it may fare better later."""
        if status in (502, 503, 504):
            self.broke(f"answered {status}")
            self._parser.retry_s = self._parser.retry_s or 1.0
        elif status == 401 and not self.renew:
            self.renew = True
            self._said_end = True
        elif status >= 400:
            raise refusal(status, header_lines(headers), body)

    def events(self, piece: bytes) -> list[StreamEvent]:
        """Return the events that are whole with this piece."""
        found = self._parser.feed(piece)
        if found:
            self.failures, self.renew = 0, False
        for each in found:
            if each.event == "end":
                self._end(each)
        return [each for each in found if each.event not in _OF_THE_STREAM]

    def _end(self, event: StreamEvent) -> None:
        told = event.json
        if told["end"] != "unauthenticated":  # that one is opened again, as who calls now
            raise StreamEnded(told["end"], told["detail"])
        self._said_end = True

    def ended(self) -> None:
        """Take note that the answer ended as a whole one does."""
        self.renew = self.renew or self._said_end
        self.over = not self._said_end and self._parser.retry_s is None

    def pause_s(self, core: Core) -> float:
        """Return how long to wait before it is opened again."""
        if self.over:
            return 0.0
        if self._parser.retry_s:  # all followers of a server that stops heard the same
            return self._parser.retry_s + core.pause_s(1)
        return super().pause_s(core)


class Fetching(_Tries):
    """A body, over as many connections as it takes."""

    def __init__(self, tries: int) -> None:
        super().__init__(tries)
        self.whole = False
        self.elsewhere: str | None = None  # the store's URL, which is good for a while
        self._read_bytes = 0
        self._etag = ""

    def headers(self) -> dict[str, str]:
        """Return what it is asked for with: what is not there yet, of the same body."""
        if not self._read_bytes:
            return {"Accept-Encoding": "identity"}
        rest = f"bytes={self._read_bytes}-"
        return {"Range": rest, "If-Range": self._etag, "Accept-Encoding": "identity"}

    def sent_elsewhere(self, request: Request) -> Request:
        """Return the request itself, or that of the store which the platform named last."""
        if self.elsewhere is None:
            return request
        url, self.elsewhere = self.elsewhere, None
        return Request("GET", url, self.headers(), None, request.timeout_s)

    def began(self, status: int, headers: Headers, body: bytes) -> None:
        """Look at the head of the answer. Raises ApiError; ClientError for another body."""
        found = header_lines(headers)
        if status >= 400:
            raise refusal(status, found, body)
        if status >= 300:
            self.elsewhere = found["location"]
            return
        if self._read_bytes and status != 206:
            raise ClientError("the connection broke off, and the file is another one now")
        self._etag = found.get("etag", "")

    def got(self, size_bytes: int) -> None:
        """Take note of a piece."""
        self._read_bytes += size_bytes
        self.failures = 0

    def ended(self) -> None:
        """Take note that it is whole, unless it is to be fetched elsewhere."""
        self.whole = self.elsewhere is None

    def broke(self, why: str) -> None:
        """Take note. Raises Unreachable also where it cannot be gone on with."""
        self.elsewhere = None
        if self._read_bytes and not self._etag.startswith('"'):
            raise Unreachable(f"{why}: it has no entity tag to go on by")
        super().broke(why)
