"""The consumer runner: hands every event of the bus to the consumers that want it, in order.

A consumer's cursor moves in the same commit as what its handlers staged, so each event takes effect
once. On a bus that is not the log, which may repeat an event, the commit holds a row of the
consumer's inbox too, and what is in the inbox is passed by. An event whose handler fails is set
aside as a job (``consumer_retry``) and the others go on.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import msgspec
import structlog

from mainspring.kernel.call import TENANT_DEFAULT, Call, Caller
from mainspring.kernel.clock import Clock
from mainspring.kernel.errors import Rerun, Unavailable
from mainspring.kernel.job import JobFailed
from mainspring.kernel.service import Consumer
from mainspring.kernel.table import Write
from mainspring.ports.bus import Bus, BusAway, BusEvent
from mainspring.ports.database import Database
from mainspring.ports.listeners import described, tell
from mainspring.runtime.events.consumer_retry import ConsumerRetry
from mainspring.runtime.events.cursors import (
    ALL_CURSORS,
    CONSUMED,
    PARTITION,
    RENEW_S,
    SOURCE,
    ClaimedCursor,
    CursorMoved,
    CursorRow,
    Cursors,
)
from mainspring.runtime.events.follower import Follower
from mainspring.runtime.events.inbox import SWEEP_EVERY_S, Inbox
from mainspring.runtime.events.lags import Behind
from mainspring.runtime.events.reader import SharedReader
from mainspring.runtime.invoke.containment import attempt
from mainspring.runtime.invoke.dispatcher import RERUNS_MAX, Dispatcher
from mainspring.runtime.supervisor import Supervisor
from mainspring.runtime.tables import LAST_SEQ

log = structlog.get_logger()

HANDLE_TIMEOUT_S = 60.0  # of one event: a handler that hangs must not stop its consumer for good
TRIES_MAX = 2  # of an event in which a process died; then it is set aside
STUCK_S = 2 * HANDLE_TIMEOUT_S  # without a step: then a consumer is said to stand still

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
        log: Bus,
    ) -> None:
        self._log = log
        self._database = database
        self._dispatcher = dispatcher
        self._retry = retry
        self._consumers = consumers
        self._reader = reader
        self._clock = clock
        self._cursors = cursors
        self._inbox = Inbox(database, reader.bus, cursors)
        self._followers: dict[tuple[Consumer, int], Follower] = {}
        self._on_log = reader.bus.source == SOURCE
        self._taken_elsewhere: dict[str, int] = {}  # on the log: as far as the inbox must be asked
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

    async def behind(self) -> dict[str, Behind]:
        """Return how many events each consumer is behind the end of the bus.

        Of the log, while the bus is away: what it has taken of late may be counted as well.
        """
        bus = self._reader.bus
        try:
            ends = await bus.ends()
        except BusAway:
            bus = self._log
            ends = await bus.ends()
        found: dict[str, Behind] = {consumer.name: Behind(0) for consumer in self._consumers}
        most = dict.fromkeys(found, 0)
        for cursor in await self._database.read(ALL_CURSORS, (bus.source,)):
            name, events = cursor.consumer, ends.get(cursor.partition, 0) - cursor.position
            if name not in found or events <= 0:
                continue
            whole = found[name].events + events
            if events > most[name]:
                most[name] = events
                found[name] = Behind(whole, bus, cursor.partition, cursor.position)
            else:
                found[name] = msgspec.structs.replace(found[name], events=whole)
        return found

    def on_aside(self, listener: AsideListener) -> None:
        """Call ``listener`` with each event that a consumer failed on, and why."""
        self._listeners.append(listener)

    async def prepare(self) -> None:
        """Give new consumers their cursors: from then on they miss nothing.

        Those that followed another bus, or the log, take up this one from its beginning: what they
        have taken they pass by. Where the bus is away a new one is given its place in the log, and
        takes up the bus like those.
        """
        try:
            await self._take_up()
        except BusAway:
            await self._make_cursors((), {}, {})

    async def _take_up(self) -> Sequence[int]:
        """Have a cursor for every partition of the bus; return which there are. Raises BusAway."""
        bus = self._reader.bus
        numbers = await bus.partitions()
        await self._make_cursors(numbers, await bus.begins(), await bus.ends())
        return numbers

    async def _make_cursors(
        self, numbers: Sequence[int], begins: Mapping[int, int], ends: Mapping[int, int]
    ) -> None:
        source = self._reader.bus.source
        # Read after the ends: what is on the bus before them is in the log before this.
        log_end = (await self._database.read(LAST_SEQ, ()))[0]
        for consumer in self._consumers:
            name, first, place = consumer.name, begins, 0
            if not consumer.from_start and not await self._cursors.known(name):
                first, place = ends, log_end
            rows = {(SOURCE, PARTITION): place}
            rows |= {(source, number): first[number] for number in numbers}
            await self._cursors.make(CursorRow(name, *at, place) for at, place in rows.items())
            self._taken_elsewhere[name] = await self._inbox.last(name)

    async def run_due(self) -> int:
        """Give each consumer what is there for it; return how many batches that took.

        For a process in which nothing moves by itself, over a database that is its own: ``start``
        was not called.
        """
        batches = 0
        for consumer in self._consumers:
            for number in await self._reader.bus.partitions():
                batches += await self._follower(consumer, number).run_due()
        await self._sweep()
        return batches

    async def start(self) -> None:
        """Follow the bus."""
        try:
            await self._follow_all()
        except BusAway:
            await self.prepare()
            self._supervisor.start("consumers", self._follow_all)
        if not self._database.exclusive:
            self._supervisor.start("consumer leases", self._keep_leases)
        if not self._on_log:
            self._supervisor.start("consumer inboxes", self._keep_swept)

    async def stop(self) -> None:
        """Stop following. What was not committed is taken again at the next start."""
        await self._supervisor.stop()
        self._moved_s.clear()
        try:
            await self._cursors.release()
        except Unavailable as error:  # they run out by themselves
            log.info("cursors_not_released", error=described(error))

    async def _follow_all(self) -> None:
        numbers = await self._take_up()
        for consumer in self._consumers:
            for number in numbers:
                follower = self._follower(consumer, number)
                self._supervisor.start(f"consumer {consumer.name} {number}", follower.follow)

    async def _keep_leases(self) -> None:
        while True:
            await self._cursors.renew()
            await asyncio.sleep(RENEW_S)

    async def _keep_swept(self) -> None:
        while True:
            await self._sweep()
            await asyncio.sleep(SWEEP_EVERY_S)

    async def _sweep(self) -> None:
        if not self._on_log:
            for consumer in self._consumers:
                await self._inbox.sweep(consumer.name)

    def _follower(self, consumer: Consumer, number: int) -> Follower:
        if (follower := self._followers.get((consumer, number))) is None:
            follower = self._followers[consumer, number] = Follower(
                self._cursors, consumer.name, self._reader.window(number),
                partial(self._take, consumer), partial(self._moved, consumer),
            )  # fmt: skip
        return follower

    def _moved(self, consumer: Consumer) -> None:
        self._moved_s[consumer.name] = self._clock.monotonic_s()

    async def _take(
        self, consumer: Consumer, cursor: ClaimedCursor, events: Sequence[BusEvent]
    ) -> None:
        """Take one batch of events, and the cursor past it."""
        wanted = [event for event in events if consumer.takes(event.type)]
        taken_to = self._taken_elsewhere[consumer.name]
        if not self._on_log or cursor.position < taken_to:
            wanted = await self._inbox.unseen(consumer.name, wanted)
        if cursor.abandoned:
            await self._take_singly(consumer, cursor, events, {event.id for event in wanted})
            cursor.abandoned = False
        else:
            await self._take_together(consumer, cursor, events, wanted)
        if self._on_log and taken_to and cursor.position >= taken_to:
            await self._inbox.forget(consumer.name)
            self._taken_elsewhere[consumer.name] = 0

    async def _take_together(
        self,
        consumer: Consumer,
        cursor: ClaimedCursor,
        events: Sequence[BusEvent],
        wanted: Sequence[BusEvent],
    ) -> None:
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

    def _moves(
        self, consumer: Consumer, cursor: ClaimedCursor, to: int, taken: Sequence[BusEvent]
    ) -> list[Write]:
        moves: list[Write] = [cursor.move(to)]
        if not self._on_log:
            moves += self._inbox.notes(consumer.name, taken)
        return moves

    async def _take_singly(
        self,
        consumer: Consumer,
        cursor: ClaimedCursor,
        events: Sequence[BusEvent],
        wanted: set[str],
    ) -> None:
        """Take events one by one; where a process died in one of them, each is counted first.

        Those that it does not take are passed by with the next that it does, or the last.
        """
        for event in events:
            if event.id not in wanted:
                continue
            wanted.discard(event.id)  # a bus may have it twice
            if not cursor.abandoned or await self._dares(consumer, cursor, event):
                await self._take_one(consumer, cursor, event)
            else:
                await self._put_aside(consumer, cursor, event)
            cursor.position = event.offset
        if cursor.position < events[-1].offset:
            await self._cursors.move(cursor, events[-1].offset)

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
        await self._put_aside(consumer, cursor, event)

    async def _put_aside(self, consumer: Consumer, cursor: ClaimedCursor, event: BusEvent) -> None:
        moves = self._moves(consumer, cursor, event.offset, [event])
        aside = self._aside(consumer, event)
        await self._dispatcher.commit_all([aside], also=moves, wakes=CONSUMED)

    async def _dares(self, consumer: Consumer, cursor: ClaimedCursor, event: BusEvent) -> bool:
        """Count a try of an event before it is made; False when too many processes died in it."""
        tries = await self._cursors.note_try(cursor, event.offset)
        if tries < TRIES_MAX:
            return True
        died = f"{tries + 1} processes ended while it had this event, perhaps because of it"
        self._tell(consumer, event, JobFailed(died))
        return False

    async def _handle(self, consumer: Consumer, events: Sequence[BusEvent]) -> list[Call]:
        """Run the handler on events of one tenant; return the calls that hold what it staged.

        Where it fails on one event, a call holds the job that will try again; where it fails on
        several, each is tried alone.
        """
        self._moved(consumer)
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
