"""What services provide is closed at the end, what needs it first."""

import threading
from pathlib import Path

from mainspring.kernel.clock import Clock
from mainspring.kernel.service import Service
from mainspring.ports.database import Database
from mainspring.testing.clock import FakeClock
from tests.runtime.bare_runtime import bare_runtime

CLOSED: list[tuple[str, bool]] = []


class Pool:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def close(self) -> None:
        CLOSED.append(("pool", threading.current_thread() is threading.main_thread()))


class Client:
    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    async def close(self) -> None:
        CLOSED.append(("client", threading.current_thread() is threading.main_thread()))


class Counts:
    """Has nothing to let go of."""


async def test_the_last_made_is_closed_first(database: Database, tmp_path: Path) -> None:
    shelves = Service("shelves", doc="Shelves.")
    shelves.provide(Client, needs=(Pool,))
    shelves.provide(Counts)
    shelves.provide(Pool, needs=(Clock,))
    clock = FakeClock()
    runtime = await bare_runtime(database, tmp_path, [shelves], clock=clock)
    pool = runtime.resources[Pool]
    assert runtime.resources[Client].pool is pool
    assert pool.clock is clock
    CLOSED.clear()
    await runtime.close()
    assert CLOSED == [("client", True), ("pool", False)]  # one that may block has its own thread
