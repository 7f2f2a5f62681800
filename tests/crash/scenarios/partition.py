"""The network between a gateway and an owner is cut without a word, and heals later."""

import asyncio
import time
from contextlib import AsyncExitStack

from mainspring.adapters.peers.authority import DevelopmentAuthority
from mainspring.kernel.clock import SystemClock
from tests.crash.checks import Broken
from tests.crash.namespaces import Inlet, Namespaces
from tests.crash.scenario import Outcome, Scenario, Setting
from tests.crash.split_stage import EVERYTHING, SplitStage
from tests.crash.stage import until, wait_s

LOAD_S = 1.5
AFTER_S = 3.0  # that the cut goes on after it was noticed
NOTICED_S_MAX = 15.0  # pings find it out in six; the machine may be slow
ELSEWHERE_S_MAX = 5.0  # a call of another service, meanwhile
REFUSED_S_MAX = 2.0  # a call of the service that is away, once that is known
USERS_PORT, REST_PORT = 7101, 7102


async def play(setting: Setting) -> Outcome:
    """Pull the owner's cable at the switch: nothing is reset, what is sent is just not there."""
    with Namespaces("gateway", "owner") as machines:
        authority = DevelopmentAuthority(setting.root / "certs", SystemClock())
        authority.init("ledger.internal")
        authority.issue(["gateway", "users", "records"], 24)
        async with AsyncExitStack() as stack:
            stage = await stack.enter_async_context(SplitStage(setting))
            stage.services = {
                "users": f"grpc://127.0.0.1:{USERS_PORT}",
                "*": f"grpc://{machines.addresses['owner']}:{REST_PORT}#records",
            }

            async def start(name: str, certificate: str, *arguments: str) -> None:
                place = str(setting.root / "certs" / certificate)
                await stage.part(
                    *arguments,
                    certificate=place,
                    within=machines.within(name),
                    inlet=lambda port: Inlet(machines.full(name), port),
                )

            await start("gateway", "users", "users", "--listen", stage.services["users"])
            rest = stage.services["*"].partition("#")[0]
            await start("owner", "records", *EVERYTHING[1:], "--listen", rest)
            await stage.part("worker")
            await start("gateway", "gateway", "gateway")
            await stage.prepare()
            return await _play(stage, machines)


async def _play(stage: SplitStage, machines: Namespaces) -> Outcome:
    async with stage.loaded() as (timeline,):
        await wait_s(LOAD_S)
        cut_s = time.monotonic()
        machines.part("owner")
        asking = asyncio.create_task(_ask_elsewhere(stage))
        noticed_s = await until("the gateway names the service", lambda: _is_away(stage))
        began_s = time.monotonic()
        status, said = await stage.ask("POST", "/v1/collections/notes/records", {"title": "no"})
        refused_s = time.monotonic() - began_s
        await wait_s(AFTER_S)
        asking.cancel()
        elsewhere, slowest_s = (await asyncio.gather(asking))[0]
        healed_s = time.monotonic()
        machines.join("owner")
        await until("calls succeed", lambda: timeline.works_after(healed_s) is not None)
        await wait_s(LOAD_S)
    counted = await stage.check()
    if (status, said["code"]) != (503, "unavailable") or refused_s > REFUSED_S_MAX:
        raise Broken(f"a call of the service that is away: {status} {said} in {refused_s:.1f} s")
    if noticed_s > NOTICED_S_MAX or slowest_s > ELSEWHERE_S_MAX:
        raise Broken(f"noticed after {noticed_s:.1f} s; calls elsewhere took {slowest_s:.1f} s")
    return Outcome(
        noticed_s=noticed_s,
        mitigated_s=noticed_s + refused_s,
        works_s=timeline.works_after(healed_s),
        acknowledged=counted["calls"],
        remark=f"cut for {healed_s - cut_s:.1f} s without a word; calls were refused in "
        f"{refused_s * 1000:.0f} ms; {elsewhere} calls of another service meanwhile, the slowest "
        f"{slowest_s * 1000:.0f} ms; {counted['repeats']} repeated, {counted['replays']} of them "
        "done before",
    )


async def _is_away(stage: SplitStage) -> bool:
    return "degraded" in (await stage.tried("/readyz", stage.first))[1]


async def _ask_elsewhere(stage: SplitStage) -> tuple[int, float]:
    """Call another service until told to stop; return how often, and how long one took at most."""
    times = []
    try:
        while True:
            began_s = time.monotonic()
            status, said = await stage.ask("GET", "/v1/users")
            times.append(time.monotonic() - began_s)
            if status != 200:
                raise Broken(f"a call of another service: {status} {said}")
            await wait_s(0.05)
    except asyncio.CancelledError:
        return len(times), max(times)


SCENARIO = Scenario(
    "partition",
    play,
    engines=("postgres",),
    only="services in processes of their own are over PostgreSQL",
)
