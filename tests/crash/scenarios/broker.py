"""Kafka is killed under load and started again: calls go on, and what they told is taken once."""

import asyncio
import time

from mainspring.testing.servers import KafkaServer, kafka_jars
from tests.crash.checks import Broken
from tests.crash.scenario import Outcome, Scenario, Setting, Skipped
from tests.crash.stage import Stage, until, wait_s

LOAD_S = 1.5
AWAY_S = 6.0


async def play(setting: Setting) -> Outcome:
    """Kill the only broker for seconds. No call is refused for it; consumers go on where they were.

    ``noticed_s`` is until every process says that the bus is away, ``works_s`` until none does.
    """
    jars = kafka_jars()
    if jars is None:
        raise Skipped("no Kafka here")
    server = KafkaServer(jars)
    try:
        async with Stage(setting) as stage:
            for _ in range(2 if setting.engine == "postgres" else 1):
                await stage.add(environ={"MAINSPRING_BUS__URL": server.url("crash")})
            async with stage.loaded() as timelines:
                await wait_s(LOAD_S)
                killed_s = time.monotonic()
                await asyncio.to_thread(server.kill)
                noticed_s = await until("it is away", lambda: stage.say_away("bus"))
                await wait_s(AWAY_S)
                back_s = time.monotonic()
                await asyncio.to_thread(server.start)
                listens_s = time.monotonic()
                await until("it is back", lambda: stage.say_back("bus"))
                works_s = time.monotonic() - listens_s
                await wait_s(LOAD_S)
            counted = await stage.check()
            drained_s = time.monotonic() - listens_s
    finally:
        server.close()
    still_s = max(line.stood_still_s(killed_s) for line in timelines)
    meanwhile = [sum(killed_s < s < back_s for s in line.acknowledged_s) for line in timelines]
    if not all(meanwhile):
        raise Broken(f"calls that each process took without Kafka: {meanwhile}")
    return Outcome(
        noticed_s=noticed_s,
        mitigated_s=still_s,
        works_s=works_s,
        acknowledged=counted["calls"],
        remark=f"away for {listens_s - killed_s:.1f} s, in which {sum(meanwhile)} calls were made; "
        f"all of them taken {drained_s:.1f} s after it was back, load included",
    )


SCENARIO = Scenario("broker", play)
