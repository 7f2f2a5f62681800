"""A whole platform over real Kafka: what it publishes, and what holds while a broker is away."""

import asyncio
import resource
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from structlog.testing import capture_logs

from mainspring import App, Call, Input, Query, Service, Table
from mainspring.adapters.bus import kafka
from mainspring.adapters.bus.kafka_topic import KafkaTarget
from mainspring.cli import checks
from mainspring.engines import opened
from mainspring.kernel import channel
from mainspring.ports.database import StartError
from mainspring.testing import Platform
from mainspring.testing.conformance.bus.reading import event, read_all
from mainspring.testing.servers import KafkaServer, PostgresServer, kafka_jars
from tests.deadline import DEADLINE_S
from tests.until import until

pytestmark = [pytest.mark.more, pytest.mark.xdist_group("kafka")]

BURST = 60
BURST_CALL = 500  # events of one call
BACKLOG = 50_000


class Parcel(msgspec.Struct, frozen=True):
    """What was told of a parcel, once for each event."""

    id: str
    number: int


class Moved(Input, frozen=True):
    number: int


PARCELS = Table("depot_parcels", Parcel, key=("id", "number"))
COUNT = Query("depot.count", "SELECT COUNT(*) FROM depot_parcels", int)
TAKEN_IN_ORDER = Query(
    "depot.taken", "SELECT id, number FROM depot_parcels ORDER BY rowid", PARCELS
)
BACKLOG_MIB_MAX = 128
SEEN = Query("depot.seen", "SELECT id, number FROM depot_parcels ORDER BY id, number", PARCELS)


@pytest.fixture
def depot(tmp_path: Path) -> App:
    """An app whose consumer writes a row for each event: a second time it would fail."""
    migrations = tmp_path / "migrations"
    migrations.mkdir()
    columns = "id text NOT NULL, number bigint NOT NULL, PRIMARY KEY (id, number)"
    (migrations / "0001_parcels.sql").write_text(f"CREATE TABLE depot_parcels ({columns});\n")
    service = Service("depot", doc="For these tests.", migrations=migrations)

    @service.event("depot.parcel.moved")
    class ParcelMoved(msgspec.Struct, frozen=True):
        id: str
        number: int

    @service.operation("POST /v1/parcels/{id}:move", scope=None)
    async def move(call: Call, id: str, moved: Moved) -> None:
        """Tell of it."""
        call.emit(ParcelMoved(id, moved.number))

    @service.operation("POST /v1/bursts/{id}", scope=None)
    async def burst(call: Call, id: str, moved: Moved) -> None:
        """Tell of many."""
        for number in range(moved.number, moved.number + BURST_CALL):
            call.emit(ParcelMoved(f"{id}{number % 7}", number))

    @service.on("depot.parcel.moved")
    async def note(call: Call, moved: ParcelMoved) -> None:
        call.write(PARCELS.insert(Parcel(moved.id, moved.number)))

    return App("depot", services=[service])


@asynccontextmanager
async def running(depot: App, server: str | None, url: str) -> AsyncIterator[Platform]:
    settings = {"bus.url": url}
    async with Platform(depot, database=server, running=True, settings=settings) as platform:
        yield platform


async def move(platform: Platform, first: int, count: int) -> None:
    """Move so many parcels, three of them in turn."""
    for number in range(first, first + count):
        path = f"/v1/parcels/p{number % 3}:move"
        (await platform.anonymous.post(path, {"number": number})).expect(204)


async def until_seen(platform: Platform, count: int) -> list[Parcel]:
    """Wait until the consumer has written so many rows."""
    with platform.app.runtime.board.listen(channel.CONSUMED) as signal:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                signal.clear()
                if len(rows := await platform.app.database.read(SEEN, ())) >= count:
                    return rows
                await signal.wait()


async def test_another_program_reads_cloud_events(kafka_server: KafkaServer, depot: App) -> None:
    url = kafka_server.url(secrets.token_hex(6), partitions=4)
    target = KafkaTarget(url)
    async with running(depot, None, url) as platform:
        await move(platform, 0, 9)
        await until_seen(platform, 9)
        consumer = AIOKafkaConsumer(
            target.topic, bootstrap_servers=target.brokers, auto_offset_reset="earliest"
        )
        await consumer.start()
        found = {}
        async with asyncio.timeout(DEADLINE_S):
            while len(found) < 9:
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    for record in records:
                        headers = {name: text.decode() for name, text in record.headers}
                        if headers["ce_type"] == "depot.parcel.moved":
                            found[headers["ce_id"]] = (record, headers)
        await consumer.stop()
    partitions: dict[str, set[int]] = {}
    for record, headers in found.values():
        assert headers["content-type"] == "application/json"
        assert headers["ce_specversion"] == "1.0"
        assert headers["ce_source"] == "/depot"
        data = msgspec.json.decode(record.value)
        assert record.key.decode() == headers["ce_subject"] == data["id"]
        partitions.setdefault(data["id"], set()).add(record.partition)
    assert {len(places) for places in partitions.values()} == {1}


async def test_calls_go_on_while_the_broker_is_away_and_nothing_is_lost(
    depot: App,
) -> None:
    jars = kafka_jars()
    if jars is None:
        pytest.skip("no Kafka here")
    server = KafkaServer(jars)
    try:
        async with running(depot, None, server.url("away")) as platform:
            await move(platform, 0, BURST)
            server.kill()
            await move(platform, BURST, BURST)  # answered, though nobody can be told
            server.start()
            await move(platform, 2 * BURST, BURST)
            rows = await until_seen(platform, 3 * BURST)
            assert {row.number for row in rows} == set(range(3 * BURST))
            assert Counter(row.number for row in rows).most_common(1)[0][1] == 1
            assert platform.app.runtime.consumer_runner.failing() == []
        with capture_logs() as logs:
            async with running(depot, None, server.url("frozen")) as platform:
                server.freeze()
                await move(platform, 0, 5)
                server.thaw()
                assert len(await until_seen(platform, 5)) == 5
        assert not [log for log in logs if log["event"] == "dead_letter"]
    finally:
        server.close()


async def test_a_start_without_a_broker_takes_calls_and_publishes_once_there_is_one(
    depot: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    jars = kafka_jars()
    if jars is None:
        pytest.skip("no Kafka here")
    monkeypatch.setattr(kafka, "AGAIN_S", 0.1)
    server = KafkaServer(jars)
    try:
        server.kill()
        found = await checks.check_bus(partial(opened, "bus", server.url("late")))
        assert (found.verdict, "wait in the log" in found.advice) == (checks.Verdict.WARN, True)
        with capture_logs() as logs:
            async with running(depot, None, server.url("late")) as platform:
                await move(platform, 0, BURST)
                ready = (await platform.anonymous.get("/readyz")).expect(200)
                assert "bus: it cannot be reached" in ready["degraded"]
                metrics = (await platform.anonymous.get("/metrics")).text
                assert 'mainspring_store_away{part="bus"} 1' in metrics
                assert 'mainspring_event_lag{consumer="depot.note"} 60' in metrics
                server.start()
                rows = await until_seen(platform, BURST)
                assert sorted(row.number for row in rows) == list(range(BURST))
                await move(platform, BURST, BURST)
                assert len(await until_seen(platform, 2 * BURST)) == 2 * BURST
                ready = (await platform.anonymous.get("/readyz")).expect(200)
                assert "degraded" not in ready
        told = [log["event"] for log in logs if log.get("part") == "bus"]
        assert told == ["part_unavailable", "part_available"]  # an hour is two lines as well
    finally:
        server.close()


async def test_a_long_outage_is_drained_within_bounds_and_in_order(depot: App) -> None:
    """As many events as an hour may bring: what is waited for is their number, not the time."""
    jars = kafka_jars()
    if jars is None:
        pytest.skip("no Kafka here")
    server = KafkaServer(jars)
    try:
        async with running(depot, None, server.url("long")) as platform:
            await move(platform, 0, 1)
            await until_seen(platform, 1)
            server.kill()
            for number in range(0, BACKLOG, BURST_CALL):
                path, body = "/v1/bursts/b", {"number": number}
                (await platform.anonymous.post(path, body)).expect(204)
            before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            began_s = asyncio.get_running_loop().time()
            server.start()
            runtime, left = platform.app.runtime, BACKLOG + 1
            with runtime.board.listen(channel.CONSUMED) as signal:
                async with asyncio.timeout(5 * DEADLINE_S):
                    while left:
                        signal.clear()
                        (count,) = await platform.app.database.read(COUNT, ())
                        left = BACKLOG + 1 - count
                        if left:
                            await signal.wait()
            took_s = asyncio.get_running_loop().time() - began_s
            grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) >> 10
            print(f"backlog: {BACKLOG} events in {took_s:.1f} s with the broker's start, "
                  f"{grown_mib} MiB more at most")  # fmt: skip
            assert grown_mib < BACKLOG_MIB_MAX
            rows = await platform.app.database.read(TAKEN_IN_ORDER, ())
            for subject in {row.id for row in rows}:
                numbers = [row.number for row in rows if row.id == subject]
                assert numbers == sorted(numbers)
    finally:
        server.close()


async def test_a_broker_that_refuses_the_login_stops_the_start() -> None:
    jars = kafka_jars()
    if jars is None:
        pytest.skip("no Kafka here")
    server = KafkaServer(jars, login=("ann", "right"))
    try:
        right = server.url("login", security="sasl_plaintext", partitions=1)
        found = await checks.check_bus(partial(opened, "bus", right))
        assert "brokers: 1; login.events.core: not there yet" in found.found
        bus = kafka.open(right)
        await bus.open()
        await bus.publish([event(1)])
        await bus.close()
        found = await checks.check_bus(partial(opened, "bus", right))
        assert found.found == "Kafka, brokers: 1; login.events.core: partitions: 1"
        url = server.url("login", security="sasl_plaintext").replace("right", "wrong")
        with pytest.raises(StartError, match=r"the bus at 127.0.0.1:\d+ refuses us") as told:
            await kafka.open(url).open()
        found = await checks.check_bus(partial(opened, "bus", url))
        assert (found.verdict, "refuses us" in found.found) == (checks.Verdict.FAIL, True)
        assert "wrong" not in str(told.value)
    finally:
        server.close()


async def test_the_consumer_of_the_docs_takes_each_event_once_and_sets_aside_what_it_cannot(
    kafka_server: KafkaServer, depot: App, tmp_path: Path
) -> None:
    page = Path("docs/howto/read-events-from-kafka.md").read_text()
    code: dict[str, Any] = {"__name__": "docs"}
    exec(page.partition("```python\n")[2].partition("```")[0], code)
    url = kafka_server.url(secrets.token_hex(6), partitions=2)
    target = KafkaTarget(url)
    store = code["open_store"](tmp_path / "store.sqlite")
    store.execute("INSERT INTO parcels VALUES ('p1', 4)")  # so that one event fails
    store.commit()

    def count() -> int:
        query = "SELECT (SELECT COUNT(*) FROM taken) + (SELECT COUNT(*) FROM set_aside)"
        found: int = store.execute(query).fetchone()[0]
        return found

    async with running(depot, None, url) as platform:
        for first in (0, 9):  # by a consumer that is started again
            reading = asyncio.create_task(code["follow"](store, target.brokers, target.topic))
            await move(platform, first, 9)
            await until_seen(platform, first + 9)
            await until(lambda first=first: count() == first + 9)  # type: ignore[misc]
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        again = (await platform.app.runtime.reader.bus.read(0, 0, 1_000, 1 << 24)).items
        assert len(again) == len(await platform.events())
        assert platform.app.bus is not None
        await platform.app.bus.publish(again)  # every event is there a second time
        reading = asyncio.create_task(code["follow"](store, target.brokers, target.topic))
        await move(platform, 18, 3)  # one for each key
        await until(lambda: count() == 21)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    assert store.execute("SELECT COUNT(*) FROM parcels").fetchone() == (21,)
    ((kind, why),) = store.execute("SELECT type, why FROM set_aside").fetchall()
    assert (kind, "UNIQUE constraint" in why) == ("depot.parcel.moved", True)
    store.close()


@pytest.fixture(scope="module")
def three() -> Iterator[KafkaServer]:
    jars = kafka_jars()
    if jars is None:
        pytest.skip("no Kafka here")
    server = KafkaServer(jars, brokers=3)
    yield server
    server.close()


async def test_of_three_brokers_one_may_die_under_load(
    three: KafkaServer, postgres_server: PostgresServer, depot: App
) -> None:
    bus = three.url(secrets.token_hex(6))
    async with running(depot, postgres_server.url(), bus) as platform:
        await move(platform, 0, BURST)
        for number in (1, 2, 3):
            moving = asyncio.create_task(move(platform, number * BURST, BURST))
            three.kill(number)
            await moving
            await until_seen(platform, (number + 1) * BURST)
            three.start(number)
        rows = await until_seen(platform, 4 * BURST)
        assert sorted(row.number for row in rows) == list(range(4 * BURST))


async def test_what_no_platform_wrote_is_passed_by(kafka_server: KafkaServer) -> None:
    url = kafka_server.url(secrets.token_hex(6), partitions=1)
    target, bus = KafkaTarget(url), kafka.open(url)
    await bus.open()
    producer = AIOKafkaProducer(bootstrap_servers=target.brokers)
    await producer.start()
    await bus.publish([event(1)])
    with capture_logs() as logs:
        for value in (b"hello", None, b"{"):
            headers = [("ce_id", b"\xff")] if value else []  # not text, in a header that is read
            await producer.send_and_wait(target.topic, value, key=b"x", headers=headers)
        await bus.publish([event(2), event(3)])
        found = await read_all(bus, ids=3)
        assert [e.id for e in found[0]] == [event(n).id for n in (1, 2, 3)]
        assert [e.offset for e in found[0]] == [1, 5, 6]
    await producer.stop()
    await bus.close()
    assert len([log for log in logs if log["event"] == "kafka_message_passed_by"]) >= 3
    other = kafka.open(url)  # and from where nothing is held
    await other.open()
    assert [e.offset for e in (await other.read(0, 1, 10, 1 << 20)).items] == [5, 6]
    await other.close()


async def test_a_defect_in_what_is_held_leaves_nobody_deaf(
    kafka_server: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = kafka.open(kafka_server.url(secrets.token_hex(6), partitions=1))
    await bus.open()
    extend, failed = kafka.Stretch.extend, asyncio.Event()

    def fails_once(stretch: Any, records: Any) -> None:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("a defect")
        extend(stretch, records)

    monkeypatch.setattr(kafka.Stretch, "extend", fails_once)
    with capture_logs() as logs, bus.listen() as signal:
        await bus.publish([event(1)])
        async with asyncio.timeout(DEADLINE_S):
            await failed.wait()
        signal.clear()
        await bus.publish([event(2)])
        async with asyncio.timeout(DEADLINE_S):
            await signal.wait()
        found = await read_all(bus, ids=2)
    assert [e.id for e in found[0]] == [event(1).id, event(2).id]
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["kafka_not_followed"]
    await bus.close()


async def test_what_the_topic_has_dropped_is_where_it_begins(kafka_server: KafkaServer) -> None:
    url = kafka_server.url(secrets.token_hex(6), partitions=1)
    target, bus = KafkaTarget(url), kafka.open(url)
    await bus.open()
    await bus.publish([event(n) for n in range(1, 11)])
    admin = AIOKafkaAdminClient(bootstrap_servers=target.brokers)
    await admin.start()
    part = TopicPartition(target.topic, 0)
    await admin.delete_records({part: RecordsToDelete(before_offset=4)})
    await admin.close()
    assert (await bus.begins(), await bus.ends()) == ({0: 4}, {0: 10})
    await bus.close()
    other = kafka.open(url)
    await other.open()
    assert [e.offset for e in (await other.read(0, 0, 10, 1 << 20)).items] == [*range(5, 11)]
    await other.close()


async def test_a_topic_that_would_lose_events_or_is_another_is_refused(
    kafka_server: KafkaServer,
) -> None:
    url = kafka_server.url(secrets.token_hex(6), partitions=4, retention_days=30)
    target = KafkaTarget(url)
    admin = AIOKafkaAdminClient(bootstrap_servers=target.brokers)
    await admin.start()
    configs = {"cleanup.policy": "compact", "max.message.bytes": "1000"}
    await admin.create_topics([NewTopic(target.topic, 2, 1, topic_configs=configs)])
    by_hand = kafka_server.url(secrets.token_hex(6))  # with all that Kafka does by default
    await admin.create_topics([NewTopic(KafkaTarget(by_hand).topic, 2, 1)])
    await admin.close()
    bus = kafka.open(by_hand)
    await bus.open()
    assert list(await bus.partitions()) == [0, 1]
    await bus.close()
    with pytest.raises(StartError) as told:
        await kafka.open(url).open()
    for said in (
        "cleanup.policy is compact",
        "max.message.bytes is 1000",
        "it has 2 partitions, and the URL says 4",
        "retention.ms is 604800000, and the URL says 2592000000",
    ):
        assert said in str(told.value)
    with pytest.raises(StartError) as told:
        await kafka.open(url.partition("?")[0]).open()
    assert "URL says" not in str(told.value)


async def test_what_the_topic_dropped_before_it_was_taken_comes_from_the_log_again(
    kafka_server: KafkaServer, depot: App
) -> None:
    url = kafka_server.url(secrets.token_hex(6), partitions=2)
    target = KafkaTarget(url)
    async with Platform(depot, settings={"bus.url": url}) as platform:
        await move(platform, 0, 9)
        runtime, bus = platform.app.runtime, platform.app.bus
        assert bus is not None
        await platform.place_events()
        for publisher in runtime.publishers:
            await publisher.run_due()
        admin = AIOKafkaAdminClient(bootstrap_servers=target.brokers)
        await admin.start()
        ends = await bus.ends()
        await admin.delete_records(
            {TopicPartition(target.topic, n): RecordsToDelete(end) for n, end in ends.items()}
        )
        await admin.close()
        assert await bus.begins() == ends
        assert sum(ends.values()) >= 9

        async def all_taken() -> bool:
            await runtime.run_due()
            return len(await platform.app.database.read(SEEN, ())) == 9

        await until(all_taken)


async def test_a_bus_that_cannot_be_is_told_in_one_line(kafka_server: KafkaServer) -> None:
    for url, said in {
        "kafka://": "which brokers",
        "kafka://h:1/x?colour=red": "no option 'colour'",
        "kafka://h:1/x?partitions=0": "partitions is a number from 1",
        "kafka://u:secret@h:1/x?security=tls": "security is plaintext, ssl",
        "kafka://u:secret@h:1/x?cafile=/nowhere": "cafile: No such file",
    }.items():
        with pytest.raises(StartError, match=said) as told:
            kafka.open(url)
        assert "secret" not in str(told.value)
