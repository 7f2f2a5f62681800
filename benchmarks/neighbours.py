"""What callers and jobs have left beside what is in their way, here and in an earlier checkout.

Each figure is of a server of its own on PostgreSQL, right after one another for both checkouts.
"""

import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from benchmarks.beside import FREE, PINNED
from benchmarks.load import Plan, request, run
from benchmarks.report import Row
from benchmarks.servers import Mainspring, post, postgres
from mainspring.testing.servers import PostgresServer

APP = Path(__file__).with_name("neighbours_app.py")
RECORDS = "/v1/collections/posts/records"
CALLERS = 64
REPEATERS = 24  # that send their old keys again
HANGING = 4  # receivers that never answer
EVENTS = 600
LOAD_S = 4.0
DUMP_S = 20.0  # how long a snapshot is held before jobs are counted beside it
PATIENCE_S = 60.0
SLOW_JOBS = 3_000
KEYED = 2_000  # creates whose bytes are counted
STREAMS = 8
LARGE = 300  # events of nearly a megabyte each
HELD_S = 6.0  # how long a VACUUM has its lock
SEEN = 100  # events whose way from the commit to their place is timed
_PRIVATE = "ALLOW_PRIVATE_ADDRESSES"


class Site(Mainspring):
    """A checkout's server with the app, on a database of its own."""

    def __init__(
        self, directory: Path, python: str, database_url: str, *, earlier: bool, workers: int = 0
    ) -> None:
        super().__init__(directory, python, placement=FREE if workers > 1 else PINNED)
        self.database_url = database_url
        self._crew = ["--workers", str(workers)] if workers else []
        self._private = f"MAINSPRING_{'WEBHOOKS' if earlier else 'HTTP_CLIENT'}__{_PRIVATE}"

    def start(self, environ: Mapping[str, str] | None = None) -> None:
        """Start on this directory."""
        self.launch(
            [self._python, "-m", "mainspring", "up", str(APP), "--port", str(self.port),
             "--data-dir", str(self.directory / "data"), *self._crew],
            {
                "MAINSPRING_LIMITS__DEFAULT": "1000000/s",
                "MAINSPRING_LIMITS__ANONYMOUS": "1000000/s",
                "MAINSPRING_DATABASE__URL": self.database_url,
                self._private: "true",
                **(environ or {}),
            },
        )  # fmt: skip
        self.key = (self.directory / "data" / "admin.key").read_text().strip()

    def as_admin(self, method: str, path: str, body: Any = None) -> Any:
        """Ask as the administrator."""
        return self.ask(method, path, body, self.key)

    def creates(self, keys: list[str], connections: int, seconds: float, *, repeat: bool) -> Plan:
        """Creates with these idempotency keys."""
        body = json.dumps(post(1)).encode()
        headers = {**self.headers()}
        requests = [
            request("POST", RECORDS, {**headers, "Idempotency-Key": key}, body) for key in keys
        ]
        return Plan("127.0.0.1", self.port, connections, seconds, requests, repeat)


def fresh(count: int) -> list[str]:
    """Keys that nobody has sent."""
    return [uuid.uuid4().hex for _ in range(count)]


async def beside_a_retry_storm(site: Site) -> float:
    """Creates per second beside callers that repeat their keys."""
    site.prepare(0)
    await run(site.creates(fresh(20_000), CALLERS, LOAD_S / 2, repeat=False))
    old = fresh(REPEATERS)
    await run(site.creates(old, 1, LOAD_S, repeat=False))
    others, _ = await asyncio.gather(
        run(site.creates(fresh(40_000), CALLERS, LOAD_S, repeat=False)),
        run(site.creates(old, REPEATERS, LOAD_S, repeat=True)),
    )
    return others.per_second


async def bytes_per_keyed_create(site: Site) -> float:
    """Bytes of write-ahead log per create with an idempotency key."""
    site.prepare(0)
    connection = await asyncpg.connect(site.database_url)
    await connection.execute("CHECKPOINT")
    since = await connection.fetchval("SELECT pg_current_wal_lsn()")
    done = await run(site.creates(fresh(KEYED), CALLERS, PATIENCE_S, repeat=False))
    wal = await connection.fetchval("SELECT pg_current_wal_lsn() - $1::pg_lsn", since)
    await connection.close()
    return float(wal) / done.calls


async def jobs_beside_a_dump(site: Site) -> float:
    """Jobs per second when a snapshot has been held for a while."""
    connection = await asyncpg.connect(site.database_url)
    watch = await asyncpg.connect(site.database_url)
    count = "SELECT count(*) FROM jobs WHERE state = 'done' AND name = 'bench.noop'"
    waiting = "SELECT count(*) FROM jobs WHERE state = 'ready'"
    dump = connection.transaction(isolation="repeatable_read", readonly=True)
    await dump.start()
    await connection.fetchval(count)
    ends_s = time.perf_counter() + DUMP_S
    added = before = 0
    since_s = 0.0
    while (now_s := time.perf_counter()) < ends_s:
        if not since_s and now_s > ends_s - LOAD_S:
            before, since_s = await watch.fetchval(count), now_s
        if await watch.fetchval(waiting) < 1_000:
            await asyncio.to_thread(site.ask, "POST", "/v1/bench/work", {"noop": 500})
            added += 500
    done = await watch.fetchval(count) - before
    rate = done / (time.perf_counter() - since_s)
    await dump.rollback()
    await connection.close()
    await watch.close()
    return float(rate)


async def change_beside_a_queue(site: Site) -> float:
    """Seconds until a change of a schema is done beside jobs that wait in ``bulk``."""
    site.prepare(500)
    for _ in range(SLOW_JOBS // 500):
        await asyncio.to_thread(site.ask, "POST", "/v1/bench/work", {"slow": 500})
    shown = site.as_admin("GET", "/v1/collections/posts")
    fields = [*shown["fields"], {"name": "stars", "type": "number", "default": 1}]
    started_s = time.perf_counter()
    site.as_admin("PATCH", "/v1/collections/posts", {"fields": fields, "indexes": [["views"]]})
    while time.perf_counter() - started_s < PATIENCE_S:
        if (await asyncio.to_thread(site.as_admin, "GET", "/v1/collections/posts"))["ready"]:
            break
        await asyncio.sleep(0.05)
    return time.perf_counter() - started_s


async def delivered_beside_hanging(site: Site) -> float:
    """Events per second at an endpoint that answers, beside some that never do."""
    site.prepare(0)
    arrived = 0
    all_there = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        while head := await reader.readuntil(b"\r\n\r\n"):
            size = next(
                int(line.split(b":")[1])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length")
            )
            await reader.readexactly(size)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            arrived += 1
            if arrived == EVENTS:
                all_there.set()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError):  # at the end
            await asyncio.Event().wait()

    async def hook(handler: Callable[..., Awaitable[None]]) -> None:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        new = {"url": url, "types": ["records.*"]}
        await asyncio.to_thread(site.as_admin, "POST", "/v1/webhooks", new)

    for _ in range(HANGING):
        await hook(hang)
    batch = [{"action": "create", "data": post(n)} for n in range(EVENTS // 2)]
    path = f"{RECORDS}:batch"
    await asyncio.to_thread(site.as_admin, "POST", path, {"items": batch})
    await asyncio.sleep(1)
    await hook(answer)
    started_s = time.perf_counter()
    for _ in range(2):
        await asyncio.to_thread(site.as_admin, "POST", path, {"items": batch})
    try:
        async with asyncio.timeout(PATIENCE_S / 4):
            await all_there.wait()
    except TimeoutError:
        pass
    return arrived / (time.perf_counter() - started_s)


async def cut_at_the_end(site: Site) -> float:
    """Calls of keep-alive connections that got no answer when the server was told to end."""
    site.prepare(0)
    headers = {"Authorization": f"Bearer {site.key}"}
    for _ in range(STREAMS):
        _, stream = await asyncio.open_connection("127.0.0.1", site.port)
        stream.write(request("GET", "/v1/events/stream", headers))
    plan = Plan(
        "127.0.0.1", site.port, CALLERS, LOAD_S, [request("GET", "/healthz", {})], repeat=True
    )
    sent = asyncio.create_task(_calls_until_closed(site.port, plan.requests[0]))
    await asyncio.sleep(1)
    site.process.terminate()
    return float(await sent)


async def _calls_until_closed(port: int, text: bytes) -> int:
    """Call on many connections until the server closes them; return how many calls it cut."""

    async def caller() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while True:
            try:
                writer.write(text)
                head = await reader.readuntil(b"\r\n\r\n")
                size = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
                await reader.readexactly(int(size or 0))
            except (ConnectionError, asyncio.IncompleteReadError):
                return 1
            if b"connection: close" in head.lower():
                writer.close()
                return 0
            await asyncio.sleep(0.05)

    return sum(await asyncio.gather(*[caller() for _ in range(CALLERS)]))


async def longest_create_beside_vacuum(site: Site) -> float:
    """Seconds that the slowest create takes while a rule is changed and a VACUUM has its lock."""
    site.prepare(0)
    connection = await asyncpg.connect(site.database_url)
    shown = site.as_admin("GET", "/v1/collections/posts")
    rules = {**(shown["rules"] or {}), "list": "true"}
    slowest = 0.0
    changed = asyncio.Event()

    async def creates() -> None:
        nonlocal slowest
        while not changed.is_set():
            since_s = time.perf_counter()
            await asyncio.to_thread(site.as_admin, "POST", RECORDS, post(1))
            slowest = max(slowest, time.perf_counter() - since_s)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(creates())
        async with connection.transaction():
            await connection.execute("LOCK TABLE records_records IN SHARE UPDATE EXCLUSIVE MODE")
            change = asyncio.create_task(
                asyncio.to_thread(site.as_admin, "PATCH", "/v1/collections/posts", {"rules": rules})
            )
            await asyncio.wait({change}, timeout=HELD_S)
        await change
        changed.set()
    await connection.close()
    return slowest


async def commit_to_place(site: Site) -> float:
    """Milliseconds from the answer of a create to its event in a live feed, beside a snapshot."""
    site.prepare(0)
    held = await asyncpg.connect(site.database_url)
    dump = held.transaction(isolation="repeatable_read", readonly=True)
    await dump.start()
    await held.fetchval("SELECT count(*) FROM records_records")
    await run(site.creates(fresh(200_000), CALLERS, DUMP_S, repeat=False))
    reader, stream = await asyncio.open_connection("127.0.0.1", site.port)
    stream.write(request("GET", "/v1/events/stream", {"Authorization": f"Bearer {site.key}"}))
    await reader.readuntil(b"\r\n\r\n")
    arrived: dict[str, float] = {}
    came = asyncio.Event()

    async def listen() -> None:
        while line := await reader.readline():
            if line.startswith(b"data:") and b'"records.record.created"' in line:
                arrived[json.loads(line[5:])["subject"]] = time.perf_counter()
                came.set()

    listening = asyncio.create_task(listen())
    took_ms = []
    for number in range(SEEN):
        made = await asyncio.to_thread(site.as_admin, "POST", RECORDS, post(number))
        answered_s = time.perf_counter()
        async with asyncio.timeout(PATIENCE_S):
            while made["id"] not in arrived:
                came.clear()
                await came.wait()
        took_ms.append(1000 * (arrived[made["id"]] - answered_s))
    listening.cancel()
    stream.close()
    await dump.rollback()
    await held.close()
    return max(0.0, statistics.median(took_ms))


async def creates_that_wake(site: Site) -> float:
    """Creates per second of many callers, each of which wakes who waits for its event."""
    site.prepare(0)
    await run(site.creates(fresh(20_000), CALLERS, LOAD_S / 2, repeat=False))
    return (await run(site.creates(fresh(40_000), CALLERS, LOAD_S, repeat=False))).per_second


async def memory_of_a_backlog(site: Site) -> float:
    """The most MiB that a process takes whose consumer finds many large events at its start."""
    site.prepare(0)
    for _ in range(LARGE):
        await asyncio.to_thread(site.ask, "POST", "/v1/bench/large")
    site.stop()
    site.start({"BENCH_TAKES": "1"})
    watch = await asyncpg.connect(site.database_url)
    taken = "SELECT count(*) FROM jobs WHERE name = 'bench.noop'"
    until_s = time.perf_counter() + PATIENCE_S
    while time.perf_counter() < until_s:
        if await watch.fetchval(taken) == LARGE:
            break
        await asyncio.sleep(0.05)
    await watch.close()
    return _peak_mib(site.process.pid)


def _peak_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024


# What is measured, in what unit, and how.
MEASURES: dict[str, tuple[str, Callable[[Site], Awaitable[float]]]] = {
    "creates beside a retry storm": ("/s", beside_a_retry_storm),
    "jobs beside a held snapshot": ("/s", jobs_beside_a_dump),
    "deliveries beside four that hang": ("/s", delivered_beside_hanging),
    "schema change beside 3,000 jobs": ("s", change_beside_a_queue),
    "longest create, a rule changed beside a VACUUM": ("s", longest_create_beside_vacuum),
    "commit to live feed beside a held snapshot": ("ms", commit_to_place),
    "creates that wake": ("/s", creates_that_wake),
    "memory at a backlog of 300 large events": ("MiB", memory_of_a_backlog),
    "calls cut at the end, of 64": ("", cut_at_the_end),
    "write-ahead log per keyed create": ("B", bytes_per_keyed_create),
}


@asynccontextmanager
async def _site(server: PostgresServer, checkout: Path | None) -> Any:
    python = sys.executable if checkout is None else str(checkout / ".venv" / "bin" / "python")
    with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as root:
        site = Site(Path(root), python, server.create_database(), earlier=checkout is not None)
        site.start()
        try:
            yield site
        finally:
            site.stop()


async def _figure(
    server: PostgresServer, checkout: Path | None, take: Callable[[Site], Awaitable[float]]
) -> float:
    async with _site(server, checkout) as site:
        return await take(site)


def measure(earlier: Path | None, only: str = "") -> list[Row]:
    """Return a row for each measure whose name has ``only`` in it; a peer of 0 was not measured."""
    rows: list[Row] = []
    with postgres() as server:
        if server is None:
            return []
        for what, (unit, take) in MEASURES.items():
            if only not in what:
                continue
            ours = uvloop.run(_figure(server, None, take))
            theirs = uvloop.run(_figure(server, earlier, take)) if earlier else 0.0
            ratio = ours / theirs if theirs else 0.0
            name = f"{what} ({unit})" if unit else what
            rows.append(Row(name, ours, "earlier", theirs, ratio, ratio, ratio, 0.0, 0.0, 0.0))
            print(f"{name}: {theirs:,.1f} → {ours:,.1f}", flush=True)
    return rows
