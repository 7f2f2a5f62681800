"""A call, its answer and what goes back and forth meanwhile, as the bytes of a wire (MessagePack).

Between processes of one version of one platform: nobody else is to read this.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from mainspring.kernel.byte_range import WantedRange
from mainspring.kernel.caller import Caller
from mainspring.kernel.errors import Failure, FieldError
from mainspring.kernel.invocation import FileHead, Headers, Invocation, Opened, Outcome, Staged
from mainspring.kernel.operation import StreamItem
from mainspring.kernel.sender import Sender


class SentCall(msgspec.Struct, frozen=True, tag="call"):
    """An Invocation on the wire. An argument is text, or bytes of JSON; ``left_s`` what is left.

    ``lasts`` says that the caller of a stream is asked who it is by now.
    """

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
    wanted: WantedRange | None
    path: tuple[str, ...]
    until_ms: int | None
    sender: Sender | None
    read_after: str | None
    dry_run: bool
    lasts: bool = False


class SentOutcome(msgspec.Struct, frozen=True, tag="outcome"):
    """An Outcome on the wire, without the value."""

    status: int
    body: bytes
    etag: str | None
    headers: Headers
    replayed: bool
    staged: Staged | None


class SentHead(msgspec.Struct, frozen=True, tag="head"):
    """An Opened on the wire; ``body`` is None where pieces follow."""

    body: bytes | None
    status: int
    media_type: str
    headers: Headers
    replayed: bool
    elsewhere: str | None


class SentFailure(msgspec.Struct, frozen=True, tag="failure"):
    """A Failure on the wire, with all that it carries."""

    code: str
    status: int
    title: str
    detail: str
    errors: tuple[FieldError, ...]
    errors_more: int
    retry_after_s: float | None
    headers: dict[str, str]
    extra: dict[str, Any]


class SentItem(msgspec.Struct, frozen=True, tag="item"):
    """The next item of a stream."""

    item: StreamItem


class SentBytes(msgspec.Struct, frozen=True, tag="bytes"):
    """The next bytes of a body or of a file."""

    data: bytes


class SentFile(msgspec.Struct, frozen=True, tag="file"):
    """A file begins: its bytes follow, up to the next one or the end."""

    name: str
    head: FileHead


class SentEnd(msgspec.Struct, frozen=True, tag="end"):
    """Everything was sent that follows the call; what ends without it was cut off."""


class SentLeaving(msgspec.Struct, frozen=True, tag="leaving"):
    """The owner is about to end, and has not begun this call."""


class SentGo(msgspec.Struct, frozen=True, tag="go"):
    """The owner lets what follows the call come."""


class SentRenew(msgspec.Struct, frozen=True, tag="renew"):
    """The owner asks who the caller of something that lasts is by now."""


class SentRenewed(msgspec.Struct, frozen=True, tag="renewed"):
    """Who it is; None when its credential is no good any more."""

    caller: Caller | None


# What an owner says, and what is said to it.
Said = (
    SentOutcome | SentHead | SentFailure | SentItem | SentBytes | SentGo | SentRenew | SentLeaving
)
Told = SentCall | SentFile | SentBytes | SentEnd | SentRenewed
_KNOWN: dict[tuple[str, int], type[Failure]] = {}
_encode = msgspec.msgpack.Encoder().encode
_said: msgspec.msgpack.Decoder[Said] = msgspec.msgpack.Decoder(Said)
_told: msgspec.msgpack.Decoder[Told] = msgspec.msgpack.Decoder(Told)


def written(message: Said | Told) -> bytes:
    """Return the bytes of a message."""
    return _encode(message)


def read_said(data: bytes) -> Said:
    """Read what an owner says. Raises msgspec.ValidationError."""
    return _said.decode(data)


def read_told(data: bytes) -> Told:
    """Read what is said to an owner. Raises msgspec.ValidationError."""
    return _told.decode(data)


def sent_call(invocation: Invocation, now_s: float, *, lasts: bool = False) -> SentCall:
    """Return an invocation as it is sent at a moment of this process's monotonic clock."""
    deadline_s = invocation.deadline_s
    return SentCall(
        invocation.operation,
        {name: _argument(value) for name, value in invocation.arguments.items()},
        invocation.caller,
        invocation.request_id,
        invocation.account,
        invocation.correlation_id,
        invocation.causation_id,
        invocation.idempotency_key,
        invocation.if_match,
        None if deadline_s is None else deadline_s - now_s,
        invocation.resume_after,
        invocation.wanted,
        invocation.path,
        invocation.until_ms,
        invocation.sender,
        invocation.read_after,
        invocation.dry_run,
        lasts,
    )


def received_call(call: SentCall, now_s: float) -> Invocation:
    """Return the invocation that was sent: its deadline is what was left, on this clock."""
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
        None if call.left_s is None else call.left_s + now_s,
        call.resume_after,
        call.wanted,
        call.path,
        call.until_ms,
        call.sender,
        call.read_after,
        call.dry_run,
    )


def _argument(value: Any) -> str | bytes:
    if isinstance(value, str):
        return value
    return bytes(value) if isinstance(value, msgspec.Raw) else msgspec.json.encode(value)


def sent_outcome(outcome: Outcome) -> SentOutcome:
    """Return an answer as it is sent."""
    return SentOutcome(
        outcome.status,
        outcome.body,
        outcome.etag,
        outcome.headers,
        outcome.replayed,
        outcome.staged,
    )


def received_outcome(sent: SentOutcome) -> Outcome:
    """Return the answer that was sent."""
    return Outcome(
        sent.status,
        sent.body,
        sent.etag,
        sent.headers,
        replayed=sent.replayed,
        staged=sent.staged,
    )


def sent_head(opened: Opened) -> SentHead:
    """Return the head of what was opened, with its body where that is whole."""
    whole = opened.body if isinstance(opened.body, bytes) else None
    return SentHead(
        whole, opened.status, opened.media_type, opened.headers, opened.replayed, opened.elsewhere
    )


def sent_failure(failure: Failure) -> SentFailure:
    """Return a failure as it is sent."""
    return SentFailure(
        failure.code,
        failure.status,
        failure.title,
        failure.detail,
        failure.errors,
        failure.errors_more,
        failure.retry_after_s,
        failure.headers,
        failure.extra,
    )


def received_failure(told: SentFailure) -> Failure:
    """Return the failure that was sent, as the class that its code names where there is one."""
    kind = _kind_of(told.code, told.status)
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


def _kind_of(code: str, status: int) -> type[Failure] | None:
    """Return the first class of this code; services that are loaded later bring more."""
    kind = _KNOWN.get((code, status))
    if kind is None:
        for found in _kinds(Failure):
            _KNOWN.setdefault((found.code, found.status), found)
        kind = _KNOWN.get((code, status))
    return kind


def _kinds(kind: type[Failure]) -> Iterator[type[Failure]]:
    """A class of failures and those below it, the general ones first."""
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)
