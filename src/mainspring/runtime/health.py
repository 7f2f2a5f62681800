"""Readiness: asks each part whether it can serve now, and names those that cannot."""

import asyncio
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import structlog

from mainspring.kernel.clock import Clock
from mainspring.kernel.errors import Failure
from mainspring.kernel.table import Query, Statement
from mainspring.ports.database import Database
from mainspring.ports.listeners import described

log = structlog.get_logger()

ANSWER_S = 2.0  # how long the database may take to answer
ASK_EVERY_S = 2.0  # answers are kept so long, so that those who ask often write little
DISK_FREE_BYTES_MIN = 16 << 20

_WRITE = Statement(
    "runtime.write_probe",
    "INSERT INTO probe (name, at_ms) VALUES ('ready', :now_ms) "
    "ON CONFLICT (name) DO UPDATE SET at_ms = excluded.at_ms",
)
# For a database that may hold no tables yet; whoever runs it rolls it back.
TRY_TO_WRITE = Statement(
    "runtime.try_to_write", "CREATE TABLE mainspring_tries_to_write (one bigint)"
)
_READ = Query("runtime.read_probe", "SELECT at_ms FROM probe WHERE name = 'ready'", int)


PROCESS_CONNECTIONS = 20  # that a process opens to a database server at most, unless told otherwise


class ServerRoom(msgspec.Struct, frozen=True):
    """How many connections a database server takes, and how many it has; 0 where there is none."""

    most: int
    taken: int


SERVER_ROOM = Query(
    "runtime.server_room",
    "SELECT 0, 0",
    ServerRoom,
    postgres="SELECT CAST(current_setting('max_connections') AS bigint) "
    "- CAST(current_setting('superuser_reserved_connections') AS bigint), "
    "(SELECT count(*) FROM pg_stat_activity "
    "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid())",
)


async def warn_of_little_room(database: Database) -> None:
    """Log where a database server has no room for all that this process may open: calls wait."""
    (room,) = await database.read(SERVER_ROOM, ())
    left = room.most - room.taken
    if room.most and left < PROCESS_CONNECTIONS:
        log.warning(
            "few_connections_left",
            left=left, of=room.most, may_open=PROCESS_CONNECTIONS,
            advice="calls wait for each other where none is left: raise the server's "
            "max_connections, lower ?pool=N in [database] url, or start fewer processes",
        )  # fmt: skip


class Health:
    """Asks at most every ``ASK_EVERY_S``; those who ask at the same time share one answer.

    ``loops`` name what moves in the background and fails.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        loops: Callable[[], Iterable[str]],
        data_dir: Path | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._loops = loops
        self._data_dir = data_dir
        self._asked_s = float("-inf")
        self._found: list[str] = []
        self._asking = asyncio.Lock()

    async def failing(self) -> list[str]:
        """Name the parts that cannot serve, and why; none when all can."""
        async with self._asking:
            if self._clock.monotonic_s() - self._asked_s >= ASK_EVERY_S:
                self._found = await self._ask()
                self._asked_s = self._clock.monotonic_s()
            return self._found

    async def _ask(self) -> list[str]:
        found = []
        if (why := await self._database_fails()) is not None:
            found.append(f"database: {why}")
        if self._data_dir is not None:
            try:
                free_bytes = shutil.disk_usage(self._data_dir).free
            except OSError as error:
                found.append(f"disk: {error.strerror}")
            else:
                if free_bytes < DISK_FREE_BYTES_MIN:
                    found.append(f"disk: {free_bytes >> 20} MiB free")
        return [*found, *self._loops()]

    async def _database_fails(self) -> str | None:
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._database.commit([_WRITE(now_ms=self._clock.now_ms())])
                await self._database.read(_READ, ())
        except TimeoutError:
            return f"no answer within {ANSWER_S:g} s"
        except Failure as failure:
            return failure.detail
        except Exception as error:  # noqa: BLE001 - whatever it is, the database does not serve
            return described(error)[:200]
        return None
