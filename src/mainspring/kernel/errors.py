"""Failures a caller can expect: a small typed tree, each with its HTTP status and a stable code.

A handler raises one and the interface turns it into its own shape (RFC 9457 for REST). What is not
a ``Failure`` is a defect: it is logged with its traceback and answered as a bare 500.
"""

import errno
from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, Self, TypeVar

import msgspec

S = TypeVar("S")
T = TypeVar("T")

_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EROFS})
FIELD_ERRORS_MAX = 100  # errors of one input that are told; of the rest only their number is
FIELD_ERRORS_BYTES_MAX = 16_384  # of all that are told
FIELD_ERROR_CHARS_MAX = 1_000  # of one pointer or detail: it may quote what the caller sent


class FieldError(msgspec.Struct, frozen=True):
    """One thing wrong with the input: where (RFC 6901 JSON Pointer) and what."""

    pointer: str
    detail: str


class FieldErrors:
    """What is wrong with one input, within a bound: the first ones, and how many ``more``."""

    __slots__ = ("_bytes_left", "more", "told")

    def __init__(self, errors: Iterable[FieldError] = ()) -> None:
        self.told: list[FieldError] = []
        self.more = 0
        self._bytes_left = FIELD_ERRORS_BYTES_MAX
        self.extend(errors)

    @property
    def full(self) -> bool:
        """Whether another error is only counted: its pointer need not be written any more."""
        return self._bytes_left <= 0 or len(self.told) >= FIELD_ERRORS_MAX

    def add(self, pointer: str, detail: str) -> None:
        """Tell of one more error, or count it."""
        if self.full:
            self.more += 1
            return
        error = FieldError(_cut(pointer), _cut(detail))
        self._bytes_left -= len(error.pointer.encode()) + len(error.detail.encode())
        self.told.append(error)

    def extend(self, errors: Iterable[FieldError], more: int = 0) -> None:
        """Tell of these too, and count those ``more`` that nobody tells of."""
        for error in errors:
            self.add(error.pointer, error.detail)
        self.more += more

    def __len__(self) -> int:
        return len(self.told) + self.more


def _cut(text: str) -> str:
    """Bound a text and make it Unicode: it may quote a caller's lone surrogate."""
    if len(text) > FIELD_ERROR_CHARS_MAX:
        text = text[:FIELD_ERROR_CHARS_MAX] + "…"
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


class Failure(Exception):
    """An expected failure. ``commits_on_failure`` commits what the handler staged before it raised.

    However many ``errors`` it is given, it tells of a bounded part and counts ``errors_more``.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    commits_on_failure: ClassVar[bool] = False

    def __init__(
        self,
        detail: str = "",
        *,
        errors: Iterable[FieldError] | FieldErrors = (),
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        self.detail = _cut(detail) or self.title
        super().__init__(self.detail)
        found = errors if isinstance(errors, FieldErrors) else FieldErrors(errors)
        self.errors = tuple(found.told)
        self.errors_more = found.more
        self.retry_after_s = retry_after_s
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})

    @classmethod
    def at(cls, pointer: str, problem: str, detail: str = "") -> Self:
        """Make one for a single thing wrong with the input: where, and what."""
        return cls(detail or f"{pointer}: {problem}", errors=(FieldError(pointer, problem),))


class Malformed(Failure):
    """The request cannot be read at all."""

    status, code, title = 400, "malformed", "Malformed request"


class KeyRequired(Failure):
    """Settings demand an ``Idempotency-Key`` and none came."""

    status, code, title = 400, "idempotency_key_required", "Idempotency-Key required"


class Unauthenticated(Failure):
    """No credentials, or ones that do not hold."""

    status, code, title = 401, "unauthenticated", "Authentication required"


class StepUpRequired(Unauthenticated):
    """Known caller, who must prove again who they are: it is longer ago than this act allows.

    ``max_age_s`` says how recent it has to be (RFC 9470).
    """

    code, title = "step_up_required", "Prove again who you are"


class Forbidden(Failure):
    """Known caller, not allowed."""

    status, code, title = 403, "forbidden", "Forbidden"


class AddressRefused(Forbidden):
    """This key is good from other addresses than yours."""

    code, title = "address_refused", "Not from this address"


class NotForImpersonators(Forbidden):
    """Somebody acts as this user, and this is more than they may do then."""

    code, title = "not_for_impersonators", "Not for somebody who acts as a user"


class NotFound(Failure):
    """No such thing, or none this caller may know of."""

    status, code, title = 404, "not_found", "Not found"


class Hidden(NotFound):
    """It is there, and this caller may not know of it: told as if it were not."""


class MethodNotAllowed(Failure):
    """The path exists, the method does not; ``Allow`` says which do."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"


class NotAcceptable(Failure):
    """None of the representations the caller accepts exists."""

    status, code, title = 406, "not_acceptable", "Not acceptable"


class Timeout(Failure):
    """The caller was too slow to send its request."""

    status, code, title = 408, "request_timeout", "Request timeout"


class Conflict(Failure):
    """The state of the resource does not allow it."""

    status, code, title = 409, "conflict", "Conflict"


class ConcurrentUpdate(Conflict):
    """Guards kept failing: others changed the same rows at every attempt."""

    code, title = "concurrent_update", "Changed by someone else at the same time"


class InFlight(Conflict):
    """The first call with this idempotency key has not finished."""

    code, title = "idempotency_in_flight", "The first call with this key is still running"


class Gone(Failure):
    """It was here and will not come back."""

    status, code, title = 410, "gone", "Gone"


class PositionGone(Gone):
    """A reader's position is not one of this log: past its end, of a lost event, of another log."""

    code, title = "position_gone", "The log does not reach there any more"


class AnswerGone(Gone):
    """The first call with this idempotency key took effect; its answer is no longer kept."""

    code, title = "idempotency_answer_gone", "The answer is no longer kept"


class PreconditionFailed(Failure):
    """``If-Match`` names another version than the current one."""

    status, code, title = 412, "precondition_failed", "Precondition failed"


class TooLarge(Failure):
    """The body is over its limit."""

    status, code, title = 413, "body_too_large", "Body too large"


class UnsupportedMedia(Failure):
    """The body's media type or encoding is not one this operation reads."""

    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class RangeNotSatisfiable(Failure):
    """Nothing of what ``Range`` asks for is there; ``Content-Range`` says how much is."""

    status, code, title = 416, "range_not_satisfiable", "Range not satisfiable"


class Misdirected(Failure):
    """The request names a host that this server does not answer for."""

    status, code, title = 421, "misdirected", "Misdirected request"


class Invalid(Failure):
    """Readable input that breaks a rule; ``errors`` point at each."""

    status, code, title = 422, "invalid", "Invalid input"


def check_all(detail: str, *checks: Callable[[], object]) -> None:
    """Run every check, and tell in one Invalid what all of them that raise one point at.

    One that is alone in raising is raised as it is.
    """
    refused: list[Invalid] = []
    for check in checks:
        try:
            check()
        except Invalid as error:
            refused.append(error)
    if len(refused) == 1 or any(not error.errors for error in refused):
        raise refused[0]
    if refused:
        errors = FieldErrors()
        for failure in refused:
            errors.extend(failure.errors, failure.errors_more)
        raise Invalid(detail, errors=errors)


def read_at(pointer: str, read: Callable[[S], T], value: S) -> T:
    """Read a value of the input. Raises Invalid at ``pointer`` where ``read`` raises ValueError."""
    try:
        return read(value)
    except ValueError as error:
        raise Invalid.at(pointer, str(error)) from None


class KeyReused(Invalid):
    """The idempotency key came before with another request."""

    code, title = "idempotency_key_reused", "Idempotency-Key was used with another request"


class NeedsIndex(Invalid):
    """The query went over its budget; the detail says what helps: an index, or to read less."""

    code, title = "filter_needs_index", "The query went over its budget"


class RateLimited(Failure):
    """Too many calls; ``retry_after_s`` says when the next one fits."""

    status, code, title = 429, "rate_limited", "Too many requests"


class HeadersTooLarge(Failure):
    """The header section is over its limit."""

    status, code, title = 431, "headers_too_large", "Header fields too large"


class Unavailable(Failure):
    """A bounded queue is full or a part is down; nothing was done."""

    status, code, title = 503, "unavailable", "Temporarily unavailable"


def no_room(error: BaseException) -> Unavailable | None:
    """Return what a machine without files or space left is told as; None for any other error."""
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return Unavailable("the machine has no room for this now", retry_after_s=1)
    return None


class OutcomeUnknown(Unavailable):
    """The answer to a commit was lost: it took effect as a whole, or not at all.

    The one failure after which a call may have changed something. Nothing tries it again but a
    caller that has an idempotency key, or looks before it repeats.
    """

    code, title = "outcome_unknown", "Whether this was done is not known"


class NotServedHere(Unavailable):
    """This process works and takes no calls; nothing was done."""

    code, title = "not_served_here", "Not served by this process"


class PeerRefused(Unavailable):
    """The process that calls this one is not one that may: its certificate says which it is."""

    code, title = "peer_refused", "Not for this process"


class DeadlineExceeded(Failure):
    """The operation's time limit passed; nothing was committed."""

    status, code, title = 504, "deadline_exceeded", "Deadline exceeded"


class AskFailed(Failure):
    """Another service did not answer what a handler asked; ``failure`` is what it said instead.

    A handler that knows better catches it. Where it does not, its caller is told what has to do
    with them: that they may not (``AskDenied``), or when to try again. Everything else, a NotFound
    say, is between the two services: 502, with the operation and the code.
    """

    status, code, title = 502, "ask_failed", "Another service did not answer"

    def __init__(self, operation: str, failure: Failure) -> None:
        super().__init__(
            f"{operation}: {failure.detail}",
            retry_after_s=failure.retry_after_s,
            extra={"operation": operation, "failure": failure.code},
        )
        self.operation = operation
        self.failure = failure

    @staticmethod
    def of(operation: str, failure: Failure) -> "AskFailed":
        """Return the kind of it that fits the failure."""
        kinds = {401: AskDenied, 403: AskDenied, 429: AskUnavailable, 503: AskUnavailable}
        kind = AskTimedOut if failure.status == 504 else kinds.get(failure.status, AskFailed)
        return kind(operation, failure)


class AskDenied(AskFailed, Forbidden):
    """The caller may not do at another service what this needs."""

    status, code, title = 403, "ask_denied", "Not allowed at another service"


class AskUnavailable(AskFailed, Unavailable):
    """Another service cannot answer now."""

    status, code, title = 503, "ask_unavailable", "Another service is not available"


class AskTimedOut(AskFailed, DeadlineExceeded):
    """Another service did not answer within the time that was left."""

    status, code, title = 504, "ask_timed_out", "Another service took too long"


class Rerun(Exception):
    """A guard failed at commit: the handler read something that is no longer so. Never answered."""
