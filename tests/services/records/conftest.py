from pathlib import Path

import pytest

from mainspring.adapters.blobs.directory import DirectoryBlobs
from mainspring.adapters.keyring.file import FileKeyring
from mainspring.ports.blobs import Blobs
from mainspring.ports.database import Database
from mainspring.runtime.events.field_encryption import FieldEncryption
from mainspring.runtime.runtime import Runtime
from mainspring.services.records import service
from mainspring.services.records.api import RecordsSettings
from mainspring.testing.clock import FakeClock, SeededEntropy
from tests.services.records.platform import Platform


@pytest.fixture
async def platform(database: Database, tmp_path: Path) -> Platform:
    """The records service on a fresh database; nothing runs but what the test runs."""
    return await _platform(database, tmp_path, 1)


@pytest.fixture
async def other(database: Database, platform: Platform, tmp_path: Path) -> Platform:
    """A second process on the database of the first."""
    return await _platform(database, tmp_path, 2)


async def _platform(database: Database, directory: Path, seed: int) -> Platform:
    clock, entropy = FakeClock(), SeededEntropy(seed)
    keyring = FileKeyring(directory / "keyring.json", clock=clock, entropy=entropy)
    await keyring.open()
    runtime = Runtime(
        database,
        [service],
        keyring=keyring,
        sealer=FieldEncryption(database, keyring, entropy),
        resources={
            RecordsSettings: RecordsSettings(),
            Blobs: DirectoryBlobs(directory / "blobs"),
        },
        clock=clock,
        entropy=entropy,
    )
    await runtime.migrate()
    return Platform(runtime, clock)
