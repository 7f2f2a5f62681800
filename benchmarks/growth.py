"""The same calls over tables of different sizes, and what a record takes of the database.

Goal: flat. Each figure stands beside that of the smallest table, taken in the same run.
"""

import sqlite3
import statistics
import tempfile
from collections.abc import Sequence
from itertools import count, islice
from pathlib import Path

import asyncpg
import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.load import request
from benchmarks.servers import Mainspring, postgres
from benchmarks.web import fire

SIZES = (1_000, 100_000, 1_000_000)
COUNTED = 2_000  # creates whose bytes are counted
PARTS_SHOWN = 8
ROUNDS = 3
CALLS = ("read by id", "list of 30", "list by an index", "create")
RECORDS = "/v1/collections/posts/records"
_NUMBERS = count()


class Grown(msgspec.Struct):
    """Calls per second at one size, by the name of the call, and bytes of a record."""

    engine: str
    size: int
    per_second: dict[str, float]
    bytes_each: float  # of a created record, in the whole database
    parts: dict[str, float]  # of it, by table and index


def show(found: list[Grown]) -> None:
    """Print the table: ratios to the smallest size of the same engine."""
    first = {grown.engine: grown for grown in reversed(found)}
    calls = list(found[0].per_second)
    table = Table("database", "records", *calls, "bytes of a create", title="growth")
    for grown in found:
        least = first[grown.engine].per_second
        table.add_row(
            grown.engine, f"{grown.size:,}",
            *(f"{n:,.0f}/s ({n / least[name]:.2f})" for name, n in grown.per_second.items()),
            f"{grown.bytes_each:,.0f}",
        )  # fmt: skip
    Console(width=150).print(table)
    for grown in first.values():
        most = sorted(grown.parts.items(), key=lambda part: -part[1])[:PARTS_SHOWN]
        said = ", ".join(f"{name} {size:,.0f}" for name, size in most)
        print(f"{grown.engine}, bytes of a create by what holds them: {said}")


def measure(
    sizes: tuple[int, ...] = SIZES,
    seconds: float = 3.0,
    counted: int = COUNTED,
    *,
    only_sqlite: bool = False,
) -> list[Grown]:
    """Measure on SQLite, and on PostgreSQL where there is one."""
    found = _measure("SQLite", sizes, seconds, counted, [None] * len(sizes))
    if only_sqlite:
        return found
    with postgres() as server:
        if server is not None:
            urls = [server.create_database() for _ in sizes]
            found += _measure("PostgreSQL", sizes, seconds, counted, urls)
    return found


def _measure(
    engine: str, sizes: tuple[int, ...], seconds: float, counted: int, urls: Sequence[str | None]
) -> list[Grown]:
    """Run a server for each size, and take turns: what else the machine does then is nobody's."""
    sites: list[_Sized] = []
    with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as root:
        try:
            for size, url in zip(sizes, urls, strict=True):
                sites.append(_Sized(Path(root) / str(size), size, url))
                sites[-1].fill()
            rates: list[dict[str, list[float]]] = [{name: [] for name in CALLS} for _ in sizes]
            for name in CALLS:
                for _ in range(ROUNDS):
                    for site, rate in zip(sites, rates, strict=True):
                        rate[name].append(site.rate(name, seconds / ROUNDS))
            parts = [site.grown_by(counted) for site in sites]
        finally:
            for site in sites:
                site.server.stop()
    return [
        Grown(
            engine, size, {name: statistics.median(each) for name, each in rate.items()},
            sum(part.values()), part,
        )
        for size, rate, part in zip(sizes, rates, parts, strict=True)
    ]  # fmt: skip


class _Sized:
    """A server whose table has so many records."""

    def __init__(self, directory: Path, size: int, url: str | None) -> None:
        settings = {} if url is None else {"MAINSPRING_DATABASE__URL": url}
        self.server = Mainspring(directory, settings=settings)
        self._size = size
        self._url = url
        self._ids: list[str] = []

    def fill(self) -> None:
        """Start, and make the records."""
        self.server.start()
        self._ids = self.server.prepare(self._size)
        _index(self.server)
        if self._url is not None:
            uvloop.run(analyze(self._url))

    def rate(self, name: str, seconds: float) -> float:
        """Return how many calls of a kind it answers a second."""
        server = self.server
        requests = {
            "read by id": lambda: [
                server.get(i) for i in self._ids[:: max(1, self._size // 1_000)]
            ],
            "list of 30": lambda: [server.page(total=False)],
            "list by an index": lambda: [_filtered(server, n) for n in range(200)],
            "create": lambda: _creates(server, int(20_000 * seconds)),
        }[name]()
        return fire(server, requests, seconds, repeat=name != "create").per_second

    def grown_by(self, creates: int) -> dict[str, float]:
        """Return by how many bytes each table and index grew with a create."""
        before = _sizes(self.server, self._url)
        fire(self.server, _creates(self.server, creates), 60.0, repeat=False)
        after = _sizes(self.server, self._url)
        return {name: (after[name] - before.get(name, 0)) / creates for name in after}


def _index(site: Mainspring) -> None:
    path = "/v1/collections/posts"
    site.ask("PATCH", path, {"indexes": [["views"]]}, site.key)
    while not site.ask("GET", path, None, site.key)["ready"]:
        pass


def _filtered(site: Mainspring, number: int) -> bytes:
    return request("GET", f"{RECORDS}?limit=30&filter=record.views%20==%20{number}", site.headers())


def _creates(site: Mainspring, number: int) -> list[bytes]:
    return [site.create(n, f"grown {n}") for n in islice(_NUMBERS, number)]


def _sizes(site: Mainspring, url: str | None) -> dict[str, int]:
    """Bytes of each table and index."""
    if url is not None:
        return uvloop.run(_postgres_sizes(url))
    file = next((site.directory / "data").glob("*.db"))
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").fetchall()
    return dict(rows)


async def analyze(url: str) -> None:
    """Have the server count and sweep what it was filled with, as it does by itself in minutes."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("VACUUM (ANALYZE)")
    finally:
        await connection.close()


async def _postgres_sizes(url: str) -> dict[str, int]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT relname, pg_relation_size(oid) FROM pg_class WHERE relkind IN ('r', 'i', 't')"
            " AND relnamespace <> 'pg_catalog'::regnamespace"
        )
    finally:
        await connection.close()
    return {str(row[0]): int(row[1]) for row in rows}
