"""The commit: runs a handler and makes everything it staged durable in one transaction."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, Protocol

import msgspec

from mainspring.kernel import channel
from mainspring.kernel.call import STAGED_MAX, Call, Caller, Context, ReadCall, Transaction
from mainspring.kernel.clock import Clock
from mainspring.kernel.current_call import CURRENT_CALL
from mainspring.kernel.errors import (
    ConcurrentUpdate,
    Conflict,
    Failure,
    Forbidden,
    Hidden,
    Invalid,
    OutcomeUnknown,
    Rerun,
    Unauthenticated,
    Unavailable,
)
from mainspring.kernel.event import StagedEvent
from mainspring.kernel.invocation import Outcome, Staged
from mainspring.kernel.job import JobState, StagedJob
from mainspring.kernel.lru_cache import LruCache
from mainspring.kernel.operation import Operation, Raw, Response, Seekable
from mainspring.kernel.table import Write
from mainspring.ports.database import Database, DatabaseTransaction, Wakes
from mainspring.ports.keyring import Keyring
from mainspring.ports.listeners import tell
from mainspring.runtime.data_keys import KeyNotHeld
from mainspring.runtime.events.log import event_row
from mainspring.runtime.invoke.containment import contained, contained_items
from mainspring.runtime.invoke.deadline import TimeLimit
from mainspring.runtime.invoke.idempotency import Answers, Idempotency, KeyTaken
from mainspring.runtime.invoke.keyed_locks import KeyedLocks, contested
from mainspring.runtime.metrics.measures import MeasureBuffer
from mainspring.runtime.metrics.telemetry import Metrics
from mainspring.runtime.tables import EVENTS, JOBS, JobRow

__all__ = ["CommitListener", "Dispatcher", "Idempotency", "Outcome", "job_row", "outcome_of"]

REPEATS_S = 1.0  # after a key was repeated for the first time others are expected for so long
REPEATED_MAX = 10_000  # keys that were repeated, and are remembered
RERUNS_MAX = 5
EVENTS_AT_ONCE = 50  # written down between two turns of others: a millisecond or two
LIMIT_VALUE_CHARS_MAX = 200  # of what limits jobs per key; its digest stands for a longer one
EVENT_WAKES = frozenset({channel.EVENTS})

_encode = msgspec.json.Encoder().encode

CommitListener = Callable[[Call, Sequence[StagedEvent]], None]


class EventEncoder(Protocol):
    """Writes an event's data as JSON with its personal fields sealed."""

    async def encode(self, event: StagedEvent, call: Call) -> tuple[bytes, list[Write]]:
        """Return the JSON, and the writes that keep a new person's key."""
        ...


class _Run(msgspec.Struct, frozen=True):
    """One call on its way through the dispatcher."""

    operation: Operation
    call: Call
    args: Mapping[str, Any]
    idempotency: Idempotency | None
    limit: TimeLimit | None


class Dispatcher:
    """Runs operations, and everything else that stages: consumers and jobs commit through it."""

    __slots__ = (
        "_answers",
        "_clock",
        "_context",
        "_database",
        "_listeners",
        "_measures",
        "_metrics",
        "_repeated",
        "_repeats_until_s",
        "_sealer",
        "keyed_locks",
    )

    def __init__(
        self,
        database: Database,
        context: Context,
        clock: Clock,
        keyring: Keyring,
        sealer: EventEncoder,
        metrics: Metrics,
        measures: MeasureBuffer,
    ) -> None:
        self._database = database
        self._context = context
        self._clock = clock
        self._answers = Answers(database, keyring)
        self._sealer = sealer
        self._measures = measures
        self._metrics = metrics
        self._listeners: list[CommitListener] = []
        self._repeated: LruCache[bytes, bool] = LruCache(REPEATED_MAX)
        self._repeats_until_s = 0.0
        self.keyed_locks = KeyedLocks()

    def on_commit(self, listener: CommitListener) -> None:
        """Call ``listener`` after each commit with events and before its call is answered."""
        self._listeners.append(listener)

    async def _counted(
        self, commit: Coroutine[Any, Any, None], limit: TimeLimit | None = None
    ) -> None:
        """Count a commit by its outcome, and time the ones that held."""
        started_s = self._clock.monotonic_s()
        try:
            await (commit if limit is None else limit.commit(commit))
        except BaseException as error:
            self._metrics.commits.of(_ending(error)).add()
            raise
        self._metrics.committed.add()
        self._metrics.commit_seconds.observe(self._clock.monotonic_s() - started_s)

    def call(
        self,
        caller: Caller,
        *,
        request_id: str,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        if_match: str | None = None,
        attempt: int = 1,
        account: str = "",
        deadline_s: float | None = None,
        reads: bool = False,
        path: tuple[str, ...] = (),
    ) -> Call:
        """Make the call a handler is given; this task's log lines carry its ids from here on.

        With ``reads`` it is one that stages nothing.
        """
        call = (ReadCall if reads else Call)(
            self._context,
            caller,
            now_ms=self._clock.now_ms(),
            request_id=request_id,
            correlation_id=correlation_id,
            causation_id=causation_id,
            if_match=if_match,
            attempt=attempt,
            account=account,
            deadline_s=deadline_s,
            path=path,
        )
        CURRENT_CALL.set(call)
        return call

    async def run(
        self,
        operation: Operation,
        call: Call,
        args: Mapping[str, Any],
        idempotency: Idempotency | None = None,
        limit: TimeLimit | None = None,
    ) -> Outcome:
        """Run any operation but a stream and commit what it staged, once.

        A guard that fails re-runs the handler at most ``RERUNS_MAX`` times, then raises
        ConcurrentUpdate. Where a call with the same idempotency key has committed before, its
        answer is returned: most calls are no repeats, so it is looked for only when the commit
        meets the key, or the handler fails. It is looked for first where the handler is dear (its
        answer holds a secret) or runs inside the transaction, and where a repeat is likely, for
        each would fail the commit it shares with others' calls: the key was repeated before, or
        another was for the first time within ``REPEATS_S``. Raises KeyReused when the request was
        another one. A Failure that keeps what was staged is raised after the commit. ``limit`` is
        told of the commits, which it must not cut off.
        """
        run = _Run(operation, call, args, idempotency, limit)
        outcome = await self._run(run)
        if not outcome.replayed or operation.shows is None or not outcome.body:
            return outcome
        body = await operation.shows(call, outcome.body, **args)
        if body:
            return msgspec.structs.replace(outcome, body=body)
        return msgspec.structs.replace(outcome, status=204, body=b"", etag=None)

    async def _run(self, run: "_Run") -> Outcome:
        operation, call = run.operation, run.call
        if run.idempotency is not None and (operation.secret or operation.in_transaction):
            stored = await self._stored(run)
            if stored is not None:
                return stored
        elif run.idempotency is not None and self._is_likely_repeat(run.idempotency.key_hash):
            stored = await self._stored(run)
            if stored is not None:
                self._repeated.put(run.idempotency.key_hash, True)
                await self._ask_again(run)
                return stored
        if operation.in_transaction:
            return await self._run_inside(run)
        outcome = await self._run_once(run)
        if outcome is not None:
            return outcome
        reruns = 0
        while reruns < RERUNS_MAX:
            row = contested(call.writes)
            async with self.keyed_locks.of(row):
                # What it found another time may have it write another row than it waited for: an
                # upsert that lost the race to create changes what the winner made.
                while reruns < RERUNS_MAX and contested(call.writes) == row:
                    reruns += 1
                    call.reset()
                    outcome = await self._run_once(run)
                    if outcome is not None:
                        return outcome
        raise ConcurrentUpdate()

    async def _run_once(self, run: "_Run") -> Outcome | None:
        """Run the handler once and commit; None when it must run again."""
        call, idempotency = run.call, run.idempotency
        try:
            value = await contained(run.operation.handler(call, **run.args))
            outcome = outcome_of(run.operation, value)
            # A key remembers the answer of a call that changed nothing too: when it is repeated,
            # it must not take effect over what others did since.
            if call.writes or call.events or call.jobs or idempotency is not None:
                await self.commit(call, outcome=outcome, idempotency=idempotency, limit=run.limit)
            elif call.measures:
                self.tell(call)
            return outcome
        except Rerun:
            return await self._stored(run)
        except KeyTaken:
            self._note_repeat(idempotency)
            await self._ask_again(run)
            return await self._answers.winners(idempotency, call.now_ms)
        except Failure as failure:
            if not _denies(failure) and (stored := await self._stored_despite(run, failure)):
                return stored
            if failure.commits_on_failure and not await self._keep(run):
                return None
            raise

    def _note_repeat(self, idempotency: Idempotency | None) -> None:
        assert idempotency is not None  # only its insert raises KeyTaken
        self._repeated.put(idempotency.key_hash, True)
        self._repeats_until_s = self._clock.monotonic_s() + REPEATS_S

    def _is_likely_repeat(self, key_hash: bytes) -> bool:
        if self._repeated.get(key_hash):
            return True
        return self._clock.monotonic_s() < self._repeats_until_s

    async def _ask_again(self, run: "_Run") -> None:
        """Raise when the caller may do this no more; the handler may have gone by what it knew."""
        run.call.reset()
        try:
            await contained(run.operation.handler(run.call, **run.args))
        except Failure as failure:
            if _denies(failure):
                raise
        except Rerun:
            pass

    async def replay(self, idempotency: Idempotency, now_ms: int) -> Outcome | None:
        """Return the stored answer of an earlier call with this key, as ``Answers.replay`` does."""
        return await self._answers.replay(idempotency, now_ms)

    async def _stored(self, run: "_Run") -> Outcome | None:
        """Return what an earlier call with this key was answered, if there was one."""
        if run.idempotency is None:
            return None
        return await self.replay(run.idempotency, run.call.now_ms)

    async def _stored_despite(self, run: "_Run", failure: Failure) -> Outcome | None:
        """Return what a call that failed is answered after all, because one came before it.

        Where it is not known whether this one was committed, an answer that is stored settles it;
        none settles nothing, for the commit may still be on its way.
        """
        try:
            return await self._stored(run)
        except Unavailable:
            if isinstance(failure, OutcomeUnknown):
                raise failure from None
            raise

    async def _keep(self, run: "_Run") -> bool:
        """Commit what a failure keeps. Returns False when a guard failed: run again."""
        try:
            await self.commit(run.call, limit=run.limit)
        except Rerun:
            return False
        return True

    async def commit(
        self,
        call: Call,
        *,
        outcome: Outcome | None = None,
        idempotency: Idempotency | None = None,
        also: Sequence[Write] = (),
        wakes: Wakes = frozenset(),
        limit: TimeLimit | None = None,
    ) -> None:
        """Commit what a call staged, ``also`` included. Raises what the database port raises."""
        writes, woken = await self._to_writes(call, outcome, idempotency)
        await self._counted(self._database.commit([*also, *writes], woken | wakes), limit)
        self.tell(call)

    async def commit_all(
        self, calls: Sequence[Call], *, also: Sequence[Write] = (), wakes: Wakes = frozenset()
    ) -> None:
        """Commit what several calls staged in one transaction, or none of it."""
        writes: list[Write] = list(also)
        names = set(wakes)
        for call in calls:
            staged, woken = await self._to_writes(call, None, None)
            writes.extend(staged)
            names |= woken
        await self._counted(self._database.commit(writes, frozenset(names)))
        for call in calls:
            self.tell(call)

    def tell(self, call: Call) -> None:
        """Tell this process about a call that holds: what it measured counts from now on."""
        if call.measures:
            self._measures.add(call.tenant, call.now_ms, call.measures)
        if call.events:
            for listener in self._listeners:
                tell(listener, call, call.events)

    def _inside(self, call: Call) -> Transaction:
        return Transaction(
            self._context,
            call.caller,
            now_ms=call.now_ms,
            request_id=call.request_id,
            correlation_id=call.correlation_id,
            causation_id=call.causation_id,
            if_match=call.if_match,
            account=call.account,
            deadline_s=call.deadline_s,
            path=call.path,
        )

    async def rehearse(
        self, operation: Operation, call: Call, args: Mapping[str, Any], limit: TimeLimit
    ) -> Outcome:
        """Run what writes as ``run`` would, let the database judge what it staged, and undo that.

        Nobody is told, and nothing stays but what a failure keeps: who tries a password in a dry
        run has tried it. Raises what ``run`` raises.
        """
        run = _Run(operation, call, args, None, limit)
        row: Hashable | None = None
        for _ in range(1 + RERUNS_MAX):
            async with self.keyed_locks.of(row):
                outcome = await self._rehearse_once(run)
            if outcome is not None:
                return outcome
            row = contested(call.writes)
            call.reset()
        raise ConcurrentUpdate()

    async def _rehearse_once(self, run: "_Run") -> Outcome | None:
        """Try it once; None when it must run again."""
        operation, call = run.operation, run.call
        try:
            if operation.in_transaction:
                return await self._rehearse_inside(run)
            outcome = outcome_of(operation, await contained(operation.handler(call, **run.args)))
            writes, _ = await self._to_writes(call, outcome, None)
            await self._undone(partial(_apply, writes))
            return msgspec.structs.replace(outcome, staged=_staged(call))
        except Rerun:
            return None
        except Failure as failure:
            if failure.commits_on_failure and not await self._keep(run):
                return None
            raise

    async def _rehearse_inside(self, run: "_Run") -> Outcome:
        operation, inner = run.operation, self._inside(run.call)
        outcome: Outcome | None = None

        async def apply(transaction: DatabaseTransaction) -> None:
            nonlocal outcome
            inner.reset()
            inner.reader = transaction
            outcome = outcome_of(operation, await contained(operation.handler(inner, **run.args)))
            writes, _ = await self._to_writes(inner, outcome, None)
            await transaction.apply(writes)

        await self._undone(apply)
        assert outcome is not None  # the body has run
        return msgspec.structs.replace(outcome, staged=_staged(inner))

    async def _undone(self, apply: Callable[[DatabaseTransaction], Awaitable[None]]) -> None:
        """Do something in a transaction that never commits. Raises what the database says."""

        async def body(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
            await apply(transaction)
            raise _Undone

        try:
            await self._database.transact(body)
        except _Undone:
            return

    async def _run_inside(self, run: "_Run") -> Outcome:
        operation, call, idempotency = run.operation, run.call, run.idempotency
        inner = self._inside(call)
        outcome: Outcome | None = None
        ran = False

        async def body(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
            nonlocal outcome, ran
            if ran:  # whether or not it came to its end
                inner.reset()
            ran = True
            inner.reader = transaction
            outcome = outcome_of(operation, await contained(operation.handler(inner, **run.args)))
            return await self._to_writes(inner, outcome, idempotency)

        for _ in range(RERUNS_MAX):
            try:
                await self._counted(self._database.transact(body), run.limit)
            except KeyNotHeld as missing:
                await missing.fetch()
                continue
            except Rerun:
                continue
            except KeyTaken:
                if (found := await self._answers.winners(idempotency, call.now_ms)) is not None:
                    return found
                continue
            except Failure as failure:
                if stored := await self._stored_despite(run, failure):
                    return stored
                raise
            self.tell(inner)
            assert outcome is not None  # the body has run
            return outcome
        raise ConcurrentUpdate()

    async def _to_writes(
        self, call: Call, outcome: Outcome | None, idempotency: Idempotency | None
    ) -> tuple[list[Write], Wakes]:
        """Turn what a call staged into writes of the system tables and its own."""
        if len(call.writes) + len(call.events) + len(call.jobs) > STAGED_MAX:
            raise Invalid(
                f"this makes more than {STAGED_MAX} writes, events and jobs: do it in several calls"
            )
        writes: list[Write] = []
        wakes = set(call.wakes)
        slices: list[tuple[str, bytes]] = []
        events: list[Write] = []
        shares_loop = not isinstance(call, Transaction)  # that one is on a thread of its own
        for number, event in enumerate(call.events, 1):
            if number % EVENTS_AT_ONCE == 0 and shares_loop:
                await asyncio.sleep(0)  # others are served meanwhile
            if event.type.personal:
                data, keys = await self._sealer.encode(event, call)
                writes.extend(keys)
            else:
                data = event.json
            row = event_row(call, event, data)
            events.append(EVENTS.insert(row))
            slices.append((row.id, data))
        if idempotency is not None and outcome is not None:
            writes.extend(self._answers.remember(call, outcome, idempotency, slices))
        writes.extend(call.writes)
        writes.extend(events)
        for job in call.jobs:
            # One with a unique key that waits or runs already is dropped; no other can be.
            taken = Conflict if job.unique_key is None else None
            writes.append(JOBS.insert(job_row(call, job), taken))
            due = job.run_at_ms <= call.now_ms
            wakes.add(channel.ready(job.queue) if due else channel.SCHEDULED)
        return writes, EVENT_WAKES.union(wakes) if events else frozenset(wakes)


async def _apply(writes: Sequence[Write], transaction: DatabaseTransaction) -> None:
    await transaction.apply(writes)


class _Undone(Exception):
    """Takes a dry run's writes back."""


def _staged(call: Call) -> Staged:
    events = Counter(event.type.name for event in call.events)
    jobs = Counter(staged.job.name for staged in call.jobs)
    return Staged(len(call.writes), dict(events), dict(jobs))


def _denies(failure: Failure) -> bool:
    """Tell whether the caller may not: one who lost a right lost its stored answers with it.

    A wrong password says nothing of rights, and the call that stored an answer may have changed it.
    """
    return (
        isinstance(failure, Unauthenticated | Forbidden | Hidden) and not failure.commits_on_failure
    )


def _ending(error: BaseException) -> str:
    if isinstance(error, Rerun):
        return "rerun"
    expected = isinstance(error, Exception) and not isinstance(error, Unavailable)
    return "refused" if expected else "failed"


def outcome_of(operation: Operation, value: Any) -> Outcome:
    """Encode what a handler returned."""
    if type(value) is Raw:
        return _raw_outcome(value)
    if type(value) is Response:
        status, etag, headers = value.status or operation.status, value.etag, value.headers
        inner = value.body
        if headers and any(name.lower() == "cache-control" for name, _ in headers):
            raise RuntimeError(
                f"{operation.name}: a handler names no Cache-Control: declare who may keep the "
                "answer, with cache=CachePolicy(...)"
            )
    else:
        status, etag, headers, inner = operation.status, None, (), value
    if inner is None:
        body = b""
    elif type(inner) is msgspec.Raw:
        body = bytes(inner)
    else:
        body = _encode(inner)
    return Outcome(status, body, etag, headers, inner)


def _raw_outcome(raw: Raw) -> Outcome:
    """Take a raw answer with the media type among its headers, where a repetition finds it."""
    headers = raw.headers
    if raw.body and all(name.lower() != "content-type" for name, _ in headers):
        headers = (("Content-Type", raw.media_type), *headers)
    if isinstance(raw.body, bytes):
        return Outcome(raw.status, raw.body, headers=headers, value=raw)
    if isinstance(raw.body, Seekable):  # which part of it is read is yet to be seen
        return Outcome(raw.status, b"", headers=headers, value=raw)
    streamed = msgspec.structs.replace(raw, body=contained_items(aiter(raw.body)))
    return Outcome(raw.status, b"", headers=headers, value=streamed)


def job_row(call: Call, staged: StagedJob) -> JobRow:
    """Return a staged job as it is stored."""
    ready = staged.run_at_ms <= call.now_ms
    return JobRow(
        id=staged.id,
        tenant=call.tenant,
        queue=staged.queue,
        name=staged.job.name,
        args=staged.args,
        state=JobState.READY if ready else JobState.SCHEDULED,
        priority=staged.priority,
        run_at_ms=staged.run_at_ms,
        attempt=0,
        max_attempts=staged.job.retry.max_attempts,
        lease_until_ms=0,
        worker=None,
        unique_key=staged.unique_key,
        coalesces=staged.job.coalesces,
        progress=None,
        error=None,
        correlation_id=call.correlation_id,
        causation_id=call.causation_id,
        created_ms=call.now_ms,
        updated_ms=call.now_ms,
        limit_key=_limit_key(call, staged),
    )


def _limit_key(call: Call, staged: StagedJob) -> str | None:
    argument = staged.job.limited_by
    if argument is None:
        return None
    value = str(msgspec.json.decode(staged.args)[argument])
    if len(value) > LIMIT_VALUE_CHARS_MAX or "\0" in value:
        value = sha256(value.encode()).hexdigest()
    return f"{call.tenant} {staged.job.name} {value}"
