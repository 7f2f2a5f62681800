"""Creates and reads over PostgreSQL as a share of what asyncpg does with the same statements.

The statements alone, in a process of their own: a create is a transaction that adds the rows which
a create of ours adds (a record, its event, the answer to its key), a read is one query. Ours are
whole calls over HTTP, by one, two and four processes over one server.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from benchmarks.beside import PINNED, run_beside
from benchmarks.load import Plan, Result
from benchmarks.neighbours import CALLERS, Site, fresh
from benchmarks.report import Row
from benchmarks.servers import postgres
from mainspring.kernel.table import Table
from mainspring.runtime.tables import ANSWERS, EVENTS
from mainspring.services.records.store import RECORD
from mainspring.services.records.store import RECORDS as TABLE

SECONDS = 4.0
KEYS = 60_000
CONNECTIONS = 8
CREWS = (1, 2, 4)
GOAL = 0.6
# Tables, and what is new in each row.
ADDED: dict[Table[Any], str] = {TABLE: "id", EVENTS: "id", ANSWERS: "key_hash"}


async def bare(url: str, seconds: float) -> tuple[float, float]:
    """Creates and reads per second of asyncpg, with rows like those that it finds."""
    numbers = count()
    run_id = fresh(1)[0]
    async with asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        rows: list[tuple[Table[Any], list[Any]]] = []
        for table in ADDED:
            found = await pool.fetch(f"SELECT {table.columns} FROM {table.name} LIMIT 1")
            rows.append((table, list(found[0])))
        known_id = await pool.fetchval("SELECT id FROM records_records LIMIT 1")
        known = {"tenant": "main", "name": "posts", "id": known_id}

        async def create() -> None:
            new = f"{run_id}{next(numbers)}"
            async with pool.acquire() as connection, connection.transaction():
                for table, values in rows:
                    at = table.names.index(ADDED[table])
                    key = new.encode() if isinstance(values[at], bytes) else new
                    sql = table.insert_sql().postgres
                    await connection.execute(sql, *values[:at], key, *values[at + 1 :])

        async def read() -> None:
            await pool.fetch(RECORD.sql.postgres, *RECORD.sql.bind(known))

        return await _rate(create, seconds), await _rate(read, seconds)


async def _rate(call: Callable[[], Awaitable[None]], seconds: float) -> float:
    done = 0
    ends_s = time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < ends_s:
            await call()
            done += 1

    started_s = time.perf_counter()
    await asyncio.gather(*[caller() for _ in range(CALLERS)])
    return done / (time.perf_counter() - started_s)


def _ours(url: str, workers: int, seconds: float) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as root:
        site = Site(Path(root), sys.executable, url, earlier=False, workers=workers)
        site.start()
        try:
            (known,) = site.prepare(1)
            made = run_beside(
                "benchmarks.load", site.creates(fresh(KEYS), CALLERS, seconds, repeat=False), Result
            )
            plan = Plan("127.0.0.1", site.port, CALLERS, seconds, [site.get(known)], repeat=True)
            return made.per_second, run_beside("benchmarks.load", plan, Result).per_second
        finally:
            site.stop()


def _theirs(url: str, seconds: float) -> tuple[float, float]:
    cores = os.sched_getaffinity(0)
    assert PINNED.server is not None
    os.sched_setaffinity(0, {PINNED.server})
    try:
        return uvloop.run(bare(url, seconds))
    finally:
        os.sched_setaffinity(0, cores)


def measure(crews: Sequence[int] = CREWS, seconds: float = SECONDS) -> list[Row]:
    """Return a row for each number of processes, for creates and for reads."""
    rows: list[Row] = []
    with postgres() as server:
        if server is None:
            return []
        for workers in crews:
            url = server.create_database()
            ours = _ours(url, workers, seconds)
            theirs = _theirs(url, seconds)
            for what, mine, other in zip(("create", "read"), ours, theirs, strict=True):
                ratio = mine / other
                name = f"{what} (PostgreSQL, --workers {workers})"
                rows.append(Row(name, mine, "asyncpg", other, ratio, ratio, ratio, GOAL, 0.0, 0.0))
                print(f"{name}: {mine:,.0f} of {other:,.0f}/s", flush=True)
    return rows
