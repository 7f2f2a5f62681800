"""kill -9 at random moments under load, one to three times a round: it, a worker, or the server."""

import asyncio
import random
import time

from tests.crash.scenario import Outcome, Scenario, Setting
from tests.crash.stage import Stage, wait_s

KILLS_MAX = 3
LOAD_S = 1.0
TAIL_S = 0.2
WORKER = 0.7  # how often it is a worker alone, of a platform that has several


async def play(setting: Setting) -> Outcome:
    """Kill it over and over on the same data, and look for anything lost or doubled each time."""
    noticed: list[float] = []
    worked: list[float] = []
    async with Stage(setting) as stage:
        await stage.add()
        for number in range(1, setting.rounds + 1):
            started_s = time.monotonic()
            kills = await _round(stage, number, noticed, worked)
            counted = await stage.check()
            figures = ", ".join(f"{value} {name}" for name, value in counted.items())
            print(
                f"{setting.engine} {number}/{setting.rounds}: killed at {kills}; {figures}; "
                f"{time.monotonic() - started_s:.1f}s",
                flush=True,
            )
    return Outcome(
        noticed_s=max(noticed, default=None),
        works_s=max(worked, default=None),
        acknowledged=stage.truth.calls,
        doubled=len(stage.truth.doubled),
        remark=f"{setting.rounds} rounds, {stage.first.starts - 1} kills, the longest of each",
    )


async def _round(stage: Stage, number: int, noticed: list[float], worked: list[float]) -> str:
    """Kill the platform one to three times under load, then let the load finish."""
    choose = random.Random(f"{stage.setting.seed}.{stage.engine}.{number}")
    platform, said, moments = stage.first, [], []
    async with stage.loaded(str(number)) as (timeline,):
        for _ in range(choose.randint(1, KILLS_MAX)):
            moment_s = choose.uniform(0.02, LOAD_S)
            await wait_s(moment_s)
            killed_s = time.monotonic()
            if platform.workers > 1 and choose.random() < WORKER and platform.kill_worker(choose):
                said.append(
                    f"{moment_s:.2f}s worker"
                )  # the others serve on, and it has a successor
                continue
            await platform.kill()
            said.append(f"{moment_s:.2f}s")
            if stage.engine == "postgres" and choose.random() < 0.25:
                await asyncio.to_thread(stage.server.kill)
                await asyncio.to_thread(stage.server.start)
                said.append("+server")
            moments.append((killed_s, time.monotonic()))
            await platform.start()
        await platform.ready()
        await wait_s(TAIL_S)
    for killed_s, started_s in moments:
        noticed.append(timeline.refused_after(killed_s) or 0.0)
        worked.append(timeline.works_after(started_s) or 0.0)
    return " ".join(said)


SCENARIO = Scenario("kill", play)
