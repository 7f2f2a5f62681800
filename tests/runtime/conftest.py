"""A runtime of the links service over each engine, on a clock that the test moves."""

from pathlib import Path

import pytest

from mainspring.adapters.keyring.file import FileKeyring
from mainspring.adapters.telemetry.rollups import Rollups
from mainspring.kernel.service import Service
from mainspring.ports.database import Database
from mainspring.runtime.database_clock import DatabaseClock
from mainspring.runtime.events.field_encryption import FieldEncryption
from mainspring.runtime.runtime import Runtime
from mainspring.testing.clock import FakeClock, SeededEntropy
from tests.runtime.links import links


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def services() -> list[Service]:
    return [links]


@pytest.fixture
async def runtime(
    database: Database, tmp_path: Path, clock: FakeClock, services: list[Service]
) -> Runtime:
    entropy = SeededEntropy(1)
    keyring = FileKeyring(tmp_path / "keyring.json", clock=clock, entropy=entropy)
    await keyring.open()
    runtime = Runtime(
        database,
        services,
        keyring=keyring,
        sealer=FieldEncryption(database, keyring, entropy),
        resources={DatabaseClock: DatabaseClock(clock)},
        telemetry=Rollups(clock),
        clock=clock,
        entropy=entropy,
    )
    await runtime.migrate()
    return runtime
