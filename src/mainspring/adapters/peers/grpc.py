"""Calls to the owners of a service over gRPC: ``grpc://host:port``, or several with commas."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, NamedTuple, TypeVar

import grpc
import grpc.aio

from mainspring.adapters.outage import Outage
from mainspring.adapters.peers.breaker import RetryBudget
from mainspring.adapters.peers.grpc_owner import GONE, GrpcOwner, NotBegun
from mainspring.adapters.peers.grpc_questions import AsksOwners
from mainspring.adapters.peers.grpc_stream import ended
from mainspring.adapters.peers.grpc_wire import (
    ASK,
    AUTHENTICATE,
    INVOKE,
    OPEN,
    RECEIVE,
    REVOCATIONS,
    UPLOAD,
    Credential,
    Ping,
    Question,
    QuestionAnswer,
    answers,
    encode,
    revoked,
    told,
)
from mainspring.adapters.peers.tls import OwnCertificate
from mainspring.kernel import sent
from mainspring.kernel.authority import Identity
from mainspring.kernel.clock import Clock
from mainspring.kernel.errors import DeadlineExceeded, OutcomeUnknown, Unavailable
from mainspring.kernel.invocation import FilePart, Invocation, Opened, Outcome
from mainspring.kernel.operation import Kind, Operation
from mainspring.kernel.recipient import Recipient
from mainspring.ports.database import StartError
from mainspring.ports.opening import Sources
from mainspring.ports.peers import OwnerState, OwnIdentity, PeerState, Revocation

T = TypeVar("T")

SCHEME = "grpc://"
ANSWER_MARGIN_S = 2.0  # after the time that a call has: its owner says itself that it is up
AUTHENTICATE_S, AUTHENTICATE_TRY_S = 10.0, 4.0
QUESTION_S, QUESTION_TRY_S = 15.0, 10.0
TRIES_MAX = 3  # of a call that is safe to repeat, while its owner cannot be reached
FIRST_PAUSE_S = 0.05  # where there is no other owner to ask at once
PING_EVERY_S = 0.25
PONG_S = 2.0  # for the answer to a ping; then another owner is asked
WHY_CHARS_MAX = 200
AGAIN_S = 0.5  # before the stream of revocations is opened once more
# What gRPC says of a call that it kept, since it had no connection to send it on.
_NOT_SENT = ("connections to all backends failing", "failed to connect", "dns resolution failed")
# How a call says that it is over: where it is read, and where it is written to.
_ENDED = (grpc.aio.AioRpcError, asyncio.InvalidStateError)


class _Terms(NamedTuple):
    """What one call may cost: whether it is ``safe`` to make it again, and the time that is left.

    ``what`` is what cannot be had without an owner; ``failed`` says what to raise for a call that
    had no answer.
    """

    what: str
    safe: bool
    left_s: Callable[[], float]
    failed: Callable[[grpc.aio.AioRpcError], Exception]


def open(url: str, sources: Sources) -> "GrpcPeer":
    """Return the peer at a URL. Raises StartError for one that cannot be."""
    return GrpcPeer(url, sources.clock)


class GrpcPeer(AsksOwners):
    """The processes behind one or more addresses. A ``Peer``."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._clock = clock
        self.owners = [GrpcOwner(address, clock) for address in _addresses(url)]
        self._turn = 0
        self._budget = RetryBudget()
        self._operations: Mapping[str, Operation] = {}
        self._deaf = Outage(f"revocations of {url}")
        self._retried = self._refused = 0

    async def open_peer(
        self,
        operations: Mapping[str, Operation],
        credentials: OwnIdentity | None = None,
        service: str = "",
    ) -> None:
        """Begin to connect."""
        self._operations = operations
        own = credentials if isinstance(credentials, OwnCertificate) else None
        for owner in self.owners:
            owner.open(own, service)

    async def close(self) -> None:
        """End every call and connection."""
        await asyncio.gather(*(owner.close() for owner in self.owners))

    def away(self) -> str | None:
        """Say which owners cannot be reached, and why."""
        away = [why for owner in self.owners if (why := owner.away()) is not None]
        if len(self.owners) == 1 or not away:
            return away[0] if away else None
        return f"{len(away)} of {len(self.owners)}: {'; '.join(away)}"

    def state(self) -> PeerState:
        """Tell of each owner how it stands."""
        owners = [
            OwnerState(o.address, o.away() is not None, o.connected(), o.pending)
            for o in self.owners
        ]
        return PeerState(tuple(owners), self._retried, self._refused)

    # Whom to ask, and how often

    def _choose(self, last: GrpcOwner | None = None) -> GrpcOwner | None:
        """Return the owner with the least to do, and not the last one where there is another."""
        now_s = self._clock.monotonic_s()
        if len(self.owners) == 1:
            return self.owners[0] if self.owners[0].takes_calls(now_s) else None
        self._turn = (self._turn + 1) % len(self.owners)
        in_turn = self.owners[self._turn :] + self.owners[: self._turn]
        return min(
            (owner for owner in in_turn if owner.takes_calls(now_s)),
            key=lambda owner: (owner is last, not owner.connected(), owner.pending),
            default=None,
        )

    async def _ask(self, attempt: Callable[[GrpcOwner], Awaitable[T]], terms: _Terms) -> T:
        """Ask an owner, and again where that is safe and there is room for it.

        Raises Unavailable, without asking, where all are left alone or have enough to do.
        """
        self._budget.called()
        owner: GrpcOwner | None = None
        failure: Exception | None = None
        tries = 0
        while True:
            tries += 1
            owner = self._choose(owner)
            if owner is None:
                self._refused += failure is None
                raise failure or Unavailable(f"{terms.what} cannot be reached", retry_after_s=1)
            try:
                return await owner.ask(attempt)
            except NotBegun:
                continue  # it is asked no more, so this ends when there is no other
            except grpc.aio.AioRpcError as error:
                # One try that may have been done outweighs a later one that was not sent.
                if not isinstance(failure, OutcomeUnknown):
                    failure = terms.failed(error)
                undone = isinstance(failure, Unavailable) and not isinstance(
                    failure, OutcomeUnknown
                )
                again = undone or (terms.safe and isinstance(failure, OutcomeUnknown))
                if (
                    not again
                    or tries == TRIES_MAX
                    or not await self._may_repeat(owner, tries, terms)
                ):
                    raise failure from error
                self._retried += 1

    async def _may_repeat(self, asked: GrpcOwner, tries: int, terms: _Terms) -> bool:
        """Tell whether there is time and room to ask once more; wait a little where it helps."""
        pause_s = 0.0
        if self._choose(asked) in (asked, None):
            pause_s = FIRST_PAUSE_S * 2 ** (tries - 1)
        if terms.left_s() <= pause_s or not self._budget.take():
            return False
        await asyncio.sleep(pause_s)
        return True

    # An Invoker

    async def invoke(self, invocation: Invocation) -> Outcome:
        """Call a unary operation, again where that is safe."""
        operation = self._operations[invocation.operation]

        async def once(owner: GrpcOwner) -> sent.Said:
            message, time_s = self._written(invocation), self._time_for(operation, invocation)
            return _begun(sent.read_said(await owner.answer(INVOKE, message, time_s)))

        safe = not operation.writes or invocation.idempotency_key is not None
        return _outcome(await self._ask(once, self._terms(operation, invocation, safe=safe)))

    async def upload(self, invocation: Invocation, chunks: AsyncIterator[bytes]) -> Outcome:
        """Call an upload."""

        async def send(call: Any) -> None:
            async for chunk in chunks:
                await call.write(sent.written(sent.SentBytes(chunk)))

        return await self._sending(UPLOAD, invocation, send)

    async def receive(self, invocation: Invocation, files: AsyncIterator[FilePart]) -> Outcome:
        """Call a unary operation that takes files."""

        async def send(call: Any) -> None:
            async for file in files:
                await call.write(sent.written(sent.SentFile(file.name, file.head)))
                async for chunk in file.chunks:
                    await call.write(sent.written(sent.SentBytes(chunk)))

        return await self._sending(RECEIVE, invocation, send)

    async def _sending(
        self, method: str, invocation: Invocation, send: Callable[[Any], Awaitable[None]]
    ) -> Outcome:
        """Call with what follows, which its owner lets come first.

        Before that nothing is done, so another may be asked; after it the sender's own time counts,
        whom others bound.
        """
        operation = self._operations[invocation.operation]

        async def once(owner: GrpcOwner) -> tuple[Any, sent.Said]:
            call = owner.method(method)()
            return call, await self._first(call, invocation)

        terms = self._terms(operation, invocation, safe=True, writes=False)
        call, first = await self._ask(once, terms)
        said: sent.Said | None = first
        try:
            if isinstance(said, sent.SentGo):
                said = await _while(call, send)
            return _outcome(said)
        except _ENDED as error:
            raise _failed(await _status(call, error), operation, operation.writes) from error
        finally:
            call.cancel()

    async def open(self, invocation: Invocation, recipient: Recipient | None = None) -> Opened:
        """Call a raw operation or open a stream; again, up to its head, where that is safe."""
        operation = self._operations[invocation.operation]

        async def once(owner: GrpcOwner) -> tuple[Any, sent.Said]:
            call = owner.method(OPEN)()
            return call, await self._first(call, invocation, recipient)

        safe = not operation.writes or invocation.idempotency_key is not None
        call, said = await self._ask(once, self._terms(operation, invocation, safe=safe))
        if isinstance(said, sent.SentFailure):
            raise sent.received_failure(said)
        assert isinstance(said, sent.SentHead), said
        body: bytes | AsyncIterator[Any] = said.body or b""
        if said.body is None:
            body = self._pieces(call, recipient, operation)
        return Opened(
            body, said.status, said.media_type, said.headers, said.replayed, said.elsewhere
        )

    async def _first(
        self, call: Any, invocation: Invocation, recipient: Recipient | None = None
    ) -> sent.Said:
        """Send a call, and return its first answer. Raises AioRpcError where there is none."""
        operation = self._operations[invocation.operation]
        limit = asyncio.timeout(self._time_for(operation, invocation))
        try:
            async with limit:
                await call.write(self._written(invocation, lasts=recipient is not None))
                return _begun(await _asked(call, recipient))
        except BaseException as error:
            call.cancel()
            if isinstance(error, _ENDED):
                raise await _status(call, error) from error
            if limit.expired():
                raise ended(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in time") from error
            raise

    async def _pieces(
        self, call: Any, recipient: Recipient | None, operation: Operation
    ) -> AsyncIterator[Any]:
        try:
            while (said := await _asked(call, recipient)) is not None:
                if isinstance(said, sent.SentFailure):
                    raise sent.received_failure(said)
                yield said.item if isinstance(said, sent.SentItem) else said.data
        except _ENDED as error:
            told = await _status(call, error)
            if operation.kind is Kind.STREAM and told.code() in GONE:
                return  # its owner stops: whoever follows comes again, after the last item
            raise _failed(told, operation, operation.writes) from error
        finally:
            call.cancel()

    def _written(self, invocation: Invocation, *, lasts: bool = False) -> bytes:
        now_s = self._clock.monotonic_s()
        return sent.written(sent.sent_call(invocation, now_s, lasts=lasts))

    def _terms(
        self,
        operation: Operation,
        invocation: Invocation,
        *,
        safe: bool,
        writes: bool | None = None,
    ) -> _Terms:
        changes = operation.writes if writes is None else writes
        return _Terms(
            f"the service {_service(operation)}",
            safe,
            lambda: self._left_s(invocation, operation),
            lambda error: _failed(error, operation, changes),
        )

    def _left_s(self, invocation: Invocation, operation: Operation) -> float:
        if invocation.deadline_s is None:
            return operation.timeout_s
        return invocation.deadline_s - self._clock.monotonic_s()

    def _time_for(self, operation: Operation, invocation: Invocation) -> float:
        return max(self._left_s(invocation, operation), 0.0) + ANSWER_MARGIN_S

    # An Authenticator, and what tells of revocations

    @property
    def revoking(self) -> frozenset[str]:
        """None: whoever remembers is told by ``follow``."""
        return frozenset()

    async def authenticate(self, credential: str, now_ms: int) -> Identity:
        """Return whose credential this is."""
        message = encode(Credential(credential, now_ms))

        async def once(owner: GrpcOwner) -> bytes:
            return await owner.answer(AUTHENTICATE, message, AUTHENTICATE_TRY_S)

        def failed(error: grpc.aio.AioRpcError) -> Exception:
            if error.code() is grpc.StatusCode.UNKNOWN:
                return RuntimeError(f"no log-in is checked: {error.details()}")
            return Unavailable("nobody can be identified now", retry_after_s=1)

        left_s = self._left_of(AUTHENTICATE_S)
        data = await self._ask(once, _Terms("who says who calls", True, left_s, failed))
        answer = answers.decode(data)
        if answer.failure is not None:
            raise sent.received_failure(answer.failure)
        assert answer.identity is not None
        return answer.identity

    def _left_of(self, time_s: float) -> Callable[[], float]:
        until_s = self._clock.monotonic_s() + time_s
        return lambda: until_s - self._clock.monotonic_s()

    async def _question(self, question: Question, what: str) -> QuestionAnswer:
        """Ask what changes nothing. Raises whatever the owner said, and Unavailable."""
        message = encode(question)

        async def once(owner: GrpcOwner) -> bytes:
            found: bytes = await owner.method(ASK)(message, timeout=QUESTION_TRY_S)
            return found

        def failed(error: grpc.aio.AioRpcError) -> Exception:
            if error.code() in (*GONE, grpc.StatusCode.DEADLINE_EXCEEDED):
                return Unavailable(f"{what} cannot be reached", retry_after_s=1)
            return RuntimeError(f"{what} failed: {error.code().name} {error.details()}")

        terms = _Terms(what, True, self._left_of(QUESTION_S), failed)
        answer = told.decode(await self._ask(once, terms))
        if answer.failure is not None:
            raise sent.received_failure(answer.failure)
        return answer

    async def follow(self) -> AsyncIterator[Revocation]:
        """Yield what is revoked; whenever it may have missed something, that all is."""
        owner: GrpcOwner | None = None
        while True:
            owner = self._choose(owner)
            if owner is not None:
                async with aclosing(self._follow(owner)) as told:
                    async for revocation in told:
                        yield revocation
            await asyncio.sleep(AGAIN_S)

    async def _follow(self, owner: GrpcOwner) -> AsyncGenerator[Revocation, None]:
        """Yield what one owner hears of, until it answers no more."""
        call = owner.method(REVOCATIONS)()
        try:
            yield Revocation(all=True)
            while True:
                asked_s = self._clock.monotonic_s()
                async with asyncio.timeout(PONG_S):
                    await call.write(encode(Ping()))
                    data = await call.read()
                if data is grpc.aio.EOF:
                    return
                word = revoked.decode(data)
                self._deaf.worked()
                # What it had heard by then, it had heard when it was asked, or later.
                heard_s = None if word.age_s is None else asked_s - word.age_s
                yield Revocation(word.tags, word.all, heard_s)
                await asyncio.sleep(PING_EVERY_S)
        except (*_ENDED, TimeoutError) as error:
            self._deaf.failed(str(error)[:WHY_CHARS_MAX])
        finally:
            call.cancel()


def _service(operation: Operation) -> str:
    return operation.name.partition(".")[0]


def _failed(error: grpc.aio.AioRpcError, operation: Operation, writes: bool) -> Exception:
    """Return what to raise for a call that had no answer; ``writes`` if it may have changed any."""
    code, why, service = error.code(), str(error.details() or ""), _service(operation)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        if not writes:
            return DeadlineExceeded(f"the service {service} did not answer in time")
        return OutcomeUnknown(f"the service {service} did not say whether this was done")
    if code not in GONE:
        return RuntimeError(f"the owner of {operation.name} failed: {code.name} {why}")
    if writes and not any(told in why.lower() for told in _NOT_SENT):
        return OutcomeUnknown(
            f"the service {service} ended while it did this. Repeat the call with the same "
            "Idempotency-Key; without one look first",
            retry_after_s=1,
        )
    return Unavailable(f"the service {service} cannot be reached", retry_after_s=1)


async def _read(call: Any) -> sent.Said | None:
    data = await call.read()
    return None if data is grpc.aio.EOF else sent.read_said(data)


async def _asked(call: Any, recipient: Recipient | None) -> Any:
    """Read what comes next; what is asked meanwhile is answered."""
    while isinstance(said := await _read(call), sent.SentRenew):
        caller = None if recipient is None else await recipient.renew()
        await call.write(sent.written(sent.SentRenewed(caller)))
    return said


async def _while(call: Any, send: Callable[[Any], Awaitable[None]]) -> sent.Said | None:
    """Send until there is an answer, which may come before everything was sent."""

    async def whole() -> None:
        await send(call)
        # Else what was cut off would look like what has ended.
        await call.write(sent.written(sent.SentEnd()))
        await call.done_writing()

    sending = asyncio.ensure_future(whole())
    answer = asyncio.ensure_future(_read(call))
    try:
        await asyncio.wait({sending, answer}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done() and not answer.done():
            sending.result()  # what went wrong at the sender's end is what happened
        return await answer
    finally:
        for task in (sending, answer):
            task.cancel()
        await asyncio.wait({sending, answer})


async def _status(call: Any, error: BaseException) -> grpc.aio.AioRpcError:
    """Return how a call ended."""
    if isinstance(error, grpc.aio.AioRpcError):
        return error
    return ended(await call.code(), await call.details())


def _begun(said: sent.Said | None) -> sent.Said:
    """Return the first answer to a call. Raises NotBegun."""
    if isinstance(said, sent.SentLeaving):
        raise NotBegun
    if said is None:
        raise RuntimeError("an owner ends a call without an answer")
    return said


def _outcome(said: sent.Said | None) -> Outcome:
    if isinstance(said, sent.SentFailure):
        raise sent.received_failure(said)
    if not isinstance(said, sent.SentOutcome):
        raise RuntimeError(f"an owner answers a call with {type(said).__name__}")
    return sent.received_outcome(said)


def _addresses(url: str) -> list[str]:
    """Return the addresses of a URL. Raises StartError."""
    found = url.removeprefix(SCHEME).split(",")
    if not url.startswith(SCHEME) or not all(one.rpartition(":")[2].isdecimal() for one in found):
        raise StartError(f"peers: {url} is not grpc://HOST:PORT, or several with commas between")
    return found
