"""The runtime of one process over one database: what starts, and in which order it stops."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mainspring.kernel.call import Context
from mainspring.kernel.clock import Clock, Entropy, SystemClock, SystemEntropy
from mainspring.kernel.ids import IdMaker
from mainspring.kernel.service import Service
from mainspring.ports.database import Database
from mainspring.ports.keyring import Keyring
from mainspring.runtime.containment import Watchdog
from mainspring.runtime.dispatch import Dispatcher
from mainspring.runtime.erasure import Sealer
from mainspring.runtime.feed import Recent
from mainspring.runtime.gauges import watch
from mainspring.runtime.health import Health
from mainspring.runtime.inbox import Inbox
from mainspring.runtime.migrate import migrate
from mainspring.runtime.registry import Registry
from mainspring.runtime.relay import Relay
from mainspring.runtime.scheduler import JOB_KEPT_MS, Scheduler
from mainspring.runtime.sequencer import BATCH_EVENTS, Sequencer
from mainspring.runtime.telemetry import Metrics
from mainspring.runtime.wakes import WakeBoard
from mainspring.runtime.workers import Attempt, Workers

CONCURRENCY = {"critical": 32, "default": 64, "bulk": 16, "notifications": 128, "webhooks": 128}


class Round(msgspec.Struct, frozen=True):
    """What ``run_due`` did: batches given to consumers, attempts of jobs.

    ``schedules`` are the next moments of each by name.
    """

    batches: int
    attempts: list[Attempt]
    schedules: dict[str, int]


class Runtime:
    """Dispatcher, relay, workers, scheduler and sequencer over one open database.

    ``resources`` are what handlers reach with ``call.use``: ports and settings by their type. They
    go before what services declare as their state.
    """

    def __init__(
        self,
        database: Database,
        services: Iterable[Service],
        *,
        keyring: Keyring,
        sealer: Sealer,
        resources: Mapping[type, Any] | None = None,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        concurrency: Mapping[str, int] | None = None,
        job_kept_ms: int = JOB_KEPT_MS,
        data_dir: Path | None = None,
    ) -> None:
        self.database = database
        self.clock = clock or SystemClock()
        self.entropy = entropy or SystemEntropy()
        self.registry = Registry(services)
        self.ids = IdMaker(self.clock, self.entropy)
        self.board = WakeBoard()
        database.on_wake(self.board.wake)
        self.inbox = Inbox(self.registry.consumers.values(), sealer)
        self.jobs = {**self.registry.jobs, **{j.name: j for j in self.inbox.jobs.values()}}
        self.resources: dict[type, Any] = {
            **{kind: kind() for s in self.registry.services.values() for kind in s.states},
            **(resources or {}),
            Registry: self.registry,
            WakeBoard: self.board,
            Recent: Recent(database, self.board),
            Database: database,
            Clock: self.clock,
            Entropy: self.entropy,
            Keyring: keyring,
        }
        context = Context(database, self.ids, self.resources, self.registry.event_types)
        metrics = self.resources.setdefault(Metrics, Metrics())
        self.dispatcher = Dispatcher(database, context, self.clock, keyring, sealer, metrics)
        consumers = list(self.registry.consumers.values())
        self.relay = Relay(database, self.dispatcher, self.inbox, consumers, self.board, self.clock)
        queues = {**CONCURRENCY, **(concurrency or {})}
        for job in self.jobs.values():
            queues.setdefault(job.queue, CONCURRENCY["default"])
        self.workers = Workers(
            database,
            self.dispatcher,
            self.jobs,
            queues,
            self.board,
            self.clock,
            self.entropy,
            metrics,
        )
        watch(metrics, database, queues=queues, consumers=self.registry.consumers)
        self.resources[Workers] = self.workers  # whose counts the API shows
        self.scheduler = Scheduler(
            database,
            self.dispatcher,
            self.registry.schedules,
            self.board,
            self.clock,
            job_kept_ms=job_kept_ms,
        )
        self.sequencer = Sequencer(database, self.board)
        self._watchdog = Watchdog()
        self.health = Health(database, self.clock, self._failing_loops, data_dir)

    def _failing_loops(self) -> list[str]:
        return [*self.workers.failing(), *self.relay.failing(), *self.scheduler.failing(),
                *self.sequencer.failing()]  # fmt: skip

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
        await self.relay.prepare()

    async def run_due(self) -> Round:
        """Do once, in one order, what the loops would do now. Call until nothing was done.

        For a process in which nothing moves by itself: ``start`` was not called.
        """
        next_ms = await self.scheduler.run_due()
        while await self.sequencer.sequence() == BATCH_EVENTS:
            pass
        batches = await self.relay.run_due()
        return Round(batches, await self.workers.run_due(), next_ms)

    async def start(self) -> None:
        """Start everything that moves."""
        self._watchdog.start()
        await self.sequencer.start()
        await self.relay.start()
        await self.workers.start()
        await self.scheduler.start()

    async def stop(self, timeout_s: float = 10.0) -> None:
        """Stop taking work, let jobs finish for ``timeout_s``, hand the others back."""
        await self.scheduler.stop()
        await self.workers.stop(timeout_s)
        await self.relay.stop()
        await self.sequencer.stop()
        self._watchdog.stop()
