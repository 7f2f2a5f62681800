"""A gateway's end of the stream on which one owner takes calls.

Calls share it as frames, so what gRPC's asyncio side costs is paid for what one turn of the event
loop sends, not for each of them. While there is no such stream, and where an owner of an earlier
version knows none, calls go one by one.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import structlog

from mainspring.adapters.peers.frames import (
    ANSWER,
    CANCEL,
    FAILED,
    LEAVES,
    NO_CALL,
    PIECE,
    Frame,
    NotFrames,
    Outbox,
    frames_of,
)
from mainspring.adapters.peers.grpc_wire import MESSAGE_BYTES_MAX

# How a call of gRPC says that it is over: where it is read, and where it is written to.
_ENDED = (grpc.aio.AioRpcError, asyncio.InvalidStateError)
_CODES = {code.name: code for code in grpc.StatusCode}


def ended(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    """Return how a call ended, as gRPC says it."""
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


class CallStream:
    """One stream, from when its owner said that it takes calls on it, until it ends.

    When it breaks, each of its calls ends with UNAVAILABLE, and says so where it was not sent.
    """

    def __init__(self, call: Any, leaves: Callable[[], None]) -> None:
        self._call = call
        self._leaves = leaves
        self._outbox = Outbox()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._parts: dict[int, bytearray] = {}
        self._number = NO_CALL
        self._closing = asyncio.Event()  # it takes no more calls
        self._idle = asyncio.Event()  # and has none any more
        self.ending = asyncio.create_task(self._run())

    @property
    def pending(self) -> int:
        """How many calls it has yet to answer."""
        return len(self._waiting)

    @property
    def open(self) -> bool:
        """Whether it takes calls."""
        return not self._closing.is_set()

    async def wait_closing(self) -> None:
        """Wait until it takes no more calls."""
        await self._closing.wait()

    async def ask(self, kind: int, message: bytes, time_s: float) -> bytes:
        """Make one call, and return its answer. Raises AioRpcError; a call that is given up ends.

        It takes no longer than ``time_s``.
        """
        loop = asyncio.get_running_loop()
        self._number = number = self._number + 1
        answer: asyncio.Future[bytes] = loop.create_future()
        self._waiting[number] = answer
        limit = loop.call_later(time_s, self._late, number)
        self._outbox.put(Frame(number, kind, message))
        try:
            return await answer
        finally:
            limit.cancel()
            if self._waiting.pop(number, None) is not None:
                self._forget(number)

    def _late(self, number: int) -> None:
        answer = self._waiting.pop(number, None)
        if answer is not None and not answer.done():
            why = ended(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in time")
            answer.set_exception(why)
            self._forget(number)

    def _forget(self, number: int) -> None:
        self._parts.pop(number, None)
        self._outbox.put(Frame(number, CANCEL))
        self._look_idle()

    def close(self) -> None:
        """Take no more calls, and end when those it has are answered."""
        self._closing.set()
        self._look_idle()

    def _look_idle(self) -> None:
        if self._closing.is_set() and not self._waiting:
            self._idle.set()

    async def _run(self) -> None:
        """Send and read, until either ends, or the last call of a stream that closes does."""
        doing = (self._read, self._write, self._idle.wait)
        parts = [asyncio.ensure_future(part()) for part in doing]
        why = "the stream of calls ended"
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in parts:
                if part.done():
                    part.result()
        except _ENDED as error:
            details = error.details() if isinstance(error, grpc.aio.AioRpcError) else error
            why = f"the stream of calls broke: {details}"
        except NotFrames as error:
            structlog.get_logger("mainspring.peers").error("owner_not_understood", why=str(error))
            why = "an owner was not understood"
        finally:
            self._closing.set()
            self._call.cancel()
            for part in parts:
                part.cancel()
            self._fail(why)
            await asyncio.wait(parts)

    async def _read(self) -> None:
        while (message := await self._call.read()) is not grpc.aio.EOF:
            for frame in frames_of(message):
                self._take(frame)

    async def _write(self) -> None:
        while True:
            await self._call.write(await self._outbox.taken())

    def _take(self, frame: Frame) -> None:
        """Hand an answer to whoever waits for it; for what was given up nobody does."""
        if frame.kind == LEAVES:
            self.close()
            self._leaves()
        elif frame.kind == PIECE:
            self._add(frame)
        elif frame.kind in (ANSWER, FAILED):
            before = self._parts.pop(frame.call, b"")
            answer = self._waiting.pop(frame.call, None)
            self._look_idle()
            if answer is None or answer.done():
                return
            if frame.kind == ANSWER:
                answer.set_result(bytes(before) + frame.data if before else frame.data)
            else:
                name, _, why = frame.data.decode(errors="replace").partition(" ")
                answer.set_exception(ended(_CODES.get(name, grpc.StatusCode.UNKNOWN), why))
        else:
            raise NotFrames(f"a frame of the kind {frame.kind}")

    def _add(self, frame: Frame) -> None:
        if frame.call not in self._waiting:
            return
        parts = self._parts.setdefault(frame.call, bytearray())
        parts += frame.data
        if len(parts) > MESSAGE_BYTES_MAX:
            raise NotFrames(f"an answer of more than {MESSAGE_BYTES_MAX} bytes")

    def _fail(self, why: str) -> None:
        """End each call; of those that were not sent it is known that nothing was done."""
        unsent = self._outbox.calls()
        for number, answer in self._waiting.items():
            if not answer.done():
                told = f"failed to connect: {why}" if number in unsent else why
                answer.set_exception(ended(grpc.StatusCode.UNAVAILABLE, told))
        self._waiting.clear()
        self._parts.clear()
