"""Procrastinate: enqueue with 64 callers through a pool, then one worker, 100 jobs at a time.

Without ``wait`` its worker ends once nothing is left to do, with the end of each job written down.
"""

import asyncio
import json
import logging
import sys
import time

import procrastinate
import psycopg
import uvloop

CALLERS = 64
AT_ONCE = 100


async def main(jobs: int, url: str) -> None:
    """Enqueue all, then run all."""
    connector = procrastinate.PsycopgConnector(conninfo=url, min_size=8, max_size=8)
    app = procrastinate.App(connector=connector)

    @app.task(name="noop", queue="bulk")
    async def noop(number: int) -> None:
        """Do nothing."""

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        numbers = iter(range(jobs))

        async def enqueue() -> None:
            for number in numbers:
                await noop.defer_async(number=number)

        started_s = time.perf_counter()
        await asyncio.gather(*[enqueue() for _ in range(CALLERS)])
        enqueued = jobs / (time.perf_counter() - started_s)
        started_s, used_s = time.perf_counter(), time.process_time()
        await app.run_worker_async(concurrency=AT_ONCE, wait=False, install_signal_handlers=False)
        done = jobs / (time.perf_counter() - started_s)
        cpu_us = (time.process_time() - used_s) / jobs * 1e6
    with psycopg.connect(url) as connection:
        counted = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'"
        row = connection.execute(counted).fetchone()
        assert row == (jobs,), row
    print(json.dumps({"enqueued": enqueued, "done": done, "cpu_us": cpu_us}))


logging.disable(logging.CRITICAL)
uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
