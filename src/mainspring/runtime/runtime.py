"""The runtime of one process over one database: what starts, and in which order it stops."""

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mainspring.kernel.call import Context
from mainspring.kernel.channel import Signals
from mainspring.kernel.clock import Clock, Entropy, SystemClock, SystemEntropy
from mainspring.kernel.event_log import EventLog
from mainspring.kernel.ids import IdMaker
from mainspring.kernel.invocation import Invoker
from mainspring.kernel.job import Job
from mainspring.kernel.job_admin import JobAdmin
from mainspring.kernel.measured import Measures
from mainspring.kernel.personal_fields import PersonalFields
from mainspring.kernel.process_role import ProcessRole
from mainspring.kernel.registry import Registry
from mainspring.kernel.resource import make_all
from mainspring.kernel.sealed_values import SealedValues
from mainspring.kernel.service import Service
from mainspring.kernel.upload_settings import UploadSettings
from mainspring.ports.blobs import Blobs
from mainspring.ports.bus import Bus
from mainspring.ports.cache import Cache
from mainspring.ports.database import ALL_WAKES, Database, StartError
from mainspring.ports.keyring import Keyring
from mainspring.ports.telemetry import Telemetry
from mainspring.runtime.crew import TELL_S, CrewBoard, alone
from mainspring.runtime.database_clock import DatabaseClock
from mainspring.runtime.events.consumer_retry import ConsumerRetry
from mainspring.runtime.events.consumer_runner import ConsumerRunner
from mainspring.runtime.events.cursors import Cursors
from mainspring.runtime.events.event_log import StoredLog
from mainspring.runtime.events.field_encryption import FieldEncryption
from mainspring.runtime.events.lags import Lag, Lags
from mainspring.runtime.events.log_bus import LogBus
from mainspring.runtime.events.losses import Losses
from mainspring.runtime.events.publisher import Publisher
from mainspring.runtime.events.reader import SharedReader
from mainspring.runtime.events.sequencer import BATCH_EVENTS, Sequencer
from mainspring.runtime.health import Health
from mainspring.runtime.invoke.containment import Watchdog
from mainspring.runtime.invoke.dispatcher import Dispatcher
from mainspring.runtime.invoke.file_intake import FileIntake
from mainspring.runtime.invoke.idempotency import IdempotencyKeys
from mainspring.runtime.invoke.invoker import LocalInvoker
from mainspring.runtime.invoke.requests import Requests
from mainspring.runtime.jobs.admin import StoredJobs
from mainspring.runtime.jobs.key_limits import UNKNOWN, KeyLimit, limit_of
from mainspring.runtime.jobs.other_versions import OtherVersions
from mainspring.runtime.jobs.scheduler import Scheduler
from mainspring.runtime.jobs.workers import JobAttempt, Workers
from mainspring.runtime.metrics.gauges import watch
from mainspring.runtime.metrics.measures import MeasureBuffer, StoredMeasures
from mainspring.runtime.metrics.telemetry import Metrics
from mainspring.runtime.migrate import migrate
from mainspring.runtime.notifier import Notifier
from mainspring.runtime.resealing import Resealing
from mainspring.runtime.retention import Retention, RetentionSettings
from mainspring.runtime.supervisor import Supervisor

CONCURRENCY = {
    "critical": 32, "default": 64, "bulk": 16, "notifications": 128,
    "mails": 128, "platform": 16, "webhooks": 128,
}  # fmt: skip


# What every call goes through on its way to its owner, in front of whom it is given.
Through = Callable[[Invoker, Clock], Invoker]


class Round(msgspec.Struct, frozen=True):
    """What ``run_due`` did: batches given to consumers, attempts of jobs.

    ``schedules`` are the next moments of each by name.
    """

    batches: int
    attempts: list[JobAttempt]
    schedules: dict[str, int]


class Runtime:
    """Dispatcher, consumer runner, workers, scheduler and sequencer over one open database.

    ``resources`` are what handlers reach with ``call.use``: ports and settings by their type. They
    go before what services provide. ``role`` says what ``start`` sets in motion, and ``crew`` which
    part of the places of queues is this process's. ``owner`` stands behind the invoker, whatever
    calls go through.
    """

    def __init__(
        self,
        database: Database,
        services: Iterable[Service],
        *,
        keyring: Keyring,
        sealer: FieldEncryption,
        resources: Mapping[type, Any] | None = None,
        telemetry: Telemetry,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        concurrency: Mapping[str, int] | None = None,
        data_dir: Path | None = None,
        idempotency_required: bool = False,
        bus: Bus | None = None,
        role: ProcessRole = ProcessRole.ALL,
        crew: CrewBoard | None = None,
        through: Through | None = None,
    ) -> None:
        self.database, self._role = database, role
        self.clock, self.entropy = clock or SystemClock(), entropy or SystemEntropy()
        self.registry, self.board = Registry(services), Notifier()
        self.crew = crew or alone(self.registry.queue_names)
        self.ids, self._lags = IdMaker(self.clock, self.entropy), Lags(self.clock)
        database.on_wake(self.board.wake)
        consumers, self._losses = [*self.registry.consumers.values()], Losses(database, telemetry)
        self.reader = SharedReader(LogBus(database, self.board), self._losses.fell_back)
        self.event_log: EventLog = StoredLog(database, self.reader)
        cursors = Cursors(database, self.ids.new("proc"))
        followed = SharedReader(bus) if bus else self.reader
        self.publishers = [Publisher(self.reader, bus, cursors)] if bus else []
        self.consumer_retry = ConsumerRetry(consumers, sealer)
        self.resources: dict[type, Any] = {
            **(resources or {}),
            Registry: self.registry,
            PersonalFields: sealer,
            Signals: self.board,
            EventLog: self.event_log,
            Measures: StoredMeasures(self.registry.measures()),
            Database: database,
            Clock: self.clock,
            Entropy: self.entropy,
            Keyring: keyring,
            Telemetry: telemetry,
        }
        context = self._context()
        self.jobs = self._all_jobs(context)
        self.metrics = metrics = Metrics(telemetry)
        metrics.declare(self.registry.services.values())
        self.measures = MeasureBuffer(database, self.board, telemetry)
        self.dispatcher = Dispatcher(
            database, context, self.clock, keyring, sealer, metrics, self.measures)  # fmt: skip
        self.owner = own = self._local(keyring, metrics, idempotency_required)
        self.invoker = context.invoker = through(own, self.clock) if through else own
        self.consumer_runner = ConsumerRunner(
            database, self.dispatcher, self.consumer_retry, consumers, followed, self.clock,
            cursors=cursors, log=self.reader.bus,
        )  # fmt: skip
        time = self._database_clock()
        self.workers = self._workers(concurrency or {}, time)
        watch(metrics, database, queues=self.workers.stats, consumer_lags=self.lags)
        self.resources[JobAdmin] = StoredJobs(self.registry, self.crew)
        self._provided = make_all(self.registry.resources(), self.resources)
        self.scheduler = Scheduler(
            database, self.dispatcher, self.registry.schedules, self.board, time,
            self._retention(),
        )  # fmt: skip
        self.sequencer, self._telling = Sequencer(database, self.board), Supervisor()
        self._watchdog = Watchdog(late=metrics.loop_late.observe)
        self.health = Health(database, self.clock, self._failing_anywhere, data_dir)

    def _context(self) -> Context:
        context = Context(
            self.database, self.ids, self.resources, self.registry.event_types,
            self.registry.measures(), self.registry.open_queues,
        )  # fmt: skip
        context.acts = {s.name: s.scopes for s in self.registry.services.values()}
        context.requests = Requests(context, self.registry, self.clock, self.entropy).job
        return context

    def _all_jobs(self, context: Context) -> dict[str, Job[...]]:
        """Return the jobs of the services, and those of the runtime itself."""
        data_keys = self.resources[SealedValues] = self.resources[PersonalFields].data_keys
        self.resealing = Resealing(self.registry.sealed(), data_keys, self.database)
        ours = [context.requests, *self.consumer_retry.jobs.values(), *self.resealing.jobs]
        return {**self.registry.jobs, **{job.name: job for job in ours if job is not None}}

    def _database_clock(self) -> DatabaseClock:
        """Return the one that was given, for tests, or that of the database."""
        own = DatabaseClock(self.clock, None if self.database.exclusive else self.database)
        clock: DatabaseClock = self.resources.setdefault(DatabaseClock, own)
        return clock

    def _workers(self, concurrency: Mapping[str, int], time: DatabaseClock) -> Workers:
        self._require_limits()
        queues = CONCURRENCY | self.registry.queues
        if unknown := sorted(concurrency.keys() - queues.keys()):
            raise StartError(
                f"[queues] own: no service has a queue {unknown[0]!r}; there are "
                f"{', '.join(sorted(queues))}"
            )
        queues |= concurrency
        own = {name: self.crew.seat.part_of(places) for name, places in queues.items()}
        own = {name: places for name, places in own.items() if places}
        return Workers(
            self.database, self.dispatcher, self.jobs, own, self.board, time, self.entropy,
            self.metrics, self._limit_of,
            OtherVersions(self.database, self.jobs, self.registry.operations), self.crew,
        )  # fmt: skip

    def _retention(self) -> Retention:
        settings = self.resources.get(RetentionSettings, RetentionSettings())
        return Retention(self.database, self.registry, settings)

    def _limit_of(self, name: str) -> KeyLimit:
        """Return what a job is limited to per key."""
        if name not in self.jobs:
            return UNKNOWN
        service = self.registry.services.get(name.partition(".")[0])
        settings = service.settings if service else None
        return limit_of(self.jobs[name], settings and self.resources[settings])

    def _require_limits(self) -> None:
        """Look at the limit of every job once. Raises StartError."""
        for name in self.jobs:
            try:
                self._limit_of(name)
            except ValueError as error:
                raise StartError(f"job {name}: its rate by the settings: {error}") from None

    def _local(self, keyring: Keyring, metrics: Metrics, key_required: bool) -> LocalInvoker:
        blobs: Blobs | None = self.resources.get(Blobs)
        settings = self.resources.get(UploadSettings, UploadSettings())
        return LocalInvoker(
            self.registry.operations.values(),
            self.dispatcher,
            IdempotencyKeys(keyring, required=key_required),
            clock=self.clock,
            ids=self.ids,
            metrics=metrics,
            intake=None if blobs is None else FileIntake(blobs, self.ids, settings),
            cache=self.resources.get(Cache),
            replicas=self.database.replicas,
        )

    def _failing_loops(self) -> list[str]:
        published = [why for publisher in self.publishers for why in publisher.failing()]
        return [*self.workers.failing(), *self.consumer_runner.failing(), *self.scheduler.failing(),
                *self.sequencer.failing(), *self.measures.failing(), *published]  # fmt: skip

    def _failing_anywhere(self) -> list[str]:
        elsewhere = self.crew.failing_elsewhere(self.clock.monotonic_s())
        return [*self._failing_loops(), *elsewhere]

    def waiting(self) -> list[str]:
        """Say which bus takes nothing of what the log has for it, and whether the log fell back.

        Calls go on meanwhile.
        """
        publishers = [why for publisher in self.publishers for why in publisher.waiting()]
        return [*publishers, *self._losses.told()]

    async def _tell(self) -> None:
        """Tell the others of this address what only this process knows of itself."""
        while True:
            self.metrics.commit_queue.set(self.database.waiting)
            self.crew.tell(self._failing_loops(), self.clock.monotonic_s())
            await asyncio.sleep(TELL_S)

    async def lags(self) -> dict[str, Lag]:
        """Return what consumers have yet to take, and what they cannot take before it is published.

        The latter under the name of who publishes it.
        """
        behind = await self.consumer_runner.behind()
        for publisher in self.publishers:
            behind |= await publisher.behind()
        return {name: await self._lags.of(name, its) for name, its in behind.items()}

    async def migrate(self) -> int:
        """Bring the database to the schema of the services; return how many scripts ran."""
        return await migrate(self.database, self.registry.services.values())

    async def prepare(self) -> None:
        """Take up where the log and the schedules stand, without starting what moves.

        From here on ``run_due`` misses nothing. Raises StartError.
        """
        self.scheduler.check()
        await self.scheduler.run_due()
        while await self.sequencer.sequence() == BATCH_EVENTS:
            pass  # so that a new consumer begins after what is there
        for publisher in self.publishers:
            await publisher.prepare()
        await self.consumer_runner.prepare()

    async def run_due(self) -> Round:
        """Do once, in one order, what the loops would do now. Call until nothing was done.

        For a process in which nothing moves by itself: ``start`` was not called.
        """
        next_ms = await self.scheduler.run_due()
        while await self.sequencer.sequence() == BATCH_EVENTS:
            pass
        for publisher in self.publishers:
            await publisher.run_due()
        batches = await self.consumer_runner.run_due()
        attempts = await self.workers.run_due()
        await self.measures.flush()
        return Round(batches, attempts, next_ms)

    async def start(self) -> None:
        """Start everything that moves in a process of this role.

        Each numbers events: live feeds do not wait for a process that works.
        """
        self._watchdog.start()
        if self.crew.seat.size > 1:
            self._telling.start("telling the crew", self._tell)
        await self.sequencer.start()
        await self.measures.start()
        if self._role.publishes:
            for publisher in self.publishers:
                await publisher.start()
        if not self._role.works:
            # So that a consumer that nobody has run yet misses nothing of what is committed here.
            await self.consumer_runner.prepare()
            return
        await self.consumer_runner.start()
        await self.workers.start()
        await self.scheduler.start()

    def leave(self) -> None:
        """Take no new jobs: the process is about to end."""
        self.workers.leave()

    async def stop(self, timeout_s: float = 10.0) -> None:
        """Stop taking work, let jobs finish for ``timeout_s``, hand the others back."""
        if self._role.works:
            await self.scheduler.stop()
            await self.workers.stop(timeout_s)
        if self._role.publishes:
            for publisher in self.publishers:
                await publisher.stop()
        if self._role.works:
            await self.consumer_runner.stop()
        await self.measures.stop()
        await self.sequencer.stop()
        await self._telling.stop()
        self._watchdog.stop()

    def forget_all(self) -> None:
        """Forget what was concluded from the database, which may have lost what it was."""
        self.sequencer.forget_all()
        for resource in self._provided:
            if (forget := getattr(resource, "forget_all", None)) is not None:
                forget()
        self.board.wake(frozenset({ALL_WAKES}))

    async def close(self) -> None:
        """Close what services provide, the last made first. The database comes after."""
        for resource in reversed(self._provided):
            close = getattr(resource, "close", None)
            if inspect.iscoroutinefunction(close):
                await close()
            elif close is not None:
                await asyncio.to_thread(close)
