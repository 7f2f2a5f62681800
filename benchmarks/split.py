"""What a call costs through a gateway and an owner, beside one process: on PostgreSQL, one core.

Both processes of the split platform share the core that the one process has, so the ratio tells
what the way between them costs, plain and with certificates.
"""

import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.beside import PINNED
from benchmarks.servers import Mainspring, Process, postgres
from benchmarks.web import fire
from mainspring.app import BUILT_IN
from mainspring.engines import open_authority
from mainspring.testing.servers import free_ports

ROWS = 1_000
SECONDS = 2.0
ROUNDS = 5
_LIMITS = {"MAINSPRING_LIMITS__DEFAULT": "1000000/s"}


class Split(Mainspring):
    """A gateway in front of one owner of every service; with certificates where they are wanted."""

    name = "split"

    def __init__(self, directory: Path, database_url: str, *, certificates: bool) -> None:
        super().__init__(directory)
        self._url = database_url
        self._certificates = certificates
        self._owner = Process(directory / "owner", "/readyz", PINNED)

    def start(self) -> None:
        """Start the owner, then the gateway."""
        listen = f"grpc://127.0.0.1:{free_ports(1)[0]}"
        folder = self.directory / "certs"
        if self._certificates:
            authority = open_authority(folder)
            authority.init("bench.internal")
            authority.issue(["gateway", "owner"], 24)
        run = [sys.executable, "-m", "mainspring", "run"]
        data = self.directory / "data"
        self._owner.launch(
            [*run, *(service.name for service in BUILT_IN), "--listen", listen,
             "--port", str(self._owner.port), "--data-dir", str(data)],
            {**_LIMITS, "MAINSPRING_DATABASE__URL": self._url, **self._own(folder / "owner")},
        )  # fmt: skip
        everything = f'{{"*": "{listen}#owner"}}'
        self.launch(
            [*run, "gateway", "--port", str(self.port)],
            {**_LIMITS, "MAINSPRING_PEERS__SERVICES": everything, **self._own(folder / "gateway")},
        )
        self.key = (data / "admin.key").read_text().strip()

    def _own(self, folder: Path) -> dict[str, str]:
        return {"MAINSPRING_PEERS__CERTIFICATES": str(folder)} if self._certificates else {}

    def cpu_s(self) -> float:
        """Return the CPU time of both."""
        return super().cpu_s() + self._owner.cpu_s()

    def stop(self) -> None:
        """Stop the gateway, then the owner."""
        super().stop()
        self._owner.stop()


class Found(NamedTuple):
    """Calls per second of each platform, in each round, the 99th percentile, and CPU of a call."""

    call: str
    platform: str
    per_second: list[float]
    p99_ms: list[float]
    cpu_us: list[float]


def measure(seconds: float = SECONDS, rounds: int = ROUNDS, rows: int = ROWS) -> list[Found]:
    """Ask each in turn, so many times."""
    found: list[Found] = []
    with (
        postgres() as server,
        tempfile.TemporaryDirectory(prefix="mainspring-bench-") as root,
    ):
        if server is None:
            return []
        url = {"MAINSPRING_DATABASE__URL": server.create_database()}
        platforms = {
            "one process": Mainspring(Path(root) / "one", settings=url),
            "gateway and owner": Split(
                Path(root) / "plain", server.create_database(), certificates=False
            ),
            "the same, encrypted": Split(
                Path(root) / "tls", server.create_database(), certificates=True
            ),
        }
        for platform in platforms.values():
            platform.start()
        try:
            ids = {name: platform.prepare(rows) for name, platform in platforms.items()}
            for call in ("read by id", "list of 30"):
                results = {name: Found(call, name, [], [], []) for name in platforms}
                for _ in range(rounds):
                    for name, platform in platforms.items():
                        requests = [platform.page(total=False)]
                        if call == "read by id":
                            requests = [platform.get(one) for one in ids[name]]
                        before_s = platform.cpu_s()
                        told = fire(platform, requests, seconds)
                        cpu_us = 1e6 * (platform.cpu_s() - before_s) / told.calls
                        results[name].cpu_us.append(cpu_us)
                        results[name].per_second.append(told.per_second)
                        results[name].p99_ms.append(told.p99_ms)
                found += results.values()
        finally:
            for platform in platforms.values():
                platform.stop()
    return found


def show(found: list[Found]) -> None:
    """Print a line for each, with its share of one process in the same round.

    Where the core has other work too, two processes are given more of it than one: then only the
    CPU of a call tells, and its share of one process's.
    """
    table = Table(title="through a gateway and an owner, on one core", title_justify="left")
    for name in (
        "call",
        "platform",
        "per second",
        "of one process",
        "p99 ms",
        "CPU µs",
        "its share",
    ):
        table.add_column(name)
    one: Found | None = None
    for each in found:
        one = each if each.platform == "one process" or one is None else one
        shares = [a / b for a, b in zip(each.per_second, one.per_second, strict=True)]
        table.add_row(
            each.call,
            each.platform,
            f"{statistics.median(each.per_second):,.0f}",
            f"{statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})",
            f"{statistics.median(each.p99_ms):.1f}",
            f"{statistics.median(each.cpu_us):,.0f}",
            f"{statistics.median(one.cpu_us) / statistics.median(each.cpu_us):.2f}",
        )
    Console().print(table)
