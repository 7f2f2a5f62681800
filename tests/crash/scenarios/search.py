"""Search is lost under load: OpenSearch is killed; over SQLite its file is removed."""

import asyncio
import random
import time

import msgspec

from mainspring.testing.servers import OpenSearchServer, opensearch_jars
from tests.crash.checks import Broken
from tests.crash.load import Timeline
from tests.crash.scenario import Outcome, Scenario, Setting, Skipped
from tests.crash.stage import COLLECTION, Stage, until, wait_s

LOAD_S = 1.5
AWAY_S = 3.0
MEMBERS = 2
RECORDS = "/v1/collections/notes/records"
SEARCHED = {"name": "title", "type": "text", "required": True, "search": True}


class Asked:
    """Makes a record and searches for it at once, again and again, through whatever goes on.

    What a search may say is that it is not ready, or exactly what is there.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.made: list[str] = []
        self.refused_s: list[float] = []
        self.right_s: list[float] = []

    async def go_on(self) -> None:
        """Go on until cancelled. Raises Broken."""
        while True:
            await self.once()

    async def once(self) -> None:
        """Make one, and search until there is an answer. Raises Broken."""
        word = f"needle{len(self.made)}"
        key = f"search-{word}-0123456789"
        await self._stage.repeated(RECORDS, {"title": f"a {word} in hay"}, key)
        self.made.append(word)
        wanted = random.Random(word).choice(self.made)
        status, said = await self._stage.tried(f"{RECORDS}?q={wanted}", self._stage.first)
        now_s = time.monotonic()
        if status == 200:
            if [item["title"] for item in said["items"]] != [f"a {wanted} in hay"]:
                raise Broken(f"{wanted} was answered with {said['items']}")
            self.right_s.append(now_s)
        elif status == 503 and said["code"] == "search_not_ready":
            self.refused_s.append(now_s)
        elif status != 0:
            raise Broken(f"?q={wanted}: {status} {said}")

    def found_after(self, moment_s: float) -> bool:
        """Tell whether a search was answered after a moment."""
        return bool(self.right_s) and self.right_s[-1] > moment_s


async def play(setting: Setting) -> Outcome:
    """Take the engine away, and give it back: writes go on, and no search answers wrongly."""
    if setting.engine == "sqlite":
        members = max(MEMBERS, setting.workers)
        return await _file_is_lost(msgspec.structs.replace(setting, workers=members))
    jars = opensearch_jars()
    if jars is None:
        raise Skipped("OpenSearch's jars are not there: make .tools/opensearch/.ready")
    server = await asyncio.to_thread(OpenSearchServer, jars)
    try:
        async with Stage(setting) as stage:
            for _ in range(2):
                await stage.add(environ={"MAINSPRING_SEARCH__URL": f"{server.url()}?replicas=0"})
            return await _engine_is_killed(stage, server)
    finally:
        await asyncio.to_thread(server.close)


async def _engine_is_killed(stage: Stage, server: OpenSearchServer) -> Outcome:
    await _make_searched(stage)
    async with stage.loaded() as timelines:
        asked = Asked(stage)
        asking = asyncio.create_task(asked.go_on())
        await until("a search is answered", lambda: asking.done() or asked.found_after(0))
        await wait_s(LOAD_S)
        killed_s = time.monotonic()
        await asyncio.to_thread(server.kill)
        await until("a search is refused", lambda: asking.done() or _later(asked, killed_s))
        noticed_s = time.monotonic() - killed_s
        await wait_s(AWAY_S)
        await asyncio.to_thread(server.start)
        back_s = time.monotonic()
        await until("searches are answered", lambda: asking.done() or asked.found_after(back_s))
        works_s = time.monotonic() - back_s
        await wait_s(LOAD_S)
        await _end(asking)
    still_s = _stood_still(timelines, killed_s)
    how = f"OpenSearch killed for {back_s - killed_s:.1f} s"
    return await _outcome(stage, asked, noticed_s, still_s, works_s, how)


async def _file_is_lost(setting: Setting) -> Outcome:
    """Remove the file and kill one of the crew, which begins another: all go over to that."""
    choose = random.Random(setting.seed)
    async with Stage(setting) as stage:
        platform = await stage.add()
        await _make_searched(stage)
        async with stage.loaded() as timelines:
            asked = Asked(stage)
            asking = asyncio.create_task(asked.go_on())
            await until("a search is answered", lambda: asking.done() or asked.found_after(0))
            await wait_s(LOAD_S)
            lost_s = time.monotonic()
            (platform.directory / "search.db").unlink()
            platform.kill_worker(choose)
            await until("a search is refused", lambda: asking.done() or _later(asked, lost_s))
            noticed_s = time.monotonic() - lost_s
            refused_s = time.monotonic()
            await until("searches are right", lambda: asking.done() or asked.found_after(refused_s))
            works_s = time.monotonic() - lost_s
            await wait_s(LOAD_S)
            await _end(asking)
        still_s = _stood_still(timelines, lost_s)
        how = f"search.db removed, and one of {setting.workers} processes killed"
        return await _outcome(stage, asked, noticed_s, still_s, works_s, how)


async def _make_searched(stage: Stage) -> None:
    fields = {"fields": [SEARCHED]}
    await stage.done("PATCH", f"/v1/collections/{COLLECTION['name']}", fields)


def _later(asked: Asked, moment_s: float) -> bool:
    return bool(asked.refused_s) and asked.refused_s[-1] > moment_s


def _stood_still(timelines: list[Timeline], since_s: float) -> float:
    return max(line.stood_still_s(since_s) for line in timelines)


async def _end(asking: asyncio.Task[None]) -> None:
    """Stop asking. Raises Broken where an answer was wrong."""
    asking.cancel()
    try:
        await asking
    except asyncio.CancelledError:
        return


async def _outcome(
    stage: Stage, asked: Asked, noticed_s: float, still_s: float, works_s: float, how: str
) -> Outcome:
    """Search for everything that was made, then look for losses as always. Raises Broken."""
    for word in asked.made:
        status, said = await stage.tried(f"{RECORDS}?q={word}", stage.first)
        if status != 200 or [item["title"] for item in said["items"]] != [f"a {word} in hay"]:
            raise Broken(f"afterwards {word} is answered with {status} {said}")
    found = (await stage.done("GET", f"{RECORDS}?q=hay&limit=500"))["items"]
    stage.truth.records |= {item["id"]: item["title"] for item in found}
    counted = await stage.check()
    return Outcome(
        noticed_s=noticed_s,
        mitigated_s=still_s,
        works_s=works_s,
        acknowledged=counted["calls"] + len(asked.made),
        remark=f"{how}; writes went on; {len(asked.right_s)} searches were right, "
        f"{len(asked.refused_s)} were 503, none wrong",
    )


SCENARIO = Scenario("search", play)
