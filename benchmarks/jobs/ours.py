"""Mainspring's runtime alone: enqueue with 64 callers, then run with one worker process."""

import asyncio
import gc
import json
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from mainspring import Call, Service
from mainspring.adapters.keyring.file import FileKeyring
from mainspring.adapters.telemetry.rollups import Rollups
from mainspring.cli.loop import GC_OBJECTS
from mainspring.engines import open_database
from mainspring.kernel.call import SYSTEM
from mainspring.kernel.clock import SystemClock, SystemEntropy
from mainspring.runtime.data_keys import DataKeys
from mainspring.runtime.events.field_encryption import FieldEncryption
from mainspring.runtime.jobs.workers import JobAttempt
from mainspring.runtime.runtime import Runtime

CALLERS = 64
bench = Service("bench", doc="Jobs that do nothing.")
finished = asyncio.Event()
left = int(sys.argv[1])


@bench.job(queue="bulk")
async def noop(call: Call, number: int) -> None:
    """Do nothing."""


def count(attempt: JobAttempt) -> None:
    """Count a job whose end is written down."""
    global left
    left -= attempt.outcome == "done"
    if left == 0:
        finished.set()


async def main(jobs: int, where: str) -> None:
    """Enqueue all, then run all."""
    clock, entropy = SystemClock(), SystemEntropy()
    with tempfile.TemporaryDirectory() as directory:
        keyring = FileKeyring(Path(directory) / "keyring.json", clock=clock, entropy=entropy)
        await keyring.open()
        database = open_database(where if "://" in where else f"sqlite:{where}")
        await database.open()
        data_keys = DataKeys(database, keyring, clock, entropy)
        runtime = Runtime(
            database, [bench], keyring=keyring,
            sealer=FieldEncryption(database, data_keys, entropy),
            telemetry=Rollups(clock), concurrency={"bulk": 512},
        )  # fmt: skip
        await runtime.migrate()
        runtime.workers.on_attempt(count)
        numbers = iter(range(jobs))

        async def enqueue() -> None:
            for number in numbers:
                call = runtime.dispatcher.call(SYSTEM, request_id="bench")
                call.enqueue(noop, number=number)
                await runtime.dispatcher.commit(call)

        started_s = time.perf_counter()
        await asyncio.gather(*[enqueue() for _ in range(CALLERS)])
        enqueued = jobs / (time.perf_counter() - started_s)
        started_s, used_s = time.perf_counter(), time.process_time()
        await runtime.start()
        await finished.wait()
        done = jobs / (time.perf_counter() - started_s)
        cpu_us = (time.process_time() - used_s) / jobs * 1e6
        await runtime.stop(5)
        await database.close()
    print(json.dumps({"enqueued": enqueued, "done": done, "cpu_us": cpu_us}))


gc.set_threshold(GC_OBJECTS, *gc.get_threshold()[1:])  # as ``mainspring up`` does
uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
