"""What stands between a client and the platform, and lets go wrong what a test says."""

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import msgspec

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Fault(msgspec.Struct, frozen=True):
    """What happens to one request, instead of passing it on and back.

    ``unsent`` cuts before the platform has it, ``unanswered`` its answer after ``after_bytes``;
    ``answered`` gives another answer in its place.
    """

    kind: Literal["unsent", "unanswered", "answered"]
    after_bytes: int = 0
    answer: bytes = b""


def answered(status: str, **headers: str) -> Fault:
    """Return the fault of an answer that the platform never gave."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status}\r\n{lines}Content-Length: 0\r\nConnection: close\r\n\r\n"
    return Fault("answered", answer=head.encode())


class Between:
    """Passes one request a connection. ``faults`` are for the next requests, in order."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.faults: deque[Fault] = deque()
        self.seen: list[str] = []  # "POST /v1/users"
        self.heads: list[bytes] = []
        self.url = ""
        self._new = asyncio.Condition()

    async def asked(self, path: str) -> None:
        """Wait until something under this path was asked for."""
        async with self._new:
            await self._new.wait_for(lambda: any(path in each for each in self.seen))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._pass(reader, writer)
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.seen.append(" ".join(head.split(b" ", 2)[i].decode() for i in (0, 1)))
        self.heads.append(head)
        async with self._new:
            self._new.notify_all()
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length[1])) if length else b""
        fault = self.faults.popleft() if self.faults else None
        if fault is not None and fault.kind == "unsent":
            return
        if fault is not None and fault.kind == "answered":
            writer.write(fault.answer)
            return
        left = None if fault is None else fault.after_bytes
        behind_reader, behind = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            line, rest = head.split(b"\r\n", 1)
            behind.write(line + b"\r\nConnection: close\r\n" + rest + body)
            while (piece := await behind_reader.read(1 << 16)) and left != 0:
                cut = piece if left is None else piece[:left]
                left = None if left is None else left - len(cut)
                writer.write(cut)
                await writer.drain()
        finally:
            behind.close()


@asynccontextmanager
async def between(url: str) -> AsyncIterator[Between]:
    """Stand between a client and the platform at this URL."""
    made = Between(int(url.rpartition(":")[2]))
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield made
        server.close()
