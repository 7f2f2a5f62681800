from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mainspring.ports.database import Database
from mainspring.services.jobs import service as jobs
from tests.services.jobs.chores import Doors, chores
from tests.services.running import Platform, platform_of


@pytest.fixture
def doors() -> Doors:
    return Doors()


@pytest.fixture
async def at_rest(database: Database, tmp_path: Path, doors: Doors) -> AsyncIterator[Platform]:
    """A platform whose workers do not run."""
    services = (jobs, chores)
    async with platform_of(services, database, tmp_path, {Doors: doors}, running=False) as found:
        yield found


@pytest.fixture
async def platform(database: Database, tmp_path: Path, doors: Doors) -> AsyncIterator[Platform]:
    """A running platform."""
    services = (jobs, chores)
    async with platform_of(services, database, tmp_path, {Doors: doors}, running=True) as found:
        yield found
        doors.open.set()
