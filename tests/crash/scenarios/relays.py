"""The relay that brings the log to Kafka is killed, and the next one frozen; others take over."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import aiohttp
from aiokafka import AIOKafkaConsumer

from mainspring.adapters.bus.kafka_topic import KafkaTarget
from mainspring.testing.servers import KafkaServer, kafka_jars
from tests.crash.checks import Broken, Reader
from tests.crash.scenario import Outcome, Scenario, Setting, Skipped
from tests.crash.split_stage import Part, SplitStage
from tests.crash.stage import database_of, until, wait_s

LOAD_S = 1.5
TAKEN_OVER_S_MAX = 30.0
SETTLED_S = 1.0
STANDS_S = 2.5  # without progress: a busy machine may publish nothing for a second; a lease is five
_CURSOR = "FROM consumer_cursors WHERE consumer LIKE 'publisher %' AND source = 'log'"
_HOLDER, _PLACE = f"SELECT owner {_CURSOR}", f"SELECT position {_CURSOR}"


async def play(setting: Setting) -> Outcome:
    """SIGKILL the one that publishes, then SIGSTOP its successor: the topic has the whole log."""
    jars = kafka_jars()
    if jars is None:
        raise Skipped("Kafka's jars are not there: make .tools/kafka/.ready")
    kafka = await asyncio.to_thread(KafkaServer, jars)
    try:
        url = kafka.url("ledger")
        async with SplitStage(setting, environ={"MAINSPRING_BUS__URL": url}) as stage:
            return await _play(stage, url)
    finally:
        await asyncio.to_thread(kafka.close)


async def _play(stage: SplitStage, url: str) -> Outcome:
    await stage.owner()
    await stage.part("gateway")
    await stage.prepare()
    relays = [await stage.part("relay")]

    async def publishes() -> bool:
        return bool(await _holder(stage))

    await until("the first publishes", publishes)
    relays.append(await stage.part("relay"))
    async with stage.loaded() as (timeline,):
        await wait_s(LOAD_S)
        began_s = time.monotonic()
        holder = await _holder_of(stage, relays)
        taken_s = await _taken_over(stage, holder.kill)
        await holder.start()
        await holder.ready()
        await wait_s(LOAD_S)
        holder = await _holder_of(stage, relays)
        frozen_for_s = await _taken_over(stage, holder.freeze)
        await wait_s(LOAD_S)
        holder.thaw()
        await wait_s(LOAD_S)
        still_s = timeline.stood_still_s(began_s)
    await stage.part("worker")
    counted = await stage.check()
    wanted = await _events(stage)
    times = await _published(url, wanted)
    return Outcome(
        noticed_s=None,  # no call needs it
        mitigated_s=max(taken_s, frozen_for_s),
        works_s=None,
        acknowledged=counted["calls"],
        remark=f"taken over {taken_s:.1f} s after a kill, {frozen_for_s:.1f} s after a freeze; "
        f"{len(wanted)} events on the topic, {sum(times.values()) - len(times)} of them again; "
        f"calls stood still {still_s:.2f} s at most",
    )


async def _holder(stage: SplitStage) -> str:
    """Return which process publishes: each has another name at every start."""
    return await _asked(stage, _HOLDER)


async def _asked(stage: SplitStage, sql: str) -> str:
    found = await asyncio.to_thread(stage.server.psql, sql, database_of(stage.url))
    return found.strip()


async def _holder_of(stage: SplitStage, relays: Sequence[Part]) -> Part:
    """Return the relay that publishes: nothing is published while it is frozen for a moment."""
    for relay in relays:
        relay.freeze()
        await wait_s(SETTLED_S)
        before = await _asked(stage, _PLACE)
        await wait_s(STANDS_S)
        stands = await _asked(stage, _PLACE) == before
        relay.thaw()
        if stands:
            await until("it goes on", partial(_moved, stage, before))
            return relay
        await wait_s(SETTLED_S)
    raise Broken("no relay publishes")


async def _moved(stage: SplitStage, before: str) -> bool:
    return await _asked(stage, _PLACE) != before


async def _taken_over(stage: SplitStage, hurt: Callable[[], Awaitable[None] | None]) -> float:
    """Hurt whoever publishes; return how long it takes until another does. Raises Broken."""
    before = await _holder(stage)
    if (hurting := hurt()) is not None:
        await hurting

    async def another() -> bool:
        return await _holder(stage) not in ("", before)

    took_s = await until("another relay publishes", another)
    if took_s > TAKEN_OVER_S_MAX:
        raise Broken(f"nobody published for {took_s:.1f} s")
    return took_s


async def _events(stage: SplitStage) -> set[str]:
    headers = {"Authorization": f"Bearer {stage.key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        return {event["id"] for event in await Reader(session, stage.first.url).events()}


async def _published(url: str, wanted: set[str]) -> dict[str, int]:
    """Read the topic until it has told of all that is wanted; return how often of each."""
    target = KafkaTarget(url)
    consumer = AIOKafkaConsumer(
        target.topic, bootstrap_servers=target.brokers, auto_offset_reset="earliest"
    )
    await consumer.start()
    found: dict[str, int] = {}

    async def whole() -> bool:
        for records in (await consumer.getmany(timeout_ms=200)).values():
            for record in records:
                event = dict(record.headers)["ce_id"].decode()
                found[event] = found.get(event, 0) + 1
        return found.keys() >= wanted

    try:
        await until("the topic has the whole log", whole)
        await whole()
    finally:
        await consumer.stop()
    return found


SCENARIO = Scenario(
    "relay-dies",
    play,
    engines=("postgres",),
    only="services in processes of their own are over PostgreSQL",
)
