"""A database of a test's own: made for it, fast rather than durable, gone after it."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from mainspring.adapters.database.sqlite import SqliteDatabase
from mainspring.ports.database import Database
from mainspring.testing.servers import PostgresServer


@asynccontextmanager
async def fresh_database(
    server: str | PostgresServer | None, folder: Path
) -> AsyncIterator[Database]:
    """Make an empty database, which the caller opens and closes.

    SQLite in ``folder``, or a new database on a PostgreSQL server, dropped in the end. The URL
    names a database of that server that may be connected to; nothing in it is touched.
    """
    if server is None:
        yield SqliteDatabase(folder / "mainspring.db", durable=False)
        return
    url = server if isinstance(server, str) else server.url()
    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError("database is the URL of a PostgreSQL server; without one it is SQLite")
    from mainspring.adapters.database.postgres import PostgresDatabase

    name = f"mainspring_test_{secrets.token_hex(8)}"
    await _administer(url, f"CREATE DATABASE {name}")
    try:
        yield PostgresDatabase(urlunsplit(urlsplit(url)._replace(path=f"/{name}")))
    finally:
        await _administer(url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def _administer(url: str, sql: str) -> None:
    """Run a statement on a connection of its own: a test may have cut the others."""
    import asyncpg

    admin = await asyncpg.connect(url)
    try:
        await admin.execute(sql)
    finally:
        await admin.close()
