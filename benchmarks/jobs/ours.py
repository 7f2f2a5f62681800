"""Mainspring's runtime alone: enqueue with 64 callers, then run with one worker process."""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from mainspring import Call, Service
from mainspring.adapters.keyring.file import FileKeyring
from mainspring.adapters.telemetry.rollups import Rollups
from mainspring.app import open_database
from mainspring.kernel.call import SYSTEM
from mainspring.kernel.clock import SystemClock, SystemEntropy
from mainspring.runtime.events.field_encryption import FieldEncryption
from mainspring.runtime.runtime import Runtime

CALLERS = 64
bench = Service("bench", doc="Jobs that do nothing.")
finished = asyncio.Event()
left = int(sys.argv[1])


@bench.job(queue="bulk")
async def noop(call: Call, number: int) -> None:
    """Do nothing."""
    global left
    left -= 1
    if left == 0:
        finished.set()


async def main(jobs: int, where: str) -> None:
    """Enqueue all, then run all."""
    clock, entropy = SystemClock(), SystemEntropy()
    with tempfile.TemporaryDirectory() as directory:
        keyring = FileKeyring(Path(directory) / "keyring.json", clock=clock, entropy=entropy)
        await keyring.open()
        database = open_database(where)
        await database.open()
        runtime = Runtime(
            database, [bench], keyring=keyring, sealer=FieldEncryption(database, keyring, entropy),
            telemetry=Rollups(clock), concurrency={"bulk": 256},
        )  # fmt: skip
        await runtime.migrate()
        numbers = iter(range(jobs))

        async def enqueue() -> None:
            for number in numbers:
                call = runtime.dispatcher.call(SYSTEM, request_id="bench")
                call.enqueue(noop, number=number)
                await runtime.dispatcher.commit(call)

        started_s = time.perf_counter()
        await asyncio.gather(*[enqueue() for _ in range(CALLERS)])
        enqueued = jobs / (time.perf_counter() - started_s)
        started_s = time.perf_counter()
        await runtime.start()
        await finished.wait()
        done = jobs / (time.perf_counter() - started_s)
        await runtime.stop(5)
        await database.close()
    print(json.dumps({"enqueued": enqueued, "done": done}))


uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
