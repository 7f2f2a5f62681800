"""A service with jobs of every temper, for the tests of the jobs API."""

import asyncio

import msgspec

from mainspring.kernel.call import Call
from mainspring.kernel.job import JobFailed
from mainspring.kernel.policy import RetryPolicy
from mainspring.kernel.service import Service

QUICK = RetryPolicy(max_attempts=2, first_s=30, cap_s=30)

chores = Service("chores", doc="Jobs, for tests.")


@chores.event("chores.chore.done", subject="what")
class ChoreDone(msgspec.Struct, frozen=True):
    what: str


class Doors:
    """What a test holds shut: a chore waits at its door, and says that it is there."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.open = asyncio.Event()


@chores.job(queue="bulk", public=True)
async def sweep(call: Call, what: str, times: int = 1) -> None:
    """Sweep something."""
    call.emit(ChoreDone(what))


@chores.job(queue="bulk", public=True, retry=QUICK)
async def spill(call: Call, what: str) -> None:
    raise JobFailed(f"{what} was spilt")


@chores.job(queue="bulk", public=True, retry=QUICK)
async def stumble(call: Call, what: str) -> None:
    raise ValueError(f"stumbled over {what}")


@chores.job(queue=chores.queue("attic", concurrency=64), public=True)
async def wait(call: Call, what: str) -> None:
    doors = call.use(Doors)
    call.progress = 0.5
    doors.started.set()
    await doors.open.wait()
    call.emit(ChoreDone(what))


@chores.job()
async def private(call: Call, secret: str = "") -> None:
    """Trusts its arguments."""


chores.every("0 5 * * *", private)
