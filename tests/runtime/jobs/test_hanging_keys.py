"""Keys whose jobs have ended well, and then hang one after the other: the others go on."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mainspring.kernel.call import SYSTEM
from mainspring.kernel.job import Job
from mainspring.kernel.policy import PerKey
from mainspring.ports.database import Database
from mainspring.runtime.runtime import Runtime
from mainspring.testing.clock import FakeClock
from tests.deadline import DEADLINE_S
from tests.runtime import links
from tests.runtime.bare_runtime import bare_runtime

PLACES = 32
PROVEN = 60  # jobs of each key that are done before it hangs
HANGING = ["a", "b", "c", "d", "e", "f"]


class Providers:
    """What the jobs call: some of it never answers."""

    def __init__(self) -> None:
        self.hanging: set[str] = set()
        self.held: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.moved = asyncio.Event()
        self.released = asyncio.Event()

    async def call(self, call: object, provider: str) -> None:
        if provider in self.hanging:
            self.held[provider] += 1
            self.moved.set()
            await self.released.wait()
        self.answered[provider] += 1
        self.moved.set()

    async def until_answered(self, provider: str, count: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while self.answered[provider] < count:
                self.moved.clear()
                await self.moved.wait()

    async def until_held(self, provider: str) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not self.held[provider]:
                self.moved.clear()
                await self.moved.wait()


async def add(runtime: Runtime, job: Job[...], provider: str, count: int) -> None:
    call = runtime.dispatcher.call(SYSTEM, request_id="req_1")
    for _ in range(count):
        call.enqueue(job, provider=provider)
    await runtime.dispatcher.commit(call)


@pytest.fixture
async def crowded(database: Database, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Runtime]:
    runtime = await bare_runtime(
        database, tmp_path, [links.links], clock=clock, concurrency={"bulk": PLACES}
    )
    yield runtime  # to be started once it has the job: one that it does not know it sets aside
    await runtime.stop(1.0)


async def test_others_go_on_beside_keys_that_hang_after_they_ended_well(crowded: Runtime) -> None:
    """Without a bound four of them hold every place until their time is up."""
    providers = Providers()
    job: Job[...] = Job(
        "links.call_provider", providers.call, queue="bulk", retry=links.QUICK, timeout_s=60,
        concurrency=PerKey("provider", PLACES),
    )  # fmt: skip
    job.attach(providers.call)
    crowded.jobs[job.name] = job
    await crowded.start()
    try:
        for key in HANGING:
            await add(crowded, job, key, PROVEN)
        for key in HANGING:
            await providers.until_answered(key, PROVEN)
        for key in HANGING:
            providers.hanging.add(key)
            await add(crowded, job, key, PLACES)
            await providers.until_held(key)
        await add(crowded, job, "healthy", PROVEN)
        await providers.until_answered("healthy", PROVEN)
        assert providers.held.total() < PLACES
        assert [providers.answered[key] for key in HANGING] == [PROVEN] * len(HANGING)
    finally:
        providers.released.set()
