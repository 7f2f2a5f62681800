"""A stretch of network in front of a real server, which a test holds, slows, cuts and closes."""

import asyncio
import ssl
from pathlib import Path
from typing import Self

from mainspring.runtime.notifier import wait

READ_BYTES = 65_536


class Relay:
    """Passes bytes on between those who connect to ``port`` and a server on loopback.

    The server is known by its port, or by the path of its socket.

    ``requests`` and ``replies`` are open gates: one that is cleared holds what comes, in order, and
    ``held`` counts the pieces that wait. Another that is put in its place is that of connections
    from then on. ``asked`` is set when something was passed on, in either direction. While it is
    not ``open`` it hangs up on everybody; with ``passes_bytes`` it does so once the sender has sent
    so many. With ``tls`` it speaks that to those who connect.
    """

    def __init__(self, server: int | Path, *, tls: ssl.SSLContext | None = None) -> None:
        self._far = server
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.requests, self.replies = asyncio.Event(), asyncio.Event()
        self.requests.set()
        self.replies.set()
        self.delay_s = 0.0
        self.held = 0
        self.open = True
        self.passes_bytes: int | None = None
        self.asked = asyncio.Event()
        self.connections = self.connections_now = self.connections_most = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def leads_to(self, server: int | Path) -> None:
        """Pass on to this server from now on."""
        self._far = server

    @property
    def endpoint(self) -> str:
        """The address of its beginning, as HTTP has it."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def stall(self) -> None:
        """Hold what comes from either side, on the connections there are."""
        self.requests.clear()
        self.replies.clear()

    def go_on(self) -> None:
        """Let what was held pass, and what comes."""
        self.requests.set()
        self.replies.set()

    def cut(self) -> None:
        """End every connection, with what is held of it. New ones are taken as before."""
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()

    def hang_up(self) -> None:
        """End every connection, and take none until it is ``open`` again."""
        self.open = False
        self.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        self.connections_now += 1
        self.connections_most = max(self.connections_most, self.connections_now)
        ends = [writer]
        self._writers.add(writer)
        try:
            if self.open:
                far = await self._connect()
                ends.append(far[1])
                self._writers.add(far[1])
                await self._join(reader, writer, *far)
        except (OSError, asyncio.CancelledError):
            pass  # one of them is gone, or the test is over: so is the other now
        finally:
            self.connections_now -= 1
            for end in ends:
                self._writers.discard(end)
                end.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._far, Path):
            return await asyncio.open_unix_connection(self._far)
        return await asyncio.open_connection("127.0.0.1", self._far)

    async def _join(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        """Pass on in both directions until one of them ends."""
        ways = [
            asyncio.ensure_future(self._pass(reader, far_writer, self.requests, self.passes_bytes)),
            asyncio.ensure_future(self._pass(far_reader, writer, self.replies, None)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        gate: asyncio.Event,
        left: int | None,
    ) -> None:
        while chunk := await reader.read(READ_BYTES):
            if self.delay_s:
                await wait(asyncio.Event(), self.delay_s)  # a link that is slow, and nothing else
            self.held += 1
            try:
                await gate.wait()
            finally:
                self.held -= 1
            if left is not None:
                left -= len(chunk)
                if left < 0:
                    return
            writer.write(chunk)
            self.asked.set()
            await writer.drain()
