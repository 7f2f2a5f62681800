from collections.abc import AsyncIterator

import pytest

from mainspring import App, testing
from tests.services.jobs.chores import Doors, chores
from tests.services.running import Platform

app = App("chores", services=[chores])


@pytest.fixture
def doors() -> Doors:
    return Doors()


@pytest.fixture
async def at_rest(platform_server: str | None, doors: Doors) -> AsyncIterator[Platform]:
    """A platform whose workers do not run."""
    async with testing.Platform(app, database=platform_server, ports={Doors: doors}) as whole:
        yield Platform(whole)


@pytest.fixture
async def platform(platform_server: str | None, doors: Doors) -> AsyncIterator[Platform]:
    """A running platform."""
    ports = {Doors: doors}
    async with testing.Platform(app, database=platform_server, ports=ports, running=True) as whole:
        yield Platform(whole)
        doors.open.set()
