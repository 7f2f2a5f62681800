"""A stretch of network that a test can hold, let go and cut, in front of a real server."""

import asyncio
import ssl
from typing import Self

READ_BYTES = 65_536


class Relay:
    """Passes bytes on between those who connect to ``port`` and a server on loopback.

    ``requests`` and ``replies`` are open gates; a gate that is cleared holds what comes, in order.
    Another gate that is put in its place is that of connections from then on. With ``tls`` it
    speaks that to those who connect.
    """

    def __init__(self, server_port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self._server_port = server_port
        self._tls = tls
        self._passing: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.requests, self.replies = asyncio.Event(), asyncio.Event()
        self.requests.set()
        self.replies.set()
        self.delay_s = 0.0
        self.port = 0
        self.held = 0  # pieces that wait at a gate

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def cut(self) -> None:
        """End every connection, with what is held of it. New ones are taken as before."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        for task in self._passing:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(far_writer)
        for way in (
            self._pass(reader, far_writer, self.requests),
            self._pass(far_reader, writer, self.replies),
        ):
            task = asyncio.create_task(way)
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event
    ) -> None:
        try:
            while data := await reader.read(READ_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                self.held += 1
                await gate.wait()
                self.held -= 1
                writer.write(data)
        except OSError:
            pass  # whoever was there is told below
        finally:
            writer.transport.abort()
