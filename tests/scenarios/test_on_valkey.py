"""Several processes that share what is kept on a Valkey, and go on by themselves without it."""

import re

import msgspec

from mainspring import App, CachePolicy, Call, Service
from mainspring.testing import Platform
from mainspring.testing.client import HttpAnswer
from mainspring.testing.servers import ValkeyServer
from tests.until import until

AWAY = "it cannot be reached"  # and where it is is nobody's business

USES = {  # of the process that answers, or of both, at least
    'part="cache",result="near"': 1,
    'part="cache",result="miss"': 1,
    'part="cache",result="emptied"': 1,
    'part="limits",result="asked"': 1,
    'part="limits",result="counted"': 1,
    'part="limits",result="refused"': 1,
    'part="limits",result="alone"': 1,
}

fair = Service("fair", doc="A fair.")


class Runs:
    """How often handlers ran."""

    def __init__(self) -> None:
        self.count = 0


fair.provide(Runs)


class Board(msgspec.Struct, frozen=True):
    run: int


@fair.operation("GET /v1/board", scope=None, cache=CachePolicy(public=True, max_age_s=600))
async def board(call: Call) -> Board:
    """Show what is on the board."""
    call.use(Runs).count += 1
    return Board(call.use(Runs).count)


search = fair.rate_class("search", "5/h")


@fair.operation("GET /v1/search", scope=None, rate=search)
async def find(call: Call) -> Board:
    """Look for something."""
    return Board(0)


app = App("fairground", services=[fair])


async def test_processes_share_answers_and_limits_and_go_on_while_the_store_is_away(
    platform_server: str | None, own_valkey: ValkeyServer
) -> None:
    url = f"{own_valkey.url()}?timeout_ms=2000"
    settings = {"cache.url": url, "limits.url": url, "limits.own.search": "5/h"}
    async with Platform(app, database=platform_server, settings=settings, processes=2) as platform:
        runs = [member.runtime.resources[Runs] for member in platform.members]

        async def ask() -> HttpAnswer:
            answer = await platform.anonymous.get("/v1/board")
            assert answer.status == 200
            return answer

        for _ in range(4):  # each process in turn
            await ask()
        assert sum(run.count for run in runs) == 1, "one asked, and kept it for both"
        told = (await platform.anonymous.get("/v1/status")).json
        assert told["engines"]["cache"] == own_valkey.version
        assert told["degraded"] == []
        found = [(await platform.anonymous.get("/v1/search")).status for _ in range(8)]
        assert found == [200] * 5 + [429] * 3, "one rate for both"
        own_valkey.kill()
        await until(lambda: all(member.degraded() for member in platform.members))
        before = sum(run.count for run in runs)
        for _ in range(4):
            await ask()
        assert sum(run.count for run in runs) == before + 4
        ready = await platform.anonymous.get("/readyz")
        assert ready.status == 200
        assert ready.json["degraded"] == [f"{part}: {AWAY}" for part in ("cache", "limits")]
        told = await platform.anonymous.get("/v1/status")
        assert told.json["degraded"] == ready.json["degraded"]
        # Who was refused still is; of others each process lets through what it would alone.
        assert (await platform.anonymous.get("/v1/search")).status == 429
        found = [(await platform.admin.get("/v1/search")).status for _ in range(12)]
        assert found == [200] * 10 + [429] * 2
        shown = (await platform.admin.get("/metrics")).text
        assert 'mainspring_store_away{part="cache"} 1' in shown
        uses = {
            labels: float(value)
            for labels, value in re.findall(r"mainspring_store_uses_total\{(.*)\} (\S+)", shown)
        }
        for labels, least in USES.items():
            assert uses.get(labels, 0) >= least, (labels, shown)
        own_valkey.start()
        await until(lambda: not any(member.degraded() for member in platform.members))
        for _ in range(4):
            await ask()
        assert sum(run.count for run in runs) == before + 5
        assert (await platform.anonymous.get("/readyz")).json == {"status": "ready"}
