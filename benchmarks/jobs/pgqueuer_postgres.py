"""PgQueuer: enqueue with 64 callers through a pool, then one worker in batches of 100.

It gathers the ends of jobs before it writes them down, the last ones when it is told to end. So it
is timed until the end of each is in the database, as ours are.
"""

import asyncio
import json
import sys
import time

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.models import Job
from pgqueuer.queries import Queries

CALLERS = 64
BATCH = 100


async def main(jobs: int, url: str) -> None:
    """Enqueue all, then run all."""
    async with asyncpg.create_pool(url, min_size=8, max_size=8) as pool:
        queries = Queries.from_asyncpg_pool(pool)
        await queries.install()
        numbers = iter(range(jobs))

        async def enqueue() -> None:
            for number in numbers:
                await queries.enqueue("noop", str(number).encode())

        started_s = time.perf_counter()
        await asyncio.gather(*[enqueue() for _ in range(CALLERS)])
        enqueued = jobs / (time.perf_counter() - started_s)
        worker = PgQueuer.from_asyncpg_pool(pool)
        finished = asyncio.Event()
        left = jobs

        @worker.entrypoint("noop")
        async def noop(job: Job) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                finished.set()

        started_s, used_s = time.perf_counter(), time.process_time()
        running = asyncio.create_task(worker.run(batch_size=BATCH))
        await finished.wait()
        worker.shutdown.set()
        await asyncio.wait([running], timeout=10)
        done = jobs / (time.perf_counter() - started_s)
        cpu_us = (time.process_time() - used_s) / jobs * 1e6
        assert await pool.fetchval("SELECT count(*) FROM pgqueuer") == 0
    print(json.dumps({"enqueued": enqueued, "done": done, "cpu_us": cpu_us}))


uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
