"""A database of a test's own: made for it, fast rather than durable, gone after it.

It is a copy of a template that has the schema already, so migrations run once for many tests.
"""

import hashlib
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from mainspring.adapters.database.sqlite import SqliteDatabase
from mainspring.kernel.service import Service
from mainspring.ports.database import Database
from mainspring.runtime.migrate import every_script, migrate
from mainspring.testing.servers import PostgresServer

TEMPLATE = "mainspring_template_"  # and a digest of its migrations: left there for the next run
_OURS = "mainspring_test_"
_sqlite_templates: dict[str, bytes] = {}  # of this process, by a digest of their migrations


@asynccontextmanager
async def fresh_url(
    server: str | PostgresServer | None, folder: Path, services: Iterable[Service]
) -> AsyncIterator[str]:
    """Make a database with the schema of services and no rows.

    SQLite in ``folder``, or a new database on a PostgreSQL server, dropped in the end. The URL
    names a database of that server that may be connected to; nothing in it is touched. Raises
    StartError when a migration fails.
    """
    services = list(services)
    if server is None:
        path = folder / "mainspring.db"
        path.write_bytes(await _sqlite_template(services))
        yield f"sqlite:{path}"
        return
    url = server if isinstance(server, str) else server.url()
    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError("database is the URL of a PostgreSQL server; without one it is SQLite")
    name = await _copy(url, services)
    try:
        yield _at(url, name)
    finally:
        await _drop(url, name)


def fast(url: str) -> Database:
    """Return the database behind a URL, yet to be opened; the disk is not waited for."""
    if url.startswith("sqlite:"):
        return SqliteDatabase(Path(url.removeprefix("sqlite:")), durable=False)
    from mainspring.adapters.database.postgres import PostgresDatabase

    return PostgresDatabase(url)


async def _sqlite_template(services: list[Service]) -> bytes:
    """Return the file of a database that was migrated and closed."""
    schema = _digest(services, "sqlite")
    if schema not in _sqlite_templates:
        with tempfile.TemporaryDirectory(prefix="mainspring-template-") as folder:
            file = Path(folder) / "template.db"
            await _migrated(SqliteDatabase(file, durable=False), services)
            _sqlite_templates[schema] = file.read_bytes()
    return _sqlite_templates[schema]


async def _copy(url: str, services: list[Service]) -> str:
    """Copy the template of this schema; make that first where the server has none."""
    import asyncpg

    name, template = _name(), TEMPLATE + _digest(services, "postgres")[:16]
    copy = f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"
    try:
        await _administer(url, copy)
    except asyncpg.InvalidCatalogNameError:
        await _make_template(url, template, services)
        await _administer(url, copy)
    return name


async def _make_template(url: str, template: str, services: list[Service]) -> None:
    """Migrate a database, and give it the template's name when it is whole."""
    import asyncpg

    from mainspring.adapters.database.postgres import PostgresDatabase

    name = _name()
    await _administer(url, f"CREATE DATABASE {name}")
    try:
        await _migrated(PostgresDatabase(_at(url, name)), services)
        await _administer(url, f"ALTER DATABASE {name} RENAME TO {template}")
    except asyncpg.DuplicateDatabaseError:  # another process was first
        await _drop(url, name)
    except BaseException:
        await _drop(url, name)
        raise


async def _migrated(database: Database, services: list[Service]) -> None:
    await database.open()
    try:
        await migrate(database, services)
    finally:
        await database.close()


def _digest(services: list[Service], dialect: str) -> str:
    """Name a schema by its migrations, in their order."""
    digest = hashlib.sha256()
    for name, text in every_script(services, dialect):
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()


def _name() -> str:
    return _OURS + secrets.token_hex(8)


def _at(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def _drop(url: str, name: str) -> None:
    await _administer(url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def _administer(url: str, sql: str) -> None:
    """Run a statement on a connection of its own: a test may have cut the others."""
    import asyncpg

    admin = await asyncpg.connect(url)
    try:
        await admin.execute(sql)
    finally:
        await admin.close()
