"""No-op jobs through one worker on one core: ours beside Huey, PgQueuer and Procrastinate.

Each contestant is a process of its own that prints one line of JSON.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from benchmarks.beside import PINNED, on
from benchmarks.report import Row
from benchmarks.servers import postgres

JOBS = 10_000
PEERS_ON_POSTGRES = (
    ("PgQueuer", "pgqueuer_postgres"),
    ("Procrastinate", "procrastinate_postgres"),
)


def run(contestant: str, *arguments: str, checkout: Path | None = None) -> dict[str, float]:
    """Run one contestant on the server core; of another checkout when one is given."""
    python = sys.executable if checkout is None else str(checkout / ".venv" / "bin" / "python")
    said = subprocess.run(
        on(PINNED.server, python, "-m", f"benchmarks.jobs.{contestant}", str(JOBS), *arguments),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        cwd=checkout,
    )
    if said.returncode != 0:
        raise RuntimeError(f"{contestant}: {said.stderr[-2_000:]}")
    figures: dict[str, float] = json.loads(said.stdout.splitlines()[-1])
    return figures


def measure(rounds: int, earlier: Path | None = None) -> list[Row]:
    """Return two rows per engine: enqueued and done per second.

    Beside the peers, or beside an earlier checkout of our own.
    """
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as root:
        databases = count()

        def fresh() -> str:
            return str(Path(root) / f"{next(databases)}.db")

        rows += _beside("SQLite", ("Huey", "huey_sqlite"), fresh, rounds, earlier)
    with postgres() as server:
        if server is not None:
            for peer in PEERS_ON_POSTGRES[: 1 if earlier else None]:
                rows += _beside(server.version, peer, server.create_database, rounds, earlier)
    return rows


def _beside(
    engine: str,
    peer: tuple[str, str],
    fresh: Callable[[], str],
    rounds: int,
    earlier: Path | None,
) -> list[Row]:
    label, contestant = ("earlier checkout", "ours") if earlier else peer
    pairs = [
        (run("ours", fresh()), run(contestant, fresh(), checkout=earlier)) for _ in range(rounds)
    ]
    mine, theirs = zip(*pairs, strict=True)
    return _rows(engine, label, mine, theirs)


def _rows(
    engine: str,
    peer: str,
    mine: Sequence[dict[str, float]],
    theirs: Sequence[dict[str, float]],
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
