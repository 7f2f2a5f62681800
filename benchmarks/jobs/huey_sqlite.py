"""Huey on SQLite, durable: enqueue one by one, then one consumer with one worker thread."""

import json
import logging
import sys
import threading
import time

from huey import SqliteHuey

jobs, where = int(sys.argv[1]), sys.argv[2]
huey = SqliteHuey(filename=where, fsync=True)
finished = threading.Event()
left = jobs
logging.disable(logging.CRITICAL)


@huey.task()
def noop(number: int) -> None:
    """Do nothing."""
    global left
    left -= 1
    if left == 0:
        finished.set()


started_s = time.perf_counter()
for number in range(jobs):
    noop(number)
enqueued = jobs / (time.perf_counter() - started_s)
consumer = huey.create_consumer(workers=1, periodic=False, initial_delay=0.001, max_delay=0.001)
started_s = time.perf_counter()
consumer.start()
finished.wait()
done = jobs / (time.perf_counter() - started_s)
consumer.stop(graceful=False)
print(json.dumps({"enqueued": enqueued, "done": done}))
sys.stdout.flush()
