"""The database is slow, and then does not answer at all, while every connection to it lasts."""

import asyncio
import random
import time

import aiohttp

from tests.crash.checks import Broken
from tests.crash.process import Platform, pause
from tests.crash.scenario import Outcome, Scenario, Setting
from tests.crash.stage import Stage, database_of, postgres, until, wait_s
from tests.relay import Relay

SLOW_S = 5.0
LATE_S = (0.05, 0.15)  # each piece that is sent, in either direction
SILENT_S = (14.0, 18.0)  # longer than a call waits for a free connection; others wait on
ALIVE_S = 1.0  # what needs no database is answered within


async def play(setting: Setting) -> Outcome:
    """Delay what is sent, then hold it: calls are late, then refused in time, and none is lost.

    A process answers all along what needs no database. Nothing is closed on either side, as where
    a switch drops packets; what was held arrives after all.
    """
    choose = random.Random(setting.seed)
    late_s, silent_s = choose.uniform(*LATE_S), choose.uniform(*SILENT_S)
    server = postgres()
    name = database_of(server.create_database())
    async with Relay(server.directory / ".s.PGSQL.5432") as relay:
        url = f"postgresql://postgres@127.0.0.1:{relay.port}/{name}"
        async with Stage(setting, server=server, url=url) as stage:
            for _ in range(2):
                await stage.add()
            tasks = {f"hold-{n}" for n in range(8)}
            over = asyncio.Event()
            alive = [asyncio.create_task(_slowest_answer(p, over)) for p in stage.platforms]
            async with stage.loaded() as timelines:
                for task in tasks:
                    await stage.enqueue("hold", task=task, for_s=choose.uniform(0.5, silent_s))
                await until("jobs begun", lambda: {task for task, _ in stage.begun()} >= tasks)
                relay.delay_s = late_s
                slow_s = time.monotonic()
                await wait_s(SLOW_S)
                done = sum(sum(s > slow_s for s in line.acknowledged_s) for line in timelines)
                relay.delay_s = 0.0
                relay.stall()
                held_s = time.monotonic()
                await wait_s(silent_s)
                back_s = time.monotonic()
                relay.go_on()
                await stage.all_done(tasks)
            over.set()
            slowest_s = max(await asyncio.gather(*alive))
            if not done:
                raise Broken("nothing was acknowledged while the database was slow")
            if slowest_s > ALIVE_S:
                raise Broken(f"/healthz took {slowest_s:.1f} s")
            if again := stage.begun_once(tasks):
                raise Broken(f"{again} jobs of one attempt were begun again")
            counted = await stage.check()
    noticed = [line.refused_after(held_s) for line in timelines]
    return Outcome(
        noticed_s=max((s for s in noticed if s is not None and s < silent_s), default=None),
        works_s=max(line.works_after(back_s) or 0.0 for line in timelines),
        acknowledged=counted["calls"] + len(tasks),
        remark=f"{late_s * 1000:.0f} ms more for each piece sent: {done} calls in {SLOW_S:g} s; "
        f"then silent for {silent_s:.1f} s; /healthz within {slowest_s * 1000:.0f} ms",
    )


async def _slowest_answer(platform: Platform, over: asyncio.Event) -> float:
    """Ask a process again and again whether it lives; return how long that took at most."""
    slowest_s = 0.0
    async with aiohttp.ClientSession() as session:
        while not over.is_set():
            asked_s = time.monotonic()
            async with session.get(f"{platform.url}/healthz") as answer:
                if answer.status != 200:
                    raise Broken(f"/healthz {answer.status}")
            slowest_s = max(slowest_s, time.monotonic() - asked_s)
            await pause()
    return slowest_s


SCENARIO = Scenario(
    "slow",
    play,
    engines=("postgres",),
    only="SQLite is a file of the process's own; see full-disk",
)
