"""Reads of one server: by key, and scans, which have connections and a deadline of their own."""

from collections.abc import Awaitable
from typing import Any, TypeVar

import asyncpg

from mainspring.adapters.database.postgres_commit import page_of
from mainspring.adapters.database.postgres_pool import (
    UNREACHED,
    WAIT_TIMEOUT_S,
    CommitLost,
    Connection,
    ConnectionPool,
    Connections,
    is_lost,
    transaction,
    translated,
)
from mainspring.adapters.database.shares import Shares
from mainspring.kernel.current_call import current_account
from mainspring.kernel.errors import NeedsIndex, Unavailable
from mainspring.kernel.table import Query, Rows
from mainspring.ports.database import SCAN_DEADLINE_S

R = TypeVar("R")

SCANNERS = 4
_SCAN = f"BEGIN READ ONLY; SET LOCAL statement_timeout = {int(SCAN_DEADLINE_S * 1000)}"


class Reads:
    """What reads of one server: so many connections at once, and ``SCANNERS`` for scans."""

    def __init__(self, connections: Connections, size: int) -> None:
        self._readers = ConnectionPool(connections, size)
        self._scanners = ConnectionPool(connections, SCANNERS)
        self._shares = Shares(SCANNERS)

    async def read(self, query: Query[R], values: tuple[Any, ...]) -> list[R]:
        """Return the rows of a query."""
        make = query.make
        return [make(row) for row in await self._read(query, query.sql.postgres, values)]

    async def page(self, query: Query[R], values: tuple[Any, ...], bytes_max: int) -> Rows[R]:
        """Return the first rows of a query; the server sends no more than fit, and one row."""
        rows = await self._read(query, query.postgres_page, (*values, bytes_max))
        return page_of(query, rows)

    async def _read(self, query: Query[Any], sql: str, values: tuple[Any, ...]) -> list[Any]:
        try:
            if query.scans:
                return await self._scan(query.sql.name, sql, values)
            return await self._fetch(sql, values)
        except Exception as error:
            if isinstance(error, CommitLost):  # of a transaction that only read
                raise Unavailable(UNREACHED, retry_after_s=1) from error
            raised = translated(error)
            if raised is error:
                raise
            raise raised from error

    async def _fetch(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        def work(connection: Connection) -> Awaitable[list[Any]]:
            return self._readers.fetch(connection, sql, values)

        try:
            return await self._readers.run(work)
        except Exception as error:
            if not is_lost(error):
                raise
            # The server or a pooler was restarted: a read can be repeated.
            return await self._readers.run(work)

    async def _scan(self, name: str, sql: str, values: tuple[Any, ...]) -> list[Any]:
        async def work(connection: Connection) -> list[Any]:
            async with transaction(connection, _SCAN):
                rows: list[Any] = await connection.fetch(sql, *values)
            return rows

        account = current_account()
        await self._shares.acquire(account, WAIT_TIMEOUT_S)
        try:
            return await self._scanners.run(work)
        except asyncpg.QueryCanceledError as error:
            raise NeedsIndex(f"{name} went over its budget") from error
        finally:
            self._shares.release(account)
