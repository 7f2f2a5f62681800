"""Changes of the schema beside traffic: no lock is waited for long, no index is built under one."""

import asyncio
import re
from typing import Any

import asyncpg
import structlog

from mainspring.adapters.database.postgres_pool import (
    LOST,
    Connection,
    ConnectionPool,
    PostgresTarget,
    close,
    said,
    transaction,
)
from mainspring.adapters.database.postgres_script import with_code_point_order
from mainspring.kernel.errors import Unavailable
from mainspring.kernel.table import Query
from mainspring.ports.database import StartError, digest_of

log = structlog.get_logger()

MIGRATION_MAX_S = 3_600.0  # of one script, and of waiting for another process that migrates
# A change waits for the transactions that use its table, and all that comes after waits behind it:
# so for no longer than this at a time, with a pause in which they go on.
LOCK_WAIT_S = 1.0
LOCK_PAUSE_S = 2.0
LOCK_TRIES = 200  # ten minutes
BUILD_LOOKS = 1_800  # for an index that another process builds: an hour

_LOCK = 0x6D61696E73707267  # "mainsprg": one process at a time changes the schema
_MIGRATIONS = (
    'CREATE TABLE IF NOT EXISTS migrations (name text COLLATE "C" NOT NULL PRIMARY KEY, '
    'digest text COLLATE "C" NOT NULL)'
)
HAS_MIGRATIONS = Query("migrations.exist", "SELECT to_regclass('migrations') IS NOT NULL", int)
APPLIED = Query("migrations.applied", "SELECT name, digest FROM migrations ORDER BY name", tuple)
_FIND = "SELECT digest FROM migrations WHERE name = $1"
_NOTE = "INSERT INTO migrations VALUES ($1, $2) ON CONFLICT DO NOTHING"
_BESIDE = re.compile(
    r"(?:\s|--[^\n]*\n)*CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?P<index>\w+)\s[^;]*;?\s*",
    re.IGNORECASE,
)
# Of two builders each would wait for the other. It is tried for, not waited for: a build waits for
# whatever began before it.
_ALONE = f"SELECT pg_try_advisory_lock({_LOCK + 1})"
_NAMES = "pg_class_relname_nsp_index"  # of PostgreSQL itself: names of tables and indexes
_INDEX = """
SELECT indisvalid, EXISTS (
    SELECT 1 FROM pg_stat_progress_create_index WHERE index_relid = indexrelid
)
FROM pg_index WHERE indexrelid = to_regclass($1)
"""


class Migrations:
    """Applies scripts, each once; processes that start together take turns."""

    def __init__(self, target: PostgresTarget, writers: ConnectionPool) -> None:
        self._target = target
        self._writers = writers

    async def apply(self, name: str, script: str) -> bool:
        """Apply a script; False when it was applied before. Raises StartError."""
        beside = _BESIDE.fullmatch(script)
        try:
            if beside is not None:
                return await self._beside(name, script, beside["index"])
            for number in range(LOCK_TRIES):
                try:
                    return await self._writers.run(lambda one: self._within(one, name, script))
                except asyncpg.LockNotAvailableError:
                    if not number:
                        log.warning(
                            "migration_waits",
                            migration=name,
                            advice="a transaction uses its table: pg_stat_activity shows which",
                        )
                    await asyncio.sleep(LOCK_PAUSE_S)
        except (asyncpg.PostgresError, Unavailable, *LOST) as error:
            raise StartError(f"migration {name} failed: {said(error)}") from error
        raise StartError(
            f"migration {name} found its table in use by long transactions, {LOCK_TRIES} times: "
            "end them (pg_stat_activity shows them), and start again"
        )

    async def _within(self, connection: Connection, name: str, script: str) -> bool:
        """Apply a script in one transaction, with the note that it was."""
        async with transaction(connection):
            if self._target.limits_transactions:
                await connection.execute("SET LOCAL transaction_timeout = 0")
            await connection.execute(
                f"SELECT pg_advisory_xact_lock({_LOCK})", timeout=MIGRATION_MAX_S
            )
            if await self._is_applied(connection, name, script):
                return False
            wait_ms = int(LOCK_WAIT_S * 1000)
            await connection.execute(f"SET LOCAL lock_timeout = {wait_ms}")
            await connection.execute(with_code_point_order(script), timeout=MIGRATION_MAX_S)
            await connection.execute(_NOTE, name, digest_of(script))
        return True

    async def _is_applied(self, connection: Connection, name: str, script: str) -> bool:
        await connection.execute(_MIGRATIONS)
        found = await connection.fetchval(_FIND, name)
        if found not in (None, digest_of(script)):
            raise StartError(f"migration {name} was changed after it was applied")
        return found is not None

    async def _beside(self, name: str, script: str, index: str) -> bool:
        """Build an index without a transaction around it: rows are written meanwhile.

        Who finds it being built waits until it is; what a build that was cut off has left is built
        anew.
        """
        connection = await self._target.connect()
        try:
            if self._target.limits_transactions:
                await connection.execute("SET transaction_timeout = 0")
            if await self._is_applied(connection, name, script):
                return False
            for _ in range(BUILD_LOOKS):
                alone = self._target.pooler or await connection.fetchval(_ALONE)
                if alone and await self._is_built(connection, index, script):
                    await connection.execute(_NOTE, name, digest_of(script))
                    return True
                await asyncio.sleep(LOCK_PAUSE_S)
        finally:
            await close(connection)
        raise StartError(f"migration {name}: another process does not come to an end with {index}")

    async def _is_built(self, connection: Connection, index: str, script: str) -> bool:
        """Build an index, or find it whole; False while another process builds it."""
        found: Any = await connection.fetchrow(_INDEX, index)
        if found is None:
            try:
                await connection.execute(script, timeout=MIGRATION_MAX_S)
            except asyncpg.UniqueViolationError as error:
                if error.constraint_name != _NAMES:
                    raise  # values that are to be unique are not
                return False
            except (asyncpg.DuplicateTableError, asyncpg.DeadlockDetectedError):
                return False  # behind a pooler, where nobody keeps a lock: another was first
            return True
        whole, building = found
        if whole or building:
            return bool(whole)
        found = await connection.fetchrow(_INDEX, index)
        if found is not None and not any(found):  # it did not come to its end in between
            await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index}")
        return False
