"""How throughput grows with processes: ``up --workers`` 1, 2, 4 and 8 of the same platform.

All run free on all cores and share them with the load, and with PostgreSQL where that is beneath.
Rounds take turns, so the ratio to one process is of the same minutes.
"""

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.beside import FREE
from benchmarks.load import Result
from benchmarks.servers import Mainspring, postgres
from benchmarks.web import fire

CREWS = (1, 2, 4, 8)
SECONDS = 2.0
ROUNDS = 5
ROWS = 1_000
CREATES_PER_S_MAX = 8_000  # as many are made ready for each second
CONNECTIONS = 500  # of PostgreSQL: all crews are connected at once


class Found(NamedTuple):
    """Calls per second of a crew in each round, and the 99th percentile."""

    database: str
    call: str
    processes: int
    per_second: list[float]
    p99_ms: list[float]


def measure(
    crews: Sequence[int] = CREWS,
    seconds: float = SECONDS,
    rounds: int = ROUNDS,
    *,
    only_sqlite: bool = False,
) -> list[Found]:
    """Measure reads and creates of each crew in turn, on SQLite and on PostgreSQL."""
    found = list(_measure("SQLite", [{} for _ in crews], crews, seconds, rounds))
    if only_sqlite:
        return found
    with postgres({"max_connections": str(CONNECTIONS)}) as server:
        if server is None:
            return found
        urls = [{"MAINSPRING_DATABASE__URL": server.create_database()} for _ in crews]
        return found + list(_measure("PostgreSQL", urls, crews, seconds, rounds))


def _measure(
    database: str,
    settings: Sequence[dict[str, str]],
    crews: Sequence[int],
    seconds: float,
    rounds: int,
) -> Iterator[Found]:
    numbers = count()
    started: dict[int, Mainspring] = {}
    with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as root:
        try:
            ids = {}
            for size, its in zip(crews, settings, strict=True):
                own = {**its, "MAINSPRING_PLATFORM__WORKERS": str(size)}
                platform = Mainspring(Path(root) / str(size), settings=own, placement=FREE)
                platform.start()
                started[size] = platform
                ids[size] = platform.prepare(ROWS)

            def read(size: int) -> Result:
                requests = [started[size].get(one) for one in ids[size]]
                return fire(started[size], requests, seconds)

            def create(size: int) -> Result:
                many = int(seconds * CREATES_PER_S_MAX)
                requests = [started[size].create(next(numbers)) for _ in range(many)]
                return fire(started[size], requests, seconds, repeat=False)

            for call, ask in (("read by id", read), ("create", create)):
                results = {size: Found(database, call, size, [], []) for size in crews}
                for number in range(rounds):
                    for size in crews if number % 2 == 0 else reversed(crews):
                        told = ask(size)
                        results[size].per_second.append(told.per_second)
                        results[size].p99_ms.append(told.p99_ms)
                yield from results.values()
        finally:
            for platform in started.values():
                platform.stop()


def show(found: list[Found]) -> None:
    """Print a line for each crew, with how much more it does than one process."""
    table = Table(title="processes of one platform, on all cores", title_justify="left")
    for name in ("database", "call", "processes", "per second", "of one process", "p99 ms"):
        table.add_column(name)
    one = found[0]
    for each in found:
        one = each if each.processes == 1 else one
        shares = [a / b for a, b in zip(each.per_second, one.per_second, strict=True)]
        table.add_row(
            each.database,
            each.call,
            f"{each.processes}",
            f"{statistics.median(each.per_second):,.0f}",
            f"{statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})",
            f"{statistics.median(each.p99_ms):.1f}",
        )
    Console(width=120).print(table)
