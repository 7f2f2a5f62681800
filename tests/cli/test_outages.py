"""The disk fills up, the database goes away: the platform says so, loses nothing, comes back."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mainspring.cli.demo.process import environment
from mainspring.testing.servers import PostgresServer, embedded_postgres
from tests.cli.site import APP, Site, lines_of, site
from tests.deadline import DEADLINE_S

TMPFS_BYTES = 64 << 20
OUTAGE_S = 3.0
NOTES = {
    "name": "notes",
    "fields": [
        {"name": "title", "type": "text", "max": 200_000},
        {"name": "picture", "type": "file"},
    ],
}
PLACE = "/v1/collections/notes/records"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with little room."""
    place = tmp_path / "disk"
    place.mkdir()
    options = f"size={TMPFS_BYTES}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"needs to mount a tmpfs, as root may: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def refuse_writes(place: Path) -> None:
    """Make the file system read-only."""
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)


def fill(place: Path) -> Path:
    """Take all the room that is left."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


async def refused(running: Site) -> tuple[int, Any, Any]:
    """Write until a write is refused."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            answer = await running.asked("POST", PLACE, {"title": "x" * 100_000})
            if answer[0] != 201:
                return answer


def assert_outages_told_once(log: Path) -> None:
    """Each part that went away is one line, and one more when it is back."""
    said = [line for line in lines_of(log) if line["level"] != "info"]
    gone = [line["part"] for line in said if line["message"] == "part_unavailable"]
    back = [line["part"] for line in said if line["message"] == "part_available"]
    assert gone
    assert sorted(gone) == sorted(set(gone)) == sorted(back)
    assert len(said) == len(gone) + len(back), said


async def test_a_disk_that_fills_up_and_is_emptied_again(small_disk: Path, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        async with site(small_disk, log) as running:
            assert (await running.ask("POST", "/v1/collections", NOTES))[0] == 201
            kept = (await running.ask("POST", PLACE, {"title": "kept"}))[1]
            filler = fill(small_disk)
            status, headers, problem = await refused(running)
            assert (status, problem["code"]) == (503, "unavailable")
            assert int(headers["Retry-After"]) >= 1
            for _ in range(20):
                assert (await refused(running))[0] == 503
            place = f"{running.url}{PLACE}/{kept['id']}/files/picture"
            async with running.http.post(place, data=bytes(500_000)) as answer:
                assert answer.status == 503, await answer.text()
                assert int(answer.headers["Retry-After"]) >= 1
            assert "database: " in str(await running.until_ready(503))
            assert await running.ask("GET", f"{PLACE}/{kept['id']}") == (200, kept)
            filler.unlink()
            await running.until_ready(200)
            assert (await running.ask("POST", PLACE, {"title": "again"}))[0] == 201
            async with running.http.post(place, data=bytes(500_000)) as answer:
                assert answer.status == 201, await answer.text()
            assert await running.end() == 0
    assert_outages_told_once(tmp_path / "log")


def start(folder: Path) -> subprocess.CompletedProcess[str]:
    """Start a platform that is expected not to."""
    return subprocess.run(
        [sys.executable, "-m", "mainspring", "up", str(APP), "--port", "0"],
        env=environment(), cwd=folder, capture_output=True, text=True, timeout=DEADLINE_S,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "why", ["full", "read-only", "full after it ran", "read-only after it ran"]
)
async def test_a_start_on_a_disk_that_takes_nothing_says_so_in_a_line(
    small_disk: Path, tmp_path: Path, why: str
) -> None:
    if "after" in why:
        with (tmp_path / "log").open("wb") as log:
            async with site(small_disk, log) as running:
                assert await running.end() == 0
    if "full" in why:
        fill(small_disk)
    else:
        await asyncio.to_thread(refuse_writes, small_disk)
    ended = start(small_disk)
    assert ended.returncode not in (0, None)
    assert len(ended.stderr.splitlines()) == 1
    assert "mainspring-data" in ended.stderr
    if "read-only" in why:
        assert "Read-only file system" in ended.stderr
    else:
        assert "No space left" in ended.stderr or "the disk is full" in ended.stderr


async def _load(running: Site, stop: asyncio.Event, mine: int) -> list[str]:
    """Create records, each under its key until it is acknowledged; return their titles."""
    titles: list[str] = []
    while not stop.is_set():
        title = f"{mine} {len(titles)}"
        headers = {"Idempotency-Key": title.replace(" ", "-") * 8}
        while True:
            async with running.http.post(
                running.url + PLACE, json={"title": title}, headers=headers
            ) as answer:
                await answer.read()
                if answer.status == 201:
                    break
                assert answer.status == 503, await answer.text()
                assert answer.headers["Retry-After"]
            await pause(0.05)
        titles.append(title)
    return titles


async def pause(seconds: float) -> None:
    """Let the processes outside get on: how long they are away is the point of the test."""
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=seconds)


async def test_a_database_that_is_stopped_and_started_under_load(tmp_path: Path) -> None:
    binaries = embedded_postgres()
    assert binaries is not None
    server = PostgresServer(binaries, durable=True)
    log_path = tmp_path / "log"
    try:
        with log_path.open("wb") as log:
            async with site(tmp_path, log, database__url=server.create_database()) as running:
                assert (await running.ask("POST", "/v1/collections", NOTES))[0] == 201
                stop = asyncio.Event()
                loads = [asyncio.create_task(_load(running, stop, n)) for n in range(8)]
                await pause(0.5)
                await asyncio.to_thread(server.stop)
                said = await running.until_ready(503)
                assert "database: " in str(said)
                await pause(OUTAGE_S)
                await asyncio.to_thread(server.start)
                await running.until_ready(200)
                job = (await running.ask("POST", "/v1/jobs", {"name": "hostile.work"}))[1]
                stop.set()
                titles = [title for told in await asyncio.gather(*loads) for title in told]
                await running.until(f"/v1/jobs/{job['id']}", "state", "done")
                stored: list[str] = []
                after = ""
                while after is not None:
                    page = (await running.ask("GET", f"{PLACE}?limit=200{after}"))[1]
                    stored += [note["title"] for note in page["items"]]
                    after = page.get("next_cursor") and f"&cursor={page['next_cursor']}"
                assert sorted(stored) == sorted(titles)
                assert await running.end() == 0
        assert_outages_told_once(log_path)
    finally:
        server.close()
