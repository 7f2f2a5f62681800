"""An owner's end of a stream of calls: it runs what comes, and answers in turn."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
import grpc.aio
import msgspec
import structlog

from mainspring.adapters.peers.frames import (
    ANSWER,
    CANCEL,
    FAILED,
    LEAVES,
    NO_CALL,
    Frame,
    NotFrames,
    Outbox,
    frames_of,
    written,
)
from mainspring.adapters.peers.grpc_wire import MESSAGE_BYTES_MAX

RUNNING_MAX = 2_000  # calls of one stream; while as many run, no more of it is read
# Answers that wait to be sent on one stream; while as much does, no more of it is read.
WAITING_BYTES_MAX = 16 << 20
# Reads what came, and returns what answers it. Raises msgspec.DecodeError for what cannot be read.
Method = Callable[[bytes], Callable[[], Awaitable[bytes]]]


class NoAnswer(Exception):
    """A defect ends a call: its log tells of it, and whoever called hears only this."""


class CallsOnStream:
    """The calls of one stream. They end with it, as who called has gone.

    ``methods`` are what a call and a question of who calls are answered by.
    """

    def __init__(self, context: Any, leaving: asyncio.Event, methods: Mapping[int, Method]) -> None:
        self._context = context
        self._leaving = leaving
        self._methods = methods
        self._outbox = Outbox()
        self._running: dict[int, asyncio.Task[None]] = {}
        self._all: set[asyncio.Task[None]] = set()  # also those that were cancelled, and end yet
        self._room = asyncio.Event()
        self._log = structlog.get_logger("mainspring.peers")

    async def run(self) -> None:
        """Take calls until the stream ends. What is not understood ends it."""
        if self._leaving.is_set():
            await self._context.abort(grpc.StatusCode.UNAVAILABLE, "the owner leaves")
        doing = (self._read, self._write, self._say_that_it_leaves)
        parts = [asyncio.ensure_future(part()) for part in doing]
        reads, writes, _ = parts
        try:
            await asyncio.wait({reads, writes}, return_when=asyncio.FIRST_COMPLETED)
            for part in (reads, writes):
                if part.done():
                    part.result()
        except NotFrames as error:
            self._log.warning("stream_not_understood", peer=self._context.peer(), why=str(error))
            await self._context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not understood")
        finally:
            ending = {*parts, *self._all}
            for task in ending:
                task.cancel()
            await asyncio.wait(ending)

    async def _say_that_it_leaves(self) -> None:
        await self._leaving.wait()
        self._outbox.put(Frame(NO_CALL, LEAVES))

    async def _read(self) -> None:
        while (message := await self._context.read()) is not grpc.aio.EOF:
            for frame in frames_of(message):
                while self._is_full():
                    self._room.clear()
                    await self._room.wait()
                self._take(frame)

    def _is_full(self) -> bool:
        return len(self._all) >= RUNNING_MAX or self._outbox.waiting_bytes >= WAITING_BYTES_MAX

    async def _write(self) -> None:
        await self._context.write(written(()))  # it takes calls
        while True:
            await self._context.write(await self._outbox.taken())
            self._room.set()

    def _take(self, frame: Frame) -> None:
        """Begin or end what a frame says. Raises NotFrames."""
        if frame.kind == CANCEL:
            running = self._running.pop(frame.call, None)
            if running is not None:  # else it was answered meanwhile
                running.cancel()
            return
        method = self._methods.get(frame.kind)
        if method is None or frame.call in self._running or frame.call == NO_CALL:
            raise NotFrames(f"a frame of the kind {frame.kind} for the call {frame.call}")
        try:
            answer_of = method(frame.data)
        except msgspec.DecodeError as error:
            raise NotFrames(f"a frame of the kind {frame.kind}: {error}") from error
        task = asyncio.create_task(self._answer(frame.call, answer_of))
        self._running[frame.call] = task
        self._all.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._all.discard(task)
        self._room.set()

    async def _answer(self, number: int, answer_of: Callable[[], Awaitable[bytes]]) -> None:
        try:
            answer = Frame(number, ANSWER, await answer_of())
            if len(answer.data) > MESSAGE_BYTES_MAX:
                raise NoAnswer(f"an answer of more than {MESSAGE_BYTES_MAX} bytes")
        except NoAnswer as why:
            answer = Frame(number, FAILED, f"INTERNAL {why}".encode())
        except Exception as error:  # noqa: BLE001 - logged, and whoever called is told
            self._log.error("call_of_a_peer_failed", exc_info=error)
            answer = Frame(number, FAILED, b"INTERNAL a defect, which its log tells of")
        except asyncio.CancelledError:
            if self._running.pop(number, None) is not None:  # by nobody who called
                self._outbox.put(Frame(number, FAILED, b"CANCELLED it was ended"))
            raise
        if self._running.pop(number, None) is not None:
            self._outbox.put(answer)
