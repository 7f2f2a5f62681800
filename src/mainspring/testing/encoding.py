"""An Invoker that sends every call as bytes, as to an owner in another process.

What an interface does with it must differ in nothing from what it does in process: a whole suite
run through it shows that no live object crosses the seam.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from mainspring.kernel import sent
from mainspring.kernel.caller import Caller
from mainspring.kernel.clock import Clock
from mainspring.kernel.errors import Failure
from mainspring.kernel.invocation import FilePart, Invocation, Invoker, Opened, Outcome
from mainspring.kernel.operation import StreamItem
from mainspring.kernel.recipient import Recipient

T = TypeVar("T")
S = TypeVar("S", bound=sent.Said)


class EncodingInvoker:
    """Stands before another Invoker. A defect, which is no Failure, passes as it is."""

    def __init__(self, inner: Invoker, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock

    async def invoke(self, invocation: Invocation) -> Outcome:
        """Call a unary operation."""
        return _outcome(await _answered(self._inner.invoke(self._sent(invocation))))

    async def upload(self, invocation: Invocation, chunks: AsyncIterator[bytes]) -> Outcome:
        """Call an upload."""
        return _outcome(
            await _answered(self._inner.upload(self._sent(invocation), _pieces(chunks, _bytes)))
        )

    async def receive(self, invocation: Invocation, files: AsyncIterator[FilePart]) -> Outcome:
        """Call a unary operation that takes files."""

        def part(file: FilePart) -> FilePart:
            told = sent.read_told(sent.written(sent.SentFile(file.name, file.head)))
            assert isinstance(told, sent.SentFile)
            return FilePart(told.name, told.head, _pieces(file.chunks, _bytes))

        received = self._inner.receive(self._sent(invocation), _pieces(files, part))
        return _outcome(await _answered(received))

    async def open(self, invocation: Invocation, recipient: Recipient | None = None) -> Opened:
        """Call a raw operation or open a stream."""
        there = None if recipient is None else _SentRecipient(recipient)
        opened = await _answered(self._inner.open(self._sent(invocation), there))
        head = _through(sent.sent_head(opened))
        body: bytes | AsyncIterator[Any] = head.body or b""
        if not isinstance(opened.body, bytes):
            body = _pieces(opened.body, _piece)
        return Opened(
            body, head.status, head.media_type, head.headers, head.replayed, head.elsewhere
        )

    def _sent(self, invocation: Invocation) -> Invocation:
        """Send an invocation and receive it: the deadline is what is left, on another clock."""
        now_s = self._clock.monotonic_s()
        told = sent.read_told(sent.written(sent.sent_call(invocation, now_s)))
        assert isinstance(told, sent.SentCall)
        return sent.received_call(told, self._clock.monotonic_s())


class _SentRecipient:
    """A recipient at the other end of a wire. A ``Recipient``."""

    def __init__(self, inner: Recipient) -> None:
        self._inner = inner
        self.credential = inner.credential
        self.holds = inner.holds

    async def renew(self) -> Caller | None:
        """Return who it is by now."""
        told = sent.read_told(sent.written(sent.SentRenewed(await self._inner.renew())))
        assert isinstance(told, sent.SentRenewed)
        return told.caller

    def push(self, item: StreamItem) -> bool:
        """Send an item of its stream at once."""
        return self._inner.push(_through(sent.SentItem(item)).item)


def _through(message: S) -> S:
    """Encode what an owner says to bytes and back."""
    said = sent.read_said(sent.written(message))
    assert isinstance(said, type(message))
    return said


def _bytes(data: bytes) -> bytes:
    return _through(sent.SentBytes(data)).data


def _piece(piece: StreamItem | bytes) -> StreamItem | bytes:
    return _bytes(piece) if isinstance(piece, bytes) else _through(sent.SentItem(piece)).item


def _outcome(outcome: Outcome) -> Outcome:
    return sent.received_outcome(_through(sent.sent_outcome(outcome)))


async def _answered(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except Failure as failure:
        raise _failure(failure) from None


async def _pieces(items: AsyncIterator[Any], send: Callable[[Any], Any]) -> AsyncIterator[Any]:
    """Send what follows piece by piece, a failure too; whoever pulls closes it."""
    try:
        async for item in items:
            yield send(item)
    except Failure as failure:
        raise _failure(failure) from None
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()


def _failure(failure: Failure) -> Failure:
    return sent.received_failure(_through(sent.sent_failure(failure)))
