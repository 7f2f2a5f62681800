"""PostgreSQL through PgBouncer, where each transaction may meet another server process."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from mainspring.adapters.database.postgres import PostgresDatabase
from mainspring.adapters.database.postgres_pool import PostgresTarget
from mainspring.testing.conformance.database import CHECKS, Opener, opener
from mainspring.testing.servers import PgBouncer, PostgresServer

# Notifications do not pass a pooler: other processes find their work by polling.
NOT_THROUGH_A_POOLER = {"check_wakes_reach_other_processes"}

pytestmark = pytest.mark.skipif(not shutil.which("pgbouncer"), reason="no pgbouncer on PATH")


@pytest.fixture(scope="module")
def pooler(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    pooler = PgBouncer(postgres_server)
    yield pooler
    pooler.close()


@pytest.fixture
async def fresh(pooler: PgBouncer, postgres_url: str) -> AsyncIterator[Opener]:
    async with opener(lambda: PostgresDatabase(pooler.url(postgres_url))) as fresh:
        yield fresh


@pytest.mark.parametrize(
    "check",
    [check for check in CHECKS if check.__name__ not in NOT_THROUGH_A_POOLER],
    ids=lambda check: check.__name__,
)
async def test_database(check: Callable[[Opener], Awaitable[None]], fresh: Opener) -> None:
    await check(fresh)


async def test_a_pooler_is_found_and_prepared_statements_are_left_out(
    pooler: PgBouncer, postgres_url: str
) -> None:
    for url, found, prepared in (
        (postgres_url, False, True),
        (postgres_url + "&prepared=false", False, False),
        (pooler.url(postgres_url), True, False),
        (pooler.url(postgres_url) + "&prepared=true", True, True),
    ):
        target = PostgresTarget(url)
        await target.probe()
        assert (target.pooler, target.prepared) == (found, prepared)
