"""The users service over each engine, on a clock that the test moves."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mainspring.adapters.keyring.file import FileKeyring
from mainspring.adapters.telemetry.rollups import Rollups
from mainspring.kernel.authority import Authority
from mainspring.kernel.service import Service
from mainspring.ports.database import Database
from mainspring.ports.mail import Mail
from mainspring.runtime.events.field_encryption import FieldEncryption
from mainspring.runtime.runtime import Runtime
from mainspring.services import users
from mainspring.services.users.api import Passwords, UserAuthenticator, UsersSettings
from mainspring.testing.clock import FakeClock, SeededEntropy
from tests.services.users.people import CountingPasswords, Mailbox, People

SERVICES: tuple[Service, ...] = (users.service,)


@pytest.fixture
def settings() -> UsersSettings:
    return UsersSettings()


@pytest.fixture
def passwords() -> CountingPasswords:
    """Real Argon2id, at parameters that cost a test nothing."""
    return CountingPasswords(SeededEntropy(3), memory_kib=64, passes=1)


@pytest.fixture
async def people(
    database: Database,
    tmp_path: Path,
    settings: UsersSettings,
    passwords: Passwords,
    seed: int,
) -> AsyncIterator[People]:
    """The service at rest: consumers and workers do not run."""
    clock, entropy = FakeClock(), SeededEntropy(seed)
    keyring = FileKeyring(tmp_path / "keyring.json", clock=clock, entropy=entropy)
    await keyring.open()
    sealer = FieldEncryption(database, keyring, entropy, clock)
    mail = Mailbox(tmp_path / "mail")
    authenticator = UserAuthenticator(database, keyring)
    runtime = Runtime(
        database,
        SERVICES,
        keyring=keyring,
        sealer=sealer,
        resources={
            Mail: mail,
            Passwords: passwords,
            UsersSettings: settings,
            Authority: authenticator,
        },
        telemetry=Rollups(clock),
        clock=clock,
        entropy=entropy,
    )
    await runtime.migrate()
    runtime.dispatcher.on_commit(sealer.on_commit)
    yield People(runtime, clock, mail, authenticator, sealer)
    passwords.close()
