"""The owner's side of every call: authorise, validate, replay, bound in time, run, commit."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from mainspring.kernel.authority import authorise, require_recent
from mainspring.kernel.byte_range import BytePart, WantedRange
from mainspring.kernel.call import Call
from mainspring.kernel.caller import ANONYMOUS, Caller
from mainspring.kernel.clock import Clock
from mainspring.kernel.current_call import CURRENT_CALL
from mainspring.kernel.errors import (
    DeadlineExceeded,
    Failure,
    Forbidden,
    Invalid,
    OutcomeUnknown,
    Unauthenticated,
)
from mainspring.kernel.ids import IdMaker
from mainspring.kernel.impersonation import require_in_person
from mainspring.kernel.invocation import FileHead, FilePart, Invocation, Opened, Outcome
from mainspring.kernel.operation import (
    Files,
    Kind,
    Operation,
    Raw,
    Seekable,
    Upload,
    UploadTerms,
)
from mainspring.kernel.policy import RateClass
from mainspring.kernel.pool import Pool
from mainspring.kernel.recipient import Recipient
from mainspring.ports.cache import Cache
from mainspring.ports.database import Replicas
from mainspring.runtime.invoke.answer_cache import AnswerCache
from mainspring.runtime.invoke.containment import contained, contained_items
from mainspring.runtime.invoke.deadline import TimeLimit
from mainspring.runtime.invoke.dispatcher import Dispatcher
from mainspring.runtime.invoke.file_intake import FileIntake
from mainspring.runtime.invoke.idempotency import Idempotency, IdempotencyKeys
from mainspring.runtime.invoke.validate import Args, Inputs
from mainspring.runtime.metrics.telemetry import Metrics

A = TypeVar("A", Outcome, Opened)
_RANGES = ("Accept-Ranges", "bytes")

LARGE_BODY_BYTES = 256 << 10  # read off the loop, one such body at a time
LARGE_BODIES_MAX = 64  # that wait to be read
LARGE_BODIES_SHARE = 4  # of them by one account


class _Owned:
    """An operation that this process owns, and what reads its arguments."""

    __slots__ = ("body", "inputs", "kept", "operation", "path", "public")

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.inputs = Inputs(operation)
        self.body = operation.body_param
        self.path = (operation.name,)
        self.public = operation.cache is not None and operation.cache.public
        self.kept = self.public and operation.kind is Kind.UNARY

    def is_large(self, invocation: Invocation) -> bool:
        """Whether reading its body would make others wait."""
        if self.body is None:
            return False
        body = invocation.arguments.get(self.body)
        return type(body) is msgspec.Raw and len(body) > LARGE_BODY_BYTES


class LocalInvoker:
    """Runs the operations of this process. An ``Invoker``.

    Each stage asks nobody but what came with the invocation: it may have been sent by another
    process. ``intake`` is where uploads go; without it there can be none. ``cache`` keeps public
    answers for as long as they say. ``replicas`` are read where operation and caller let them be.
    """

    def __init__(
        self,
        operations: Iterable[Operation],
        dispatcher: Dispatcher,
        keys: IdempotencyKeys,
        *,
        clock: Clock,
        ids: IdMaker,
        metrics: Metrics,
        intake: FileIntake | None = None,
        cache: Cache | None = None,
        replicas: Replicas | None = None,
    ) -> None:
        self._owned = {operation.name: _Owned(operation) for operation in operations}
        self._dispatcher = dispatcher
        self._keys = keys
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self.intake = intake
        self._answers = None if cache is None else AnswerCache(cache, clock)
        self._replicas = replicas
        self._large_bodies = Pool("large bodies", LARGE_BODIES_MAX, LARGE_BODIES_SHARE)
        self._reading = asyncio.Semaphore(1)

    async def invoke(self, invocation: Invocation) -> Outcome:
        """Call a unary operation."""
        owned = self._admit(invocation)
        if owned.is_large(invocation):
            args, idempotency = await self._read_beside(owned, invocation)
        else:
            args, idempotency = self._read(owned, invocation)
        limit = self._limit(owned.operation, invocation)
        if invocation.dry_run and owned.operation.writes:
            return await self._rehearse(
                owned.operation, self._call(owned, invocation, limit), args, limit
            )
        if owned.kept and self._answers is not None and not invocation.path:
            return await self._kept_or_run(self._answers, owned, invocation, args, limit)
        asking = CURRENT_CALL.get() if invocation.path else None
        call = self._call(owned, invocation, limit)
        if owned.operation.may_lag:
            self._lag(call, invocation)
        try:
            outcome = await self._run(owned.operation, call, args, idempotency, limit)
        finally:
            if asking is not None:  # whoever asked goes on under its own name
                CURRENT_CALL.set(asking)
        return await self._placed(owned.operation, invocation, outcome)

    async def _rehearse(
        self, operation: Operation, call: Call, args: Args, limit: TimeLimit
    ) -> Outcome:
        """Try what writes. Raises Invalid for what a dry run would tell too much about."""
        if operation.secret or operation.rate is RateClass.LOGIN:
            raise Invalid.at(
                "/dry_run",
                "not of this operation",
                f"{operation.name} makes a secret or proves one: it cannot be tried without effect",
            )
        return await limit.run(self._dispatcher.rehearse(operation, call, args, limit))

    async def _kept_or_run(
        self,
        answers: AnswerCache,
        owned: _Owned,
        invocation: Invocation,
        args: Args,
        limit: TimeLimit,
    ) -> Outcome:
        """Answer with what anybody may keep, while it holds; else run, and keep that.

        Not for handlers that ask: they are told what is so now.
        """
        operation = owned.operation
        key = answers.key(operation, invocation.caller.tenant, args)
        if (kept := await answers.get(key)) is not None:
            return kept
        call = self._call(owned, invocation, limit)
        outcome = await self._run(operation, call, args, None, limit)
        answers.put(key, operation, call.now_ms, outcome)
        return outcome

    async def upload(self, invocation: Invocation, chunks: AsyncIterator[bytes]) -> Outcome:
        """Call an upload: its blob is durable before its handler runs.

        It is gone again when the call is refused or was answered before. While nobody knows whether
        the commit went through the blob stays: the sweep decides about it.
        """
        owned = self._admit(invocation)
        operation, intake = owned.operation, self.intake
        assert operation.upload_param is not None  # Kind.UPLOAD binds one
        if intake is None:
            raise RuntimeError(f"{operation.name} uploads, and the app has no blobs")
        args = owned.inputs.read(invocation.arguments)
        head = _file_head(invocation.arguments[operation.upload_param])
        terms = UploadTerms()
        if operation.prepare is not None:
            limit = self._limit(operation, invocation)
            asking = self._call(owned, invocation, limit)
            told_terms = await limit.run(contained(operation.prepare(asking, **args)))
            assert isinstance(told_terms, UploadTerms)  # it takes one file
            terms = told_terms
        with intake.places.place(_account(invocation)):
            file = await intake.take(head, chunks, terms, operation.body_bytes_max)
        taken = {operation.upload_param: (file, head)}
        return await self._run_with(owned, invocation, args, file, taken, operation.upload_param)

    async def receive(self, invocation: Invocation, files: AsyncIterator[FilePart]) -> Outcome:
        """Call a unary operation with files: all are durable before its handler runs.

        They are gone again as that of an upload is.
        """
        owned = self._admit(invocation)
        operation, intake = owned.operation, self.intake
        if intake is None or operation.files_param is None or operation.prepare is None:
            raise RuntimeError(f"{operation.name} takes no files, or the app has no blobs")
        args = owned.inputs.read(invocation.arguments)
        limit = self._limit(operation, invocation)
        asking = self._call(owned, invocation, limit)
        terms = await limit.run(contained(operation.prepare(asking, **args)))
        assert not isinstance(terms, UploadTerms)  # those are an upload's
        with intake.places.place(_account(invocation)):
            taken = await intake.take_all(files, terms)
        uploads = {name: upload for name, (upload, _) in taken.items()}
        return await self._run_with(owned, invocation, args, uploads, taken, operation.files_param)

    async def _run_with(
        self,
        owned: _Owned,
        invocation: Invocation,
        args: Args,
        given: Upload | Files,
        taken: Mapping[str, tuple[Upload, FileHead]],
        parameter: str,
    ) -> Outcome:
        """Run with what was ``taken``, and keep it only where this call commits it.

        A repeat is known by what the files hold and are said to be, and not by where they are.
        """
        operation, intake = owned.operation, self.intake
        assert intake is not None  # it took them
        uploads = [upload for upload, _ in taken.values()]
        try:
            told = {n: (u.sha256, h.media_type, h.filename) for n, (u, h) in taken.items()}
            same = told[parameter] if isinstance(given, Upload) else told
            idempotency = self._identify(operation, invocation, {**args, parameter: same})
            args[parameter] = given
            limit = self._limit(operation, invocation)
            call = self._call(owned, invocation, limit)
            outcome = await self._run(operation, call, args, idempotency, limit)
        except OutcomeUnknown:
            raise
        except Failure:
            await intake.drop(uploads)
            raise
        if outcome.replayed:
            await intake.drop(uploads)
        return await self._placed(operation, invocation, outcome)

    async def open(self, invocation: Invocation, recipient: Recipient | None = None) -> Opened:
        """Call a raw operation or open a stream."""
        owned = self._admit(invocation)
        operation = owned.operation
        if owned.is_large(invocation):
            args, idempotency = await self._read_beside(owned, invocation)
        else:
            args, idempotency = self._read(owned, invocation)
        limit = self._limit(operation, invocation)
        call = self._call(owned, invocation, limit)
        if recipient is not None:
            call.recipient = _Permitted(recipient, operation.scope)
        if operation.kind is Kind.STREAM:
            # Its handler is an async generator, or returns one.
            items: Any = operation.handler(call, **args)
            if inspect.isawaitable(items):
                items = await limit.run(contained(items))
            return Opened(contained_items(items))
        outcome = await self._run(operation, call, args, idempotency, limit)
        raw = outcome.value
        if isinstance(raw, Raw):
            opened = _opened(raw, invocation.wanted)
        else:
            opened = Opened(outcome.body, outcome.status, headers=outcome.headers, replayed=True)
        return await self._placed(operation, invocation, opened)

    # Replicas

    def _lag(self, call: Call, invocation: Invocation) -> None:
        """Have a call read from a replica, where its caller takes that; no handler that asks does.

        What it asks for decides what is done.
        """
        if self._replicas is None or invocation.read_after is None or invocation.path:
            return
        call.lagging = self._replicas.reader(invocation.read_after)
        where = self._metrics.lagging_reads
        where.of("primary" if call.lagging is None else "replica").add()

    async def _placed(self, operation: Operation, invocation: Invocation, answer: A) -> A:
        """Tell who writes and says how new it reads after which position that has to be now."""
        if self._replicas is None or invocation.read_after is None or not operation.writes:
            return answer
        told = ("Read-After", await self._replicas.position())
        return msgspec.structs.replace(answer, headers=(*answer.headers, told))

    # The stages

    def _admit(self, invocation: Invocation) -> _Owned:
        """Find the operation and authorise.

        Raises Unauthenticated, Forbidden, NotForImpersonators, StepUpRequired.
        """
        owned = self._owned[invocation.operation]
        authorise(owned.operation.scope, invocation.caller)
        require_in_person(owned.operation.impersonated, invocation.caller)
        require_recent(owned.operation.recent_s, invocation.caller, self._clock.now_ms())
        return owned

    def _read(self, owned: _Owned, invocation: Invocation) -> tuple[Args, Idempotency | None]:
        """Validate, and identify a repetition. Raises what either does."""
        args = owned.inputs.read(invocation.arguments, invocation.resume_after)
        # What a foreign page or client posts has no key: its protocol says what a repeat is.
        if not owned.operation.writes or owned.operation.takes_form or invocation.dry_run:
            return args, None
        return args, self._identify(owned.operation, invocation, args)

    async def _read_beside(
        self, owned: _Owned, invocation: Invocation
    ) -> tuple[Args, Idempotency | None]:
        """Let a thread read a large body: others need not wait for it.

        Raises Unavailable or RateLimited when too many large ones wait.
        """
        with self._large_bodies.place(_account(invocation)):
            async with self._reading:
                return await asyncio.to_thread(self._read, owned, invocation)

    def _identify(
        self, operation: Operation, invocation: Invocation, args: Args
    ) -> Idempotency | None:
        return self._keys.identify(operation, invocation.caller, invocation.idempotency_key, args)

    def _limit(self, operation: Operation, invocation: Invocation) -> TimeLimit:
        """How long the call may take: the operation's limit, or what its caller has left."""
        seconds = operation.timeout_s
        if invocation.deadline_s is not None:
            seconds = min(seconds, invocation.deadline_s - self._clock.monotonic_s())
            if seconds <= 0:
                raise DeadlineExceeded("the time that the caller had is up")
        return TimeLimit(seconds)

    def _call(self, owned: _Owned, invocation: Invocation, limit: TimeLimit) -> Call:
        caller = invocation.caller
        if owned.public:
            caller = msgspec.structs.replace(ANONYMOUS, tenant=caller.tenant)
        call = self._dispatcher.call(
            caller,
            request_id=invocation.request_id,
            correlation_id=invocation.correlation_id,
            causation_id=invocation.causation_id,
            if_match=invocation.if_match,
            account=invocation.account,
            deadline_s=self._clock.monotonic_s() + limit.seconds,
            reads=owned.operation.kind is Kind.STREAM,
            path=invocation.path + owned.path,
        )
        call.until_ms, call.sender = invocation.until_ms, invocation.sender
        return call

    async def _run(
        self,
        operation: Operation,
        call: Call,
        args: Args,
        idempotency: Idempotency | None,
        limit: TimeLimit,
    ) -> Outcome:
        """Replay or run, within the time that is left."""
        if idempotency is None:
            return await limit.run(self._dispatcher.run(operation, call, args, None, limit))
        with self._keys.running(idempotency):
            work = self._dispatcher.run(operation, call, args, idempotency, limit)
            outcome = await limit.run(work)
        if outcome.replayed:
            self._metrics.replays.add()
        return outcome


def _opened(raw: Raw, wanted: WantedRange | None) -> Opened:
    """Open a raw answer; of a body that is seekable, the part that is wanted."""
    if not isinstance(raw.body, Seekable):
        headers, where = raw.headers, raw.elsewhere
        return Opened(raw.body, raw.status, raw.media_type, headers, elsewhere=where)
    whole, headers, status = raw.body.size_bytes, (*raw.headers, _RANGES), raw.status
    part = None
    if wanted is not None and status == 200 and raw.elsewhere is None:  # else asked there
        etag = next((value for name, value in raw.headers if name.lower() == "etag"), None)
        part = wanted.of(whole, etag)
    if part is None:
        part = BytePart(0, whole)
    elif not part.size_bytes:
        return Opened(b"", 416, headers=(*headers, ("Content-Range", f"bytes */{whole}")))
    else:
        status, last = 206, part.offset + part.size_bytes - 1
        headers += (("Content-Range", f"bytes {part.offset}-{last}/{whole}"),)
    headers += (("Content-Length", str(part.size_bytes)),)
    body = contained_items(raw.body.read(part.offset, part.size_bytes))
    return Opened(body, status, raw.media_type, headers, elsewhere=raw.elsewhere)


def _account(invocation: Invocation) -> str:
    return invocation.account or invocation.caller.actor


def _file_head(given: Any) -> FileHead:
    return msgspec.json.decode(given, type=FileHead) if isinstance(given, msgspec.Raw) else given


class _Permitted:
    """A recipient who counts for as long as it holds the scope of what it is sent."""

    __slots__ = ("_inner", "_scope", "credential", "holds", "push")

    def __init__(self, inner: Recipient, scope: str | None) -> None:
        self._inner = inner
        self._scope = scope
        self.credential = inner.credential
        self.holds = inner.holds
        self.push = inner.push

    async def renew(self) -> Caller | None:
        """Return who it is now, and still may be here."""
        caller = await self._inner.renew()
        try:
            if caller is not None:
                authorise(self._scope, caller)
        except (Unauthenticated, Forbidden):
            return None
        return caller
