"""A caller that goes takes its statement along, at the owner's database."""

import asyncio

import asyncpg

from mainspring.adapters.peers import grpc, grpc_listener
from mainspring.engines import open_database
from mainspring.kernel.caller import ANONYMOUS
from mainspring.kernel.clock import SystemClock, SystemEntropy
from mainspring.kernel.invocation import Invocation, Outcome
from mainspring.kernel.table import Query
from mainspring.ports.database import Database
from mainspring.ports.opening import Sources
from mainspring.ports.peers import Owned
from tests.adapters.peers.owner import OPERATIONS, Notes
from tests.until import until

SLEEP = Query("test.sleep", "SELECT CAST(pg_sleep(120) AS text) AS slept", str)
ASLEEP = (
    "SELECT COUNT(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(120)%'"
)


class Sleeper(Notes):
    """Asks a database for what takes long."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    async def invoke(self, invocation: Invocation) -> Outcome:
        await self._database.read(SLEEP, ())
        return Outcome(200, b"{}")


async def test_the_statement_of_a_caller_that_goes_is_cancelled(postgres_url: str) -> None:
    sources = Sources(SystemClock(), SystemEntropy())
    database = open_database(postgres_url)
    await database.open()
    watcher = await asyncpg.connect(postgres_url)
    listener = grpc_listener.open("grpc://127.0.0.1:0", sources)
    await listener.start(Owned(OPERATIONS, Sleeper(database)))
    peer = grpc.open(listener.url, sources)
    await peer.open_peer(OPERATIONS)

    async def asleep(wanted: int) -> bool:
        # This statement names the other one, and does not sleep.
        return await watcher.fetchval(ASLEEP) == wanted + 1

    calling = asyncio.create_task(peer.invoke(Invocation("notes.wait", {}, ANONYMOUS, "req_1")))
    await until(lambda: asleep(1))
    calling.cancel()
    await asyncio.wait([calling])
    assert calling.cancelled()
    await until(lambda: asleep(0))
    await peer.close()
    await listener.drain(0)
    await watcher.close()
    await database.close()
