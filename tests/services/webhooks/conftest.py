import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mainspring.adapters.keyring.file import FileKeyring
from mainspring.adapters.web.aiohttp import AiohttpWeb
from mainspring.ports.database import Database
from mainspring.ports.web import Web
from mainspring.runtime.erasure import Sealer
from mainspring.runtime.runtime import Runtime
from mainspring.runtime.telemetry import Metrics
from mainspring.services.webhooks.api import WebhookSettings
from mainspring.testing.clock import FakeClock, SeededEntropy
from tests.services.webhooks.platform import SERVICES, Platform, Receiver


@pytest.fixture
def settings() -> WebhookSettings:
    return WebhookSettings(allow_private_addresses=True, retry_jitter=0.0)


@pytest.fixture
async def at_rest(
    database: Database, tmp_path: Path, settings: WebhookSettings
) -> AsyncIterator[Platform]:
    """A platform whose relay and workers do not run."""
    # Starts at the real time: the library that judges signatures looks at its own clock.
    clock, entropy = FakeClock(time.time_ns() // 1_000_000), SeededEntropy(1)
    keyring = FileKeyring(tmp_path / "keyring.json", clock=clock, entropy=entropy)
    await keyring.open()
    web = AiohttpWeb(allow_private=settings.allow_private_addresses)
    await web.open()
    sealer = Sealer(database, keyring, entropy)
    runtime = Runtime(
        database,
        SERVICES,
        keyring=keyring,
        sealer=sealer,
        resources={Web: web, WebhookSettings: settings, Sealer: sealer, Metrics: Metrics()},
        clock=clock,
        entropy=entropy,
    )
    await runtime.migrate()
    yield Platform(runtime, clock)
    await web.close()


@pytest.fixture
async def platform(at_rest: Platform) -> AsyncIterator[Platform]:
    """A running platform."""
    await at_rest.runtime.start()
    yield at_rest
    await at_rest.runtime.stop(1.0)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    await found.start()
    yield found
    await found.stop()
