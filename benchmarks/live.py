"""From a create to whoever follows the feed, with one follower and with many.

The clock runs from the sending of the create until a follower has the event in its hands; creates
follow one another, so nothing waits behind another. The server has one core, the followers another.
"""

import json
import tempfile
from itertools import count, islice
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.beside import run_beside
from benchmarks.followers import Plan, Result
from benchmarks.load import request
from benchmarks.servers import Mainspring, PocketBase, Server

FOLLOWERS = (1, 1_000)
IDLE = (1_000, 10_000)
PEER_IDLE = 1_000  # it takes a call more for each, one after another
EVENTS = 200
GAP_S = 0.002  # between the last follower of one event and the next create
KEYS = 250  # that many followers share among them
_ROOM = {
    f"MAINSPRING_SERVER__{name}": "20000"
    for name in (
        "CONNECTIONS_MAX", "CONNECTIONS_PER_ADDRESS_MAX", "STREAMS_MAX", "STREAMS_PER_CALLER_MAX",
    )
}  # fmt: skip
_NUMBERS = count()  # of posts: each has an idempotency key of its own
TYPES = "records.record.created"


class Heard(msgspec.Struct):
    """How late the followers of one server were."""

    who: str
    result: Result


def show(found: list[Heard]) -> None:
    """Print the table."""
    table = Table(
        "server", "followers", "p50 ms", "p99 ms", "to the last, p50 ms", "CPU us each",
        title="create to follower",
    )  # fmt: skip
    for heard in found:
        result = heard.result
        table.add_row(
            heard.who, f"{result.followers:,}", f"{result.p50_ms:.2f}", f"{result.p99_ms:.2f}",
            f"{result.last_p50_ms:.2f}", f"{result.cpu_us:.1f}",
        )  # fmt: skip
    Console(width=120).print(table)


def show_memory(found: list[Heard]) -> None:
    """Print what followers who hear nothing take."""
    table = Table("server", "idle followers", "bytes each", title="memory")
    for heard in found:
        each = f"{heard.result.memory_bytes:,.0f}"
        table.add_row(heard.who, f"{heard.result.followers:,}", each)
    Console(width=120).print(table)


def memory(counts: tuple[int, ...] = IDLE, *, beside_peer: bool = True) -> list[Heard]:
    """Measure how much a server grows by for each follower, on a server of its own each time."""
    found: list[Heard] = []
    with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as root:
        for idle in counts:
            ours = Mainspring(Path(root) / f"ours-{idle}", settings=_ROOM)
            ours.start()
            try:
                ours.prepare(0)
                _hear(ours, "", _feed(ours, 50, 1), 0)  # what the first ones load is not theirs
                found.append(_hear(ours, "one key", _feed(ours, idle, 1), 0))
            finally:
                ours.stop()
            if beside_peer and idle <= PEER_IDLE:
                peer = PocketBase(Path(root) / f"peer-{idle}")
                peer.start()
                try:
                    peer.prepare(0)
                    _hear(peer, "", _realtime(peer, 50), 0)
                    found.append(_hear(peer, "one user", _realtime(peer, idle), 0))
                finally:
                    peer.stop()
    return found


def measure(
    counts: tuple[int, ...] = FOLLOWERS, events: int = EVENTS, *, beside_peer: bool = True
) -> list[Heard]:
    """Measure each number of followers, with one key for all and with a key each; then the peer."""
    found: list[Heard] = []
    with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as root:
        ours = Mainspring(Path(root) / "ours")
        ours.start()
        try:
            ours.prepare(0)
            for followers in counts:
                found.append(_hear(ours, "one key", _feed(ours, followers, 1), events))
                if followers > KEYS:
                    followed = _feed(ours, followers, KEYS)
                    found.append(_hear(ours, f"{KEYS} keys", followed, events))
        finally:
            ours.stop()
        if beside_peer:
            peer = PocketBase(Path(root) / "peer")
            peer.start()
            try:
                peer.prepare(0)
                found += [
                    _hear(peer, "one user", _realtime(peer, followers), events)
                    for followers in counts
                ]
            finally:
                peer.stop()
    return found


def _feed(server: Mainspring, followers: int, keys: int) -> Plan:
    """Followers of the feed, with keys of their own or one for all."""
    tokens = [server.make_key("events:read", "records:read") for _ in range(keys)]
    asked = [
        request(
            "GET", f"/v1/events/stream?type={TYPES}", {"Authorization": f"Bearer {token}"}
        )
        for token in tokens
    ]  # fmt: skip
    return Plan(
        "127.0.0.1", server.port, [asked[n % keys] for n in range(followers)], [], b"event: ready",
        GAP_S, server.process.pid,
    )  # fmt: skip


def _realtime(server: PocketBase, followers: int) -> Plan:
    """Followers of PocketBase's collection, each subscribed as a logged-in user."""
    subscribe = json.dumps({"clientId": "NAME", "subscriptions": ["posts/*"]}).encode()
    headers = {**server.headers(), "Connection": "close"}
    # The length is of the body with a name in place of NAME: they have 40 characters.
    body = subscribe.replace(b"NAME", b"n" * 40)
    wanted = request("POST", "/api/realtime", headers, body).replace(b"n" * 40, b"NAME")
    return Plan(
        "127.0.0.1", server.port, [request("GET", "/api/realtime", {})] * followers, [],
        b"PB_CONNECT", GAP_S, server.process.pid, wanted, b'"clientId":"',
    )  # fmt: skip


def _hear(server: Server, how: str, plan: Plan, events: int) -> Heard:
    for number in islice(_NUMBERS, events):
        title = f"live {number} ."
        plan.creates.append((server.create(number, title), title.encode()))
    result = run_beside("benchmarks.followers", plan, Result)
    return Heard(f"{server.label}, {how}", result)
