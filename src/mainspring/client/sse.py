"""Server-sent events as they come in (WHATWG HTML, 9.2.6)."""

import re
from typing import Any

import msgspec

EVENT_BYTES_MAX = 16 << 20
_LINE_END = re.compile(rb"\r\n|\r|\n")


class StreamEvent(msgspec.Struct, frozen=True):
    """One event of a stream. ``id`` is where to go on after it; ``event`` names its kind."""

    data: str
    id: str | None = None
    event: str | None = None

    @property
    def json(self) -> Any:
        """What it tells, read as JSON."""
        return msgspec.json.decode(self.data)


class Parser:
    """Makes events of bytes, however they are cut. ``last_id`` is the newest id that was told."""

    def __init__(self, last_id: str | None = None) -> None:
        self.last_id = last_id
        self.retry_s: float | None = None
        self._rest = b""
        self._data: list[str] = []
        self._bytes = 0
        self._event: str | None = None
        self._id = last_id

    def feed(self, piece: bytes) -> list[StreamEvent]:
        """Return the events that are whole with this piece. Raises ValueError for one too long."""
        found: list[StreamEvent] = []
        text = self._rest + piece
        whole = len(text) - 1 if text.endswith(b"\r") else len(text)  # half of a CRLF, it may be
        lines = _LINE_END.split(text[:whole])
        self._rest = lines.pop() + text[whole:]
        for line in lines:
            self._bytes += len(line)
            self._take(line.decode("utf-8", "replace"), found)
        if self._bytes + len(self._rest) > EVENT_BYTES_MAX:
            raise ValueError(f"an event of the stream has more than {EVENT_BYTES_MAX} bytes")
        return found

    def _take(self, line: str, found: list[StreamEvent]) -> None:
        if not line:
            self._bytes = 0
            self.last_id = self._id
            if self._data:
                found.append(StreamEvent("\n".join(self._data), self._id, self._event))
            self._data, self._event = [], None
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isdigit():
            self.retry_s = int(value) / 1000
