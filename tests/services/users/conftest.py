"""The users service over each engine, on a clock that the test moves."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mainspring.ports.mail import Mail
from mainspring.services.users.passwords import Passwords
from mainspring.testing import Platform
from mainspring.testing.clock import SeededEntropy
from tests.services.users.people import CountingPasswords, Mailbox, People
from tests.services.users.relying_party import (
    BASE,
    EMAIL,
    PASSWORD,
    Browser,
    RelyingParty,
    register,
)


@pytest.fixture
def passwords() -> CountingPasswords:
    """Real Argon2id, at parameters that cost a test nothing."""
    return CountingPasswords(SeededEntropy(3), memory_kib=64, passes=1)


@pytest.fixture
async def people(
    platform_server: str | None, tmp_path: Path, passwords: CountingPasswords, seed: int
) -> AsyncIterator[People]:
    """The service on a platform at rest: consumers and workers do not run."""
    mail = Mailbox(tmp_path / "mail")
    ports = {Mail: mail, Passwords: passwords}
    async with Platform(database=platform_server, seed=seed, ports=ports) as platform:
        people = People(platform, mail)
        await people.begin()
        yield people


@pytest.fixture
async def provider(platform_server: str | None) -> AsyncIterator[Platform]:
    settings = {"users.url": BASE}
    async with Platform(database=platform_server, settings=settings) as platform:
        given = {"email": EMAIL, "password": PASSWORD, "display_name": "Ann"}
        (await platform.anonymous.post("/v1/users", given)).expect(201)
        yield platform


@pytest.fixture
async def wiki(provider: Platform) -> RelyingParty:
    return await register(provider)


@pytest.fixture
def browser(provider: Platform) -> Browser:
    return Browser(provider)
