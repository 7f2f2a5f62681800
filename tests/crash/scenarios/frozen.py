"""A process that is frozen for longer than its leases, and goes on as if nothing had been."""

import asyncio
import time

from tests.crash.checks import Broken
from tests.crash.process import Platform
from tests.crash.scenario import Outcome, Scenario, Setting
from tests.crash.stage import Stage, until, wait_s

JOBS = 8
FOR_S = 6.0
BEFORE_S = 1.0  # under load
FROZEN_S = 18.0  # a lease of a job is 15 s
ASKED_AFTER_S = 2.0


async def play(setting: Setting) -> Outcome:
    """SIGSTOP under load, SIGCONT after its leases ended; fences hold, and caches serve nobody."""
    if setting.engine == "sqlite":
        return await _alone(setting)
    async with Stage(setting) as stage:
        frozen = await stage.add()
        other = await stage.add()
        key, key_id = await stage.made_key()
        tasks = {f"carry-{n}" for n in range(2 * JOBS)}
        for task in tasks:
            await stage.enqueue("carry", task=task, for_s=FOR_S)
        for where in (frozen, other):  # both know the key by now
            if (await stage.ask("GET", "/v1/ledger/done", of=where, key=key))[0] != 200:
                raise Broken("a fresh key is refused")
        await until("all jobs begun", lambda: {task for task, _ in stage.begun()} >= tasks)
        async with stage.loaded() as timelines:
            await wait_s(BEFORE_S)
            its = begun_by(stage, frozen) & tasks
            frozen_s = time.monotonic()
            frozen.freeze()
            await stage.done("DELETE", f"/v1/api_keys/{key_id}", of=other)
            asked = [
                asyncio.create_task(stage.ask("GET", "/v1/ledger/done", of=frozen, key=key))
                for _ in range(8)
            ]
            its -= set(await stage.done("GET", "/v1/ledger/done", of=other))
            if not its:
                raise Broken("the process that was frozen had no job")
            await until("its jobs begun by the other", lambda: begun_by(stage, other) >= its)
            noticed_s = time.monotonic() - frozen_s
            await wait_s(max(FROZEN_S - noticed_s, 0.0))
            thawed_s = time.monotonic()
            frozen.thaw()
            answers = [status for status, _ in await asyncio.gather(*asked)]
            while time.monotonic() - thawed_s < ASKED_AFTER_S:
                answers.append((await stage.ask("GET", "/v1/ledger/done", of=frozen, key=key))[0])
            if set(answers) != {401}:
                served = answers.count(200)
                raise Broken(f"a revoked key was served {served} times of {len(answers)}")
            await stage.all_done(tasks)
        counted = await stage.check()
    return Outcome(
        noticed_s=noticed_s,
        mitigated_s=noticed_s,
        works_s=timelines[0].works_after(thawed_s),
        acknowledged=counted["calls"] + len(tasks),
        remark=f"frozen for {thawed_s - frozen_s:.0f} s; {len(its)} jobs were taken over and "
        f"took effect once; a key revoked meanwhile: {len(answers)} calls, 401 each",
    )


def begun_by(stage: Stage, platform: Platform) -> set[str]:
    """Return what a process has begun."""
    return {task for task, pid in stage.begun() if pid == platform.pid}


async def _alone(setting: Setting) -> Outcome:
    """Freeze the only process there is: nobody may be taken for dead, itself included."""
    async with Stage(setting) as stage:
        platform = await stage.add()
        tasks = {f"hold-{n}" for n in range(JOBS)}
        async with stage.loaded() as (timeline,):
            for task in tasks:
                await stage.enqueue("hold", task=task, for_s=FOR_S)
            await until("all jobs begun", lambda: {task for task, _ in stage.begun()} >= tasks)
            platform.freeze()
            await wait_s(FROZEN_S)
            thawed_s = time.monotonic()
            platform.thaw()
            await stage.all_done(tasks)
        again = stage.begun_once(tasks)
        if again:
            raise Broken(f"{again} jobs of one attempt were begun again")
        counted = await stage.check()
    return Outcome(
        noticed_s=None,
        works_s=timeline.works_after(thawed_s),
        acknowledged=counted["calls"] + len(tasks),
        remark=f"frozen for {FROZEN_S:g} s; {JOBS} jobs of one attempt: none dead, each once",
    )


SCENARIO = Scenario("frozen", play)
