"""Every database adapter against the conformance suite that ships with Mainspring."""

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from pathlib import Path

import pytest

from mainspring.adapters.database.sqlite import share
from mainspring.kernel.process_role import Seat
from mainspring.testing.conformance.database import CHECKS, Opener, opener
from tests.conftest import connect


@pytest.fixture
async def fresh(database_url: str) -> AsyncIterator[Opener]:
    async with opener(lambda: connect(database_url)) as fresh:
        yield fresh


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_database(check: Callable[[Opener], Awaitable[None]], fresh: Opener) -> None:
    await check(fresh)


@pytest.fixture
async def fresh_share(tmp_path: Path) -> AsyncIterator[Opener]:
    """Each that is opened has a seat of its own at one file, as the processes of a crew have."""
    shared = share(f"sqlite:{tmp_path / 'mainspring.db'}", 8)
    numbers = count()
    async with opener(lambda: shared(_seat(next(numbers)))) as fresh:
        yield fresh


def _seat(number: int) -> Seat:
    return Seat(number, 8, first=number == 0)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_shared_file(check: Callable[[Opener], Awaitable[None]], fresh_share: Opener) -> None:
    await check(fresh_share)
