"""The consumer runner: hands every event of the bus to the consumers that want it, in order.

A consumer's cursor moves in the same commit as what its handlers staged, so each event takes effect
once. Where a bus may repeat an event, the commit holds a row of the consumer's inbox too, and what
is in the inbox is passed by. An event whose handler fails is set aside as a job
(``consumer_retry``) and the others go on.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import structlog

from mainspring.kernel.call import TENANT_DEFAULT, Call, Caller
from mainspring.kernel.clock import Clock
from mainspring.kernel.errors import Rerun, Unavailable
from mainspring.kernel.service import Consumer
from mainspring.kernel.table import Write
from mainspring.ports.bus import BusEvent
from mainspring.ports.database import Database
from mainspring.ports.listeners import described, tell
from mainspring.runtime.events.consumer_retry import ConsumerRetry
from mainspring.runtime.events.cursors import (
    ALL_CURSORS,
    CONSUMED,
    LEASE_S,
    RENEW_S,
    ClaimedCursor,
    CursorMoved,
    Cursors,
)
from mainspring.runtime.events.inbox import Inbox
from mainspring.runtime.events.reader import SharedReader, Window
from mainspring.runtime.invoke.containment import attempt
from mainspring.runtime.invoke.dispatcher import RERUNS_MAX, Dispatcher
from mainspring.runtime.notifier import wait
from mainspring.runtime.supervisor import Supervisor

log = structlog.get_logger()

BATCH_EVENTS = 256
BATCH_BYTES = 4 << 20  # of their bodies
HANDLE_TIMEOUT_S = 60.0  # of one event: a handler that hangs must not stop its consumer for good
STUCK_S = 2 * HANDLE_TIMEOUT_S  # without a step: then a consumer is said to stand still
POLL_S = 5.0  # a wake can be lost with its connection; the bus never is

AsideListener = Callable[[Consumer, BusEvent, Exception], None]


class ConsumerRunner:
    """Runs one loop per consumer and partition, or a round of all with ``run_due``."""

    def __init__(
        self,
        database: Database,
        dispatcher: Dispatcher,
        retry: ConsumerRetry,
        consumers: Sequence[Consumer],
        reader: SharedReader,
        clock: Clock,
        *,
        cursors: Cursors,
    ) -> None:
        self._database = database
        self._dispatcher = dispatcher
        self._retry = retry
        self._consumers = consumers
        self._reader = reader
        self._clock = clock
        self._cursors = cursors
        self._inbox = Inbox(database, reader.bus.source, clock) if reader.bus.repeats else None
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

    async def lags(self) -> dict[str, int]:
        """Return how many events each consumer is behind the end of the bus."""
        bus = self._reader.bus
        ends = await bus.ends()
        lags = {consumer.name: 0 for consumer in self._consumers}
        for cursor in await self._database.read(ALL_CURSORS, (bus.source,)):
            if cursor.consumer in lags:
                behind = ends.get(cursor.partition, 0) - cursor.position
                lags[cursor.consumer] += max(0, behind)
        return lags

    def on_aside(self, listener: AsideListener) -> None:
        """Call ``listener`` with each event that a consumer failed on, and why."""
        self._listeners.append(listener)

    async def prepare(self) -> None:
        """Give new consumers their cursors: from then on they miss nothing."""
        bus = self._reader.bus
        begins, ends = await bus.begins(), await bus.ends()
        for consumer in self._consumers:
            for number in await bus.partitions():
                first = (begins if consumer.from_start else ends)[number]
                await self._cursors.make(consumer.name, bus.source, number, first)

    async def run_due(self) -> int:
        """Give each consumer what is there for it; return how many batches that took.

        For a process in which nothing moves by itself, over a database that is its own: ``start``
        was not called.
        """
        batches = 0
        for consumer in self._consumers:
            for number in await self._reader.bus.partitions():
                window = self._reader.window(number)
                window.look_again()
                cursor = await self._claim(consumer, number, by_force=True)
                while await self.take(consumer, cursor, window):
                    batches += 1
        return batches

    async def start(self) -> None:
        """Follow the bus."""
        await self.prepare()
        for consumer in self._consumers:
            for number in await self._reader.bus.partitions():
                self._supervisor.start(
                    f"consumer {consumer.name} {number}", partial(self._follow, consumer, number)
                )
        if not self._database.exclusive:
            self._supervisor.start("consumer leases", self._keep_leases)

    async def stop(self) -> None:
        """Stop following. What was not committed is taken again at the next start."""
        await self._supervisor.stop()
        self._moved_s.clear()
        try:
            await self._cursors.release()
        except Unavailable as error:  # they run out by themselves
            log.info("cursors_not_released", error=described(error))

    async def _keep_leases(self) -> None:
        while True:
            await self._cursors.renew()
            await asyncio.sleep(RENEW_S)

    async def _follow(self, consumer: Consumer, number: int) -> None:
        window = self._reader.window(number)
        cursor = await self._claim(consumer, number, by_force=self._database.exclusive)
        cursor = await self._within(consumer, cursor)
        with window.listen() as signal:
            while True:
                signal.clear()
                self._moved_s[consumer.name] = self._clock.monotonic_s()
                try:
                    if await self.take(consumer, cursor, window):
                        continue
                except CursorMoved:
                    log.info("consumer_overtaken", consumer=consumer.name, partition=number)
                    cursor = await self._claim(consumer, number)
                    continue
                if not await wait(signal, POLL_S):
                    window.look_again()

    async def _claim(
        self, consumer: Consumer, number: int, *, by_force: bool = False
    ) -> ClaimedCursor:
        """Claim a consumer's cursor as soon as nobody holds it."""
        never = asyncio.Event()
        source = self._reader.bus.source
        while True:
            self._moved_s[consumer.name] = self._clock.monotonic_s()
            found = await self._cursors.claim(consumer.name, source, number, by_force=by_force)
            if isinstance(found, ClaimedCursor):
                return found
            await wait(never, min(found, LEASE_S))

    async def _within(self, consumer: Consumer, cursor: ClaimedCursor) -> ClaimedCursor:
        """Return the cursor, taken to the end of the partition where that is before it.

        Past the end there is nothing to wait for: the log was restored, or fell back, without the
        cursor, and events would get places that the consumer believes it has taken.
        """
        # Read after the cursor, so a partition that grows never ends before it.
        end = (await self._reader.bus.ends())[cursor.partition]
        if cursor.position > end:
            log.error(
                "consumer_past_the_end",
                consumer=consumer.name, was_at=cursor.position, log_ends_at=end,
            )  # fmt: skip
            await self._cursors.move(cursor, end)
        return cursor

    async def take(self, consumer: Consumer, cursor: ClaimedCursor, window: Window) -> int:
        """Take one batch of events, and the cursor past it; return how many events it held.

        Raises CursorMoved when another process has claimed the cursor: then nothing was done.
        """
        events = (await window.after(cursor.position, BATCH_EVENTS, BATCH_BYTES)).items
        if not events:
            return 0
        wanted = [event for event in events if consumer.takes(event.type)]
        if self._inbox is not None:
            wanted = await self._inbox.unseen(consumer.name, wanted)
        calls: list[Call] = []
        for run in _runs(consumer, wanted):
            calls += await self._handle(consumer, run)
        last = events[-1].offset
        try:
            await self._dispatcher.commit_all(
                calls, also=self._moves(consumer, cursor, last, wanted), wakes=CONSUMED
            )
        except (CursorMoved, Unavailable):
            raise
        except Exception as error:  # noqa: BLE001 - each event is tried alone below
            # One event spoils its batch: take them one by one, so only that one is set aside.
            log.info(
                "batch_split", consumer=consumer.name, events=len(calls), error=described(error)
            )
            await self._take_singly(consumer, cursor, events, {event.id for event in wanted})
        else:
            cursor.position = last
        return len(events)

    def _moves(
        self, consumer: Consumer, cursor: ClaimedCursor, to: int, taken: Sequence[BusEvent]
    ) -> list[Write]:
        moves: list[Write] = [cursor.move(to)]
        if self._inbox is not None:
            moves += self._inbox.notes(consumer.name, taken)
        return moves

    async def _take_singly(
        self,
        consumer: Consumer,
        cursor: ClaimedCursor,
        events: Sequence[BusEvent],
        wanted: set[str],
    ) -> None:
        for event in events:
            if event.id in wanted:
                wanted.discard(event.id)  # a bus may have it twice
                await self._take_one(consumer, cursor, event)
            else:
                await self._cursors.move(cursor, event.offset)
            cursor.position = event.offset

    async def _take_one(self, consumer: Consumer, cursor: ClaimedCursor, event: BusEvent) -> None:
        moves = self._moves(consumer, cursor, event.offset, [event])
        for _ in range(RERUNS_MAX):
            calls = await self._handle(consumer, [event])
            try:
                await self._dispatcher.commit_all(calls, also=moves, wakes=CONSUMED)
            except Rerun:
                continue
            except (CursorMoved, Unavailable):
                raise
            except Exception as error:  # noqa: BLE001 - told, and kept as a job
                self._tell(consumer, event, error)
                break
            else:
                return
        await self._dispatcher.commit_all(
            [self._aside(consumer, event)], also=moves, wakes=CONSUMED
        )

    async def _handle(self, consumer: Consumer, events: Sequence[BusEvent]) -> list[Call]:
        """Run the handler on events of one tenant; return the calls that hold what it staged.

        Where it fails on one event, a call holds the job that will try again; where it fails on
        several, each is tried alone.
        """
        self._moved_s[consumer.name] = self._clock.monotonic_s()
        call = self._call(consumer, events)
        try:
            await attempt(
                self._retry.handle(consumer, call, [event.envelope for event in events]),
                HANDLE_TIMEOUT_S,
                f"consumer {consumer.name} {events[0].id}",
            )
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - told, and kept as a job
            if len(events) > 1:
                return [c for event in events for c in await self._handle(consumer, [event])]
            self._tell(consumer, events[0], error)
            return [self._aside(consumer, events[0])]
        return [call]

    def _aside(self, consumer: Consumer, event: BusEvent) -> Call:
        call = self._call(consumer, [event])
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

    def _call(self, consumer: Consumer, events: Sequence[BusEvent]) -> Call:
        """Make the call of a batch. Of several events it is caused by the last."""
        last = events[-1]
        return self._dispatcher.call(
            consumer_caller(last.tenant),
            request_id=last.id,
            correlation_id=last.envelope.correlationid,
            causation_id=last.id,
            account=f"consumer {consumer.name}",
            path=(consumer.name,),
        )


def _runs(consumer: Consumer, events: Sequence[BusEvent]) -> Iterator[Sequence[BusEvent]]:
    """Yield the events in runs that one call of the handler takes: of one tenant, in order."""
    first = 0
    for at, event in enumerate(events):
        if at - first == (consumer.batch or 1) or event.tenant != events[first].tenant:
            yield events[first:at]
            first = at
    if events:
        yield events[first:]


def consumer_caller(tenant: str) -> Caller:
    """Who a consumer or a job acts as: the platform itself, within the tenant of its cause."""
    return (
        _SYSTEM
        if tenant == TENANT_DEFAULT
        else Caller("system", tenant=tenant, scopes=frozenset({"*"}))
    )


_SYSTEM = Caller("system", scopes=frozenset({"*"}))
