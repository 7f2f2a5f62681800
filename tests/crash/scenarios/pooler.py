"""PgBouncer, in transaction mode between the processes and the server, dies and another comes."""

import asyncio
import shutil
import time
from pathlib import Path

from mainspring.testing.servers import PgBouncer
from tests.crash.scenario import Outcome, Scenario, Setting, Skipped
from tests.crash.stage import Stage, database_of, postgres, until, wait_s

LOAD_S = 1.5
AWAY_S = 2.0


async def play(setting: Setting) -> Outcome:
    """Kill it under load. The server lives on, and has committed what nobody was told of."""
    if not shutil.which("pgbouncer"):
        raise Skipped("no pgbouncer on PATH")
    server = postgres()
    address = setting.root / "address"
    poolers = [PgBouncer(server)]
    try:
        address.symlink_to(poolers[0].directory)
        name = database_of(server.create_database())
        url = f"postgresql://postgres@/{name}?host={address}&port=6432"
        async with Stage(setting, server=server, url=url) as stage:
            return await _play(stage, poolers, address)
    finally:
        for pooler in poolers:
            await asyncio.to_thread(pooler.close)


async def _play(stage: Stage, poolers: list[PgBouncer], address: Path) -> Outcome:
    for _ in range(2):
        await stage.add()
    async with stage.loaded() as timelines:
        await wait_s(LOAD_S)
        killed_s = time.monotonic()
        await asyncio.to_thread(poolers.pop().close)
        await wait_s(AWAY_S)
        poolers.append(await asyncio.to_thread(PgBouncer, stage.server))
        new = address.with_name("address.new")
        new.symlink_to(poolers[0].directory)
        new.replace(address)
        back_s = time.monotonic()
        await until(
            "every process writes again",
            lambda: all(line.works_after(back_s) is not None for line in timelines),
        )
        await wait_s(LOAD_S)
    counted = await stage.check()
    return Outcome(
        noticed_s=max((line.refused_after(killed_s) or 0.0) for line in timelines),
        works_s=max((line.works_after(back_s) or 0.0) for line in timelines),
        acknowledged=counted["calls"],
        remark=f"PgBouncer killed, another after {back_s - killed_s:.1f} s",
    )


SCENARIO = Scenario("pooler", play, engines=("postgres",), only="SQLite has no pooler")
