"""A runtime of the links service over each engine, on a clock that the test moves."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mainspring.kernel.service import Service
from mainspring.ports.database import Database
from mainspring.runtime.runtime import Runtime
from mainspring.testing.clock import FakeClock
from mainspring.testing.databases import fresh_url
from tests.runtime.bare_runtime import bare_runtime
from tests.runtime.links import links


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def database_url(platform_server: str | None, tmp_path: Path) -> AsyncIterator[str]:
    """A fresh database of each engine in turn, which has the runtime's own tables."""
    async with fresh_url(platform_server, tmp_path, []) as url:
        yield url


@pytest.fixture
def services() -> list[Service]:
    return [links]


@pytest.fixture
async def runtime(
    database: Database, tmp_path: Path, clock: FakeClock, services: list[Service]
) -> Runtime:
    return await bare_runtime(database, tmp_path, services, clock=clock)
