"""``make bench``: everything beside its peer, in one run."""

import argparse
from pathlib import Path

from benchmarks import jobs, web
from benchmarks.report import Row, save, show
from benchmarks.servers import Mainspring, PocketBase


def main() -> None:
    """Run, print the table, write the file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="per workload and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the large table")
    parser.add_argument("--only", choices=["web", "jobs", "start"], default=None)
    options = parser.parse_args()
    rows: list[Row] = []
    if options.only in (None, "web"):
        for row in web.measure(options.seconds, options.rounds, (1_000, options.rows)):
            print(f"{row.workload}: {row.ratio:.2f}", flush=True)
            rows.append(row)
    if options.only in (None, "jobs"):
        rows += jobs.measure(options.rounds)
    if options.only in (None, "start"):
        rows += web.starting(options.rounds)
    show(rows)
    versions = [kind(Path("unused")).version() for kind in (Mainspring, PocketBase)]
    print(f"written to {save(rows, versions)}")


if __name__ == "__main__":
    main()
