"""Four reads to one create at a fixed rate, whatever the server makes of it, beside the peer."""

import tempfile
from itertools import count
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.beside import run_beside
from benchmarks.open_loop import Plan, Result
from benchmarks.servers import Mainspring, PocketBase, Server

PER_SECOND = 3_500.0
SECONDS = 10.0
CONNECTIONS = 128
ROWS = 1_000
CREATE_EVERY = 5
_NUMBERS = count()


class Mixed(msgspec.Struct):
    """How late the answers of one server were at a rate."""

    server: str
    per_second: float
    results: list[Result]


def show(found: list[Mixed]) -> None:
    """Print the table."""
    table = Table(
        "server", "calls due/s", "call", "answered", "failed", "p50 ms", "p99 ms", "p99.9 ms",
        "worst ms", title="80/20 at a fixed rate, from when a call was due",
    )  # fmt: skip
    for mixed in found:
        for result in mixed.results:
            table.add_row(
                mixed.server, f"{mixed.per_second:,.0f}", result.kind, f"{result.calls:,}",
                f"{result.failed:,}", f"{result.p50_ms:.2f}", f"{result.p99_ms:.2f}",
                f"{result.p999_ms:.2f}", f"{result.worst_ms:.1f}",
            )  # fmt: skip
    Console(width=130).print(table)


def measure(
    rates: tuple[float, ...] = (PER_SECOND / 4, PER_SECOND),
    seconds: float = SECONDS,
    *,
    beside_peer: bool = True,
) -> list[Mixed]:
    """Measure each rate on each server."""
    found: list[Mixed] = []
    with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as root:
        servers: list[Server] = [Mainspring(Path(root) / "ours")]
        if beside_peer:
            servers.append(PocketBase(Path(root) / "peer"))
        for server in servers:
            server.start()
            try:
                ids = server.prepare(ROWS)
                _load(server, ids, 500.0, 1.0)  # so that it is warm
                found += [
                    Mixed(server.label, rate, _load(server, ids, rate, seconds)) for rate in rates
                ]
            finally:
                server.stop()
    return found


def _load(server: Server, ids: list[str], per_second: float, seconds: float) -> list[Result]:
    requests = [
        ("read", server.get(ids[number % len(ids)]))
        if number % CREATE_EVERY
        else ("create", server.create(next(_NUMBERS)))
        for number in range(int(per_second * seconds))
    ]
    plan = Plan("127.0.0.1", server.port, CONNECTIONS, per_second, seconds, requests)
    return run_beside("benchmarks.open_loop", plan, list[Result])
