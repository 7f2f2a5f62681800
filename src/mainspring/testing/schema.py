"""The schema of a database as text, to compare: fresh with migrated, one engine with another."""

import msgspec

from mainspring.kernel.table import Query
from mainspring.ports.database import Database


class Column(msgspec.Struct, frozen=True, order=True):
    """A column in PostgreSQL's names for types, whatever the engine."""

    table: str
    name: str
    type: str
    required: bool


_COLUMNS = Query(
    "schema.columns",
    """
    SELECT t.name, c.name, lower(c.type), c."notnull" FROM sqlite_master AS t
    JOIN pragma_table_info(t.name) AS c
    WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'
    """,
    Column,
    postgres="""
    SELECT table_name::text, column_name::text, data_type::text, is_nullable = 'NO'
    FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
    WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'
    """,
)
_DEFINITIONS = Query(
    "schema.definitions",
    "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL",
    str,
    postgres="""
    SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema()
    UNION ALL
    SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = current_schema()::regnamespace
    UNION ALL
    SELECT format('%s.%s %s COLLATE %s DEFAULT %s', table_name, column_name, data_type,
                  collation_name, column_default)
    FROM information_schema.columns WHERE table_schema = current_schema()
    """,
)


async def columns_of(database: Database) -> list[Column]:
    """List every column, sorted: what both engines must have in common."""
    return sorted(await database.read(_COLUMNS, ()))


async def definitions_of(database: Database) -> list[str]:
    """List every table, index and constraint in the engine's own words, sorted."""
    return sorted(await database.read(_DEFINITIONS, ()))
