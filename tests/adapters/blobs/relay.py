"""A relay between the platform and a store, which a test has cut, stall or refuse."""

import asyncio
import contextlib
import ssl
from typing import Self
from urllib.parse import urlsplit


class Relay:
    """Use it as ``async with Relay(endpoint) as relay``; ``relay.endpoint`` leads there.

    ``asked`` is set when something is on its way there, and no answer came back yet.

    While it is not ``open`` it hangs up on everybody. With ``passes_bytes`` each connection is cut
    when the sender has sent so many; while it is ``stalled`` nothing passes in either direction.
    """

    def __init__(self, endpoint: str, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._where = urlsplit(endpoint)
        self.open, self.stalled = True, False
        self.passes_bytes: int | None = None
        self.asked = asyncio.Event()
        self.connections = self.connections_now = self.connections_most = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        port = self._server.sockets[0].getsockname()[1]
        self.endpoint = f"{'https' if self._context else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.hang_up()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hang_up(self) -> None:
        """Cut every connection, and take none until it is ``open`` again."""
        self.open = False
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        self.connections_now += 1
        self.connections_most = max(self.connections_most, self.connections_now)
        try:
            if self.open:
                there = await asyncio.open_connection(self._where.hostname, self._where.port)
                with contextlib.closing(there[1]):
                    passed = self._pass(reader, there[1], self.passes_bytes)
                    directions = [
                        asyncio.ensure_future(passed),
                        asyncio.ensure_future(self._pass(there[0], writer, None)),
                    ]
                    try:
                        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        for direction in directions:
                            direction.cancel()
        except (OSError, asyncio.CancelledError):
            pass  # one of them is gone, or the test is over: so is the other now
        finally:
            self.connections_now -= 1
            writer.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None
    ) -> None:
        while chunk := await reader.read(65_536):
            if self.stalled:
                await asyncio.Event().wait()
            if left is not None:
                left -= len(chunk)
                if left < 0:
                    return
            writer.write(chunk)
            self.asked.set()
            await writer.drain()
