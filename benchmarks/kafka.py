"""Events through Kafka, from a commit to a consumer's committed effect, beside a bare client.

The bare one sends the very same messages with the same client library, waits for all replicas as
well, and consumes them in the same process: it has no database, no log, no order of commits and no
effect that happens once. What ours takes more is what those cost.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from rich.console import Console
from rich.table import Table

from benchmarks.beside import PINNED
from mainspring import Call, Envelope, Service
from mainspring.adapters.bus.kafka import KafkaBus
from mainspring.adapters.bus.kafka_messages import headers_of, value_of
from mainspring.adapters.bus.kafka_topic import KafkaTarget
from mainspring.adapters.keyring.file import FileKeyring
from mainspring.adapters.telemetry.rollups import Rollups
from mainspring.engines import open_database
from mainspring.kernel.call import SYSTEM
from mainspring.kernel.clock import SystemClock, SystemEntropy
from mainspring.ports.bus import BusEvent
from mainspring.runtime.data_keys import DataKeys
from mainspring.runtime.events.field_encryption import FieldEncryption
from mainspring.runtime.runtime import Runtime
from mainspring.testing.servers import KafkaServer, kafka_jars

EVENTS = 10_000
ALONE = 300  # one at a time
ROUNDS = 3
CALLERS = 64
READ = 500
PATIENCE_S = 300.0
SETTLED_S = 0.005
BATCH = 100
TEXT = "x" * 450


class Happened(msgspec.Struct, frozen=True):
    """What is told."""

    id: str
    text: str


class Found(msgspec.Struct, frozen=True):
    """Events per second with many callers, and milliseconds of one at a time."""

    how: str
    per_second: float
    p50_ms: float
    p99_ms: float


class Taken:
    """What a consumer has taken: when each, and a signal once there are so many."""

    def __init__(self) -> None:
        self.count = 0
        self._wanted = 0
        self._there = asyncio.Event()

    def take(self, more: int) -> None:
        """Count what was taken."""
        self.count += more
        if self.count >= self._wanted:
            self._there.set()

    async def until(self, count: int) -> None:
        """Wait until there are so many in all."""
        self._wanted = count
        self._there.clear()
        if self.count < count:
            async with asyncio.timeout(PATIENCE_S):
                await self._there.wait()


def _service(taken: Taken, batch: int) -> Service:
    bench = Service("bench", doc="Something happens.")
    bench.event("bench.thing.happened")(Happened)

    @bench.on("bench.*", from_start=True, batch=batch)
    async def take(call: Call, events: list[Envelope]) -> None:
        """Take them."""
        taken.take(len(events))

    return bench


async def _ours(url: str, batch: int, events: int, alone: int) -> tuple[Found, list[BusEvent]]:
    """Commit, publish and consume with a runtime over SQLite; return its messages as well."""
    clock, entropy, taken = SystemClock(), SystemEntropy(), Taken()
    with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as folder:
        keyring = FileKeyring(Path(folder) / "keyring.json", clock=clock, entropy=entropy)
        await keyring.open()
        database = open_database(f"sqlite:{folder}/bench.db")
        await database.open()
        bus = KafkaBus(KafkaTarget(url))
        data_keys = DataKeys(database, keyring, clock, entropy)
        runtime = Runtime(
            database, [_service(taken, batch)], keyring=keyring, bus=bus,
            sealer=FieldEncryption(database, data_keys, entropy), telemetry=Rollups(clock),
        )  # fmt: skip
        await runtime.migrate()
        await bus.open()
        await runtime.start()

        async def send(number: int) -> None:
            call = runtime.dispatcher.call(SYSTEM, request_id="bench")
            call.emit(Happened(f"thing_{number}", TEXT))
            await runtime.dispatcher.commit(call)

        async def settled() -> None:
            """Wait until the cursors say so too: then the effects are committed."""
            while any(one.events for one in (await runtime.consumer_runner.behind()).values()):
                await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=SETTLED_S)

        found = await _timed(f"ours, batches of {batch}", send, taken, settled, events, alone)
        log = await runtime.reader.bus.read(0, 0, READ, READ << 11)
        await runtime.stop(5)
        await bus.close()
        await database.close()
        return found, list(log.items)


async def _bare(url: str, messages: list[BusEvent], events: int, alone: int) -> Found:
    """Send and consume with the client alone."""
    target, taken = KafkaTarget(url), Taken()
    await target.ensure_topic()
    producer = AIOKafkaProducer(**target.options, acks="all", enable_idempotence=True)
    consumer = AIOKafkaConsumer(target.topic, **target.options, auto_offset_reset="earliest")
    await producer.start()
    await consumer.start()

    async def consume() -> None:
        while True:
            found = await consumer.getmany(timeout_ms=1_000)
            taken.take(sum(map(len, found.values())))

    async def send(number: int) -> None:
        event = messages[number % len(messages)]
        await producer.send_and_wait(
            target.topic,
            key=f"thing_{number}".encode(),
            value=value_of(event),
            headers=list(headers_of(event)),
        )

    async def settled() -> None:
        """Nothing is written down."""

    consuming = asyncio.create_task(consume())
    try:
        return await _timed("bare client", send, taken, settled, events, alone)
    finally:
        consuming.cancel()
        await asyncio.gather(consuming, return_exceptions=True)
        await consumer.stop()
        await producer.stop()


async def _timed(
    how: str,
    send: Callable[[int], Awaitable[None]],
    taken: Taken,
    settled: Callable[[], Awaitable[None]],
    events: int,
    alone: int,
) -> Found:
    """Send one at a time until each was taken, then all at once by so many callers."""
    times = []
    for number in range(alone + 1):
        began_s = time.perf_counter()
        await send(number)
        await taken.until(number + 1)
        times.append((time.perf_counter() - began_s) * 1e3)
    times = sorted(times[1:])  # the first one finds everything cold
    numbers = iter(range(events))

    async def caller() -> None:
        for number in numbers:
            await send(number)

    began_s = time.perf_counter()
    await asyncio.gather(*[caller() for _ in range(CALLERS)])
    await taken.until(alone + 1 + events)
    await settled()
    rate = events / (time.perf_counter() - began_s)
    return Found(how, rate, statistics.median(times), times[int(len(times) * 0.99)])


def measure(events: int = EVENTS, alone: int = ALONE, rounds: int = ROUNDS) -> list[list[Found]]:
    """Return what each round found: ours one by one, ours in batches, and the bare client."""
    jars = kafka_jars()
    if jars is None:
        raise SystemExit("no Kafka here: make .tools/kafka/.ready")
    server = KafkaServer(jars)  # on all cores
    cores = os.sched_getaffinity(0)
    assert PINNED.server is not None
    os.sched_setaffinity(0, {PINNED.server})
    try:
        return [uvloop.run(_round(server, number, events, alone)) for number in range(rounds)]
    finally:
        os.sched_setaffinity(0, cores)
        server.close()


async def _round(server: KafkaServer, number: int, events: int, alone: int) -> list[Found]:
    one, messages = await _ours(server.url(f"one{number}"), 1, events, alone)
    many, _ = await _ours(server.url(f"many{number}"), BATCH, events, alone)
    return [one, many, await _bare(server.url(f"bare{number}"), messages, events, alone)]


def show(rounds: list[list[Found]]) -> None:
    """Print the median of each, and its share of the bare client in the same round."""
    table = Table(
        "how", "events/s", "of the bare client", "alone, p50 ms", "alone, p99 ms",
        title="from a commit to a consumer, through Kafka", title_justify="left",
    )  # fmt: skip
    for number, first in enumerate(rounds[0]):
        each = [found[number] for found in rounds]
        shares = [found[number].per_second / found[-1].per_second for found in rounds]
        table.add_row(
            first.how,
            f"{statistics.median(f.per_second for f in each):,.0f}",
            f"{statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})",
            f"{statistics.median(f.p50_ms for f in each):.1f}",
            f"{statistics.median(f.p99_ms for f in each):.1f}",
        )
    Console(width=120).print(table)
