"""The primary is killed, its synchronous replica promoted; the URL names both. Nothing is lost."""

import asyncio
import time
from urllib.parse import quote

from mainspring.testing.servers import PostgresServer
from tests.crash.checks import Broken
from tests.crash.scenario import Outcome, Scenario, Setting
from tests.crash.stage import Stage, database_of, postgres, until, wait_s

LOAD_S = 1.5
WORKS_AGAIN_MAX_S = 15.0
_STREAMS = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"


async def play(setting: Setting) -> Outcome:
    """Kill the primary under load, promote the other, bring the first back as a standby.

    Processes live on, nobody tells them. They go on within ``WORKS_AGAIN_MAX_S``, everything that
    was acknowledged is there, and nobody takes the standby for the primary.
    """
    primary = postgres()
    try:
        replica = postgres(replica_of=primary)
    except BaseException:
        primary.close()
        raise
    try:
        await asyncio.to_thread(_wait_for_each_other, primary)
        name = database_of(primary.create_database())
        places = quote(f"{primary.directory},{replica.directory}", safe="")
        url = f"postgresql://postgres@/{name}?host={places}"
        async with Stage(setting, server=primary, url=url) as stage:
            return await _play(stage, primary, replica, name)
    finally:
        replica.close()


async def _play(
    stage: Stage, primary: PostgresServer, replica: PostgresServer, name: str
) -> Outcome:
    for _ in range(2):
        await stage.add()
    started = [platform.pid for platform in stage.platforms]
    async with stage.loaded() as timelines:
        await wait_s(LOAD_S)
        killed_s = time.monotonic()
        await asyncio.to_thread(primary.kill)
        await asyncio.to_thread(_take_over, replica)
        promoted_s = time.monotonic()
        await until(
            "every process writes again",
            lambda: all(line.works_after(promoted_s) is not None for line in timelines),
        )
        await asyncio.to_thread(primary.follow, replica)
        await wait_s(LOAD_S)
    if [platform.pid for platform in stage.platforms] != started:
        raise Broken("a process was started again")
    if primary.psql("SELECT pg_is_in_recovery()", name).strip() != "t":
        raise Broken("the server before is no standby")
    counted = await stage.check()
    again_s = max((line.works_after(promoted_s) or 0.0) for line in timelines)
    if (whole_s := promoted_s - killed_s + again_s) > WORKS_AGAIN_MAX_S:
        raise Broken(f"writes went on after {whole_s:.1f} s, {WORKS_AGAIN_MAX_S:g} s at most")
    return Outcome(
        noticed_s=max((line.refused_after(killed_s) or 0.0) for line in timelines),
        mitigated_s=whole_s,
        works_s=again_s,
        acknowledged=counted["calls"],
        remark=f"killed, promoted after {promoted_s - killed_s:.1f} s, whole {whole_s:.1f} s; "
        "the server before is a standby",
    )


def _wait_for_each_other(primary: PostgresServer) -> None:
    """Have each commit wait for the replica."""
    primary.psql("ALTER SYSTEM SET wal_keep_size = '1GB'")  # to be rewound with
    primary.psql("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.psql("SELECT pg_reload_conf()")
    deadline_s = time.monotonic() + 30
    while primary.psql(_STREAMS).strip() != "1":
        if time.monotonic() > deadline_s:
            raise Broken("the replica does not stream")


def _take_over(replica: PostgresServer) -> None:
    """Promote it. It has no replica of its own yet, so it waits for none."""
    replica.psql("ALTER SYSTEM SET synchronous_standby_names = ''")
    replica.psql("SELECT pg_reload_conf()")
    replica.promote()


SCENARIO = Scenario(
    "promotion", play, engines=("postgres",), only="SQLite has no replica; see restore"
)
