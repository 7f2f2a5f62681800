"""The platform is killed while it fills a MongoDB, and the MongoDB under it, over and over."""

import asyncio
import random
import time
from typing import Any

import aiohttp

from mainspring.testing.servers import FerretServer, ferretdb_program
from tests.crash.checks import Broken
from tests.crash.scenario import Outcome, Scenario, Setting, Skipped
from tests.crash.stage import COLLECTION, Stage, until, wait_s

ROUNDS = 3
LOAD_S = 0.6
RECORDS = f"/v1/collections/{COLLECTION['name']}/records"
TEXT = 2  # MongoDB's number of the type: what only a store answers


class Hand:
    """Makes records, one after the other, whatever goes on."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.made = 0

    async def go_on(self) -> None:
        """Go on until cancelled."""
        while True:
            self.made += 1
            body = {"title": f"by hand {self.made}"}
            await self._stage.repeated(RECORDS, body, f"documents-{self.made:016}")


async def play(setting: Setting) -> Outcome:
    """Kill one, the other or both; afterwards the copy says exactly what the records say."""
    program = ferretdb_program()
    if program is None:
        raise Skipped("FerretDB is not there: make .tools/ferretdb")
    server = await asyncio.to_thread(FerretServer, program)
    choose = random.Random(setting.seed)
    works_s: list[float] = []
    try:
        async with Stage(setting) as stage:
            await stage.add(environ={"MAINSPRING_DOCUMENTS__URL": f"{server.url}crash"})
            await stage.done("PATCH", f"/v1/collections/{COLLECTION['name']}", {"documents": True})
            hand = Hand(stage)
            async with stage.loaded():
                writing = asyncio.create_task(hand.go_on())
                for number in range(ROUNDS):
                    await wait_s(choose.uniform(0.1, LOAD_S))
                    await _kill(stage, server, number)
                    back_s = time.monotonic()
                    await until("it answers", lambda: _answers(stage))
                    works_s.append(time.monotonic() - back_s)
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
            compared = await _compare(stage)
            stage.truth.records |= compared
            counted = await stage.check()
    finally:
        await asyncio.to_thread(server.close)
    return Outcome(
        noticed_s=None,
        works_s=max(works_s),
        acknowledged=counted["calls"] + hand.made,
        remark=f"{ROUNDS} rounds of kill -9; the copy has all {len(compared)} records",
    )


async def _kill(stage: Stage, server: FerretServer, number: int) -> None:
    """Kill the platform, then the MongoDB, then both; start what was killed again."""
    if number % 3 != 1:
        await stage.first.kill()
    if number % 3 != 0:
        await asyncio.to_thread(server.kill)
        await wait_s(LOAD_S)
        await asyncio.to_thread(server.start)
    if number % 3 != 1:
        await stage.first.start()
        await stage.first.ready()


async def _answers(stage: Stage) -> bool:
    return await _counted(stage) is not None


async def _counted(stage: Stage) -> int | None:
    """How many records the copy has; None while it cannot tell."""
    pipeline = [{"$match": {"title": {"$type": TEXT}}}, {"$count": "n"}]
    try:
        status, said = await stage.ask("POST", f"{RECORDS}:aggregate", {"pipeline": pipeline})
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None
    if status == 503:
        return None
    if status != 200:
        raise Broken(f":aggregate says {status} {said}")
    return int(said["items"][0]["n"]) if said["items"] else 0


async def _compare(stage: Stage) -> dict[str, Any]:
    """Read all records by a list and by the copy. Raises Broken where they differ."""
    listed: dict[str, Any] = {}
    after = ""
    while True:
        page = await stage.done("GET", f"{RECORDS}?limit=500{after}")
        listed |= {one["id"]: one["title"] for one in page["items"]}
        if page["next_cursor"] is None:
            break
        after = f"&cursor={page['next_cursor']}"
    counted = await _counted(stage)
    if counted != len(listed):
        raise Broken(f"the copy has {counted} records, and there are {len(listed)}")
    pipeline = [{"$project": {"title": 1}}, {"$unset": "nothing"}]
    status, said = await stage.ask("POST", f"{RECORDS}:aggregate", {"pipeline": pipeline})
    if status != 200 or {one["_id"]: one["title"] for one in said["items"]} != listed:
        raise Broken(f"the copy is not what the records are: {status}")
    return listed


SCENARIO = Scenario("documents", play)
