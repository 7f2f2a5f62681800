"""One process of a crew is frozen in the middle of its commit, and never goes on."""

import asyncio
import time

import aiohttp
import msgspec

from tests.cli.test_up import children
from tests.crash.checks import Broken
from tests.crash.load import Timeline
from tests.crash.process import Platform
from tests.crash.scenario import Outcome, Scenario, Setting
from tests.crash.stage import Stage, until, wait_s

MEMBERS = 3
BEFORE_S = 1.0  # under load
FREEZE = "freeze"


async def play(setting: Setting) -> Outcome:
    """SIGSTOP in its turn to commit: its parent ends it, which gives the turn to the others."""
    members = max(MEMBERS, setting.workers)
    async with Stage(msgspec.structs.replace(setting, workers=members)) as stage:
        platform = await stage.add()
        async with stage.loaded() as (timeline,):
            await wait_s(BEFORE_S)
            frozen = asyncio.create_task(_freeze(stage))
            await until("one is frozen", lambda: FREEZE in dict(stage.begun()))
            frozen_s, member = time.monotonic(), dict(stage.begun())[FREEZE]
            await until("it is killed", lambda: member not in children(platform.pid))
            killed_s = time.monotonic()
            await until("all serve again", lambda: _are_up(platform, members))
            await frozen
        if FREEZE in await stage.done("GET", "/v1/ledger/done"):
            raise Broken("what was in the middle of its commit is there")
        counted = await stage.check()
    return Outcome(
        noticed_s=killed_s - frozen_s,
        mitigated_s=timeline.stood_still_s(frozen_s),
        works_s=timeline.works_after(killed_s),
        acknowledged=counted["calls"],
        remark=f"one of {members} frozen in its commit: {_meanwhile(timeline, frozen_s, killed_s)} "
        "calls were acknowledged until it was killed; its successor serves",
    )


def _meanwhile(timeline: Timeline, since_s: float, until_s: float) -> int:
    return sum(since_s <= moment_s < until_s for moment_s in timeline.acknowledged_s)


def _are_up(platform: Platform, members: int) -> bool:
    log = platform.log.read_text(errors="replace")
    return "process_restarted" in log and len(children(platform.pid)) == members


async def _freeze(stage: Stage) -> None:
    try:
        status, answer = await stage.ask("POST", "/v1/ledger/freeze", {"name": FREEZE})
    except aiohttp.ClientError:
        return
    raise Broken(f"a frozen process answered {status} {answer}")


SCENARIO = Scenario("frozen-member", play)
