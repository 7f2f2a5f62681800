"""The file that search is in: killed, spoilt, lost, or another's."""

import asyncio
import signal
import sys
from pathlib import Path

import apsw
import pytest

from mainspring.adapters.search.fts5 import Fts5Search
from mainspring.kernel.search_terms import read_query
from mainspring.ports.database import StartError
from mainspring.ports.search import IndexChange, NoIndex, SearchQuery
from tests.deadline import DEADLINE_S

_WRITER = """
import asyncio, sys
from pathlib import Path
from mainspring.adapters.search.fts5 import Fts5Search
from mainspring.ports.search import IndexChange

async def write():
    engine = Fts5Search(Path(sys.argv[1]))
    await engine.open("shop")
    await engine.make("one", ["title"])
    at = 0
    while True:
        at += 1
        words = {"title": f"word number{at}"}
        await engine.apply("one", [IndexChange(f"rec_{n:02}", at, words) for n in range(50)], at)
        print(at, flush=True)

asyncio.run(write())
"""


async def test_what_was_written_survives_a_kill_and_nothing_is_half_written(tmp_path: Path) -> None:
    file = tmp_path / "search.db"
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _WRITER, str(file), stdout=asyncio.subprocess.PIPE
    )
    assert writer.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        for _ in range(5):
            await writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        told = [5, *map(int, (await writer.stdout.read()).split())][-1]
        await writer.wait()
    engine = Fts5Search(file)
    await engine.open("shop")
    position = await engine.position("one")
    assert position >= told
    for at, many in ((position, 50), (position - 1, 0), (position + 1, 0)):
        query = SearchQuery(read_query(f"number{at}"), {"title": 1.0}, "newest", 100)
        assert len(await engine.query("one", query, position=told)) == many
    await engine.close()
    connection = apsw.Connection(str(file))
    connection.execute("INSERT INTO words_1 (words_1, rank) VALUES ('integrity-check', 1)")
    connection.close()


async def _with_one(path: Path, owner: str) -> list[str]:
    """Which indexes a file has for an owner, before another one is made in it."""
    engine = Fts5Search(path, durable=False)
    await engine.open(owner)
    there = await engine.indexes()
    await engine.make("one", ["title"])
    await engine.apply("one", [IndexChange("rec_1", 1, {"title": "a"})], 1)
    await engine.close()
    return there


async def test_a_file_that_is_spoilt_or_of_another_database_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "search.db"
    assert await _with_one(file, "shop") == []
    assert await _with_one(file, "shop") == ["one"]
    assert file.stat().st_mode & 0o077 == 0
    assert await _with_one(file, "other") == []
    file.write_bytes(b"no database" * 1_000)
    assert await _with_one(file, "other") == []
    assert (tmp_path / "search.db.unreadable").read_bytes().startswith(b"no database")
    with pytest.raises(StartError, match="cannot use"):
        await Fts5Search(tmp_path / "nowhere" / "search.db").open("shop")


async def test_a_file_that_is_lost_under_processes_is_left_by_all_of_them(tmp_path: Path) -> None:
    file = tmp_path / "search.db"
    one, other = Fts5Search(file, durable=False), Fts5Search(file, durable=False)
    for engine in (one, other):
        await engine.open("shop")
    await one.make("one", ["title"])
    query = SearchQuery(read_query("a"), {"title": 1.0}, "newest", 10)
    assert await other.query("one", query) == []
    file.unlink()  # and not what stands beside it, which is of no use to the next one
    for engine in (one, other):
        with pytest.raises(NoIndex):
            await engine.query("one", query)
    await one.make("one", ["title"])
    await one.apply("one", [IndexChange("rec_1", 1, {"title": "a"})], 1)
    for engine in (one, other):
        assert [hit.id for hit in await engine.query("one", query, position=1)] == ["rec_1"]
        await engine.close()
    assert await _with_one(file, "shop") == ["one"]
    assert file.stat().st_mode & 0o077 == 0
