"""Processes whose clocks differ by more than a lease; on SQLite a clock that is set right."""

import time

from mainspring.kernel.clock import SystemClock, rfc3339
from tests.crash.checks import Broken
from tests.crash.scenario import Outcome, Scenario, Setting
from tests.crash.stage import Stage, until

AHEAD_S = 5.0
BEHIND_S = -20.0  # more than a lease behind, and more than that apart
JOBS = 24
FOR_S = 4.0
LATER_MS = 8_000


async def play(setting: Setting) -> Outcome:
    """Run jobs that could be taken for abandoned, and some that are due later."""
    if setting.engine == "sqlite":
        return await _set_right(setting)
    async with Stage(setting) as stage:
        ahead = await stage.add(clock_ahead_s=AHEAD_S)
        behind = await stage.add(clock_ahead_s=BEHIND_S)
        now = {f"carry-{n}" for n in range(JOBS)}
        later = {f"later-{n}" for n in range(JOBS)}
        async with stage.loaded():
            due_ms = SystemClock().now_ms() + LATER_MS
            for number, task in enumerate(sorted(later)):
                job = {"name": "ledger.carry", "args": {"task": task, "for_s": 0.1}}
                where = (ahead, behind)[number % 2]
                await stage.done("POST", "/v1/jobs", {**job, "run_at": rfc3339(due_ms)}, of=where)
            for number, task in enumerate(sorted(now)):
                where = (ahead, behind)[number % 2]
                await stage.enqueue("carry", of=where, task=task, for_s=FOR_S)
            early: set[str] = set()

            def due() -> bool:
                begun = {task for task, _ in stage.begun()} & later
                is_due = SystemClock().now_ms() >= due_ms
                early.update(begun if not is_due else ())
                return is_due

            await until("the moment that the later jobs are due", due)
            if early:
                raise Broken(f"{len(early)} jobs were begun before they were due")
            late_s = await until(
                "the later jobs begun", lambda: {task for task, _ in stage.begun()} >= later
            )
            await stage.all_done(now | later)
        again = stage.begun_once(now | later)
        if again:
            raise Broken(f"{again} jobs were begun again")
        counted = await stage.check()
    return Outcome(
        noticed_s=None,
        works_s=None,
        acknowledged=counted["calls"] + 2 * JOBS,
        remark=f"{AHEAD_S:g} s ahead beside {-BEHIND_S:g} s behind; {2 * JOBS} jobs, each once, "
        f"none before its time, all begun {late_s:.1f} s after it",
    )


async def _set_right(setting: Setting) -> Outcome:
    """Kill a process whose clock ran ahead, and go on with a clock that is right."""
    async with Stage(setting) as stage:
        platform = await stage.add(clock_ahead_s=-BEHIND_S)
        tasks = {f"carry-{n}" for n in range(JOBS)}
        async with stage.loaded() as (timeline,):
            for task in tasks:
                await stage.enqueue("carry", task=task, for_s=FOR_S)
            await until("all jobs begun", lambda: {task for task, _ in stage.begun()} >= tasks)
            killed_s = time.monotonic()
            await platform.kill()
            platform.clock_ahead_s = 0.0
            started_s = time.monotonic()
            await platform.start()
            await until(
                "all jobs begun again",
                lambda: len([t for t, _ in stage.begun() if t in tasks]) == 2 * JOBS,
            )
            again_s = time.monotonic() - started_s
            await stage.all_done(tasks)
        counted = await stage.check()
    return Outcome(
        noticed_s=timeline.refused_after(killed_s),
        works_s=timeline.works_after(started_s),
        acknowledged=counted["calls"] + JOBS,
        remark=f"killed while {-BEHIND_S:g} s ahead, started with the right time; {JOBS} jobs that "
        f"were running went on {again_s:.1f} s later",
    )


SCENARIO = Scenario("two-clocks", play)
