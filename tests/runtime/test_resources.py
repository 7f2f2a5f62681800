"""What services provide is closed at the end, what needs it first."""

import threading
from pathlib import Path

from mainspring.adapters.keyring.file import FileKeyring
from mainspring.adapters.telemetry.rollups import Rollups
from mainspring.kernel.clock import Clock
from mainspring.kernel.service import Service
from mainspring.ports.database import Database
from mainspring.runtime.events.field_encryption import FieldEncryption
from mainspring.runtime.runtime import Runtime
from mainspring.testing.clock import FakeClock, SeededEntropy

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
    clock, entropy = FakeClock(), SeededEntropy(1)
    keyring = FileKeyring(tmp_path / "keyring.json", clock=clock, entropy=entropy)
    runtime = Runtime(
        database,
        [shelves],
        keyring=keyring,
        sealer=FieldEncryption(database, keyring, entropy),
        telemetry=Rollups(clock),
        clock=clock,
        entropy=entropy,
    )
    pool = runtime.resources[Pool]
    assert runtime.resources[Client].pool is pool
    assert pool.clock is clock
    CLOSED.clear()
    await runtime.close()
    assert CLOSED == [("client", True), ("pool", False)]  # one that may block has its own thread
