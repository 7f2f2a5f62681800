"""Brings a database to the schema of the services placed on it: forward only, each script once."""

from collections.abc import Iterable, Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from mainspring.kernel.service import Service
from mainspring.ports.database import Database


def scripts(folder: Traversable, dialect: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of a folder's migrations for one engine, in order.

    ``0001_links.sql`` is for both engines, ``0001_links.sqlite.sql`` for one.
    """
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if not entry.name.endswith(".sql"):
            continue
        stem = entry.name.removesuffix(".sql")
        name, _, only = stem.partition(".")
        if only in ("", dialect):
            yield name, entry.read_text(encoding="utf-8")


async def migrate(database: Database, services: Iterable[Service]) -> int:
    """Apply what is missing; return how many scripts ran. Raises StartError."""
    applied = 0
    folders = [("runtime", files("mainspring.runtime") / "migrations")]
    folders += [(s.name, s.migrations) for s in services if s.migrations is not None]
    for owner, folder in folders:
        for name, text in scripts(folder, database.dialect):
            applied += await database.migrate(f"{owner}/{name}", text)
    return applied
