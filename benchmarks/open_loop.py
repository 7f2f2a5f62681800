"""Calls that come at a fixed rate, whatever the server makes of it, in a process of their own.

Each call has a moment at which it is due, and its latency counts from there: a stall is felt by
every call that was due meanwhile, as by people who do not wait for each other. A generator that
asks again once it was answered would have sent none of those.
"""

import asyncio
import time
from collections import deque
from typing import cast

import httptools
import msgspec
import uvloop

from benchmarks.beside import answer_plan

PATIENCE_S = 60.0


class Plan(msgspec.Struct):
    """What to send at which rate. ``requests`` are pairs of a kind and a whole request."""

    host: str
    port: int
    connections: int
    per_second: float
    seconds: float
    requests: list[tuple[str, bytes]]


class Result(msgspec.Struct):
    """Latencies of one kind of call in milliseconds, from when it was due."""

    kind: str
    calls: int
    failed: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    worst_ms: float


class _Connection(asyncio.Protocol):
    def __init__(self, generator: "_Generator") -> None:
        self._generator = generator
        self._parser = httptools.HttpResponseParser(self)
        self._kind, self._due_s = "", 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def send(self, kind: str, request: bytes, due_s: float) -> None:
        self._kind, self._due_s = kind, due_s
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        good = self._parser.get_status_code() < 300
        late_s = time.perf_counter() - self._due_s
        self._parser = httptools.HttpResponseParser(self)
        self._generator.answered(self, self._kind, late_s, good=good)

    def connection_lost(self, _: Exception | None) -> None:
        self._generator.lost()

    def close(self) -> None:
        self._transport.close()


class _Generator:
    """Sends what is due over whichever connection is free; what finds none waits, and counts."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        # In turns: a server closes one that it has heard nothing of for a while.
        self._free: deque[_Connection] = deque()
        self._due: deque[tuple[str, bytes, float]] = deque()
        self._left = len(plan.requests)
        self.late_s: dict[str, list[float]] = {}
        self.failed: dict[str, int] = {}
        self._done = asyncio.Event()

    async def run(self) -> None:
        loop, plan = asyncio.get_running_loop(), self._plan
        connections = []
        for _ in range(plan.connections):
            made = await loop.create_connection(lambda: _Connection(self), plan.host, plan.port)
            connections.append(made[1])
        self._free.extend(connections)
        started_s = time.perf_counter() + 0.1
        for number, (kind, request) in enumerate(plan.requests):
            due_s = started_s + number / plan.per_second
            if (left_s := due_s - time.perf_counter()) > 0:
                # To the millisecond: who spins instead is the first to wait for a busy machine.
                await asyncio.sleep(left_s)
            self._due.append((kind, request, due_s))
            self._send()
        async with asyncio.timeout(PATIENCE_S):
            await self._done.wait()
        if self._left:
            raise RuntimeError(f"the server closed a connection: {self._left} calls unanswered")
        for connection in connections:
            connection.close()

    def answered(self, connection: _Connection, kind: str, late_s: float, *, good: bool) -> None:
        self.late_s.setdefault(kind, []).append(late_s)
        self.failed[kind] = self.failed.get(kind, 0) + (not good)
        self._free.append(connection)
        self._left -= 1
        if not self._left:
            self._done.set()
        self._send()

    def lost(self) -> None:
        """Give up: which call went with the connection nobody knows."""
        self._done.set()

    def _send(self) -> None:
        while self._due and self._free:
            self._free.popleft().send(*self._due.popleft())


async def run(plan: Plan) -> list[Result]:
    """Send everything when it is due, and wait for the last answer."""
    generator = _Generator(plan)
    await generator.run()
    return [
        _result(kind, sorted(late_s), generator.failed[kind])
        for kind, late_s in sorted(generator.late_s.items())
    ]


def _result(kind: str, late_s: list[float], failed: int) -> Result:
    def at(share: float) -> float:
        return 1000 * late_s[min(len(late_s) - 1, int(len(late_s) * share))]

    return Result(kind, len(late_s), failed, at(0.5), at(0.99), at(0.999), 1000 * late_s[-1])


if __name__ == "__main__":
    answer_plan(Plan, lambda plan: uvloop.run(run(plan)))
