from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mainspring.adapters.http_client.aiohttp import AiohttpWeb
from mainspring.ports.database import Database
from mainspring.ports.http_client import HttpClient
from mainspring.services.webhooks.api import WebhookSettings
from tests.services.running import platform_of
from tests.services.webhooks.receiver import SERVICES, Receiver, Shop


@pytest.fixture
def settings() -> WebhookSettings:
    return WebhookSettings(retry_jitter=0.0)


@pytest.fixture
def private() -> bool:
    """Whether deliveries may go to private addresses: the receivers are on this machine."""
    return True


@pytest.fixture
def concurrency() -> dict[str, int]:
    """How many jobs of a queue run at a time, where it is not the default."""
    return {}


@asynccontextmanager
async def shop(
    database: Database,
    folder: Path,
    settings: WebhookSettings,
    *,
    running: bool,
    private: bool = True,
    concurrency: dict[str, int] | None = None,
) -> AsyncIterator[Shop]:
    web = AiohttpWeb(allow_private=private)
    await web.open()
    resources = {HttpClient: web, WebhookSettings: settings}
    async with platform_of(
        SERVICES, database, folder, resources, running=running, concurrency=concurrency
    ) as found:
        yield Shop(found.runtime, found.clock)
    await web.close()


@pytest.fixture
async def at_rest(
    database: Database, tmp_path: Path, settings: WebhookSettings, private: bool
) -> AsyncIterator[Shop]:
    """A platform whose consumers and workers do not run."""
    async with shop(database, tmp_path, settings, running=False, private=private) as found:
        yield found


@pytest.fixture
async def platform(
    database: Database, tmp_path: Path, settings: WebhookSettings, concurrency: dict[str, int]
) -> AsyncIterator[Shop]:
    """A running platform."""
    async with shop(database, tmp_path, settings, running=True, concurrency=concurrency) as found:
        yield found


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    await found.start()
    yield found
    await found.stop()
