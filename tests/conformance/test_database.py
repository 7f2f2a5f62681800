"""Every database adapter against the conformance suite that ships with Mainspring."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

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
