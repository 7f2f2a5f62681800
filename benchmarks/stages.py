"""Where the time of a call goes: microseconds per stage, beside the kept figures.

A platform is called in process, with memory where its sockets would be. A stopwatch goes with the
loop: what it counts for a stage is the loop's time on the processor in it and in nothing below it,
its own cost of about two microseconds a stage included. The lowest of many batches counts.

Figures are kept in yardsticks, a fixed piece of work timed in the same run, so that machines can be
compared.
"""

import asyncio
import gc
import json
import time
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.servers import post
from mainspring.adapters.database.sqlite import SqliteDatabase
from mainspring.gateway.pipeline import Gateway
from mainspring.interfaces.http.connection import HttpConnection
from mainspring.interfaces.rest import asgi
from mainspring.runtime.invoke import dispatcher
from mainspring.runtime.invoke.invoker import LocalInvoker
from mainspring.testing import Platform
from mainspring.testing.client import Client

KEPT = Path(__file__).parent / "results" / "stages.json"
GREW = 1.2  # a stage that takes this much more than the kept figure is marked
RECORDS = 500
TOGETHER = 32  # calls under way at once
ROUNDS = 10  # of so many calls in a batch
BATCHES = 30
RECORDS_PATH = "/v1/collections/posts/records"

Stages = dict[str, float]  # microseconds, or yardsticks, of a call by stage

SERVER, REST, GATEWAY, INVOKE, SERVICE, DATABASE, ANSWER, THREADS = (
    "server", "rest", "gateway", "invoke", "service", "database", "answer", "other threads",
)  # fmt: skip


class Stopwatch:
    """Counts the time of the stage that the loop is in."""

    def __init__(self) -> None:
        self.spent_ns: dict[str, int] = {}
        self._stage = SERVER
        self._since_ns = 0

    def start(self) -> None:
        """Begin anew, in the server."""
        self.spent_ns = dict.fromkeys((SERVER, REST, GATEWAY, INVOKE, SERVICE, DATABASE, ANSWER), 0)
        self._stage, self._since_ns = SERVER, time.thread_time_ns()

    def enter(self, stage: str) -> str:
        """Go on in another stage; return the one before."""
        now_ns = time.thread_time_ns()
        before = self._stage
        self.spent_ns[before] = self.spent_ns.get(before, 0) + now_ns - self._since_ns
        self._stage, self._since_ns = stage, now_ns
        return before

    def wrap(self, owner: Any, name: str, stage: str) -> None:
        """Have a function, or what it returns to be awaited, counted as a stage."""
        inner = getattr(owner, name)

        def call(*args: Any, **named: Any) -> Any:
            before = self.enter(stage)
            try:
                found = inner(*args, **named)
            finally:
                self.enter(before)
            return _Counted(self, stage, found) if asyncio.iscoroutine(found) else found

        setattr(owner, name, call)


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine whose steps are counted as a stage."""

    def __init__(self, watch: Stopwatch, stage: str, inner: Coroutine[Any, Any, Any]) -> None:
        self._watch, self._stage, self._inner = watch, stage, inner

    def send(self, value: Any) -> Any:
        """Take a step."""
        before = self._watch.enter(self._stage)
        try:
            return self._inner.send(value)
        finally:
            self._watch.enter(before)

    def throw(self, *error: Any) -> Any:
        """Take a step with an error."""
        before = self._watch.enter(self._stage)
        try:
            return self._inner.throw(*error)
        finally:
            self._watch.enter(before)

    def close(self) -> None:
        """End it."""
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        value = None
        while True:
            try:
                waits_for = self.send(value)
            except StopIteration as done:
                return done.value
            value = yield waits_for


class Peer(asyncio.Transport):
    """The other end of a connection: it takes every answer at once."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = asyncio.Event()
        self.said = b""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Say who is connected."""
        return ("127.0.0.1", 1) if name in {"peername", "sockname"} else default

    def write(self, data: Any) -> None:
        """Take an answer."""
        self.said = data
        self.answered.set()

    def is_closing(self) -> bool:
        """It stays open."""
        return False

    def pause_reading(self) -> None:
        """It sends nothing before it has its answer."""

    def resume_reading(self) -> None:
        """It sends nothing before it has its answer."""

    def get_write_buffer_size(self) -> int:
        """All of it is taken."""
        return 0


def measure() -> dict[str, Stages]:
    """Return microseconds by workload and stage, with the yardstick's under its name."""
    watch = Stopwatch()
    watch.start()
    for owner, name, stage in (
        (asgi.RestApp, "__call__", REST), (Gateway, "admit", GATEWAY),
        (LocalInvoker, "invoke", INVOKE), (dispatcher, "contained", SERVICE),
        (SqliteDatabase, "read", DATABASE), (SqliteDatabase, "page", DATABASE),
        (SqliteDatabase, "commit", DATABASE), (asgi, "answer_json", ANSWER),
    ):  # fmt: skip
        watch.wrap(owner, name, stage)
    return uvloop.run(_measure(watch))


async def _measure(watch: Stopwatch) -> dict[str, Stages]:
    found: dict[str, Stages] = {"yardstick": {"yardstick": min(_yardstick() for _ in range(50))}}
    async with Platform() as platform:
        await _prepare(platform.admin)
        user = await platform.as_user("reader@example.com")
        listed = await user.get(f"{RECORDS_PATH}?limit=500")
        token = await user.credential()
        ids = [item["id"] for item in listed.expect(200)["items"]]
        head = f"HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"

        def read(number: int) -> bytes:
            return f"GET {RECORDS_PATH}/{ids[number % len(ids)]} {head}\r\n".encode()

        def page(_: int) -> bytes:
            return f"GET {RECORDS_PATH}?limit=30 {head}\r\n".encode()

        def create(number: int) -> bytes:
            body = json.dumps(post(number))
            return (
                f"POST {RECORDS_PATH} {head}Idempotency-Key: stages-{number}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            ).encode()

        connections = []
        for _ in range(TOGETHER):
            peer, connection = Peer(), platform.app.server.connection()
            connection.connection_made(peer)
            connections.append((peer, connection))
        for name, make in (("read", read), ("list", page), ("create", create)):
            batches = [
                await _batch(watch, connections, make, number * TOGETHER * ROUNDS)
                for number in range(BATCHES)
            ]
            found[name] = min(batches, key=lambda batch: sum(batch.values()))
    return found


async def _prepare(admin: Client) -> None:
    fields = [{"name": "title", "type": "text", "required": True, "max": 200}]
    fields += [{"name": name, "type": "text"} for name in ("body", "status")]
    fields.append({"name": "views", "type": "number"})
    rules = dict.fromkeys(("list", "view", "create", "update", "delete"), 'caller.kind == "user"')
    made = {"name": "posts", "fields": fields, "rules": rules}
    (await admin.post("/v1/collections", made)).expect(201)
    items = [{"action": "create", "data": post(number)} for number in range(RECORDS)]
    (await admin.post(f"{RECORDS_PATH}:batch", {"items": items})).expect(200)


async def _batch(
    watch: Stopwatch,
    connections: list[tuple[Peer, HttpConnection]],
    make: Callable[[int], bytes],
    first: int,
) -> Stages:
    """Return the microseconds of a call in each stage, of a batch of them."""
    asked = [make(first + number) for number in range(TOGETHER * ROUNDS)]
    gc.collect()
    cpu_ns, thread_ns = time.process_time_ns(), time.thread_time_ns()
    watch.start()
    for turn in range(ROUNDS):
        for number, (peer, connection) in enumerate(connections):
            peer.answered.clear()
            connection.data_received(asked[turn * TOGETHER + number])
        for peer, _ in connections:
            await peer.answered.wait()
            if not peer.said.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
                raise RuntimeError(peer.said.decode())
    watch.enter(SERVER)
    thread_ns = time.thread_time_ns() - thread_ns
    others_ns = time.process_time_ns() - cpu_ns - thread_ns
    spent_ns = watch.spent_ns | {THREADS: max(0, others_ns)}
    return {stage: ns / len(asked) / 1_000 for stage, ns in spent_ns.items()}


def _yardstick() -> float:
    """Microseconds of a fixed piece of work in the manner of ours: objects, JSON and calls."""
    began_ns = time.process_time_ns()
    for number in range(100):
        values = msgspec.json.decode(msgspec.json.encode(post(number)))
        sorted((key, str(value)) for key, value in values.items())
    return (time.process_time_ns() - began_ns) / 100 / 1_000


def show(found: dict[str, Stages]) -> None:
    """Print the table, with what grew since the figures were kept."""
    kept = msgspec.json.decode(KEPT.read_bytes()) if KEPT.exists() else {}
    yardstick_us = found["yardstick"]["yardstick"]
    table = Table("call", "stage", "us", "yardsticks", "kept", "")
    for workload, stages in found.items():
        if workload == "yardstick":
            continue
        for stage, us in [*stages.items(), ("in all", sum(stages.values()))]:
            yardsticks, before = us / yardstick_us, kept.get(workload, {}).get(stage)
            grew = before and yardsticks > GREW * before and us > 1
            table.add_row(
                workload, stage, f"{us:.1f}", f"{yardsticks:.2f}",
                "" if before is None else f"{before:.2f}",
                f"grew to {yardsticks / before:.2f}" if grew else "",
            )  # fmt: skip
    Console().print(table)
    print(f"a yardstick is {yardstick_us:.2f} us")


def keep(found: dict[str, Stages]) -> Path:
    """Write the figures down, for the next run to be compared with."""
    yardstick_us = found.pop("yardstick")["yardstick"]
    kept = {
        workload: {
            stage: round(us / yardstick_us, 3)
            for stage, us in [*stages.items(), ("in all", sum(stages.values()))]
        }
        for workload, stages in found.items()
    }
    KEPT.write_bytes(msgspec.json.format(msgspec.json.encode(kept)) + b"\n")
    return KEPT
