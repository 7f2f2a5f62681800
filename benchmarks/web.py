"""Reads, lists and creates beside a peer: alternating rounds, the median of each."""

import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from benchmarks.beside import FREE, PINNED, Placement, run_beside
from benchmarks.load import Plan, Result
from benchmarks.report import Row
from benchmarks.servers import Mainspring, Server

CONNECTIONS = 32
CREATES_MAX = 120_000


class MakePeer(Protocol):
    """Makes the server that ours is compared with."""

    def __call__(self, directory: Path, *, placement: Placement) -> Server:
        """Make it."""
        ...


class Goals(NamedTuple):
    """The ratios to reach."""

    read: float
    page: float
    create: float


GOALS = {PINNED: Goals(4.5, 6.0, 2.5), FREE: Goals(4.5, 5.0, 2.0)}


def fire(server: Server, requests: list[bytes], seconds: float, *, repeat: bool = True) -> Result:
    """Run the load generator where the server's placement says. Raises when calls failed."""
    plan = Plan("127.0.0.1", server.port, CONNECTIONS, seconds, requests, repeat)
    result = run_beside("benchmarks.load", plan, Result, server.placement)
    if result.failed or not result.calls:
        raise RuntimeError(f"{result.failed} calls failed: {result.statuses}")
    return result


def paired(
    name: str,
    goal: float,
    peer: Server,
    ours: Callable[[], Result],
    peers: Callable[[], Result],
    rounds: int,
) -> Row:
    """Alternate the two; compare their medians."""
    mine: list[Result] = []
    theirs: list[Result] = []
    for number in range(rounds):
        pair = [(ours, mine), (peers, theirs)]
        for run, into in pair if number % 2 == 0 else reversed(pair):
            into.append(run())
    ratios = [m.per_second / t.per_second for m, t in zip(mine, theirs, strict=True)]
    return Row(
        workload=name,
        ours_per_s=statistics.median(r.per_second for r in mine),
        peer=peer.label,
        peer_per_s=statistics.median(r.per_second for r in theirs),
        ratio=statistics.median(ratios),
        ratio_low=min(ratios),
        ratio_high=max(ratios),
        goal=goal,
        ours_p99_ms=statistics.median(r.p99_ms for r in mine),
        peer_p99_ms=statistics.median(r.p99_ms for r in theirs),
    )


def measure(
    make_peer: MakePeer,
    placement: Placement,
    seconds: float,
    rounds: int,
    sizes: tuple[int, ...],
    make_mine: Callable[..., Mainspring] = Mainspring,
) -> Iterator[Row]:
    """Yield a row per workload."""
    with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as root:
        for size in sizes:
            mine = make_mine(Path(root) / f"mainspring-{size}", placement=placement)
            peer = make_peer(Path(root) / f"peer-{size}", placement=placement)
            mine.start()
            peer.start()
            try:
                my_ids, peer_ids = mine.prepare(size), peer.prepare(size)
                if size == sizes[0]:
                    yield _reads(mine, peer, my_ids, peer_ids, seconds, rounds)
                yield _lists(mine, peer, size, seconds, rounds, total=True)
                yield _lists(mine, peer, size, seconds, rounds, total=False)
                if size == sizes[0]:
                    yield _creates(mine, peer, seconds, rounds)
            finally:
                mine.stop()
                peer.stop()


def _reads(
    mine: Mainspring,
    peer: Server,
    my_ids: list[str],
    peer_ids: list[str],
    seconds: float,
    rounds: int,
) -> Row:
    my_requests = [mine.get(i) for i in my_ids[:1000]]
    peer_requests = [peer.get(i) for i in peer_ids[:1000]]
    return paired(
        f"read by id, logged in ({len(my_ids):,} rows)",
        GOALS[mine.placement].read,
        peer,
        lambda: fire(mine, my_requests, seconds),
        lambda: fire(peer, peer_requests, seconds),
        rounds,
    )


def _lists(
    mine: Mainspring, peer: Server, size: int, seconds: float, rounds: int, *, total: bool
) -> Row:
    how = "with its total" if total else "skipTotal"
    return paired(
        f"list of 30 of {size:,} rows (peer: {how})",
        GOALS[mine.placement].page,
        peer,
        lambda: fire(mine, [mine.page(total=total)], seconds),
        lambda: fire(peer, [peer.page(total=total)], seconds),
        rounds,
    )


def _creates(mine: Mainspring, peer: Server, seconds: float, rounds: int) -> Row:
    made = 0

    def fresh(create: Callable[[int], bytes]) -> list[bytes]:
        nonlocal made
        numbers = range(made, made + int(20_000 * seconds))
        made = numbers.stop
        return [create(n) for n in numbers]

    return paired(
        "create (ours: event, audit leaf, idempotency key)",
        GOALS[mine.placement].create,
        peer,
        lambda: fire(mine, fresh(mine.create), seconds, repeat=False),
        lambda: fire(peer, fresh(peer.create), seconds, repeat=False),
        rounds,
    )


def starting(make_peer: MakePeer, rounds: int) -> list[Row]:
    """Time to the first 200 on an empty directory, and memory at rest after it."""
    times: list[list[float]] = [[], []]
    memory: list[list[float]] = [[], []]
    with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as root:
        for number in range(rounds):
            servers = (
                Mainspring(Path(root) / f"ours-{number}"),
                make_peer(Path(root) / f"peer-{number}", placement=PINNED),
            )
            for which, server in enumerate(servers):
                server.start()
                times[which].append(server.start_s)
                memory[which].append(server.memory_mb())
                server.stop()
    rows = []
    for name, values, unit in (
        ("start to first 200", times, "s"),
        ("memory at rest", memory, "MB"),
    ):
        ours, theirs = (statistics.median(of) for of in values)
        rows.append(
            Row(
                workload=f"{name} ({unit})",
                ours_per_s=ours,
                peer=servers[1].label,
                peer_per_s=theirs,
                ratio=ours / theirs,
                ratio_low=ours / theirs,
                ratio_high=ours / theirs,
                goal=0.0,
                ours_p99_ms=0.0,
                peer_p99_ms=0.0,
            )
        )
    return rows
