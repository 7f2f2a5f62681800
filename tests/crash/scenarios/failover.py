"""The primary dies with commits that its replica never got, and the replica takes its place."""

import asyncio
import time

from mainspring.testing.servers import PostgresServer
from tests.crash.checks import Broken, find_lost
from tests.crash.scenario import Outcome, Scenario, Setting
from tests.crash.scenarios.asynchronous import stop_receiving
from tests.crash.stage import Stage, database_of, postgres, wait_s

LOAD_S = 1.5


async def play(setting: Setting) -> Outcome:
    """Promote a replica that is behind, under processes that live; nobody tells them.

    What was acknowledged and not replicated is lost, and nothing else. Places in the log that are
    gone are refused by every process, also once the log is longer than it was.
    """
    primary = postgres()
    try:
        replica = postgres(replica_of=primary)
    except BaseException:
        primary.close()
        raise
    # Where the database is found: as a name in DNS, or the address that a failover moves.
    address = setting.root / "address"
    address.symlink_to(primary.directory)
    try:
        name = database_of(primary.create_database())
        url = f"postgresql://postgres@/{name}?host={address}"
        async with Stage(setting, server=primary, url=url) as stage:
            return await _play(stage, replica)
    finally:
        replica.close()


async def _play(stage: Stage, replica: PostgresServer) -> Outcome:
    for _ in range(2):
        await stage.add()
    async with stage.loaded(deposits=False) as timelines:
        await wait_s(LOAD_S)
        cut_s = time.monotonic()
        await asyncio.to_thread(stop_receiving, replica)
        await wait_s(LOAD_S)
        key, key_id = await stage.made_key()
        position, seq = await stage.end_of_log(key_id)
        killed_s = time.monotonic()
        await asyncio.to_thread(stage.server.kill)
        promoted_s = await asyncio.to_thread(_take_over, stage, replica)
        noticed = [await stage.is_gone(p, position) for p in stage.platforms]
        for platform in stage.platforms:
            await stage.is_refused(platform, key)
        await stage.outgrows(seq)
    lost = await find_lost(stage.first, stage.truth, stage.key)
    stage.require_lost_between(lost, cut_s, promoted_s)
    if not lost:
        raise Broken("the replica lost nothing, which it should have")
    acknowledged = stage.truth.calls
    stage.truth.forget(lost)
    await stage.check()
    for platform in stage.platforms:
        await stage.is_gone(platform, position)
    return Outcome(
        noticed_s=max(noticed),
        works_s=max(timeline.works_after(promoted_s) or 0.0 for timeline in timelines),
        acknowledged=acknowledged,
        lost=len(lost),
        remark=f"promoted after {promoted_s - killed_s:.1f} s; lost is what was not replicated; "
        "places in the log that are gone: 410 for good",
    )


def _take_over(stage: Stage, replica: PostgresServer) -> float:
    """Promote it and move the address to it; return when."""
    replica.promote()
    address = stage.setting.root / "address"
    new = address.with_name("address.new")
    new.symlink_to(replica.directory)
    new.replace(address)
    return time.monotonic()


SCENARIO = Scenario(
    "failover", play, engines=("postgres",), only="SQLite has no replica; see restore"
)
