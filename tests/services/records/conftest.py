from pathlib import Path

import pytest

from mainspring.adapters.keyring.file import FileKeyring
from mainspring.ports.database import Database
from mainspring.runtime.erasure import Sealer
from mainspring.runtime.runtime import Runtime
from mainspring.services.records import service
from mainspring.services.records.api import RecordsSettings
from mainspring.testing.clock import FakeClock, SeededEntropy
from tests.services.records.platform import Platform


@pytest.fixture
async def platform(database: Database, tmp_path: Path) -> Platform:
    """The records service on a fresh database; nothing runs but what the test runs."""
    clock, entropy = FakeClock(), SeededEntropy(1)
    keyring = FileKeyring(tmp_path / "keyring.json", clock=clock, entropy=entropy)
    await keyring.open()
    runtime = Runtime(
        database,
        [service],
        keyring=keyring,
        sealer=Sealer(database, keyring, entropy),
        resources={RecordsSettings: RecordsSettings()},
        clock=clock,
        entropy=entropy,
    )
    await runtime.migrate()
    return Platform(runtime, clock)
