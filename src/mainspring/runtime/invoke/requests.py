"""Requests: makes the calls of siblings that handlers staged, each until it is answered.

A request is a job. Its idempotency key is made of the job's id, so however often it runs, and
whether or not the end of a run could be written down, the sibling does it once.
"""

import msgspec

from mainspring.kernel.call import Call, Context
from mainspring.kernel.caller import Caller
from mainspring.kernel.clock import Clock, Entropy
from mainspring.kernel.errors import (
    AnswerGone,
    ConcurrentUpdate,
    Failure,
    InFlight,
    Unauthenticated,
)
from mainspring.kernel.invocation import Invocation
from mainspring.kernel.job import Job, JobFailed, OtherVersion, RetryAfter
from mainspring.kernel.policy import RetryPolicy
from mainspring.kernel.registry import Registry
from mainspring.kernel.request import RequestOutcome, StoredRequest
from mainspring.kernel.visibility import acting_for
from mainspring.ports.listeners import described
from mainspring.runtime.invoke.idempotency import ANSWER_KEPT_MS

REQUEST = "runtime.request"
RUN_TIMEOUT_S = 600.0
ANSWER_WAIT_S = RUN_TIMEOUT_S - 10.0  # of one run, which then has time to be written down
RETRY_AFTER_S_MAX = 3600.0
# A repetition is known as one for ANSWER_KEPT_MS, so all of them come well within that.
RETRY = RetryPolicy(max_attempts=30, cap_s=3600.0)
REPEATED_MS_MAX = ANSWER_KEPT_MS - 1_800_000
_PASSING = frozenset({408, 429})
_UNKNOWN = (
    "whether it took effect cannot be told any more: it was tried, and the time in which a "
    "repetition is known as one is over. Look at what it changes; a retry does it anew"
)


class Requests:
    """Owns the job that every request is. ``context`` has who runs operations."""

    __slots__ = ("_clock", "_context", "_entropy", "_registry", "job")

    def __init__(
        self, context: Context, registry: Registry, clock: Clock, entropy: Entropy
    ) -> None:
        self._context = context
        self._registry = registry
        self._clock = clock
        self._entropy = entropy
        run = self._run
        self.job = Job(REQUEST, run, queue="default", retry=RETRY, timeout_s=RUN_TIMEOUT_S)
        self.job.attach(run)

    async def _run(self, call: Call, request: StoredRequest) -> None:
        """Call the operation of a sibling that a handler requested, and tell how it ended."""
        if request.operation not in self._registry.operations:
            raise OtherVersion(f"there is no operation {request.operation} here")
        if request.then is not None and request.then not in self._registry.jobs:
            raise OtherVersion(f"there is no job {request.then} here, to be told how it ended")
        ended = await self._ended(call, request)
        if request.then is not None:
            call.enqueue(self._registry.jobs[request.then], ended)
        if ended.failure is not None:
            raise JobFailed(f"{request.operation}: {ended.failure}: {ended.detail}")

    async def _ended(self, call: Call, request: StoredRequest) -> RequestOutcome:
        """Return how the request ended. Raises what makes it run again where it has not."""
        if call.attempt > 1 and call.now_ms - request.staged_ms > REPEATED_MS_MAX:
            return _outcome(call, request, 504, failure="outcome_unknown", detail=_UNKNOWN)
        try:
            answer = await self._send(call, request)
        except AnswerGone as gone:  # the key is this request's alone: it took effect
            return _outcome(call, request, int(str(gone.extra.get("answered", 200))))
        except Failure as failure:
            if call.attempt < RETRY.max_attempts and _passes(failure):
                raise self._again(call, request, failure) from failure
            return _refused(call, request, failure)
        except Exception as error:  # a defect of the sibling, in whole until nothing follows
            if call.attempt < RETRY.max_attempts:
                raise
            return _refused(call, request, Failure(f"it raised {described(error)}"))
        return _outcome(call, request, answer[0], answer[1])

    async def _send(self, call: Call, request: StoredRequest) -> tuple[int, bytes]:
        caller = await self._caller(call, request)
        invoker = self._context.invoker
        assert invoker is not None  # the runtime set it before any job runs
        answer = await invoker.invoke(
            Invocation(
                request.operation,
                {name: _argument(value) for name, value in request.arguments.items()},
                caller,
                call.request_id,
                account=caller.actor,
                correlation_id=call.correlation_id,
                causation_id=call.causation_id,
                idempotency_key=f"request {call.request_id}",  # that is the id of the job
                deadline_s=self._clock.monotonic_s() + ANSWER_WAIT_S,
                path=call.path,
            )
        )
        return answer.status, answer.body

    def _again(self, call: Call, request: StoredRequest, failure: Failure) -> RetryAfter:
        """Return what has it run again: when the policy says, or later where that is asked for."""
        noise = int.from_bytes(self._entropy.token(4), "big") / 2**32
        asked_s = min(failure.retry_after_s or 0.0, RETRY_AFTER_S_MAX)
        delay_s = max(RETRY.delay_s(call.attempt, noise), asked_s)
        return RetryAfter(delay_s, f"{request.operation}: {failure.code}: {failure.detail}")

    async def _caller(self, call: Call, request: StoredRequest) -> Caller:
        """Return whoever requested it with what that one may do now. Raises Unauthenticated."""
        acting = await acting_for(call, request.actor)
        if acting is None:
            raise Unauthenticated(
                f"{request.actor}, who requested it, is revoked, deleted or expired"
            )
        return msgspec.structs.replace(acting.caller, impersonation=request.impersonation)


def _argument(json: msgspec.Raw) -> str | msgspec.Raw:
    """Return an argument as an invocation has it: text is part of an address, or JSON follows."""
    return msgspec.json.decode(json, type=str) if bytes(json).startswith(b'"') else json


def _passes(failure: Failure) -> bool:
    """Tell whether the next attempt may do better."""
    passing = failure.status >= 500 or failure.status in _PASSING
    return passing or isinstance(failure, InFlight | ConcurrentUpdate)


def _refused(call: Call, request: StoredRequest, failure: Failure) -> RequestOutcome:
    return _outcome(call, request, failure.status, failure=failure.code, detail=failure.detail)


def _outcome(
    call: Call,
    request: StoredRequest,
    status: int,
    body: bytes = b"",
    *,
    failure: str | None = None,
    detail: str = "",
) -> RequestOutcome:
    return RequestOutcome(
        call.request_id, request.operation, request.arguments, status,
        msgspec.Raw(body or b"null"), failure, detail,
    )  # fmt: skip
