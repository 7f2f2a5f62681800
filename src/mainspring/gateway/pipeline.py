"""The stages in their order: identify, limit, authorise, validate, replay, dispatch."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from mainspring.gateway.identify import (
    ANONYMOUS_IDENTITY,
    CachedIdentity,
    Identities,
)
from mainspring.gateway.limit import Headers, Limits, Refused
from mainspring.gateway.settings import LimitSettings
from mainspring.kernel.authority import Authenticator, authorise
from mainspring.kernel.call import ADDRESS_ACCOUNT, Call, Caller
from mainspring.kernel.clock import Clock
from mainspring.kernel.errors import Failure, Unauthenticated
from mainspring.kernel.event import StagedEvent
from mainspring.kernel.operation import Operation, Raw, StreamItem
from mainspring.kernel.policy import RateClass
from mainspring.kernel.pool import Pool
from mainspring.ports.keyring import Keyring
from mainspring.runtime.invoke.containment import contained, contained_items
from mainspring.runtime.invoke.deadline import within
from mainspring.runtime.invoke.dispatcher import Dispatcher, Outcome
from mainspring.runtime.invoke.idempotency import IdempotencyKeys
from mainspring.runtime.invoke.validate import Args, Inputs
from mainspring.runtime.metrics.telemetry import Metrics

LARGE_BODY_BYTES = 256 << 10  # read off the loop, one such body at a time
LARGE_BODIES_MAX = 64  # that wait to be read
LARGE_BODIES_SHARE = 4  # of them by one caller


class Ask:
    """A call as an interface read it, and what the stages found out about it.

    ``network`` is what a limit on its address counts, ``target`` the raw path, and
    ``rate_limit_headers`` tell the caller where its limit is.
    """

    __slots__ = (
        "authorization",
        "body",
        "causation_id",
        "content_type",
        "correlation_id",
        "idempotency_key",
        "if_match",
        "known",
        "method",
        "network",
        "path_values",
        "query",
        "rate_limit_headers",
        "request_id",
        "resume_after",
        "target",
    )  # fmt: skip

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.correlation_id: str | None = None
        self.causation_id: str | None = None
        self.network = ""
        self.authorization: bytes | None = None
        self.method = ""
        self.target = b""
        self.path_values: Sequence[str] = ()
        self.query = b""
        self.content_type: str | None = None
        self.body = b""
        self.idempotency_key: str | None = None
        self.if_match: str | None = None
        self.resume_after: str | None = None
        self.known: CachedIdentity = ANONYMOUS_IDENTITY
        self.rate_limit_headers: Headers = ()

    @property
    def holder(self) -> str:
        """Whose share of what callers share this call takes: the caller's, or its address's."""
        return self.network if self.known.caller.id is None else self.known.limit_key


class Gateway:
    """One for the whole process; every interface calls operations through it."""

    __slots__ = ("_clock", "_dispatcher", "_large_bodies", "_metrics", "_reading", "_revoking",
                 "identities", "limits", "replays")  # fmt: skip

    def __init__(
        self,
        dispatcher: Dispatcher,
        authenticator: Authenticator,
        keyring: Keyring,
        clock: Clock,
        metrics: Metrics,
        *,
        limits: LimitSettings | None = None,
        idempotency_required: bool = False,
        silence_max_ms: int | None = None,
    ) -> None:
        self._dispatcher = dispatcher
        self._clock = clock
        self._metrics = metrics
        self._revoking = authenticator.revoking
        self.identities = Identities(authenticator, clock, silence_max_ms=silence_max_ms)
        self.limits = Limits(limits or LimitSettings())
        self.replays = IdempotencyKeys(keyring, required=idempotency_required)
        self._large_bodies = Pool("large bodies", LARGE_BODIES_MAX, LARGE_BODIES_SHARE)
        self._reading = asyncio.Semaphore(1)
        dispatcher.on_commit(self._committed)

    # Before the body is read

    async def admit(self, ask: Ask, scope: str | None, rate: RateClass = RateClass.DEFAULT) -> None:
        """Identify, limit, authorise. Raises Unauthenticated, Refused or Forbidden."""
        header = ask.authorization
        if header is not None:
            known = self.identities.recall(header, self._clock.now_ms())
            if known is None:
                known = await self._look_up(ask, header, rate)
            else:
                self._metrics.auth_hits.add()
            ask.known = known
        else:
            known = ANONYMOUS_IDENTITY
        try:
            ask.rate_limit_headers = self.limits.take(
                rate, known, ask.network, self._clock.monotonic_s()
            )
        except Refused as refused:
            self._refused(ask, refused)
            raise
        authorise(scope, known.caller)

    async def _look_up(self, ask: Ask, header: bytes, rate: RateClass) -> CachedIdentity:
        """Look a credential up, on the account of its address until it proves to be good.

        A log-in or a refresh often still carries the token it is about to replace; one that does
        not hold counts as none there.
        """
        self._metrics.auth_misses.add()
        account = ask.network
        try:
            ask.rate_limit_headers = self.limits.anonymous.take(account, self._clock.monotonic_s())
        except Refused as refused:
            self._refused(ask, refused)
            raise
        try:
            known = await self.identities.look_up(header, account)
        except Unauthenticated:
            if rate is not RateClass.LOGIN:
                raise
            known = ANONYMOUS_IDENTITY
        self.limits.anonymous.give_back(account)
        return known

    def _refused(self, ask: Ask, refused: Refused) -> None:
        ask.rate_limit_headers = refused.rate_limit_headers
        self._metrics.limited.of(refused.policy).add()

    async def still_holds(self, ask: Ask, scope: str | None) -> bool:
        """Identify and authorise an open stream again; False when it must end."""
        known = ask.known
        if known is ANONYMOUS_IDENTITY or not (
            known.dropped or known.until_ms <= self._clock.now_ms()
        ):
            return True
        header, now_ms = ask.authorization, self._clock.now_ms()
        assert header is not None  # it made the caller known
        try:
            found = self.identities.recall(header, now_ms)
            ask.known = found or await self.identities.look_up(header, ask.holder)
            authorise(scope, ask.known.caller)
        except Failure:
            return False
        return True

    async def _caller_now(self, ask: Ask, scope: str | None) -> Caller | None:
        return ask.known.caller if await self.still_holds(ask, scope) else None

    # With the body

    def call(self, ask: Ask) -> Call:
        """Make the call a handler is given."""
        return self._dispatcher.call(
            ask.known.caller,
            request_id=ask.request_id,
            correlation_id=ask.correlation_id,
            causation_id=ask.causation_id,
            if_match=ask.if_match,
            account=ask.known.caller.id or ADDRESS_ACCOUNT + ask.network,
        )

    async def perform(self, operation: Operation, inputs: Inputs, ask: Ask) -> Outcome:
        """Validate, replay or dispatch a unary operation."""
        args = await self.read(inputs, ask)
        return await self.run(operation, ask, args, ask.body)

    async def read(self, inputs: Inputs, ask: Ask) -> Args:
        """Read what a call says. A large body is read by a thread: others need not wait for it.

        Raises what ``Inputs.read`` does; Unavailable or Limited when too many large ones wait.
        """
        parts = ask.path_values, ask.query, ask.body, ask.content_type
        if len(ask.body) <= LARGE_BODY_BYTES:
            return inputs.read(*parts)
        with self._large_bodies.place(ask.holder):
            async with self._reading:
                return await asyncio.to_thread(inputs.read, *parts)

    async def run(self, operation: Operation, ask: Ask, args: Args, content: bytes) -> Outcome:
        """Replay or dispatch with read arguments; ``content`` stands for the body's identity."""
        call = self.call(ask)
        if operation.writes:
            idempotency = self.replays.identify(
                operation, call.caller, ask.idempotency_key,
                ask.method.encode(), ask.target, ask.query, content,
            )  # fmt: skip
            if idempotency is not None:
                with self.replays.running(idempotency):
                    work = self._dispatcher.run(operation, call, args, idempotency)
                    outcome = await within(operation.timeout_s, work, call)
                if outcome.replayed:
                    self._metrics.replays.add()
                return outcome
        return await within(operation.timeout_s, self._dispatcher.run(operation, call, args), call)

    async def prepare(self, operation: Operation, ask: Ask, args: Args) -> str:
        """Ask whether an upload may come; return what its blob's key begins with."""
        if operation.prepare is None:
            return ""
        call = self.call(ask)

        async def prepare(ask_first: Callable[..., Awaitable[str]]) -> str:
            return await contained(ask_first(call, **args))

        return await within(operation.timeout_s, prepare(operation.prepare), call)

    async def raw(self, operation: Operation, ask: Ask, args: Args) -> Raw:
        """Run a raw operation; what its handler staged is committed before it is answered."""
        call = self.call(ask)
        call.renew = partial(self._caller_now, ask, operation.scope)

        async def run() -> Raw:
            answer: Raw = await contained(operation.handler(call, **args))
            if not isinstance(answer.body, bytes):
                answer = msgspec.structs.replace(answer, body=contained_items(aiter(answer.body)))
            if call.writes or call.events or call.jobs:
                await self._dispatcher.commit(call)
            return answer

        return await within(operation.timeout_s, run(), call)

    async def stream(self, operation: Operation, ask: Ask, args: Args) -> AsyncIterator[StreamItem]:
        """Open a stream. Its handler is an async generator, or returns one."""
        call = self.call(ask)
        call.renew = partial(self._caller_now, ask, operation.scope)
        opened: Any = operation.handler(call, **args)
        if inspect.isawaitable(opened):
            opened = await contained(opened)
        return contained_items(opened)

    # Revocation

    def _committed(self, _: Call, events: Sequence[StagedEvent]) -> None:
        for event in events:
            self.revoke(event.type.name, event.subject)

    def revoke(self, event_type: str, subject: str) -> None:
        """Forget the credentials an event revokes; other events are ignored."""
        if event_type in self._revoking:
            self.identities.forget(subject)
