"""A gateway, an owner and a worker of a split platform are killed under load, and one is frozen."""

import time

from tests.crash.checks import Broken
from tests.crash.scenario import Outcome, Scenario, Setting
from tests.crash.scenarios.frozen import begun_by
from tests.crash.split_stage import Part, SplitStage
from tests.crash.stage import until, wait_s

LOAD_S = 1.5
AWAY_S = 2.0
JOBS = 8
JOB_S = 3.0
STILL_S_MAX = 15.0  # that calls may stand still; the goal for one that is killed is 3 s


async def gateway_dies(setting: Setting) -> Outcome:
    """SIGKILL one of two gateways: callers go on at the other."""
    async with SplitStage(setting) as stage:
        await stage.owner()
        await stage.part("worker")
        for _ in range(2):
            await stage.part("gateway")
        await stage.prepare()
        return await _killed(stage, stage.gateways[0], "one of two gateways")


async def owner_dies(setting: Setting) -> Outcome:
    """SIGKILL one of two owners of everything: calls go on at the other."""
    async with SplitStage(setting, owners=2) as stage:
        doomed = await stage.owner(0)
        await stage.owner(1)
        await stage.part("worker")
        await stage.part("gateway")
        await stage.prepare()
        return await _killed(stage, doomed, "one of two owners")


async def owner_freezes(setting: Setting) -> Outcome:
    """SIGSTOP one of two owners, and SIGCONT it later: what it did meanwhile was done once."""
    async with SplitStage(setting, owners=2) as stage:
        frozen = await stage.owner(0)
        await stage.owner(1)
        await stage.part("worker")
        await stage.part("gateway")
        await stage.prepare()
        async with stage.loaded() as (timeline,):
            await wait_s(LOAD_S)
            frozen_s = time.monotonic()
            frozen.freeze()
            noticed_s = await _told_away(stage)
            await wait_s(AWAY_S)
            frozen.thaw()
            back_s = await _told_back(stage)
            await wait_s(LOAD_S)
            still_s = timeline.stood_still_s(frozen_s)
        counted = await stage.check()
    _require_lively(still_s)
    return Outcome(
        noticed_s=noticed_s,
        mitigated_s=still_s,
        works_s=back_s,
        acknowledged=counted["calls"],
        remark=f"one of two owners frozen, and thawed; {counted['repeats']} calls repeated",
    )


async def worker_dies(setting: Setting) -> Outcome:
    """SIGKILL one of two workers in the middle of jobs: the other takes them over."""
    async with SplitStage(setting) as stage:
        await stage.owner()
        doomed, other = await stage.part("worker"), await stage.part("worker")
        await stage.part("gateway")
        await stage.prepare()
        tasks = {f"carry-{n}" for n in range(2 * JOBS)}
        async with stage.loaded() as (timeline,):
            for task in tasks:
                await stage.enqueue("carry", task=task, for_s=JOB_S)
            await until("all jobs begun", lambda: {task for task, _ in stage.begun()} >= tasks)
            its = begun_by(stage, doomed) & tasks - set(await stage.done("GET", "/v1/ledger/done"))
            if not its:
                raise Broken("the worker that was killed had no job")
            killed_s = time.monotonic()
            await doomed.kill()
            await until("its jobs begun by the other", lambda: begun_by(stage, other) >= its)
            noticed_s = time.monotonic() - killed_s
            await stage.all_done(tasks)
            works_s = time.monotonic() - killed_s
            started_s = time.monotonic()
            await doomed.start()
            await doomed.ready()
            back_s = time.monotonic() - started_s
            still_s = timeline.stood_still_s(killed_s)
        counted = await stage.check()
    _require_lively(still_s)
    return Outcome(
        noticed_s=noticed_s,
        mitigated_s=works_s,
        works_s=back_s,
        acknowledged=counted["calls"] + len(tasks),
        remark=f"one of two workers killed; {len(its)} jobs begun anew took effect once; calls "
        f"stood still {still_s:.2f} s at most",
    )


async def _killed(stage: SplitStage, doomed: Part, what: str) -> Outcome:
    """Kill a part under load, and start it again."""
    async with stage.loaded() as (timeline,):
        await wait_s(LOAD_S)
        killed_s = time.monotonic()
        await doomed.kill()
        await wait_s(AWAY_S)
        started_s = time.monotonic()
        await doomed.start()
        await doomed.ready()
        back_s = time.monotonic() - started_s
        await wait_s(LOAD_S)
        still_s = timeline.stood_still_s(killed_s)
        noticed_s = timeline.refused_after(killed_s)
    counted = await stage.check()
    _require_lively(still_s)
    return Outcome(
        noticed_s=noticed_s,
        mitigated_s=still_s,
        works_s=back_s,
        acknowledged=counted["calls"],
        remark=f"{what} killed, and started again; {counted['repeats']} calls repeated",
    )


async def _told_away(stage: SplitStage) -> float:
    """Wait until the gateway says that an owner does not answer; return how long that took."""

    async def told() -> bool:
        return "degraded" in (await stage.tried("/readyz", stage.first))[1]

    return await until("the gateway names the owner", told)


async def _told_back(stage: SplitStage) -> float:
    async def told() -> bool:
        return "degraded" not in (await stage.tried("/readyz", stage.first))[1]

    return await until("the gateway has all owners", told)


def _require_lively(still_s: float) -> None:
    if still_s > STILL_S_MAX:
        raise Broken(f"no call was acknowledged for {still_s:.1f} s")


_ONLY = "services in processes of their own are over PostgreSQL"
SCENARIOS = tuple(
    Scenario(name, play, engines=("postgres",), only=_ONLY)
    for name, play in (
        ("gateway-dies", gateway_dies),
        ("owner-dies", owner_dies),
        ("owner-freezes", owner_freezes),
        ("worker-dies", worker_dies),
    )
)
