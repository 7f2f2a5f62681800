import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mainspring import App, testing
from mainspring.adapters.http_client.aiohttp import AiohttpWeb
from mainspring.kernel.clock import rfc3339
from mainspring.ports.http_client import HttpClient
from tests.services.webhooks.receiver import Receiver, Shop
from tests.services.webhooks.shop import shop

app = App("shop", services=[shop])


@pytest.fixture
def settings() -> dict[str, Any]:
    """Settings of the test's own, by path."""
    return {}


@pytest.fixture
def private() -> bool:
    """Whether deliveries may go to private addresses: the receivers are on this machine."""
    return True


@asynccontextmanager
async def shop_of(
    server: str | None, settings: dict[str, Any], *, private: bool = True, running: bool = False
) -> AsyncIterator[Shop]:
    """Open a shop whose webhooks are really sent.

    It starts at the real time: the library that judges signatures looks at its own clock.
    """
    async with testing.Platform(
        app,
        database=server,
        settings={"webhooks.retry_jitter": 0.0, **settings},
        start=rfc3339(time.time_ns() // 1_000_000),
        ports={HttpClient: AiohttpWeb(allow_private=private)},
        running=running,
    ) as whole:
        yield Shop(whole)


@pytest.fixture
async def at_rest(
    platform_server: str | None, settings: dict[str, Any], private: bool
) -> AsyncIterator[Shop]:
    """A platform whose consumers and workers do not run."""
    async with shop_of(platform_server, settings, private=private) as found:
        yield found


@pytest.fixture
async def platform(platform_server: str | None, settings: dict[str, Any]) -> AsyncIterator[Shop]:
    """A running platform."""
    async with shop_of(platform_server, settings, running=True) as found:
        yield found


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    await found.start()
    yield found
    await found.stop()
