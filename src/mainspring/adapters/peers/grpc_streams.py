"""The streams that are kept open to one address, or to those behind one name."""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from mainspring.adapters.peers.grpc_stream import CallStream, ended

AGE_S_MAX = 60.0  # of a stream: the next may lead to another of the owners behind one name
FIRST_PAUSE_S, PAUSE_S_MAX = 0.1, 5.0  # before a stream is opened again
EARLIER_VERSION_S = 30.0  # before an owner is asked again whether it knows such streams by now
STREAMS_MAX = 8  # to those behind one name
LOOK_UP_EVERY_S = 30.0  # how many there are


class KeptStream:
    """Keeps one stream open over a channel; ``leaves`` hears that its owner is about to end."""

    def __init__(self, method: Callable[..., Any], leaves: Callable[[], None]) -> None:
        self._method, self._leaves = method, leaves
        self._stream: CallStream | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeping = self._begun(asyncio.create_task(self._keep()))

    def _begun(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def stream(self) -> CallStream | None:
        """Return the stream, while it takes calls."""
        stream = self._stream
        return stream if stream is not None and stream.open else None

    def close(self) -> None:
        """Open no more streams; the one that is open ends with its last call."""
        self._keeping.cancel()
        if self._stream is not None:
            self._stream.close()

    async def end(self) -> None:
        """End at once, with every call."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _keep(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                stream = await self._opened()
            except grpc.aio.AioRpcError as error:
                pause_s = min(2 * pause_s, PAUSE_S_MAX)
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    pause_s = EARLIER_VERSION_S
            else:
                before, self._stream = self._stream, stream
                self._begun(stream.ending)
                if before is not None:
                    before.close()
                began_s = time.monotonic()
                try:
                    async with asyncio.timeout(AGE_S_MAX):
                        await stream.wait_closing()
                except TimeoutError:
                    continue  # it goes on until there is another
                lasted = time.monotonic() - began_s > PAUSE_S_MAX
                pause_s = FIRST_PAUSE_S if lasted else min(2 * pause_s, PAUSE_S_MAX)
            await asyncio.sleep(pause_s)

    async def _opened(self) -> CallStream:
        """Open a stream, and wait until its owner says that it takes calls. Raises AioRpcError."""
        call = self._method(wait_for_ready=True)
        try:
            if await call.read() is grpc.aio.EOF:
                raise ended(grpc.StatusCode.UNAVAILABLE, "the owner takes no calls on a stream")
        except BaseException:
            call.cancel()
            raise
        return CallStream(call, self._leaves)


class KeptStreams:
    """A stream for each address of a name, since gRPC gives each new one to the next of them."""

    def __init__(self, address: str, leaves: Callable[[], None]) -> None:
        self._host, _, self._port = address.rpartition(":")
        self._leaves = leaves
        self._kept: list[KeptStream] = []
        self._looking: asyncio.Task[None] | None = None

    def open(self, method: Callable[..., Any]) -> None:
        """Begin to open them, by this method of a channel."""
        self._kept.append(KeptStream(method, self._leaves))
        self._looking = asyncio.create_task(self._look_up(method))

    def stream(self) -> CallStream | None:
        """Return the one with the least to do; None while there is none."""
        streams = [stream for kept in self._kept if (stream := kept.stream()) is not None]
        return min(streams, key=lambda stream: stream.pending, default=None)

    def close(self) -> None:
        """Open no more; those that are open end with their last call."""
        self._stop_looking()
        for kept in self._kept:
            kept.close()

    async def end(self) -> None:
        """End them at once, with every call."""
        self._stop_looking()
        await asyncio.gather(*(kept.end() for kept in self._kept))

    def _stop_looking(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    async def _look_up(self, method: Callable[..., Any]) -> None:
        """Open as many as the name has addresses. Of fewer addresses later some have two."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                found = await loop.getaddrinfo(
                    self._host.strip("[]"), self._port, type=socket.SOCK_STREAM
                )
            except OSError:
                found = []  # gRPC says so itself, and it is looked up again
            wanted = min(len({place for *_, place in found}), STREAMS_MAX)
            while len(self._kept) < wanted:
                self._kept.append(KeptStream(method, self._leaves))
            await asyncio.sleep(LOOK_UP_EVERY_S)
