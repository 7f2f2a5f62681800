"""Brings a database to the schema of the services placed on it: forward only, each script once."""

from collections.abc import Iterable, Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from mainspring.kernel.service import Service
from mainspring.ports.database import Database, StartError, digest_of


def scripts(folder: Traversable, dialect: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of a folder's migrations for one engine, in order.

    ``0001_links.sql`` is for both engines, ``0001_links.sqlite.sql`` for one. Raises StartError
    when there is no such folder.
    """
    if not folder.is_dir():
        raise StartError(f"the migrations folder {folder} is not there")
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if not entry.name.endswith(".sql"):
            continue
        stem = entry.name.removesuffix(".sql")
        name, _, only = stem.partition(".")
        if only in ("", dialect):
            yield name, entry.read_text(encoding="utf-8")


def folders(services: Iterable[Service]) -> Iterator[tuple[str, Traversable]]:
    """Yield whose migrations are in which folder, the system's first."""
    yield "runtime", files("mainspring.runtime") / "migrations"
    for service in services:
        if service.migrations is not None:
            yield service.name, service.migrations


def every_script(services: Iterable[Service], dialect: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of each migration in the order they are applied."""
    for owner, folder in folders(services):
        for name, text in scripts(folder, dialect):
            yield f"{owner}/{name}", text


async def migrate(database: Database, services: Iterable[Service]) -> int:
    """Apply what is missing; return how many scripts ran. Raises StartError."""
    ran = 0
    applied = await database.applied()
    for name, text in every_script(services, database.dialect):
        if applied.get(name) != digest_of(text):
            ran += await database.migrate(name, text)
    return ran
