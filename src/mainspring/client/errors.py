"""What a call of the client raises: a class per kind of refusal, with what the platform said.

The classes are by status, so that ``except NotFound`` catches every 404, and of some codes of RFC
9457's problem details by code.
"""

from collections.abc import Mapping

import msgspec

from mainspring.kernel.errors import FieldError


class Problem(msgspec.Struct, frozen=True):
    """The body of a refusal, as far as it was one (RFC 9457)."""

    code: str = ""
    title: str = ""
    detail: str = ""
    request_id: str = ""
    errors: tuple[FieldError, ...] = ()


class ClientError(Exception):
    """Anything that a call raises."""


class NotSent(ClientError):
    """The call was refused by the client itself: an argument, or a setting, does not fit."""


class Unreachable(ClientError):
    """Nobody answered, or the connection broke, as often as it was tried.

    What a write did is not known: call again with the same ``idempotency_key``.
    """

    def __init__(self, detail: str, idempotency_key: str | None = None) -> None:
        super().__init__(detail)
        self.idempotency_key = idempotency_key


class StreamEnded(ClientError):
    """The platform ended a stream for good: ``code`` says why, and ``detail`` what to do then."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class ApiError(ClientError):
    """The platform refused. ``errors`` point at each thing wrong with the input."""

    def __init__(self, status: int, headers: Mapping[str, str], problem: Problem) -> None:
        self.status = status
        self.headers = headers
        self.code = problem.code
        self.detail = problem.detail or problem.title or f"answered {status}"
        self.errors = problem.errors
        self.request_id = problem.request_id or headers.get("request-id", "")
        found = "; ".join(f"{each.pointer}: {each.detail}" for each in problem.errors)
        asked = f" (request {self.request_id})" if self.request_id else ""
        super().__init__(f"{status} {problem.code}: {found or self.detail}{asked}")


class BadRequest(ApiError):
    """The request could not be read."""


class Unauthenticated(ApiError):
    """Nobody is known by this key or token."""


class Forbidden(ApiError):
    """The caller may not do this."""


class NotFound(ApiError):
    """There is none, or none that the caller may see."""


class Conflict(ApiError):
    """It does not fit what is there."""


class Gone(ApiError):
    """It was there."""


class PositionGone(Gone):
    """The log does not reach back to this position, or was restored: read anew."""


class PreconditionFailed(ApiError):
    """It was changed since it was read (``if_match``)."""


class TooLarge(ApiError):
    """The body is larger than the platform takes."""


class Invalid(ApiError):
    """Readable input that breaks a rule; ``errors`` point at each."""


class RateLimited(ApiError):
    """The caller came too often, and did after every wait."""


class Unavailable(ApiError):
    """A part that the call needs is away, and was at every try."""


class OutcomeUnknown(Unavailable):
    """A write may have been committed: call again with the same ``idempotency_key``."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    412: PreconditionFailed,
    413: TooLarge,
    422: Invalid,
    429: RateLimited,
    503: Unavailable,
}
_BY_CODE: dict[str, type[ApiError]] = {
    "position_gone": PositionGone,
    "outcome_unknown": OutcomeUnknown,
}


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """Return the error for an answer of 400 or more. A body that is no problem is not shown."""
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = Problem()
    kind = _BY_CODE.get(problem.code) or _BY_STATUS.get(status, ApiError)
    return kind(status, headers, problem)
