"""The tables of a database as a move sees them, whatever services made them.

Schemas are written once for both engines (ADR 5), so a table has the same columns on either; the
log of events is the exception, for PostgreSQL keeps the place of an event beside it.
"""

from collections.abc import Iterable, Sequence, Set
from graphlib import CycleError, TopologicalSorter
from typing import Any

import msgspec

from mainspring.kernel.errors import NeedsIndex
from mainspring.kernel.table import ColumnType, Delete, Query, Statement, Table, Write
from mainspring.ports.database import Database, StartError
from mainspring.runtime.tables import EventRow

LOG = "events"
# Each end has its own: what was applied to it, who it is, what readiness writes, and what replicas
# are known by.
OWN = frozenset({"migrations", "identity", "probe", "event_places", "primary_runs"})
ROWS_MAX = 1_000  # of one page
_TYPES: dict[str, ColumnType] = {
    "text": "text",
    "bigint": "bigint",
    "integer": "bigint",
    "boolean": "boolean",
    "double precision": "double precision",
    "bytea": "bytea",
}
_PYTHON: dict[ColumnType, type] = {
    "text": str,
    "bigint": int,
    "boolean": bool,
    "double precision": float,
    "bytea": bytes,
}
_LOGGED: tuple[str, ...] = ("seq", *EventRow.__struct_fields__)


class _Column(msgspec.Struct, frozen=True):
    """``key`` is its place in the primary key from 1 on, 0 where it has none."""

    table: str
    name: str
    type: str
    key: int
    made: bool  # by the server: an identity, or generated of others


_COLUMNS = Query(
    "move.columns",
    """
    SELECT tables.name, columns.name, lower(columns.type), columns.pk, columns.hidden > 1
    FROM sqlite_schema AS tables, pragma_table_xinfo(tables.name) AS columns
    WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
    ORDER BY tables.name, columns.cid
    """,
    _Column,
    postgres="""
    SELECT tables.relname::text, columns.attname::text, format_type(columns.atttypid, NULL),
        COALESCE(array_position(keys.indkey::smallint[], columns.attnum) + 1, 0)::bigint,
        columns.attidentity <> '' OR columns.attgenerated <> ''
    FROM pg_class AS tables
    JOIN pg_attribute AS columns ON columns.attrelid = tables.oid AND columns.attnum > 0
        AND NOT columns.attisdropped
    LEFT JOIN pg_index AS keys ON keys.indrelid = tables.oid AND keys.indisprimary
    WHERE tables.relkind IN ('r', 'p') AND NOT tables.relispartition
        AND tables.relnamespace = current_schema()::regnamespace
    ORDER BY tables.relname, columns.attnum
    """,
    scans=True,
)


class _Reference(msgspec.Struct, frozen=True):
    """A foreign key of a table."""

    table: str
    to: str


_REFERENCES = Query(
    "move.references",
    """
    SELECT tables.name, keys."table" FROM sqlite_schema AS tables,
        pragma_foreign_key_list(tables.name) AS keys WHERE tables.type = 'table'
    """,
    _Reference,
    postgres="""
    SELECT tables.relname::text, others.relname::text FROM pg_constraint AS keys
    JOIN pg_class AS tables ON tables.oid = keys.conrelid
    JOIN pg_class AS others ON others.oid = keys.confrelid
    WHERE keys.contype = 'f' AND keys.connamespace = current_schema()::regnamespace
    """,
    scans=True,
)
_PLACED = "(SELECT * FROM logged_events WHERE seq IS NOT NULL) AS placed"


class _Event(EventRow, frozen=True):
    """An event on PostgreSQL."""

    ordinal: int


class _Place(msgspec.Struct, frozen=True):
    """Its place in the log, beside it: see ``sequencer``."""

    seq: int
    ordinal: int
    time_ms: int
    settled: int


_EVENTS = Table("events", _Event, key=("id", "time_ms"))
_PLACES = Table("event_places", _Place, key=("seq",))
# Numbers that nobody has, to be given in the order of the log; one that is not used is left out.
_NEXT_ORDINALS = Query(
    "move.next_ordinals",
    "SELECT 0 WHERE :count > 0",
    int,
    postgres="SELECT nextval('event_ordinals') FROM generate_series(1, :count::bigint)",
)
_LOSE_EVENT = Statement(
    "move.lose_event",
    "DELETE FROM events WHERE seq = :seq",
    postgres="""
    WITH place AS (DELETE FROM event_places WHERE seq = :seq RETURNING ordinal, time_ms)
    DELETE FROM events USING place
        WHERE events.ordinal = place.ordinal AND events.time_ms = place.time_ms
    """,
)
_SOMETHING = Query(
    "move.something",
    "SELECT EXISTS (SELECT 1 FROM events) OR EXISTS (SELECT 1 FROM jobs)",
    int,
)
# Events that were committed on PostgreSQL and have no place in the log yet.
_COUNT_UNPLACED = Query(
    "move.unplaced", "SELECT 0",
    int,
    postgres="SELECT count(*) FROM logged_events WHERE seq IS NULL",
    scans=True,
)  # fmt: skip


class Copied:
    """One table that is copied: its pages in the order of its key, and the writes of a row."""

    def __init__(self, name: str, columns: Sequence[_Column]) -> None:
        self.name = name
        log = name == LOG
        named = [c for c in columns if not log or c.name in _LOGGED]
        types = {c.name: _PYTHON[_TYPES[c.type]] for c in named}
        names = _LOGGED if log else tuple(c.name for c in named)
        key = tuple(c.name for c in sorted(named, key=lambda c: c.key) if c.key)
        if log:
            types["seq"], key = int, ("seq",)
        row = msgspec.defstruct(
            "Row", [(n, types[n] | None) for n in names], frozen=True, array_like=True
        )
        self.table: Table[Any] = Table(name, row, key=key)
        self._key_at = [names.index(n) for n in key]
        rows = _PLACED if log else ""
        self._first, self._after = self.table.pages(ROWS_MAX, rows)
        self._counted = self.table.counted(rows)

    def key_of(self, row: Any) -> tuple[Any, ...]:
        """Return what its rows are ordered by."""
        values = msgspec.structs.astuple(row)
        return tuple([values[at] for at in self._key_at])

    async def page(
        self, database: Database, after: tuple[Any, ...] | None, bytes_max: int
    ) -> list[Any]:
        """Return the rows behind a key, or the first ones: none where there are no more."""
        query = self._first if after is None else self._after
        return (await database.page(query, after or (), bytes_max)).items

    async def count(self, database: Database) -> int | None:
        """Return how many rows there are; None where that would take long."""
        try:
            return (await database.read(self._counted, ()))[0]
        except NeedsIndex:
            return None

    async def put(self, database: Database, rows: Sequence[Any]) -> list[Write]:
        """Return the writes that add rows. A row in the place of one fails them."""
        if self.name != LOG or database.dialect == "sqlite":
            return [self.table.insert(row) for row in rows]
        ordinals = sorted(await database.read(_NEXT_ORDINALS, (len(rows),)))
        writes: list[Write] = []
        for row, ordinal in zip(rows, ordinals, strict=True):
            values = msgspec.structs.asdict(row)
            seq = values.pop("seq")
            # All below has its place too: they are taken in this order, by nobody else.
            place = _Place(seq, ordinal, row.time_ms, settled=ordinal)
            writes += (_EVENTS.insert(_Event(**values, ordinal=ordinal)), _PLACES.insert(place))
        return writes

    def take_away(self, row: Any) -> Write:
        """Return the write that removes a row."""
        if self.name == LOG:
            return _LOSE_EVENT(seq=row.seq)
        return Delete(self.table, self.key_of(row), None)


async def tables_of(source: Database, target: Database) -> list[Copied]:
    """Return what is copied between two databases, what others refer to first.

    Raises StartError where they do not fit.
    """
    ours, theirs = await _columns(source), await _columns(target)
    copied = []
    for name in await _in_order(target, ours.keys() - OWN):
        if name not in theirs:
            raise StartError(
                f"the table {name} is of no service of this app, so the other database has none: "
                "name the app that made it, or drop it first"
            )
        columns = ours[name]
        _require_copyable(name, (*columns, *theirs[name]))
        if name != LOG and _shape(columns) != _shape(theirs[name]):
            raise StartError(
                f"the table {name} has other columns in the other database, or another key: its "
                "service's migrations for the two engines differ, and a move cannot tell how"
            )
        copied.append(Copied(name, columns))
    return copied


async def is_used(database: Database) -> bool:
    """Return whether anything has ever happened in a database."""
    return bool((await database.read(_SOMETHING, ()))[0])


async def unplaced_events(database: Database) -> int:
    """Return how many committed events have no place in the log yet."""
    return (await database.read(_COUNT_UNPLACED, ()))[0]


async def _columns(database: Database) -> dict[str, list[_Column]]:
    found: dict[str, list[_Column]] = {}
    for column in await database.read(_COLUMNS, ()):
        found.setdefault(column.table, []).append(column)
    return found


async def _in_order(database: Database, names: Set[str]) -> list[str]:
    """Put those that others refer to before these. Raises StartError where that is a circle."""
    before: dict[str, set[str]] = {name: set() for name in sorted(names)}
    for reference in await database.read(_REFERENCES, ()):
        if reference.table in before:
            before[reference.table].add(reference.to)
    try:
        return [name for name in TopologicalSorter(before).static_order() if name in before]
    except CycleError as error:
        raise StartError(
            f"the foreign keys of {', '.join(sorted(set(error.args[1])))} lead in a circle: a move "
            "adds the rows of one table after those of another, and finds no first one"
        ) from error


def _shape(columns: Iterable[_Column]) -> list[tuple[str, str, int]]:
    return [(c.name, _TYPES[c.type], c.key) for c in columns]


def _require_copyable(name: str, columns: Sequence[_Column]) -> None:
    for column in columns:
        if column.type not in _TYPES:
            raise StartError(
                f"the table {name} has a column {column.name} of type {column.type}; a move "
                f"carries {', '.join(_TYPES)}"
            )
        if column.made:
            raise StartError(
                f"the table {name} has a column {column.name} whose values the database makes: "
                "a move cannot put others in their place"
            )
    if not any(column.key for column in columns):
        raise StartError(f"the table {name} has no primary key, which a move goes by")
