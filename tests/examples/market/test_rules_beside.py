"""The market's rules say the same in CEL, in PocketBase's filters and as row-level security."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from mainspring import testing
from tests.examples.market.cases import CALLERS, CASES, SEES
from tests.examples.market.platforms import Market, OnMainspring, OnPostgres, pocketbase


@pytest.fixture
async def on_mainspring(platform_server: str | None) -> AsyncIterator[Market]:
    async with testing.Platform(database=platform_server) as platform:
        market = OnMainspring(platform)
        await market.fill(platform)
        yield market


@pytest.fixture
async def on_pocketbase(tmp_path: Path) -> AsyncIterator[Market]:
    try:
        async with pocketbase(tmp_path) as market:
            yield market
    except LookupError as absent:
        pytest.skip(str(absent))


@pytest.fixture
async def on_postgres(postgres_url: str) -> AsyncIterator[Market]:
    connection = await asyncpg.connect(postgres_url)
    market = OnPostgres(connection)
    await market.fill()
    yield market
    await connection.close()


async def answers(market: Market) -> list[str]:
    """Where a market answers otherwise than the cases say."""
    wrong = []
    for collection, expected in SEES.items():
        for who in CALLERS:
            seen = await market.sees(who, collection)
            if seen != expected[who]:
                wrong.append(f"{who} sees {sorted(seen)} of {collection}")
    for case in CASES:
        for who in CALLERS:
            if await market.may(who, case) != (who in case.may):
                said = "may not" if who in case.may else "may"
                wrong.append(f"{who} {said} {case.action} {case.about} {case.data}")
    return wrong


async def test_on_mainspring(on_mainspring: Market) -> None:
    assert await answers(on_mainspring) == []


async def test_on_pocketbase(on_pocketbase: Market) -> None:
    assert await answers(on_pocketbase) == []


async def test_as_row_level_security(on_postgres: Market) -> None:
    assert await answers(on_postgres) == []
