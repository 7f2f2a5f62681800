"""``make bench``: everything beside its peer, in one run."""

import argparse
from functools import partial
from pathlib import Path

import msgspec

from benchmarks import jobs, neighbours, stages, web
from benchmarks.report import Row, save, show
from benchmarks.servers import EarlierMainspring, Mainspring, PocketBase


def main() -> None:
    """Run, print the table, write the file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="per workload and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the large table")
    parser.add_argument(
        "--only", choices=["web", "jobs", "start", "neighbours", "stages"], default=None
    )
    parser.add_argument(
        "--earlier", type=Path, metavar="CHECKOUT",
        help="compare with Mainspring in another checkout, made ready by make, not with the peers",
    )  # fmt: skip
    parser.add_argument("--keep", action="store_true", help="keep the figures of the stages")
    options = parser.parse_args()
    if options.only in (None, "stages"):
        found = stages.measure()
        stages.show(found)
        if options.keep:
            print(f"written to {stages.keep(found)}")
        if options.only == "stages":
            return
    earlier: Path | None = options.earlier and options.earlier.resolve()
    make_peer: web.MakePeer = PocketBase
    if earlier is not None:
        make_peer = partial(EarlierMainspring, checkout=earlier)
    rows: list[Row] = []
    if options.only in (None, "web"):
        for row in web.measure(make_peer, options.seconds, options.rounds, (1_000, options.rows)):
            print(f"{row.workload}: {row.ratio:.2f}", flush=True)
            rows.append(row)
    if options.only in (None, "jobs"):
        rows += jobs.measure(options.rounds, earlier)
    if options.only in (None, "start"):
        rows += web.starting(make_peer, options.rounds)
    if options.only == "neighbours":  # these are about ourselves: the peers have none of them
        rows += neighbours.measure(earlier)
    if earlier is not None:
        rows = [msgspec.structs.replace(row, goal=0.0) for row in rows]
    show(rows)
    if earlier is None:  # what is kept is what compares with the peers
        versions = [kind(Path("unused")).version() for kind in (Mainspring, PocketBase)]
        print(f"written to {save(rows, versions)}")


if __name__ == "__main__":
    main()
