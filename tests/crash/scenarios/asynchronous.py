"""The primary dies with commits its replica lacks; all is found out, and an operator goes on."""

import asyncio
import json
import time
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from mainspring.testing.servers import PostgresServer
from tests.crash.checks import Broken, find_lost
from tests.crash.process import Platform
from tests.crash.scenario import Outcome, Scenario, Setting
from tests.crash.scenarios.restore import tell_restored
from tests.crash.stage import Stage, database_of, postgres, until, wait_s

LOAD_S = 1.5
BEHIND_S = 1.0
RECORDS = "/v1/collections/notes/records"
WORKS_AGAIN_MAX_S = 15.0


class Write(msgspec.Struct, frozen=True):
    """A record that was made under an idempotency key: what a caller holds of it."""

    title: str
    id: str
    replayed: bool
    position: str  # for Read-After


async def play(setting: Setting) -> Outcome:
    """Promote a replica that lags; the URL names both, and reads may go to the other one.

    Writes go on by themselves. What is lost is what was not replicated and nothing else; a process
    that had read more than there is says so, and names it. A retry of a write that was kept is
    answered as before, one of a write that was lost makes it anew. The audit log is not signed
    again until somebody says that it went back.
    """
    primary = postgres()
    try:
        replica = postgres(replica_of=primary)
    except BaseException:
        primary.close()
        raise
    try:
        primary.psql("ALTER SYSTEM SET wal_keep_size = '1GB'")  # to be rewound with
        primary.psql("SELECT pg_reload_conf()")
        name = database_of(primary.create_database())
        places = quote(f"{primary.directory},{replica.directory}", safe="")
        url = f"postgresql://postgres@/{name}?host={places}"
        async with Stage(setting, server=primary, url=url) as stage:
            replicas = json.dumps([server.url(name) for server in (primary, replica)])
            for _ in range(2):
                await stage.add(environ={"MAINSPRING_DATABASE__REPLICAS": replicas})
            return await _play(stage, primary, replica)
    finally:
        replica.close()


async def _play(stage: Stage, primary: PostgresServer, replica: PostgresServer) -> Outcome:
    async with stage.loaded(deposits=False) as timelines:
        await wait_s(LOAD_S)
        kept = await _write(stage, "kept")
        await until("the replica has it", lambda: _has(primary, replica))
        cut_s = time.monotonic()
        await asyncio.to_thread(stop_receiving, replica)
        await wait_s(BEHIND_S)
        gone = await _write(stage, "gone")
        key, key_id = await stage.made_key()
        position, seq = await stage.end_of_log(key_id)
        await stage.done("GET", "/v1/audit/checkpoint")
        killed_s = time.monotonic()
        await asyncio.to_thread(primary.kill)
        await asyncio.to_thread(replica.promote)
        promoted_s = time.monotonic()
        await until(
            "every process writes again",
            lambda: all(line.works_after(promoted_s) is not None for line in timelines),
        )
        for platform in stage.platforms:
            await stage.is_gone(platform, position)
            await stage.is_refused(platform, key)
        await stage.outgrows(seq)
        for platform in stage.platforms:
            await until("it says that the log fell back", lambda p=platform: _tells(stage, p))  # type: ignore[misc]
        told_s = time.monotonic() - promoted_s
        await stage.signs_nothing()
        again = await _retried(stage, kept, gone)
        await asyncio.to_thread(primary.follow, replica)
        await until("the one before is read from", lambda: _reads_lag(stage))
        await _sees_nothing_lost(stage, gone)
        back_s = time.monotonic() - promoted_s
    lost = await find_lost(stage.first, stage.truth, stage.key)
    stage.require_lost_between(lost, cut_s, promoted_s)
    if not lost:
        raise Broken("the replica lost nothing, which it should have")
    named = _named(stage)
    acknowledged = stage.truth.calls
    stage.truth.forget(lost)
    stage.truth.records |= {kept.id: kept.title, again.id: again.title}
    await tell_restored(stage)
    await stage.check()
    for platform in stage.platforms:
        await stage.is_gone(platform, position)
    whole_s = max(line.works_after(promoted_s) or 0.0 for line in timelines)
    whole_s += promoted_s - killed_s
    if whole_s > WORKS_AGAIN_MAX_S:
        raise Broken(f"writes went on after {whole_s:.1f} s, {WORKS_AGAIN_MAX_S:g} s at most")
    return Outcome(
        noticed_s=max(line.refused_after(killed_s) or 0.0 for line in timelines),
        mitigated_s=whole_s,
        works_s=back_s,
        acknowledged=acknowledged,
        lost=len(lost),
        remark=f"promoted after {promoted_s - killed_s:.1f} s, {killed_s - cut_s:.1f} s of "
        f"commits missing; each process said so within {told_s:.1f} s, and named {named} lost "
        "events at most; whole once the server before was a replica that is read from",
    )


def stop_receiving(replica: PostgresServer) -> None:
    """Leave the replica behind, as a network that fails does."""
    replica.psql("ALTER SYSTEM SET primary_conninfo TO ''")
    replica.psql("SELECT pg_reload_conf()")
    deadline_s = time.monotonic() + 30
    while replica.psql("SELECT count(*) FROM pg_stat_wal_receiver").strip() != "0":
        if time.monotonic() > deadline_s:
            raise Broken("the replica still receives")


async def _has(primary: PostgresServer, replica: PostgresServer) -> bool:
    """Tell whether the replica has replayed all that the primary has flushed by now."""
    flushed = await asyncio.to_thread(primary.psql, "SELECT pg_current_wal_flush_lsn()")
    ask = f"SELECT pg_last_wal_replay_lsn() >= '{flushed.strip()}'"
    return (await asyncio.to_thread(replica.psql, ask)).strip() == "t"


async def _write(stage: Stage, title: str) -> Write:
    """Make a record under a key of its own, again too. Raises Broken."""
    headers = {
        "Authorization": f"Bearer {stage.key}",
        "Idempotency-Key": f"{title}-0123456789abcdef",
        "Read-After": "any",
    }
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(stage.first.url + RECORDS, json={"title": title}) as answer,
    ):
        if answer.status not in (200, 201):
            raise Broken(f"{title}: {answer.status} {await answer.text()}")
        made: dict[str, Any] = await answer.json()
        replayed = "Idempotency-Replayed" in answer.headers
        return Write(title, made["id"], replayed, answer.headers.get("Read-After", ""))


async def _retried(stage: Stage, kept: Write, gone: Write) -> Write:
    """Send both once more: the answer of the one is kept, the other is made anew, once."""
    same = await _write(stage, kept.title)
    if (same.id, same.replayed) != (kept.id, True):
        raise Broken(f"a write that was kept was done again: {same}")
    anew = await _write(stage, gone.title)
    if anew.replayed:
        raise Broken("the answer of a write that was lost was kept")
    once_more = await _write(stage, gone.title)
    if (once_more.id, once_more.replayed) != (anew.id, True):
        raise Broken(f"a write that was made anew was doubled: {once_more}")
    return anew


async def _tells(stage: Stage, platform: Platform) -> bool:
    status, told = await stage.tried("/readyz", platform)
    return status == 200 and any(why.startswith("log: ") for why in told.get("degraded", []))


def _named(stage: Stage) -> int:
    """Return how many lost events the processes named at most. Raises Broken where none did."""
    counts = []
    for platform in stage.platforms:
        lines = platform.log.read_text(errors="replace").splitlines()
        told = [json.loads(line) for line in lines if '"log_fell_back"' in line]
        if not told or not told[0]["lost"]:
            raise Broken(f"{platform.url} named nothing that was lost: {platform.log_tail()}")
        counts.append(told[0]["lost_known"])
    return int(max(counts))


async def _reads_lag(stage: Stage) -> bool:
    """Tell whether every process reads from the server that is a replica by now."""
    for platform in stage.platforms:
        status, told = await stage.tried("/readyz", platform)
        away = [why for why in told["degraded"] if why.startswith("replica ")] if told else []
        if status != 200 or len(away) != 1:  # the other one of the two is the primary
            return False
    return True


async def _sees_nothing_lost(stage: Stage, gone: Write) -> None:
    """Read what was lost, from whatever server and with what was held of before. Raises Broken."""
    for platform in stage.platforms:
        for after in ("any", gone.position):
            headers = {"Authorization": f"Bearer {stage.key}", "Read-After": after}
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.get(f"{platform.url}{RECORDS}/{gone.id}") as answer,
            ):
                if answer.status != 404:
                    raise Broken(f"Read-After {after}: {answer.status} {await answer.text()}")


SCENARIO = Scenario(
    "asynchronous", play, engines=("postgres",), only="SQLite has no replica; see restore"
)
