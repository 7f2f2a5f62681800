"""No-op jobs through one worker on one core: ours beside Huey (SQLite) and PgQueuer (PostgreSQL).

Each contestant is a process of its own that prints one line of JSON.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.report import Row
from benchmarks.servers import SERVER_CORE
from mainspring.testing.servers import PostgresServer, embedded_postgres

JOBS = 10_000


def run(contestant: str, *arguments: str) -> dict[str, float]:
    """Run one contestant on the server core."""
    said = subprocess.run(
        [
            "taskset",
            "-c",
            str(SERVER_CORE),
            sys.executable,
            "-m",
            f"benchmarks.jobs.{contestant}",
            str(JOBS),
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    if said.returncode != 0:
        raise RuntimeError(f"{contestant}: {said.stderr[-2_000:]}")
    figures: dict[str, float] = json.loads(said.stdout.splitlines()[-1])
    return figures


def measure(rounds: int) -> list[Row]:
    """Return two rows per engine: enqueued and done per second."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as root:
        mine = [run("ours", str(Path(root) / f"{n}.db")) for n in range(rounds)]
        huey = [run("huey_sqlite", str(Path(root) / f"huey{n}.db")) for n in range(rounds)]
        rows += _rows("SQLite", "Huey", mine, huey)
    binaries = embedded_postgres()
    if binaries is not None:
        server = PostgresServer(binaries, durable=True)
        try:
            mine = [run("ours", server.create_database()) for _ in range(rounds)]
            peer = [run("pgqueuer_postgres", server.create_database()) for _ in range(rounds)]
        finally:
            server.close()
        rows += _rows(server.version, "PgQueuer", mine, peer)
    return rows


def _rows(
    engine: str, peer: str, mine: list[dict[str, float]], theirs: list[dict[str, float]]
) -> list[Row]:
    rows = []
    for figure, goal in (("enqueued", 0.0), ("done", 1.0)):
        ours = [m[figure] for m in mine]
        other = [t[figure] for t in theirs]
        ratios = [o / t for o, t in zip(ours, other, strict=True)]
        rows.append(
            Row(
                workload=f"jobs {figure} ({engine})",
                ours_per_s=statistics.median(ours),
                peer=peer,
                peer_per_s=statistics.median(other),
                ratio=statistics.median(ratios),
                ratio_low=min(ratios),
                ratio_high=max(ratios),
                goal=goal,
                ours_p99_ms=0.0,
                peer_p99_ms=0.0,
            )
        )
    return rows
