"""A version beside the one before, which knows other jobs and arguments, and alone after it."""

import time

from tests.crash.checks import Broken
from tests.crash.process import Platform
from tests.crash.scenario import Outcome, Scenario, Setting
from tests.crash.stage import Stage, until

JOBS = 20
NEXT = {"LEDGER_VERSION": "next"}


async def play(setting: Setting) -> Outcome:
    """Leave the old version alone with the jobs of the next: it buries none, and says why."""
    async with Stage(setting) as stage:
        new = await stage.add(environ=NEXT)
        async with stage.loaded():
            await stage.done("POST", "/v1/queues/bulk:pause", of=new)
            tasks = await _next_jobs(stage, new, "paused")
            if setting.engine == "postgres":
                old = await stage.add()
                tasks |= await _side_by_side(stage, new, old, tasks)
                await new.stop()
            else:
                await new.stop()
                old = await _started_as(new, {})
            resumed_s = time.monotonic()
            await stage.done("POST", "/v1/queues/bulk:resume", of=old)
            for number in range(JOBS):  # what every version knows is not held up behind them
                tasks.add(f"hold-{number}")
                await stage.enqueue("hold", of=old, task=f"hold-{number}", for_s=0.0)
            await until("the jobs wait aside", lambda: _aside(stage, old))
            noticed_s = time.monotonic() - resumed_s
            if setting.engine == "sqlite":
                await old.stop()
            started_s = time.monotonic()
            await _started_as(new, NEXT)
            await stage.all_done(tasks, new)
            works_s = time.monotonic() - started_s
        doubled = stage.begun_once(tasks)
        if doubled:
            raise Broken(f"{doubled} jobs of one attempt were begun again")
        counted = await stage.check(of=new)
    return Outcome(
        noticed_s=noticed_s,
        works_s=works_s,
        acknowledged=counted["calls"] + len(tasks),
        remark=f"{2 * JOBS} jobs of the next version alone with the one before: waited aside, none "
        "dead, done once it was back",
    )


async def _side_by_side(stage: Stage, new: Platform, old: Platform, tasks: set[str]) -> set[str]:
    """Let both versions claim: whatever the old one takes, the new one has to get.

    Returns the jobs that were enqueued for afterwards.
    """
    await stage.done("POST", "/v1/queues/bulk:resume", of=old)
    await stage.all_done(tasks, old)
    await stage.done("POST", "/v1/queues/bulk:pause", of=old)
    return await _next_jobs(stage, new, "alone")


async def _started_as(platform: Platform, version: dict[str, str]) -> Platform:
    """Start a process again as another version."""
    platform.environ.pop("LEDGER_VERSION", None)
    platform.environ.update(version)
    await platform.start()
    await platform.ready()
    return platform


async def _next_jobs(stage: Stage, new: Platform, name: str) -> set[str]:
    """Enqueue jobs that only the next version knows, and some whose arguments only it knows."""
    tasks = set()
    for number in range(JOBS):
        for job, more in (("pack", {"gift": True}), ("seal", {})):
            task = f"{name}-{job}-{number}"
            await stage.enqueue(job, of=new, task=task, **more)
            tasks.add(task)
    return tasks


async def _aside(stage: Stage, old: Platform) -> bool:
    """Tell whether the old version shows them all as waiting, and says of what it cannot read why.

    What it has never heard of it does not claim, and so says nothing about. Raises Broken.
    """
    dead = await stage.done("GET", "/v1/queues/bulk/dead?limit=500", of=old)
    if dead["items"]:
        raise Broken(f"buried by a version that does not know it: {dead['items'][0]}")
    found = await stage.done("GET", "/v1/jobs?queue=bulk&limit=500&state=ready", of=old)
    told = [job for job in found["items"] if "another version" in (job["error"] or "")]
    return (len(found["items"]), len(told)) == (2 * JOBS, JOBS)


SCENARIO = Scenario("two-versions", play)
