"""A platform that listens, and both clients, driven alike."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from mainspring.client import AsyncClient, Client
from mainspring.testing import Platform
from tests.client.between import Between, between


class Either:
    """One of the two clients, whose calls are awaited whichever it is."""

    def __init__(self, made: Client | AsyncClient) -> None:
        self.made: Any = made

    async def __call__(self, call: Callable[[Any], Any]) -> Any:
        """Make a call: ``await client(lambda c: c.users.get(id))``."""
        if isinstance(self.made, AsyncClient):
            return await call(self.made)
        return await asyncio.to_thread(call, self.made)

    async def many(self, call: Callable[[Any], Any], most: int | None = None) -> list[Any]:
        """Collect what a list or a stream yields, at most so many."""
        if isinstance(self.made, AsyncClient):
            found = []
            async for each in call(self.made):
                found.append(each)
                if len(found) == most:
                    break
            return found
        return await asyncio.to_thread(self._collected, call, most)

    def _collected(self, call: Callable[[Any], Any], most: int | None) -> list[Any]:
        found = []
        for each in call(self.made):
            found.append(each)
            if len(found) == most:
                break
        return found

    async def close(self) -> None:
        if isinstance(self.made, AsyncClient):
            await self.made.close()
        else:
            self.made.close()


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    async with Platform(sockets=True) as platform:
        yield platform


@pytest.fixture
async def path(platform: Platform) -> AsyncIterator[Between]:
    async with between(platform.url) as path:
        yield path


@pytest.fixture(params=[Client, AsyncClient], ids=["sync", "async"])
async def client(
    request: pytest.FixtureRequest, platform: Platform, path: Between
) -> AsyncIterator[Either]:
    """Each client in turn, with the administrator's key."""
    made = Either(request.param(path.url, api_key=await platform.admin.credential()))
    yield made
    await made.close()
