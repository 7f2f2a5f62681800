"""The disk under the database is full for a while."""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mainspring.testing.servers import PostgresServer
from tests.crash.checks import Broken
from tests.crash.scenario import Outcome, Scenario, Setting, Skipped
from tests.crash.stage import Stage, postgres, until, wait_s

SIZE = {"sqlite": 64 << 20, "postgres": 256 << 20}
FULL_S = 3.0
BEFORE_S = 0.5
SMALL_WAL = {"min_wal_size": "32MB", "max_wal_size": "64MB"}


async def play(setting: Setting) -> Outcome:
    """Take all the room that is left, under load, and give it back: nothing acknowledged is lost.

    A PostgreSQL that finds no room for its log ends itself; it is then started as its operator
    would, once there is room.
    """
    with small_disk(SIZE[setting.engine]) as disk:
        server = None
        if setting.engine == "postgres":
            server = postgres(place=disk, settings=SMALL_WAL)
        async with Stage(setting, server=server, place=None if server else disk / "data") as stage:
            return await _play(stage, disk)


async def play_tables(setting: Setting) -> Outcome:
    """The same, where the server's log is on a disk of its own: it stays up, and nobody is needed.

    Reads go on all the while, and writes once there is room.
    """
    with small_disk(SIZE["postgres"]) as disk, tempfile.TemporaryDirectory() as other:
        Path(other).chmod(0o711)
        server = postgres(place=disk, settings=SMALL_WAL)
        await asyncio.to_thread(_move_wal, server, Path(other))
        async with Stage(setting, server=server) as stage:
            outcome = await _play(stage, disk)
    if "could be read" not in outcome.remark:
        raise Broken(f"a server with room for its log did not stay up: {outcome.remark}")
    return outcome


async def _play(stage: Stage, disk: Path) -> Outcome:
    server = stage.server if stage.engine == "postgres" else None
    await stage.add()
    async with stage.loaded(deposits=False) as (timeline,):
        await wait_s(BEFORE_S)
        filler, full_s = disk / "filler", time.monotonic()
        await until("a call is refused", lambda: _refused(filler, timeline.refused_s))
        noticed_s = timeline.refused_after(full_s)
        await until("it is said why", lambda: _says_why(stage, filler, timeline.refused_s))
        await wait_s(FULL_S)
        fell = server is not None and not await _answers(server)
        kept = "" if fell else await _reads(stage)
        filler.unlink()
        room_s = time.monotonic()
        if fell:
            await asyncio.to_thread(stage.server.start)
        await until("a call succeeds", lambda: timeline.works_after(room_s) is not None)
    counted = await stage.check()
    fate = "PostgreSQL ended itself and was started again" if fell else kept
    return Outcome(
        noticed_s=noticed_s,
        works_s=timeline.works_after(room_s),
        acknowledged=counted["calls"],
        remark=f"no room for {FULL_S:g} s and more; {fate}",
    )


def _move_wal(server: PostgresServer, place: Path) -> None:
    """Put the server's log on another disk, as an operator does."""
    server.stop()
    wal, moved = server.directory / "data" / "pg_wal", place / "pg_wal"
    owner = wal.stat()
    shutil.move(wal, moved)
    for path in (place, moved, *moved.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    wal.symlink_to(moved)
    server.start()


@contextmanager
def small_disk(size_bytes: int) -> Iterator[Path]:
    """Mount a file system with little room. Raises Skipped for who may not."""
    place = Path(tempfile.mkdtemp(prefix="mainspring-disk-", dir="/tmp"))
    place.chmod(0o755)
    options = f"size={size_bytes},mode=1777"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if mounted.returncode != 0:
        place.rmdir()
        raise Skipped(f"needs to mount a tmpfs, as root may: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
        place.rmdir()


def _refused(filler: Path, refused_s: list[float]) -> bool:
    """Take what room there is, again and again: what was given back in between too."""
    with filler.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return bool(refused_s)


async def _says_why(stage: Stage, filler: Path, refused_s: list[float]) -> bool:
    """Write, and tell whether it was refused for the disk, or the server that it ended.

    A write that found room is no reason. Raises Broken where the refusal is not clear.
    """
    _refused(filler, refused_s)
    status, said = await stage.ask("POST", "/v1/ledger/dishes", {"name": "one more"})
    if status < 300:
        return False
    if status != 503 or said["code"] not in ("unavailable", "outcome_unknown"):
        raise Broken(f"a write on a full disk: {status} {said}")
    if "disk" in said["detail"]:
        return True
    return stage.engine == "postgres" and not await _answers(stage.server)


async def _reads(stage: Stage) -> str:
    """Read while nothing can be written."""
    title = next(iter(stage.truth.records))
    status, _ = await stage.ask("GET", f"/v1/collections/notes/records/{title}")
    if status != 200:
        raise Broken(f"what is there cannot be read while the disk is full: {status}")
    return "what was there could be read"


async def _answers(server: PostgresServer) -> bool:
    try:
        await asyncio.to_thread(server.psql, "SELECT 1")
    except RuntimeError:
        return False
    return True


SCENARIO = Scenario("full-disk", play)
TABLES = Scenario(
    "full-tables", play_tables, engines=("postgres",), only="SQLite has one disk; see full-disk"
)
