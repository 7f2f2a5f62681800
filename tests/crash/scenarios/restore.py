"""An older copy of the database is put in its place under processes that live."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from tests.crash.checks import find_lost, run
from tests.crash.load import Timeline
from tests.crash.scenario import Outcome, Scenario, Setting
from tests.crash.stage import Stage, database_of, wait_s

LOAD_S = 1.5


class Before(msgspec.Struct, frozen=True):
    """The copy, when it was made, and what somebody holds of what came after it."""

    copy: str
    copied_s: float
    key: str
    position: str
    seq: int


async def play(setting: Setting) -> Outcome:
    """Restore, and say so as ``back-up.md`` has it: nobody serves until it is started again."""
    async with Stage(setting) as stage:
        before = await _before(stage)
        async with stage.loaded("through", deposits=False) as timelines:
            await wait_s(LOAD_S)
            if setting.engine == "sqlite":
                _put_file(stage, before.copy)
            else:
                await _note(stage, MAINSPRING_DATABASE__URL=before.copy)
                await _swap(stage, before.copy)
            swapped_s = time.monotonic()
            for platform in stage.platforms:
                await stage.stands_back(platform)
            noticed_s = time.monotonic() - swapped_s
            await asyncio.gather(*[platform.stop() for platform in stage.platforms])
            if setting.engine == "sqlite":
                _put_file(stage, before.copy)
                await _note(stage)
            restored_s = time.monotonic()
            await _start_again(stage)
            await _holds(stage, before)
        lost = await _lost(stage, before, restored_s)
    return _outcome(stage, noticed_s, restored_s, timelines, lost, "said, and all started again")


async def play_untold(setting: Setting) -> Outcome:
    """Restore and tell nobody: processes find out, and the audit log's key signs no second tree.

    On SQLite the process is started again, as its file has it; on PostgreSQL all of them live on.
    """
    async with Stage(setting) as stage:
        before = await _before(stage)
        async with stage.loaded("through", deposits=False) as timelines:
            await wait_s(LOAD_S)
            if setting.engine == "sqlite":
                await stage.first.kill()
                _put_file(stage, before.copy)
                await stage.first.start()
            else:
                await _swap(stage, before.copy)
            restored_s = time.monotonic()
            await _holds(stage, before)
            noticed_s = time.monotonic() - restored_s
            await stage.signs_nothing()
        await tell_restored(stage)
        lost = await _lost(stage, before, restored_s)
    how = "nobody was told; its key signed nothing until somebody was"
    return _outcome(stage, noticed_s, restored_s, timelines, lost, how)


async def tell_restored(stage: Stage) -> None:
    """Say it after all, which gives the audit log a new key, and start every process again."""
    environ = {"MAINSPRING_DATABASE__URL": stage.url} if stage.engine == "postgres" else {}
    if stage.engine == "sqlite":
        await stage.first.stop()
    await _note(stage, **environ)
    await asyncio.gather(*[platform.stop() for platform in stage.platforms])
    await _start_again(stage)
    for platform in stage.platforms:
        await platform.ready()


async def _start_again(stage: Stage) -> None:
    for platform in stage.platforms[1:]:  # the keyring has a key more by now
        stage.share_keyring(platform.directory)
    for platform in stage.platforms:
        await platform.start()


async def _before(stage: Stage) -> Before:
    """Write, copy the database under load, write on; return what is held of after the copy."""
    for _ in range(2 if stage.engine == "postgres" else 1):
        await stage.add()
    async with stage.loaded("before", deposits=False):
        await wait_s(LOAD_S)
        copied_s = time.monotonic()
        copy = await _copy(stage)
        await wait_s(LOAD_S)
    key, key_id = await stage.made_key()
    await stage.done("GET", "/v1/audit/checkpoint")
    position, seq = await stage.end_of_log(key_id)
    return Before(copy, copied_s, key, position, seq)


async def _holds(stage: Stage, before: Before) -> None:
    """Wait until every process refuses what is of after the copy; the log outgrows it all."""
    for platform in stage.platforms:
        await stage.is_gone(platform, before.position)
        await stage.is_refused(platform, before.key)
    await stage.outgrows(before.seq)


async def _lost(stage: Stage, before: Before, restored_s: float) -> int:
    """Return how much is lost. Raises Broken where that is not what was written in between."""
    lost = await find_lost(stage.first, stage.truth, stage.key)
    stage.require_lost_between(lost, before.copied_s, restored_s)
    stage.truth.forget(lost)
    await stage.check()
    for platform in stage.platforms:
        await stage.is_gone(platform, before.position)
    return len(lost)


def _outcome(
    stage: Stage,
    noticed_s: float,
    restored_s: float,
    timelines: list[Timeline],
    lost: int,
    how: str,
) -> Outcome:
    return Outcome(
        noticed_s=noticed_s,
        works_s=max(timeline.works_after(restored_s) or 0.0 for timeline in timelines),
        acknowledged=stage.truth.calls,
        lost=lost,
        remark=f"{how}; lost is what was written after the copy, nothing else; a key and a place "
        "in the log of after it were refused for good",
    )


async def _copy(stage: Stage) -> str:
    """Copy the database while it is written to; return the copy's file or URL."""
    if stage.engine == "sqlite":
        file = stage.setting.root / "copy.db"
        live = stage.first.directory / "mainspring.db"
        await run("apsw", str(live), f"VACUUM INTO '{file}'")
        return str(file)
    async with _nobody_connects(stage):
        return await asyncio.to_thread(stage.server.create_database, database_of(stage.url))


def _put_file(stage: Stage, copy: str) -> None:
    """Put a copy where the file is, whether or not somebody has that open."""
    live = stage.first.directory / "mainspring.db"
    new = live.with_name("new.db")
    shutil.copy2(copy, new)
    for left in ("-wal", "-shm"):
        live.with_name(live.name + left).unlink(missing_ok=True)
    new.replace(live)


async def _note(stage: Stage, **environ: str) -> None:
    directory = str(stage.first.directory)
    await run("mainspring", "admin", "restored", "--data-dir", directory, **environ)


async def _swap(stage: Stage, copy: str) -> None:
    """Give a copy the database's name."""
    name, other = database_of(stage.url), database_of(copy)
    async with _nobody_connects(stage):
        await stage.sql(f"ALTER DATABASE {name} RENAME TO {name}_gone")
        await stage.sql(f"ALTER DATABASE {other} RENAME TO {name}")


@asynccontextmanager
async def _nobody_connects(stage: Stage) -> AsyncIterator[None]:
    """Cut every connection to the database, and let nobody in meanwhile."""
    name = database_of(stage.url)
    await stage.sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await stage.sql(
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"
    )
    yield
    await stage.sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


SCENARIO = Scenario("restore", play)
UNTOLD = Scenario("restore-untold", play_untold)
