"""The consumer runner: hands every event of the log to the consumers that want it, in order.

A consumer's cursor moves in the same commit as what its handlers staged, so each event takes effect
once. An event whose handler fails is set aside as a job (``consumer_retry``) and the others go on.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from mainspring.kernel.call import TENANT_DEFAULT, Call, Caller
from mainspring.kernel.clock import Clock
from mainspring.kernel.errors import Rerun, Unavailable
from mainspring.kernel.service import Consumer
from mainspring.kernel.table import Command
from mainspring.ports.bus import BusEvent
from mainspring.ports.database import Database
from mainspring.ports.listeners import described, tell
from mainspring.runtime.events.consumer_retry import ConsumerRetry
from mainspring.runtime.events.log_bus import PARTITION
from mainspring.runtime.events.reader import SharedReader
from mainspring.runtime.invoke.containment import attempt
from mainspring.runtime.invoke.dispatcher import RERUNS_MAX, Dispatcher
from mainspring.runtime.notifier import wait
from mainspring.runtime.supervisor import Supervisor
from mainspring.runtime.tables import (
    CURSOR,
    CURSORS,
    LAST_SEQ,
    MOVE_CURSOR,
    CursorRow,
)

log = structlog.get_logger()

BATCH_EVENTS = 256
BATCH_BYTES = 4 << 20  # of their bodies
HANDLE_TIMEOUT_S = 60.0  # of one event: a handler that hangs must not stop its consumer for good
STUCK_S = 2 * HANDLE_TIMEOUT_S  # without a step: then a consumer is said to stand still
CONSUMED = frozenset({"local:consumed"})
STANDBY_S = 1.0  # how long another process may be silent before this one takes over
POLL_S = 5.0  # a wake can be lost with its connection; the log never is


class CursorMoved(Exception):
    """Another process moved this consumer's cursor first."""


AsideListener = Callable[[Consumer, BusEvent, Exception], None]


class ConsumerRunner:
    """Runs one loop per consumer, or a round of all with ``run_due``."""

    def __init__(
        self,
        database: Database,
        dispatcher: Dispatcher,
        retry: ConsumerRetry,
        consumers: Sequence[Consumer],
        reader: SharedReader,
        clock: Clock,
    ) -> None:
        self._database = database
        self._dispatcher = dispatcher
        self._retry = retry
        self._consumers = consumers
        self._window = reader.window(PARTITION)
        self._clock = clock
        self._supervisor = Supervisor()
        self._listeners: list[AsideListener] = []
        self._moved_s: dict[str, float] = {}

    def failing(self) -> list[str]:
        """Name the consumers that fail or stand still, and why."""
        now_s = self._clock.monotonic_s()
        stuck = [
            f"consumer {name}: has not moved for {now_s - moved_s:.0f} s"
            for name, moved_s in self._moved_s.items()
            if now_s - moved_s > STUCK_S
        ]
        return [*self._supervisor.failing(), *stuck]

    def on_aside(self, listener: AsideListener) -> None:
        """Call ``listener`` with each event that a consumer failed on, and why."""
        self._listeners.append(listener)

    async def prepare(self) -> None:
        """Give new consumers their cursor: from then on they miss nothing."""
        for consumer in self._consumers:
            if not await self._database.read(CURSOR, (consumer.name,)):
                head = 0 if consumer.from_start else await self._head()
                row = CursorRow(consumer.name, head)
                await self._database.commit([CURSORS.insert(row, on_conflict=None)])

    async def run_due(self) -> int:
        """Give each consumer what is in the log for it; return how many batches that took.

        For a process in which nothing moves by itself: ``start`` was not called.
        """
        batches = 0
        self._window.look_again()
        for consumer in self._consumers:
            seq = await self._cursor(consumer)
            while (moved := await self.take(consumer, seq)) != seq:
                seq = moved
                batches += 1
        return batches

    async def start(self) -> None:
        """Follow the log."""
        await self.prepare()
        for consumer in self._consumers:
            self._supervisor.start(f"consumer {consumer.name}", partial(self._follow, consumer))

    async def stop(self) -> None:
        """Stop following. What was not committed is taken again at the next start."""
        await self._supervisor.stop()
        self._moved_s.clear()

    async def _head(self) -> int:
        return (await self._database.read(LAST_SEQ, ()))[0]

    async def _follow(self, consumer: Consumer) -> None:
        seq = await self._resume(consumer)
        with self._window.listen() as signal:
            while True:
                signal.clear()
                self._moved_s[consumer.name] = self._clock.monotonic_s()
                try:
                    moved = await self.take(consumer, seq)
                except CursorMoved:
                    seq = await self._stand_by(consumer)
                    continue
                if moved == seq and not await wait(signal, POLL_S):
                    self._window.look_again()
                seq = moved

    async def _cursor(self, consumer: Consumer) -> int:
        return (await self._database.read(CURSOR, (consumer.name,)))[0]

    async def _resume(self, consumer: Consumer) -> int:
        """Return where a consumer goes on: its cursor, or the log's end where that is before it.

        Past the end there is nothing to wait for: the log was restored, or fell back, without the
        cursor, and events would get places that the consumer believes it has taken.
        """
        seq = await self._cursor(consumer)
        head = await self._head()  # read after the cursor, so a log that grows is never before it
        if seq <= head:
            return seq
        log.error("consumer_past_the_end", consumer=consumer.name, was_at=seq, log_ends_at=head)
        await self._database.commit([self._move(consumer, seq, head)], CONSUMED)
        return head

    async def _stand_by(self, consumer: Consumer) -> int:
        """Wait while another process moves the cursor; return it when that has gone silent."""
        seen = -1
        never = asyncio.Event()
        while (seq := await self._cursor(consumer)) != seen:
            seen = seq
            self._moved_s[consumer.name] = self._clock.monotonic_s()
            await wait(never, STANDBY_S)
        return seq

    async def take(self, consumer: Consumer, after: int) -> int:
        """Take one batch of events; return how far the cursor is now."""
        events = (await self._window.after(after, BATCH_EVENTS, BATCH_BYTES)).items
        if not events:
            return after
        wanted = [event for event in events if consumer.takes(event.type)]
        last = events[-1].offset
        calls = [await self._handle(consumer, event) for event in wanted]
        try:
            await self._dispatcher.commit_all(
                calls, also=[self._move(consumer, after, last)], wakes=CONSUMED
            )
        except (CursorMoved, Unavailable):
            raise
        except Exception as error:  # noqa: BLE001 - each event is tried alone below
            # One event spoils its batch: take them one by one, so only that one is set aside.
            log.info(
                "batch_split", consumer=consumer.name, events=len(calls), error=described(error)
            )
            return await self._take_singly(consumer, after, events)
        return last

    async def _take_singly(self, consumer: Consumer, after: int, events: Sequence[BusEvent]) -> int:
        for event in events:
            if consumer.takes(event.type):
                await self._take_one(consumer, after, event)
            else:
                await self._database.commit([self._move(consumer, after, event.offset)], CONSUMED)
            after = event.offset
        return after

    async def _take_one(self, consumer: Consumer, after: int, event: BusEvent) -> None:
        move = self._move(consumer, after, event.offset)
        for _ in range(RERUNS_MAX):
            call = await self._handle(consumer, event)
            try:
                await self._dispatcher.commit_all([call], also=[move], wakes=CONSUMED)
            except Rerun:
                continue
            except (CursorMoved, Unavailable):
                raise
            except Exception as error:  # noqa: BLE001 - told, and kept as a job
                self._tell(consumer, event, error)
                break
            else:
                return
        aside = self._call(consumer, event)
        self._retry.set_aside(aside, consumer, event)
        await self._dispatcher.commit_all([aside], also=[move], wakes=CONSUMED)

    async def _handle(self, consumer: Consumer, event: BusEvent) -> Call:
        """Run the handler; when it fails, the call holds the job that will try again."""
        self._moved_s[consumer.name] = self._clock.monotonic_s()
        call = self._call(consumer, event)
        try:
            await attempt(
                self._retry.handle(consumer, call, event.envelope),
                HANDLE_TIMEOUT_S,
                f"consumer {consumer.name} {event.id}",
            )
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - told, and kept as a job
            self._tell(consumer, event, error)
            call = self._call(consumer, event)
            self._retry.set_aside(call, consumer, event)
        return call

    def _tell(self, consumer: Consumer, event: BusEvent, error: Exception) -> None:
        log.warning(
            "event_set_aside",
            consumer=consumer.name,
            event_id=event.id,
            error=described(error),
            exc_info=error,
        )
        for listener in self._listeners:
            tell(listener, consumer, event, error)

    def _call(self, consumer: Consumer, event: BusEvent) -> Call:
        return self._dispatcher.call(
            consumer_caller(event.tenant),
            request_id=event.id,
            correlation_id=event.envelope.correlationid,
            causation_id=event.id,
            account=f"consumer {consumer.name}",
            path=(consumer.name,),
        )

    def _move(self, consumer: Consumer, after: int, to: int) -> Command:
        return MOVE_CURSOR(consumer=consumer.name, after=after, seq=to).expect(1, CursorMoved)


def consumer_caller(tenant: str) -> Caller:
    """Who a consumer or a job acts as: the platform itself, within the tenant of its cause."""
    return (
        _SYSTEM
        if tenant == TENANT_DEFAULT
        else Caller("system", tenant=tenant, scopes=frozenset({"*"}))
    )


_SYSTEM = Caller("system", scopes=frozenset({"*"}))
