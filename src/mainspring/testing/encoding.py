"""An Invoker that sends every call as bytes, as to an owner in another process.

What an interface does with it must differ in nothing from what it does in process: a whole suite
run through it shows that no live object crosses the seam.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

import msgspec

from mainspring.kernel.byte_range import WantedRange
from mainspring.kernel.caller import Caller
from mainspring.kernel.clock import Clock
from mainspring.kernel.errors import Failure, FieldError
from mainspring.kernel.invocation import (
    FileHead,
    FilePart,
    Headers,
    Invocation,
    Invoker,
    Opened,
    Outcome,
)
from mainspring.kernel.operation import StreamItem
from mainspring.kernel.recipient import Recipient
from mainspring.kernel.sender import Sender

T = TypeVar("T")

_pack = msgspec.msgpack.Encoder().encode


class _SentCall(msgspec.Struct, frozen=True):
    """An Invocation on the wire. An argument is text, or bytes of JSON."""

    operation: str
    arguments: dict[str, Any]
    caller: Caller
    request_id: str
    account: str
    correlation_id: str | None
    causation_id: str | None
    idempotency_key: str | None
    if_match: str | None
    left_s: float | None
    resume_after: str | None
    until_ms: int | None
    wanted: WantedRange | None
    sender: Sender | None


class _SentOutcome(msgspec.Struct, frozen=True):
    status: int
    body: bytes
    etag: str | None
    headers: Headers
    replayed: bool


class _SentHead(msgspec.Struct, frozen=True):
    """An Opened on the wire; ``body`` is None where pieces follow."""

    body: bytes | None
    status: int
    media_type: str
    headers: Headers
    replayed: bool


class _SentFailure(msgspec.Struct, frozen=True):
    code: str
    status: int
    title: str
    detail: str
    errors: tuple[FieldError, ...]
    errors_more: int
    retry_after_s: float | None
    headers: dict[str, str]
    extra: dict[str, Any]


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
        sent = _pieces(chunks, lambda chunk: _through(chunk, bytes))
        return _outcome(await _answered(self._inner.upload(self._sent(invocation), sent)))

    async def receive(self, invocation: Invocation, files: AsyncIterator[FilePart]) -> Outcome:
        """Call a unary operation that takes files."""

        def sent(part: FilePart) -> FilePart:
            chunks = _pieces(part.chunks, lambda chunk: _through(chunk, bytes))
            return FilePart(_through(part.name, str), _through(part.head, FileHead), chunks)

        received = self._inner.receive(self._sent(invocation), _pieces(files, sent))
        return _outcome(await _answered(received))

    async def open(self, invocation: Invocation, recipient: Recipient | None = None) -> Opened:
        """Call a raw operation or open a stream."""
        sent = self._sent(invocation)
        there = None if recipient is None else _SentRecipient(recipient)
        opened = await _answered(self._inner.open(sent, there))
        whole = opened.body if isinstance(opened.body, bytes) else None
        head = _through(
            _SentHead(whole, opened.status, opened.media_type, opened.headers, opened.replayed),
            _SentHead,
        )
        body: bytes | AsyncIterator[Any]
        if isinstance(opened.body, bytes):
            body = head.body or b""
        else:
            body = _pieces(opened.body, lambda item: _through(item, StreamItem | bytes))
        return Opened(body, head.status, head.media_type, head.headers, head.replayed)

    def _sent(self, invocation: Invocation) -> Invocation:
        """Send an invocation and receive it: the deadline is what is left, on another clock."""
        deadline_s = invocation.deadline_s
        call = _through(
            _SentCall(
                invocation.operation,
                {name: _written(value) for name, value in invocation.arguments.items()},
                invocation.caller,
                invocation.request_id,
                invocation.account,
                invocation.correlation_id,
                invocation.causation_id,
                invocation.idempotency_key,
                invocation.if_match,
                None if deadline_s is None else deadline_s - self._clock.monotonic_s(),
                invocation.resume_after,
                invocation.until_ms,
                invocation.wanted,
                invocation.sender,
            ),
            _SentCall,
        )
        return Invocation(
            call.operation,
            {n: msgspec.Raw(v) if type(v) is bytes else v for n, v in call.arguments.items()},
            call.caller,
            call.request_id,
            call.account,
            call.correlation_id,
            call.causation_id,
            call.idempotency_key,
            call.if_match,
            None if call.left_s is None else call.left_s + self._clock.monotonic_s(),
            call.resume_after,
            call.wanted,
            until_ms=call.until_ms,
            sender=call.sender,
        )


class _SentRecipient:
    """A recipient at the other end of a wire. A ``Recipient``."""

    def __init__(self, inner: Recipient) -> None:
        self._inner = inner
        self.credential = inner.credential
        self.holds = inner.holds

    async def renew(self) -> Caller | None:
        """Return who it is by now."""
        caller: Caller | None = _through(await self._inner.renew(), Caller | None)
        return caller

    def push(self, item: StreamItem) -> bool:
        """Send an item of its stream at once."""
        return self._inner.push(_through(item, StreamItem))


def _written(value: Any) -> str | bytes:
    if isinstance(value, str):
        return value
    return bytes(value) if isinstance(value, msgspec.Raw) else msgspec.json.encode(value)


def _through(value: Any, kind: Any) -> Any:
    """Encode a value to bytes and back."""
    return msgspec.msgpack.decode(_pack(value), type=kind)


def _outcome(outcome: Outcome) -> Outcome:
    sent = _through(
        _SentOutcome(outcome.status, outcome.body, outcome.etag, outcome.headers, outcome.replayed),
        _SentOutcome,
    )
    return Outcome(sent.status, sent.body, sent.etag, sent.headers, replayed=sent.replayed)


async def _answered(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except Failure as failure:
        raise _failure(failure) from None


async def _pieces(items: AsyncIterator[Any], sent: Callable[[Any], Any]) -> AsyncIterator[Any]:
    """Send what follows piece by piece, a failure too; whoever pulls closes it."""
    try:
        async for item in items:
            yield sent(item)
    except Failure as failure:
        raise _failure(failure) from None
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()


def _failure(failure: Failure) -> Failure:
    """Send a failure and receive it, as the class that its code names where there is one."""
    told = _through(
        _SentFailure(
            failure.code,
            failure.status,
            failure.title,
            failure.detail,
            failure.errors,
            failure.errors_more,
            failure.retry_after_s,
            failure.headers,
            failure.extra,
        ),
        _SentFailure,
    )
    named = (c for c in _kinds(Failure) if (c.code, c.status) == (told.code, told.status))
    kind = next(named, None)
    if kind is None:
        known_here = {"code": told.code, "status": told.status, "title": told.title}
        kind = type("ForeignFailure", (Failure,), known_here)
    received = kind.__new__(kind)
    Failure.__init__(
        received,
        told.detail,
        errors=told.errors,
        retry_after_s=told.retry_after_s,
        headers=told.headers,
        extra=told.extra,
    )
    received.errors_more = told.errors_more
    return received


def _kinds(kind: type[Failure]) -> Iterator[type[Failure]]:
    """A class of failures and those below it, the general ones first."""
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)
