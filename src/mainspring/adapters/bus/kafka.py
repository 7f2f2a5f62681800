"""Kafka: events on a topic that other programs can read too, for as long as it keeps them.

An offset here is Kafka's and one more, so that 0 is before the first. Nothing is asked of Kafka's
consumer groups: where each consumer is stands in the database, with what it did, so that its effect
and its place are one commit.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import islice
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from mainspring.adapters.bus.kafka_messages import NotOurs, event_of, headers_of, value_of
from mainspring.adapters.bus.kafka_topic import MESSAGE_BYTES_MAX, KafkaTarget, why
from mainspring.adapters.outage import Outage
from mainspring.kernel.table import Rows
from mainspring.ports.bus import BusAway, BusEvent
from mainspring.ports.database import StartError
from mainspring.ports.opening import SYSTEM_SOURCES, Sources

log = structlog.get_logger()

_AWAY = (KafkaError, OSError, TimeoutError)
TAIL_BYTES_MAX = 2 << 20  # of bodies that came lately, held for each partition
FETCH_RECORDS = 500  # taken from what was fetched at a time
FETCH_MS = 1_000  # that a question for more waits, before it is asked again
FAR_S = 15.0  # for events that must be there
AGAIN_S = 1.0  # after the broker could not say what came, or could not be reached
OPEN_S = 10.0  # that a start waits for a broker before it goes on without
LOOK_EVERY_S = 2.0  # whether the broker is there, where nobody asks it anything
LOOK_S = 3.0  # for its answer
STOP_S = 5.0


def open(url: str, sources: Sources = SYSTEM_SOURCES) -> "KafkaBus":
    """Publish to a topic: ``kafka://HOST:PORT/PREFIX``, see ``KafkaTarget``. Raises StartError."""
    return KafkaBus(KafkaTarget(url))


class Stretch:
    """Events of one partition without a gap: after ``begin``, up to ``end``.

    Messages that are not ours have their offsets in it and are left out.
    """

    __slots__ = ("begin", "bytes", "end", "events")

    def __init__(self, at: int) -> None:
        self.events: deque[BusEvent] = deque()
        self.begin_at(at)

    def begin_at(self, at: int) -> None:
        """Hold nothing, and go on from an offset."""
        self.begin = self.end = at
        self.bytes = 0
        self.events.clear()

    def extend(self, records: Sequence[ConsumerRecord[Any, Any]]) -> None:
        """Add what follows. Where it does not follow, the log is another one and is begun anew."""
        for record in records:
            if record.offset != self.end:
                self.begin_at(record.offset)
            self.end = record.offset + 1
            try:
                event = event_of(self.end, record.headers, record.value)
            except NotOurs as error:
                log.warning(
                    "kafka_message_passed_by", topic=record.topic, partition=record.partition,
                    offset=record.offset, error=str(error),
                )  # fmt: skip
                continue
            self.events.append(event)
            self.bytes += len(event.body)

    def bound(self, bytes_max: int) -> None:
        """Let go of the oldest until no more is held."""
        while self.bytes > bytes_max and len(self.events) > 1:
            gone = self.events.popleft()
            self.bytes -= len(gone.body)
            self.begin = gone.offset

    def take(self, after: int, limit: int, bytes_max: int) -> Rows[BusEvent]:
        """Return the next events; one comes however long it is."""
        behind = [event for event in self.events if event.offset > after]
        taken: list[BusEvent] = []
        for event in islice(behind, limit):
            bytes_max -= len(event.body)
            if bytes_max < 0 and taken:
                break
            taken.append(event)
        return Rows(taken, len(taken) < len(behind))


class KafkaBus:
    """One topic. What comes is fetched once for this process, and the newest of it is held."""

    def __init__(self, target: KafkaTarget) -> None:
        self._target = target
        self.source = f"kafka:{target.topic}"
        self._outage = Outage("bus")
        self._tails: dict[int, Stretch] = {}
        self._far: dict[int, Stretch] = {}  # what was read last of what is held no more
        self._far_lock = asyncio.Lock()
        self._signals: set[asyncio.Event] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._parts: list[AIOKafkaProducer | AIOKafkaConsumer] = []
        self._all: list[TopicPartition] = []  # none until it is connected
        self._holds_all = True  # of what came since the tails begin
        self._partition_of = DefaultPartitioner()

    async def open(self) -> None:
        """Connect, and make the topic where there is none. Raises StartError.

        Where no broker can be reached it goes on without, and connects once there is one.
        """
        try:
            async with asyncio.timeout(OPEN_S):
                await self._connect()
        except _AWAY as error:
            await self._target.raise_refusal(error)
            self._away(error)
        self._tasks = [asyncio.create_task(each()) for each in (self._follow, self._look)]

    async def check(self) -> str:
        """Say how many brokers there are, and what the topic is. Raises BusAway, StartError."""
        try:
            async with asyncio.timeout(OPEN_S):
                return await self._target.describe()
        except _AWAY as error:
            await self._target.raise_refusal(error)
            raise BusAway(f"the bus cannot be reached: {why(error)}") from error

    async def _connect(self) -> None:
        """Raises what is wrong, with nothing left open."""
        target = self._target
        try:
            count = await target.ensure_topic()
            every = [TopicPartition(target.topic, number) for number in range(count)]
            self._producer = AIOKafkaProducer(
                **target.options, acks="all", enable_idempotence=True,
                max_batch_size=MESSAGE_BYTES_MAX, max_request_size=MESSAGE_BYTES_MAX,
            )  # fmt: skip
            self._newest, self._older = self._consumer(), self._consumer()
            self._parts = [self._producer, self._newest, self._older]
            for part in self._parts:
                await part.start()
            self._newest.assign(every)
            for part, end in (await self._older.end_offsets(every)).items():
                self._newest.seek(part, end)
                self._tails[part.partition] = Stretch(end)
        except BaseException:
            await self._disconnect()
            raise
        self._all = every
        self._outage.worked()
        for signal in self._signals:
            signal.set()

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **self._target.options, enable_auto_commit=False, auto_offset_reset="earliest",
            max_partition_fetch_bytes=MESSAGE_BYTES_MAX, fetch_max_wait_ms=FETCH_MS,
        )  # fmt: skip

    async def close(self) -> None:
        """Let what is on its way arrive, and disconnect."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._disconnect()

    async def _disconnect(self) -> None:
        parts, self._parts, self._all = self._parts, [], []
        for part in parts:
            with suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await part.stop()

    def away(self) -> str:
        """Say that it cannot be reached now; where, and why, is for the log."""
        return "it cannot be reached" if self._outage.lasts or not self._all else ""

    def _connected(self) -> list[TopicPartition]:
        """Return the partitions, where there was a broker to ask which. Raises BusAway."""
        if not self._all:
            raise BusAway("the bus cannot be reached: no broker has been yet", retry_after_s=1)
        return self._all

    async def partitions(self) -> Sequence[int]:
        """Return those that the topic had when it was first reached. Raises BusAway."""
        return [part.partition for part in self._connected()]

    async def begins(self) -> Mapping[int, int]:
        """Return where each partition begins, which is behind what it has dropped."""
        return await self._offsets("beginning_offsets")

    async def ends(self) -> Mapping[int, int]:
        """Return where each partition ends."""
        return await self._offsets("end_offsets")

    async def _offsets(self, which: str) -> dict[int, int]:
        every = self._connected()
        try:
            found = await getattr(self._older, which)(every)
        except (KafkaError, TimeoutError) as error:
            raise self._away(error) from error
        self._outage.worked()
        return {part.partition: offset for part, offset in found.items()}

    async def read(self, partition: int, after: int, limit: int, bytes_max: int) -> Rows[BusEvent]:
        """Return the next events, from what is held or from the broker. Raises BusAway."""
        self._connected()
        tail = self._tails[partition]
        if after >= tail.begin:
            return tail.take(after, limit, bytes_max)
        async with self._far_lock:
            stretch = self._far.get(partition)
            if stretch is None or not stretch.begin <= after < stretch.end:
                stretch = self._far[partition] = await self._fetch(partition, after)
        rows = stretch.take(after, limit, bytes_max)
        return Rows(rows.items, rows.more or stretch.end < tail.end)

    async def _fetch(self, partition: int, after: int) -> Stretch:
        """Ask the broker for what comes after an offset, until something of ours is there."""
        part = TopicPartition(self._target.topic, partition)
        stretch = Stretch(after)
        try:
            async with asyncio.timeout(FAR_S):
                self._older.assign([part])
                self._older.seek(part, after)
                while not stretch.events and stretch.end < self._tails[partition].begin:
                    found = await self._older.getmany(
                        part, timeout_ms=FETCH_MS, max_records=FETCH_RECORDS
                    )
                    stretch.extend(found.get(part, ()))
        except (KafkaError, TimeoutError) as error:
            raise self._away(error) from error
        self._outage.worked()
        return stretch

    async def publish(self, events: Sequence[BusEvent]) -> None:
        """Send events, those of one partition one batch after the other. Raises BusAway."""
        numbers = await self.partitions()
        by_partition: dict[int, list[BusEvent]] = {}
        for event in events:
            number = self._partition_of(event.key.encode(), numbers, numbers)
            by_partition.setdefault(number, []).append(event)
        try:
            async with asyncio.TaskGroup() as group:
                for number, its in by_partition.items():
                    group.create_task(self._send_all(number, its))
        except* (KafkaError, TimeoutError) as failed:
            raise self._away(failed.exceptions[0]) from failed
        self._outage.worked()

    async def _send_all(self, partition: int, events: Sequence[BusEvent]) -> None:
        """Send the next batch once the one before it is kept: a retry cannot pass it then."""
        batch = self._producer.create_batch()
        for event in events:
            message = {
                "timestamp": None,  # the broker gives its own
                "key": event.key.encode(),
                "value": value_of(event),
                "headers": headers_of(event),
            }
            if batch.append(**message) is None:
                await self._send(batch, partition)
                batch = self._producer.create_batch()
                batch.append(**message)
        await self._send(batch, partition)

    async def _send(self, batch: Any, partition: int) -> None:
        sent = await self._producer.send_batch(batch, self._target.topic, partition=partition)
        await sent

    def listen(self) -> AbstractContextManager[asyncio.Event]:
        """Yield a signal of what comes."""
        return _Signal(self._signals)

    async def _follow(self) -> None:
        """Take what comes, whatever goes wrong with it: without this nobody hears of anything."""
        while True:
            try:
                if not self._all:
                    await self._connect()
                await self._take()
            except (*_AWAY, StartError) as error:  # the latter once a start went on without
                self._away(error)
                await asyncio.sleep(AGAIN_S)
            except Exception as error:
                log.error("kafka_not_followed", exc_info=error)
                self._holds_all = False
                await asyncio.sleep(AGAIN_S)

    async def _look(self) -> None:
        """Look whether the broker is there: those who wait for what comes do not find out."""
        while True:
            await asyncio.sleep(AGAIN_S if self._outage.lasts else LOOK_EVERY_S)
            try:
                async with asyncio.timeout(LOOK_S):
                    await self.ends()
            except BusAway:
                continue
            except TimeoutError as error:
                self._away(error)
            except Exception as error:
                log.error("kafka_not_looked_at", exc_info=error)

    async def _take(self) -> None:
        if not self._holds_all:  # who reads what is missing here asks the broker
            for part in self._all:
                self._tails[part.partition] = Stretch(await self._newest.position(part))
            self._holds_all = True
        found = await self._newest.getmany(timeout_ms=FETCH_MS, max_records=FETCH_RECORDS)
        for part, records in found.items():
            tail = self._tails[part.partition]
            tail.extend(records)
            tail.bound(TAIL_BYTES_MAX)
        if found:
            for signal in self._signals:
                signal.set()

    def _away(self, error: BaseException) -> BusAway:
        self._outage.failed(why(error))
        return BusAway(f"the bus cannot be reached: {why(error)}", retry_after_s=1)


class _Signal:
    """A signal among those that are set; set at first."""

    def __init__(self, signals: set[asyncio.Event]) -> None:
        self._signals, self._own = signals, asyncio.Event()

    def __enter__(self) -> asyncio.Event:
        self._own.set()
        self._signals.add(self._own)
        return self._own

    def __exit__(self, *_: object) -> None:
        self._signals.discard(self._own)
