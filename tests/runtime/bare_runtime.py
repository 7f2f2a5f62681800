"""A runtime alone, for tests of its insides: no gateway, no interface, and no service but theirs.

What a caller sees is tested on ``mainspring.testing.Platform``.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mainspring.adapters.keyring.file import FileKeyring
from mainspring.adapters.telemetry.rollups import Rollups
from mainspring.kernel.service import Service
from mainspring.ports.bus import Bus
from mainspring.ports.database import Database
from mainspring.runtime.data_keys import DataKeys
from mainspring.runtime.database_clock import DatabaseClock
from mainspring.runtime.events.field_encryption import FieldEncryption
from mainspring.runtime.runtime import Runtime
from mainspring.testing.clock import FakeClock, SeededEntropy


async def bare_runtime(
    database: Database,
    folder: Path,
    services: Iterable[Service],
    *,
    clock: FakeClock,
    seed: int = 1,
    bus: Bus | None = None,
    resources: Mapping[type, Any] | None = None,
    concurrency: Mapping[str, int] | None = None,
) -> Runtime:
    """Make one over an open database, whose schema it brings up to date. Nothing of it moves.

    Several over one database and folder are processes that share a keyring.
    """
    entropy = SeededEntropy(seed)
    keyring = FileKeyring(folder / "keyring.json", clock=clock, entropy=entropy)
    await keyring.open()
    data_keys = DataKeys(database, keyring, clock, entropy)
    runtime = Runtime(
        database,
        services,
        keyring=keyring,
        sealer=FieldEncryption(database, data_keys, entropy, clock),
        resources={DatabaseClock: DatabaseClock(clock), **(resources or {})},
        telemetry=Rollups(clock),
        clock=clock,
        entropy=entropy,
        bus=bus,
        concurrency=concurrency,
    )
    await runtime.migrate()
    return runtime
