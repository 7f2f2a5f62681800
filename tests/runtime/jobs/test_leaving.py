"""A process that is about to end begins no job: another one runs what comes now."""

import asyncio
from pathlib import Path

from mainspring.kernel.job import Job
from mainspring.ports.database import Database
from mainspring.runtime.runtime import Runtime
from mainspring.testing.clock import FakeClock
from tests.deadline import DEADLINE_S
from tests.runtime import links
from tests.runtime.bare_runtime import bare_runtime
from tests.runtime.jobs.test_workers import HITS, enqueue, jobs_in, until

LOOKS = 50


async def test_what_comes_meanwhile_is_left_to_others(
    database: Database, tmp_path: Path, clock: FakeClock
) -> None:
    leaving = await bare_runtime(
        database, tmp_path, [links.links], clock=clock, concurrency={"bulk": 1}
    )
    other = await bare_runtime(database, tmp_path, [links.links], clock=clock, seed=2)
    begun, released = asyncio.Event(), asyncio.Event()

    async def last(call: object) -> None:
        begun.set()
        await released.wait()

    job: Job[...] = Job("links.last", last, queue="bulk", retry=links.QUICK, timeout_s=60)
    job.attach(last)
    leaving.jobs[job.name] = job
    await leaving.start()
    try:
        await enqueue(leaving, job)
        async with asyncio.timeout(DEADLINE_S):
            await begun.wait()
        leaving.leave()
        await enqueue(leaving, links.rescan, link_id="x")
        released.set()  # what runs goes on to its end, and gives its place back
        await until(leaving, lambda: _done(leaving, 1))
        for _ in range(LOOKS):  # as long as whoever claims on needs for a claim, and longer
            assert [job.name for job in await jobs_in(leaving, "ready")] == ["links.rescan"]
    finally:
        await leaving.stop(1.0)
    await other.start()
    await until(other, lambda: _done(other, 2))
    await other.stop(1.0)
    assert leaving.workers.stats["bulk"].done == 1
    assert other.workers.stats["bulk"].done == 1
    assert await database.read(HITS, ()) == ["x"]


async def _done(runtime: Runtime, count: int) -> bool:
    return len(await jobs_in(runtime, "done")) == count
