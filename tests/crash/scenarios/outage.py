"""The database goes away for seconds while processes and jobs of one attempt live on."""

import asyncio
import random
import time

from tests.crash.checks import Broken
from tests.crash.scenario import Outcome, Scenario, Setting
from tests.crash.stage import Stage, until, wait_s

AWAY_S = (4.0, 8.0)
JOBS = 24


async def play(setting: Setting) -> Outcome:
    """Stop or kill the server under load; no job may die of it, and none be begun again."""
    choose = random.Random(setting.seed)
    away_s, killed = choose.uniform(*AWAY_S), choose.random() < 0.5
    async with Stage(setting) as stage:
        for _ in range(2):
            await stage.add()
        tasks = {f"hold-{n}" for n in range(JOBS)}
        async with stage.loaded() as timelines:
            for task in tasks:  # some end before, most while it is away, some after
                await stage.enqueue("hold", task=task, for_s=choose.uniform(0.5, away_s + 3.0))
            await until("all jobs begun", lambda: {task for task, _ in stage.begun()} >= tasks)
            gone_s = time.monotonic()
            await asyncio.to_thread(stage.server.kill if killed else stage.server.stop)
            await wait_s(away_s)
            back_s = time.monotonic()
            await asyncio.to_thread(stage.server.start)
            await stage.all_done(tasks)
        again = stage.begun_once(tasks)
        if again:
            raise Broken(f"{again} jobs of one attempt were begun again")
        counted = await stage.check()
    noticed = [timeline.refused_after(gone_s) or 0.0 for timeline in timelines]
    worked = [timeline.works_after(back_s) or 0.0 for timeline in timelines]
    how = "killed" if killed else "stopped"
    return Outcome(
        noticed_s=max(noticed),
        works_s=max(worked),
        acknowledged=counted["calls"] + JOBS,
        remark=f"server {how} for {away_s:.1f} s; {JOBS} jobs of one attempt: none dead, each once",
    )


SCENARIO = Scenario(
    "outage",
    play,
    engines=("postgres",),
    only="SQLite is a file of the process's own; see full-disk",
)
