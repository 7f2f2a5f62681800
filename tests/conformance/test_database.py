"""Every database adapter against the conformance suite that ships with Mainspring."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from mainspring.adapters.database.sqlite import share
from mainspring.kernel.process_role import Seat
from mainspring.ports.database import Database
from mainspring.testing.conformance.database import CHECKS, Opener
from tests.conftest import connect


@pytest.fixture
async def fresh(database_url: str) -> AsyncIterator[Opener]:
    opened: list[Database] = []

    async def fresh() -> Database:
        database = connect(database_url)
        await database.open()
        opened.append(database)
        return database

    yield fresh
    for database in opened:
        await database.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_database(check: Callable[[Opener], Awaitable[None]], fresh: Opener) -> None:
    await check(fresh)


@pytest.fixture
async def fresh_share(tmp_path: Path) -> AsyncIterator[Opener]:
    """Each that is opened has a seat of its own at one file, as the processes of a crew have."""
    opened: list[Database] = []
    shared = share(f"sqlite:{tmp_path / 'mainspring.db'}", 8)

    async def fresh() -> Database:
        database = shared(Seat(len(opened), 8, first=not opened))
        await database.open()
        opened.append(database)
        return database

    yield fresh
    for database in opened:
        await database.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_shared_file(check: Callable[[Opener], Awaitable[None]], fresh_share: Opener) -> None:
    await check(fresh_share)
