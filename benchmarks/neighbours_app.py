"""An app whose jobs are in the way of others: what ``neighbours`` measures beside."""

import asyncio
import os

import msgspec

from mainspring import App, Call, Input, Service

SLOW_S = 0.5
LARGE_CHARS = 900_000
bench = Service("bench", doc="Jobs that are in the way of others.")


@bench.job(queue="bulk")
async def noop(call: Call) -> None:
    """Do nothing."""


@bench.job(queue="bulk")
async def slow(call: Call) -> None:
    """Take a while."""
    await asyncio.sleep(SLOW_S)


class Work(Input, frozen=True):
    """How many jobs of each kind to add."""

    noop: int = 0
    slow: int = 0


@bench.operation("POST /v1/bench/work", scope=None)
async def add_work(call: Call, work: Work) -> None:
    """Add jobs."""
    for _ in range(work.noop):
        call.enqueue(noop)
    for _ in range(work.slow):
        call.enqueue(slow)


@bench.event("bench.large.made", subject="name")
class LargeMade(msgspec.Struct, frozen=True):
    """Nearly as large as an event may be."""

    name: str
    text: str


@bench.operation("POST /v1/bench/large", scope=None)
async def make_large(call: Call) -> None:
    """Emit a large event."""
    call.emit(LargeMade(call.new_id("large"), "x" * LARGE_CHARS))


if os.environ.get("BENCH_TAKES"):

    @bench.on("bench.large.*", from_start=True)
    async def take(call: Call, large: LargeMade) -> None:
        """Take a large event, and count it."""
        call.enqueue(noop)


app = App("bench", services=[bench])
