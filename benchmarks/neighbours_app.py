"""An app whose jobs are in the way of others: what ``neighbours`` measures beside."""

import asyncio

from mainspring import App, Call, Input, Service

SLOW_S = 0.5
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


app = App("bench", services=[bench])
