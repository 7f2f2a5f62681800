"""Workers: claim jobs, run them, and commit what they staged together with their completion.

A claimed job is leased. The lease is renewed by a thread, so a job that blocks the event loop keeps
it; completion is fenced by the claim, so a worker that lost its lease changes nothing.
"""

import asyncio
import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import structlog

from mainspring.kernel import channel
from mainspring.kernel.call import Call
from mainspring.kernel.channel import Channel
from mainspring.kernel.clock import Entropy
from mainspring.kernel.errors import ConcurrentUpdate, Failure, Rerun, Unavailable
from mainspring.kernel.job import SNOOZES_MAX, Job, JobFailed, Later, OtherVersion, Snooze
from mainspring.kernel.table import Command, Write
from mainspring.kernel.visibility import acting_for
from mainspring.ports.database import Database, DatabaseTransaction, Wakes
from mainspring.ports.listeners import described, tell
from mainspring.runtime.crew import CrewBoard
from mainspring.runtime.database_clock import DatabaseClock
from mainspring.runtime.events.consumer_runner import consumer_caller
from mainspring.runtime.invoke.containment import attempt as attempt_alone
from mainspring.runtime.invoke.containment import end
from mainspring.runtime.invoke.dispatcher import RERUNS_MAX, Dispatcher
from mainspring.runtime.invoke.keyed_locks import contested
from mainspring.runtime.jobs.fronts import QueueFront, TimeFront
from mainspring.runtime.jobs.key_limits import KeyLimits, LimitOf, let_go
from mainspring.runtime.jobs.leases import LOOK_S, Leases, lease_ms, make_ready
from mainspring.runtime.jobs.other_versions import OtherVersions
from mainspring.runtime.jobs.places import Places, PlacesOf, Windows, endless
from mainspring.runtime.metrics.telemetry import Metrics
from mainspring.runtime.notifier import Notifier, wait
from mainspring.runtime.supervisor import Supervisor
from mainspring.runtime.tables import (
    BURY_JOB,
    CLAIM_JOBS,
    FINISH_JOB,
    HAND_BACK,
    NEXT_DUE,
    PROMOTE_JOBS,
    RENEW_LEASES,
    RETRY_JOB,
    SHOW_PROGRESS,
    SNOOZE_JOB,
    ClaimedJob,
)

log = structlog.get_logger()

HEARTBEAT_S = 1.0
POLL_S = 5.0  # a wake can be lost with its connection; the table never is
FINISHED = frozenset({channel.FINISHED})
CLAIM_MAX = 256  # jobs in one claim
PROMOTE_MAX = 500  # scheduled jobs made ready in one commit
ERROR_MAX_CHARS = 2_000
COMMITS_MAX = 600  # of how a run ended, while the database is away: ten minutes and more
COMMIT_AGAIN_S = 1.0
CANCEL_WAIT_S = 10.0  # for attempts that are cut off at the end: longer than each is given alone
DELAY_S_MAX = 10 * 365 * 24 * 3600.0  # of a retry; a longer one asked for is cut down to this


class LeaseLost(Exception):
    """The job is no longer this worker's: it was reclaimed or cancelled. Nothing was committed."""


class JobAttempt(msgspec.Struct, frozen=True):
    """How one attempt of a job ended, and with what error where one was raised.

    ``outcome`` is done, snoozed, retried (it said itself when to run again), failed, aside (left to
    another version of the program), lost (the job was another's by then) or refused (nothing could
    be written down: its lease runs out and it is claimed again).
    """

    job: ClaimedJob
    outcome: str
    error: Exception | None = None


AttemptListener = Callable[[JobAttempt], None]


class QueueStats:
    """What one queue of this process has done."""

    __slots__ = ("done", "failed", "running")

    def __init__(self) -> None:
        self.running = 0
        self.done = 0
        self.failed = 0


class Workers:
    """Runs the jobs of some queues, each with its own concurrency, or a round with ``run_due``."""

    def __init__(
        self,
        database: Database,
        dispatcher: Dispatcher,
        jobs: Mapping[str, Job[...]],
        concurrency: Mapping[str, int],
        board: Notifier,
        clock: DatabaseClock,
        entropy: Entropy,
        metrics: Metrics,
        limit_of: LimitOf,
        others: OtherVersions,
        crew: CrewBoard,
    ) -> None:
        self._database = database
        self._dispatcher = dispatcher
        self._jobs = jobs
        self._concurrency = concurrency
        self._board = board
        self._clock = clock
        self._entropy = entropy
        self._metrics = metrics
        self._name = entropy.token(8).hex()
        self._limits = KeyLimits(database, limit_of)
        self._windows = Windows()
        self._others = others
        self._crew = crew
        self._fronts = {queue: QueueFront() for queue in concurrency}
        self._scheduled = TimeFront()
        self.leases = Leases(database, clock)
        self._supervisor = Supervisor()
        self._leaving = False
        self._listeners: list[AttemptListener] = []
        # By task, not by job: one that was cancelled and retried can run here twice at a time.
        self._running: dict[asyncio.Task[None], tuple[ClaimedJob, Call]] = {}
        self._stop_heartbeat = threading.Event()
        self._heartbeat = threading.Thread(
            target=self._beat, name="mainspring-heartbeat", daemon=True
        )
        self.stats = {queue: QueueStats() for queue in concurrency}

    def on_attempt(self, listener: AttemptListener) -> None:
        """Call ``listener`` with each attempt that has ended."""
        self._listeners.append(listener)

    async def start(self) -> None:
        """Start claiming."""
        self._leaving = False
        await self.leases.start()
        self._heartbeat.start()
        for queue in self._concurrency:
            self._supervisor.start(f"queue {queue}", partial(self._serve, queue))
        self._supervisor.start("scheduled jobs", self._promote)
        self._supervisor.start("expired leases", self._tend)
        self._supervisor.start("limits per key", self._release)

    def failing(self) -> list[str]:
        """Name the loops of the workers that fail, and why."""
        found = [f"jobs, {why}" for why in self._supervisor.failing()]
        if self._heartbeat.ident is not None and not self._heartbeat.is_alive():
            found.append("jobs: the thread that keeps leases has ended")
        return found

    def leave(self) -> None:
        """Claim no more, for this process is about to end; what runs goes on."""
        self._leaving = True
        self._board.wake(frozenset(map(channel.room, self._concurrency)))

    async def stop(self, timeout_s: float) -> None:
        """Stop claiming, let running jobs finish for ``timeout_s``, hand the others back."""
        await self._supervisor.stop()
        tasks = list(self._running)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout_s)
            await end(late, CANCEL_WAIT_S)
        self._stop_heartbeat.set()
        await asyncio.to_thread(self._heartbeat.join)
        ended = self._limits.take_all_ended()

        async def body(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
            return [HAND_BACK(worker=self._name)], await let_go(transaction, ended)

        try:
            await self._database.transact(body)
        except Unavailable as error:  # then their leases run out
            log.warning("jobs_not_handed_back", error=repr(error))

    # Claiming

    async def _serve(self, queue: str) -> None:
        slots = asyncio.Semaphore(self._concurrency[queue])
        with self._board.listen(channel.ready(queue), channel.room(queue)) as signal:
            while True:
                signal.clear()
                await slots.acquire()
                slots.release()
                if self._leaving:
                    return
                free = self._concurrency[queue] - self.stats[queue].running
                jobs = await self.claim(queue, min(free, CLAIM_MAX), self._places, whole=False)
                for job in jobs:
                    await slots.acquire()
                    self.run_in_background(queue, job, slots)
                if not jobs:
                    await wait(signal, self._fronts[queue].wait_s(POLL_S))

    def _places(self, queue: str) -> Places:
        held = [job.limit_key for job, _ in self._running.values() if job.queue == queue]
        return Places(self._concurrency[queue] - self.stats[queue].running, held, self._windows)

    async def claim(
        self, queue: str, limit: int, places_of: PlacesOf = endless, *, whole: bool = True
    ) -> list[ClaimedJob]:
        """Lease up to ``limit`` ready jobs of a queue: the most urgent, and the oldest of these.

        Only those that this process knows, and of one key no more than it may have places. Who
        comes again anyway need not see the ``whole`` queue each time (see ``fronts``).
        """
        if limit < 1:
            return []  # to have looked for none says nothing of what there is
        # What another version of the program enqueued waits for a process that knows it.
        names = msgspec.json.encode(list(self._jobs)).decode()
        kept: list[ClaimedJob] = []
        jobs: list[ClaimedJob] = []
        now_ms = 0
        front = self._fronts[queue]
        ended = self._limits.take_ended(queue)

        async def body(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
            nonlocal jobs, kept, now_ms
            woken = await let_go(transaction, ended)
            look = front.begin(whole=whole)
            now_ms = self._clock.now_ms()  # each claim has a full lease, however many came before
            claim = CLAIM_JOBS(
                queue=queue,
                names=names,
                mark=self._others.mark,
                limit=limit,
                worker=self._name,
                now_ms=now_ms,
                lease_until_ms=now_ms + lease_ms(),
                after=front.after(look),
            )
            jobs = [ClaimedJob(*row) for row in await transaction.execute(claim)]
            jobs.sort(key=lambda job: (-job.priority, job.id))
            front.end(look)
            kept, wakes = await self._limits.keep(transaction, jobs, now_ms, places_of(queue))
            if len(jobs) < limit:  # it took what it let go
                woken -= {channel.ready(queue)}
            return (), wakes | woken

        while not kept:  # until there is one whose key has room
            try:
                await self._database.transact(body)
            except BaseException:
                self._limits.not_let_go(queue, ended)
                raise
            ended = Counter()
            front.took(jobs, limit, now_ms)
            if not jobs:
                break
        return kept

    def run_in_background(self, queue: str, job: ClaimedJob, slots: asyncio.Semaphore) -> None:
        """Run an attempt in a task of its own, which gives its slot back at the end."""
        call = self._begin(queue, job)

        async def run() -> None:
            try:
                await self._run_timed(queue, job, call)
            finally:
                del self._running[task]
                slots.release()

        task = asyncio.create_task(run())
        self._running[task] = job, call

    def _begin(self, queue: str, job: ClaimedJob) -> Call:
        """Make the call of an attempt, and count it as running."""
        call = self._dispatcher.call(
            consumer_caller(job.tenant),
            request_id=job.id,
            correlation_id=job.correlation_id,
            causation_id=job.id,
            attempt=job.attempt,
            account=f"job {job.name}",
            path=(job.name,),
        )
        stats = self.stats[queue]
        stats.running += 1
        return call

    async def run_due(self) -> list[JobAttempt]:
        """Run what is due now, one job after the other; return how each attempt ended.

        For a process in which nothing moves by itself: ``start`` was not called. What those jobs
        enqueue is due the next time; there is nothing left when none is returned.
        """
        await self.leases.take_back_now()
        now_ms = self._clock.now_ms()
        promote = PROMOTE_JOBS(now_ms=now_ms, from_ms=0, limit=PROMOTE_MAX)
        await make_ready(self._database, promote)
        await self._others.tend(now_ms)
        await self._limits.release(now_ms, endless)

        async def run(queue: str, job: ClaimedJob) -> JobAttempt:
            return await self._run_timed(queue, job, self._begin(queue, job))

        return [
            await asyncio.create_task(run(queue, job))  # whose log lines carry this job's ids only
            for queue in self._concurrency
            for job in await self.claim(queue, CLAIM_MAX)
        ]

    async def next_due_ms(self) -> int | None:
        """Return when the next of the jobs is due that wait for their time, or their turn."""
        due = await self._database.read(NEXT_DUE, (0,))
        turn_ms = self._limits.next_ms
        return min(due if turn_ms is None else [*due, turn_ms], default=None)

    # Running

    async def _run_timed(self, queue: str, job: ClaimedJob, call: Call) -> JobAttempt:
        stats = self.stats[queue]
        started_s = self._clock.monotonic_s()
        outcome = "abandoned"
        try:
            attempt = await self.run_attempt(queue, job, call)
            outcome = attempt.outcome
            if job.limit_key is not None:
                self._windows.ended(job.limit_key, done=outcome == "done")
            for listener in self._listeners:
                tell(listener, attempt)
            return attempt
        finally:
            seconds = self._clock.monotonic_s() - started_s
            self._metrics.job_seconds.of(job.name, outcome).observe(seconds)
            stats.running -= 1

    async def run_attempt(self, queue: str, job: ClaimedJob, call: Call) -> JobAttempt:
        """Run one attempt and write down how it ended."""
        stats = self.stats[queue]
        try:
            try:
                await self._run_declared(job, call)
            except LeaseLost:
                raise
            except Exception as error:  # noqa: BLE001 - logged, and written to the job
                outcome = await self._failed(queue, job, call, error)
                stats.failed += outcome == "failed"
                return JobAttempt(job, outcome, error)
        except LeaseLost as error:
            log.warning("job_lease_lost", job=job.id, name=job.name, attempt=job.attempt)
            return JobAttempt(job, "lost", error)
        except Exception as error:
            log.warning(
                "job_not_committed", job=job.id, name=job.name, attempt=job.attempt,
                error=described(error), exc_info=not isinstance(error, Unavailable),
            )  # fmt: skip
            return JobAttempt(job, "refused", error)
        stats.done += 1
        self._crew.done(queue, self._clock.now_ms())
        return JobAttempt(job, "done")

    async def _run_declared(self, job: ClaimedJob, call: Call) -> None:
        declared = self._jobs[job.name]
        await _require_authority(job, call)
        if await self._commit_attempt(declared, job, call):
            return
        async with self._dispatcher.keyed_locks.of(contested(call.writes)):
            for _ in range(RERUNS_MAX):
                call.reset()
                if await self._commit_attempt(declared, job, call):
                    return
        raise ConcurrentUpdate("others kept changing the rows this job reads")

    async def _commit_attempt(self, declared: Job[...], job: ClaimedJob, call: Call) -> bool:
        """Run the handler and commit with the completion; False when it must run again.

        The arguments are read anew each time: a handler may have changed those it was given.
        """
        try:
            args = declared.decode(job.args)
        except msgspec.MsgspecError as error:
            raise OtherVersion(f"its arguments do not fit {job.name} here: {error}") from error

        async def handle() -> None:
            await declared.handler(call, **args)

        await attempt_alone(
            handle(), declared.timeout_s, f"job {job.name} {job.id} attempt {job.attempt}"
        )
        finish = FINISH_JOB(id=job.id, claim=job.claim, now_ms=self._clock.now_ms())
        try:
            await self._end(call, job, finish)
        except Rerun:
            return False
        return True

    async def _end(self, call: Call, job: ClaimedJob, outcome: Command, *wakes: Channel) -> None:
        """Commit what a run staged with how it ended; the next claim lets one of its key go then.

        While the database is away it is tried again, and the lease is kept: an outage costs no
        attempt. That holds where nobody knows whether it was committed too, for a claim ends once.
        Raises LeaseLost, and Unavailable when the database stays away.
        """
        also = (outcome.expect(1, LeaseLost),)
        for left in reversed(range(COMMITS_MAX)):
            try:
                await self._dispatcher.commit(call, also=also, wakes=FINISHED.union(wakes))
            except Unavailable:
                if not left:
                    raise
                await wait(asyncio.Event(), COMMIT_AGAIN_S)
            else:
                break
        if self._limits.ended(job):
            self._board.wake(frozenset({channel.room(job.queue)}))

    async def _failed(self, queue: str, job: ClaimedJob, call: Call, error: Exception) -> str:
        """Write down that an attempt failed, with what it keeps. Raises LeaseLost, Unavailable.

        Returns its outcome: snoozed, retried, aside or failed.
        """
        if isinstance(error, OtherVersion):
            return await self._leave_to_others(job, call, error)
        keeps = isinstance(error, JobFailed | Later) or (
            isinstance(error, Failure) and error.commits_on_failure
        )
        if not keeps:
            call.reset()
        snoozed = isinstance(error, Snooze) and job.claim - job.attempt < SNOOZES_MAX
        last = not snoozed and (
            job.attempt >= job.max_attempts or isinstance(error, JobFailed | Snooze)
        )
        text = storable(described(error)[:ERROR_MAX_CHARS])
        level = log.error if last else log.debug if isinstance(error, Later) else log.warning
        level(
            "job_snoozed" if snoozed else "job_failed",
            job=job.id,
            name=job.name,
            attempt=job.attempt,
            last=last,
            error=text,
            correlation_id=job.correlation_id,
            exc_info=not isinstance(error, Later | JobFailed),
        )
        outcome = self._bury(job, text) if last else self._again(job, error, text, snoozed=snoozed)
        try:
            await self._end(call, job, outcome, channel.SCHEDULED)
        except (LeaseLost, Unavailable):
            raise
        except Exception as unkept:
            if not keeps:
                raise
            # Then this was an attempt like any that failed, and runs again.
            why = ConcurrentUpdate(f"what it staged could not be kept: {type(unkept).__name__}")
            return await self._failed(queue, job, call, why)
        if snoozed:
            return "snoozed"
        return "retried" if isinstance(error, Later) and not last else "failed"

    async def _leave_to_others(self, job: ClaimedJob, call: Call, error: OtherVersion) -> str:
        call.reset()
        why = storable(
            f"{error}; another version of the program enqueued it, and is given a day to run it"
        )[:ERROR_MAX_CHARS]
        log.warning("job_of_another_version", job=job.id, name=job.name, error=why)
        await self._end(call, job, self._others.set_aside(job, why, self._clock.now_ms()))
        return "aside"

    def _bury(self, job: ClaimedJob, text: str) -> Command:
        return BURY_JOB(id=job.id, claim=job.claim, error=text, now_ms=self._clock.now_ms())

    def _again(self, job: ClaimedJob, error: Exception, text: str, *, snoozed: bool) -> Command:
        now_ms = self._clock.now_ms()
        delay_s = getattr(error, "delay_s", None) if isinstance(error, Later) else None
        if not isinstance(delay_s, int | float) or math.isnan(delay_s):
            noise = int.from_bytes(self._entropy.token(4), "big") / 2**32
            delay_s = self._jobs[job.name].retry.delay_s(job.attempt, noise)
        delay_s = min(max(delay_s, 0.0), DELAY_S_MAX)
        return (SNOOZE_JOB if snoozed else RETRY_JOB)(
            id=job.id,
            claim=job.claim,
            run_at_ms=now_ms + int(delay_s * 1000),
            error=text,
            now_ms=now_ms,
        )

    # Time

    def _beat(self) -> None:
        """In its own thread: keep the leases of whatever runs, however busy the loop is."""
        while not self._stop_heartbeat.wait(HEARTBEAT_S):
            running = list(self._running.values())
            if not running:
                continue
            try:
                self._database.post(self.renewal(running))
            except Exception:  # a thread that ended would lose every lease
                log.exception("heartbeat_failed")

    def renewal(self, running: Sequence[tuple[ClaimedJob, Call]]) -> list[Write]:
        """Write that these jobs still run, and how far they are."""
        renew = RENEW_LEASES(
            worker=self._name,
            runs=msgspec.json.encode([f"{job.id} {job.claim}" for job, _ in running]).decode(),
            lease_until_ms=self._clock.now_ms() + lease_ms(),
        )
        return [
            renew,
            *[
                SHOW_PROGRESS(id=job.id, claim=job.claim, progress=progress)
                for job, call in running
                if (progress := _fraction(call.progress)) is not None
            ],
        ]

    async def _promote(self) -> None:
        """Make scheduled jobs ready when their time comes."""
        with self._board.listen(channel.SCHEDULED) as signal:
            while True:
                signal.clear()
                look = self._scheduled.begin()
                from_ms = self._scheduled.from_ms(look)
                due = await self._database.read(NEXT_DUE, (from_ms,))
                self._scheduled.end(look)
                now_ms = self._clock.now_ms()
                if due and due[0] <= now_ms:
                    from_ms = due[0] - 1
                    promote = PROMOTE_JOBS(now_ms=now_ms, from_ms=from_ms, limit=PROMOTE_MAX)
                    await make_ready(self._database, promote)
                    continue
                self._scheduled.took_all(now_ms)
                delay_s = (due[0] - now_ms) / 1000 if due else POLL_S
                await wait(signal, min(delay_s, self._scheduled.wait_s(POLL_S)))

    async def _release(self) -> None:
        """Let jobs go that waited for the limit of their key."""
        with self._board.listen(channel.PARKED) as signal:
            while True:
                signal.clear()
                delay_s = await self._limits.release(self._clock.now_ms(), self._places)
                await wait(signal, delay_s)

    async def _tend(self) -> None:
        """Take jobs back from workers that died, and see to those of other versions."""
        with self._board.listen() as never:
            never.clear()
            while True:
                await self.leases.take_back_expired()
                await self._others.tend(self._clock.now_ms())
                await wait(never, LOOK_S)


async def _require_authority(job: ClaimedJob, call: Call) -> None:
    """Ask what the caller for whom a job runs may do now. Raises JobFailed when that is too little.

    Rights that were taken are gone for what was enqueued before as well.
    """
    if job.actor is None or job.scope is None:
        return
    acting = await acting_for(call, job.actor)
    if acting is None:
        raise JobFailed(f"not run: {job.actor}, who had it done, is revoked, deleted or expired")
    if not acting.caller.allows(job.scope):
        raise JobFailed(f"not run: {job.actor}, who had it done, does not hold {job.scope} now")


def _fraction(progress: object) -> float | None:
    """Read how far a job says it is; None for what is no number from 0 to 1."""
    if isinstance(progress, int | float) and 0 <= progress <= 1:
        return float(progress)
    return None


def storable(text: str) -> str:
    """Return text as every engine stores it: valid Unicode without NUL."""
    return text.encode(errors="replace").decode().replace("\0", "\ufffd")


async def execute(database: Database, command: Command) -> list[tuple[Any, ...]]:
    """Run one statement in a commit of its own and return its rows."""
    rows: list[tuple[Any, ...]] = []

    async def body(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
        rows[:] = await transaction.execute(command)
        return (), frozenset()

    await database.transact(body)
    return rows
