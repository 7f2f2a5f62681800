"""``make bench``: everything beside its peer, in one run."""

import argparse
from functools import partial
from pathlib import Path

import msgspec

from benchmarks import (
    agents,
    blobs,
    crew,
    growth,
    jobs,
    kafka,
    live,
    mixed,
    neighbours,
    parse,
    rules,
    share,
    shared_store,
    split,
    stages,
    stalls,
    web,
)
from benchmarks.beside import FREE, PINNED
from benchmarks.report import Row, save, show
from benchmarks.servers import EarlierMainspring, Mainspring, PocketBase


def _live(tiny: bool) -> None:
    if tiny:
        live.show(live.measure((2,), 10, beside_peer=False))
        live.show_memory(live.memory((10,), beside_peer=False))
    else:
        live.show(live.measure())
        live.show_memory(live.memory())


def _mixed(tiny: bool) -> None:
    mixed.show(mixed.measure((50.0,), 0.2, beside_peer=False) if tiny else mixed.measure())


def _stalls(tiny: bool) -> None:
    stalls.show(stalls.measure(0.1, 10, ("all together",)) if tiny else stalls.measure())


def _growth(tiny: bool) -> None:
    growth.show(growth.measure((10,), 0.1, 20, only_sqlite=True) if tiny else growth.measure())


def _rules(tiny: bool) -> None:
    offers = 200 if tiny else rules.OFFERS
    found = rules.measure(offers, 0.1, 1, only_sqlite=True) if tiny else rules.measure()
    rules.show(found, offers)


def _share(tiny: bool) -> None:
    show(share.measure((1,), 0.1) if tiny else share.measure())


def _blobs(tiny: bool) -> None:
    blobs.show(blobs.measure(0.1, 2 << 20) if tiny else blobs.measure())


def _redis(tiny: bool) -> None:
    shared_store.show(shared_store.measure(200, 1) if tiny else shared_store.measure())


def _split(tiny: bool) -> None:
    split.show(split.measure(0.1, 1, 20) if tiny else split.measure())


def _kafka(tiny: bool) -> None:
    kafka.show(kafka.measure(200, 5, 1) if tiny else kafka.measure())


def _crew(tiny: bool) -> None:
    crew.show(crew.measure((1, 2), 0.1, 1, only_sqlite=True) if tiny else crew.measure())


def _agents(tiny: bool) -> None:
    show(list(agents.measure(0.1, 1, 10, 20) if tiny else agents.measure()))


# What has a table of its own: how late, how even, how large.
AREAS = {
    "live": _live, "mixed": _mixed, "stalls": _stalls, "growth": _growth, "rules": _rules,
    "share": _share, "blobs": _blobs, "redis": _redis, "split": _split,
    "kafka": _kafka, "crew": _crew, "agents": _agents,
}  # fmt: skip


def main() -> None:
    """Run, print the table, write the file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="per workload and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the large table")
    parser.add_argument(
        "--only",
        choices=["web", "free", "jobs", "start", "neighbours", "parse", "stages", *AREAS],
        default=None,
    )
    parser.add_argument(
        "--earlier", type=Path, metavar="CHECKOUT",
        help="compare with Mainspring in another checkout, made ready by make, not with the peers",
    )  # fmt: skip
    parser.add_argument("--keep", action="store_true", help="keep the figures of the stages")
    parser.add_argument("--tiny", action="store_true", help="only see whether an area still runs")
    options = parser.parse_args()
    if options.only in AREAS:
        AREAS[options.only](options.tiny)
        return
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
    sizes = (1_000, options.rows)
    for area, placement, where in (("web", PINNED, "one core"), ("free", FREE, "all cores")):
        if options.only in (None, area):
            for row in web.measure(make_peer, placement, options.seconds, options.rounds, sizes):
                row = msgspec.structs.replace(row, workload=f"{row.workload}, {where}")
                print(f"{row.workload}: {row.ratio:.2f}", flush=True)
                rows.append(row)
    if options.only in (None, "jobs"):
        rows += jobs.measure(options.rounds, earlier)
    if options.only in (None, "start"):
        rows += web.starting(make_peer, options.rounds)
    if options.only == "parse":
        for row in parse.measure(options.seconds, options.rounds):
            rows.append(msgspec.structs.replace(row, goal=0.0))  # the goals are about PocketBase
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
