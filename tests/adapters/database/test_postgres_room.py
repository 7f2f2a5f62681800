"""A crew divides the connections that a server has left, and none of them waits for ever."""

import asyncio

import asyncpg
import pytest

from mainspring.adapters.database.postgres import BESIDE_READERS, share
from mainspring.adapters.database.postgres_pool import POOL_SIZE
from mainspring.adapters.database.postgres_room import EACH_MIN, divided
from mainspring.kernel.process_role import Seat
from mainspring.kernel.table import Query, Write
from mainspring.ports.database import DatabaseTransaction, Wakes
from tests.deadline import DEADLINE_S

SIZE = 8
DEFAULT_MOST = 97  # of a server with default settings
ONE = POOL_SIZE + BESIDE_READERS
SLOW = Query("slow", "SELECT 1 FROM pg_sleep(0.01)", int)
SCAN = Query("scan", "SELECT 1", int, scans=True)
TAKEN = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"


@pytest.mark.parametrize(
    ("left", "size", "each"),
    [
        (DEFAULT_MOST, 2, ONE),
        (DEFAULT_MOST, 4, 18),
        (DEFAULT_MOST, 8, 9),
        (500, 8, ONE),
        (30, 2, 11),  # no fewer together than one alone would take
        (10, 8, EACH_MIN),
    ],
)
def test_what_a_server_has_left_is_divided(left: int, size: int, each: int) -> None:
    assert divided(left, size, ONE) == each


async def test_a_crew_opens_no_more_than_leaves_some_to_others(postgres_url: str) -> None:
    """Each kind of work in each of them at once, and all of it ends."""
    own = share(postgres_url, SIZE)
    crew = [own(Seat(number, SIZE, first=number == 0)) for number in range(SIZE)]

    async def body(transaction: DatabaseTransaction) -> tuple[list[Write], Wakes]:
        await crew[0].read(SLOW, ())  # while it holds a connection of its own
        return [], frozenset()

    operator = await asyncpg.connect(postgres_url)
    try:
        most = await operator.fetchval("SELECT CAST(current_setting('max_connections') AS int)")
        assert most < SIZE * ONE
        for database in crew:
            await database.open()
        work = [database.read(SLOW, ()) for database in crew for _ in range(40)]
        work += [database.read(SCAN, ()) for database in crew for _ in range(10)]
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*work, *(crew[0].transact(body) for _ in range(40)))
        # They are kept once they are made.
        assert 2 * SIZE < await operator.fetchval(TAKEN) - 1 <= SIZE * divided(most, SIZE, ONE)
    finally:
        for database in crew:
            await database.close()
        await operator.close()
