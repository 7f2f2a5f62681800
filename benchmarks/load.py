"""A load generator on raw sockets: so many keep-alive connections, each with one call in flight.

It is its own process on its own core, and reads every response to its end.
"""

import asyncio
import time
from collections.abc import Callable
from typing import cast

import httptools
import msgspec
import uvloop

from benchmarks.beside import answer_plan


class Plan(msgspec.Struct):
    """What to send: complete requests, taken in turn by all connections."""

    host: str
    port: int
    connections: int
    seconds: float
    requests: list[bytes]
    repeat: bool  # start again after the last request, or stop there


class Result(msgspec.Struct):
    """What came back. Latencies in milliseconds."""

    calls: int
    seconds: float
    failed: int
    p50_ms: float
    p99_ms: float
    statuses: dict[str, int]

    @property
    def per_second(self) -> float:
        """Answered calls per second."""
        return self.calls / self.seconds


class _Connection(asyncio.Protocol):
    def __init__(
        self, feed: Callable[[], bytes | None], note: Callable[[int, float], None]
    ) -> None:
        self._feed = feed
        self._note = note
        self._parser = httptools.HttpResponseParser(self)
        self._sent_s = 0.0
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._send()

    def _send(self) -> None:
        request = self._feed()
        if request is None:
            self._transport.close()
            return
        self._sent_s = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._note(self._parser.get_status_code(), time.perf_counter() - self._sent_s)
        self._parser = httptools.HttpResponseParser(self)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)


async def run(plan: Plan) -> Result:
    """Send for so long, then let what is in flight come back."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    statuses: dict[str, int] = {}
    started_s = time.perf_counter()
    ends_s = started_s + plan.seconds
    at = 0

    def feed() -> bytes | None:
        nonlocal at
        if time.perf_counter() >= ends_s or (at >= len(plan.requests) and not plan.repeat):
            return None
        request = plan.requests[at % len(plan.requests)]
        at += 1
        return request

    def note(status: int, seconds: float) -> None:
        latencies.append(seconds)
        statuses[str(status)] = statuses.get(str(status), 0) + 1

    connections = []
    for _ in range(plan.connections):
        _, connection = await loop.create_connection(
            lambda: _Connection(feed, note), plan.host, plan.port
        )
        connections.append(connection)
    await asyncio.wait([c.closed for c in connections], timeout=plan.seconds + 30)
    took_s = time.perf_counter() - started_s
    latencies.sort()
    good = sum(n for status, n in statuses.items() if status.startswith("2"))
    return Result(
        calls=good,
        seconds=took_s,
        failed=len(latencies) - good,
        p50_ms=1000 * latencies[len(latencies) // 2] if latencies else 0.0,
        p99_ms=1000 * latencies[len(latencies) * 99 // 100] if latencies else 0.0,
        statuses=statuses,
    )


def request(
    method: str, path: str, headers: dict[str, str], body: bytes = b"", host: str = "bench"
) -> bytes:
    """Write one HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


if __name__ == "__main__":
    answer_plan(Plan, lambda plan: uvloop.run(run(plan)))
