"""An event whose handler kills the process it runs in."""

import asyncio
import time

from tests.crash.checks import Broken
from tests.crash.process import Platform
from tests.crash.scenario import Outcome, Scenario, Setting
from tests.crash.stage import Stage, until

DISHES = 20
AGAIN = "ledger.swallow.again"
DEATHS_MAX = 3 + 2  # before the event is set aside, and in the two attempts of its job


async def play(setting: Setting) -> Outcome:
    """Serve a poisoned dish among others: it is set aside after its tries, the others are taken."""
    deaths: list[float] = []
    async with Stage(setting) as stage:
        for _ in range(2 if setting.engine == "postgres" else 1):
            await stage.add()
        keepers = [asyncio.create_task(_keep(platform, deaths)) for platform in stage.platforms]
        dishes = {f"dish-{n}" for n in range(DISHES)}
        try:
            async with stage.loaded():
                for number, dish in enumerate(sorted(dishes)):
                    if number == DISHES // 2:
                        served_s = time.monotonic()
                        await _serve(stage, "poison", poisoned=True)
                    await _serve(stage, dish)
                await stage.all_done(dishes)
                taken_s = time.monotonic()
                await until("the poison is a dead letter", lambda: _is_dead(stage))
            if len(deaths) > DEATHS_MAX:
                raise Broken(f"one event killed {len(deaths)} processes")
            counted = await stage.check(dead_letters=frozenset({AGAIN}))
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
    return Outcome(
        noticed_s=deaths[0] - served_s,
        mitigated_s=taken_s - served_s,
        works_s=None,
        acknowledged=counted["calls"] + DISHES + 1,
        remark=f"{len(deaths)} processes died of it, then it was a dead letter; the {DISHES} other "
        "events of its consumer were taken, each once",
    )


async def _keep(platform: Platform, deaths: list[float]) -> None:
    """Start a process again whenever it dies, as a service manager does."""
    while True:
        await platform.died()
        deaths.append(time.monotonic())
        await platform.start()


async def _serve(stage: Stage, dish: str, *, poisoned: bool = False) -> None:
    body = {"name": dish, "poisoned": poisoned}

    await stage.repeated("/v1/ledger/dishes", body, f"serve-{dish}-0123456789")


async def _is_dead(stage: Stage) -> bool:
    status, found = await stage.tried("/v1/queues/default/dead", stage.first)
    return status == 200 and [job["name"] for job in found["items"]] == [AGAIN]


SCENARIO = Scenario("poison", play)
