"""The table people read and the file programs compare."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


class Row(msgspec.Struct):
    """One workload. For times and sizes the two figures are seconds or megabytes."""

    workload: str
    ours_per_s: float
    peer: str
    peer_per_s: float
    ratio: float
    ratio_low: float
    ratio_high: float
    goal: float  # the ratio to reach; 0 where less is better and no goal is set
    ours_p99_ms: float
    peer_p99_ms: float


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    dirty = subprocess.run(
        ["git", "status", "--porcelain"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "commit": commit + ("+changes" if dirty else ""),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def show(rows: list[Row]) -> None:
    """Print the table."""
    table = Table("workload", "ours", "peer", "ratio", "lowest to highest", "goal", "p99 ms")
    for row in rows:
        met = (
            ""
            if not row.goal
            else f"{row.goal:g}x " + ("met" if row.ratio >= row.goal else "not met")
        )
        table.add_row(
            row.workload,
            f"{row.ours_per_s:,.2f}" if row.ours_per_s < 100 else f"{row.ours_per_s:,.0f}",
            f"{row.peer} "
            + (f"{row.peer_per_s:,.2f}" if row.peer_per_s < 100 else f"{row.peer_per_s:,.0f}"),
            f"{row.ratio:.2f}",
            f"{row.ratio_low:.2f} to {row.ratio_high:.2f}",
            met,
            f"{row.ours_p99_ms:.1f} / {row.peer_p99_ms:.1f}" if row.ours_p99_ms else "",
        )
    Console(width=150).print(table)


def save(rows: list[Row], versions: list[str]) -> Path:
    """Write the run beside the others; its name is its commit."""
    about = machine()
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{str(about['commit'])[:12]}.json"
    content = {"machine": about, "versions": versions, "rows": msgspec.to_builtins(rows)}
    file.write_text(json.dumps(content, indent=2) + "\n")
    return file
