"""The records service on a whole platform at rest: nothing runs but what the test runs."""

from collections.abc import AsyncIterator

import pytest

from mainspring import testing
from tests.services.records.platform import Platform


@pytest.fixture
async def whole(platform_server: str | None) -> AsyncIterator[testing.Platform]:
    """The platform the records live on, of each engine in turn."""
    async with testing.Platform(database=platform_server) as whole:
        yield whole


@pytest.fixture
def platform(whole: testing.Platform) -> Platform:
    """The records service as its callers see it."""
    return Platform(whole.app, whole.clock)


@pytest.fixture
async def other(whole: testing.Platform) -> Platform:
    """A second process on the database of the first."""
    return Platform(await whole.another_process(), whole.clock)
