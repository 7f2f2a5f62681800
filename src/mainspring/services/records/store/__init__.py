"""The records service's tables and all its SQL: what is always the same, and what a list makes.

The parts of a list's text are names of columns, and fragments that ``cel.sql`` wrote from a
checked tree; what callers send is in the parameters.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from string import Template
from typing import Any

import msgspec

from mainspring import Query, Statement, Table
from mainspring.cel import Hop

KEY_COLUMNS = ("k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8")
UNIQUE_COLUMNS = ("u1", "u2", "u3", "u4")
QUERIES_CACHED = 1_024

Texts = tuple[str, str]  # for SQLite and for PostgreSQL


class Epoch(msgspec.Struct, frozen=True):
    """What changes with every change of a tenant's collections, also when one replaces another."""

    count: int
    versions: int
    updated_ms: int
    newest: str


class CollectionRow(msgspec.Struct, frozen=True):
    """A collection. ``definition`` is JSON; rows below ``ready_version`` may still be as before."""

    tenant: str
    name: str
    id: str
    definition: str
    schema_version: int
    ready_version: int
    problem: str | None
    created_ms: int
    updated_ms: int
    version: int = 1


class RecordRow(msgspec.Struct, frozen=True):
    """A record: ``data`` is its representation, the rest of the columns its index keys."""

    collection: str
    id: str
    version: int
    schema_version: int
    data: str
    k1: bytes | None = None
    k2: bytes | None = None
    k3: bytes | None = None
    k4: bytes | None = None
    k5: bytes | None = None
    k6: bytes | None = None
    k7: bytes | None = None
    k8: bytes | None = None
    u1: bytes | None = None
    u2: bytes | None = None
    u3: bytes | None = None
    u4: bytes | None = None


class LinkRow(msgspec.Struct, frozen=True):
    """A relation field's value, or one of several. A user is in the target collection ``users``."""

    collection: str
    record: str
    field: str
    target_collection: str
    target: str


class Found(msgspec.Struct, frozen=True):
    """A collection's identity and the record that was asked for, which may be null."""

    collection: str
    collection_version: int
    id: str | None
    version: int | None
    schema_version: int | None
    data: str | None


class StoredRecord(msgspec.Struct, frozen=True):
    """A record without its keys."""

    id: str
    version: int
    schema_version: int
    data: str


class IndexedRecord(StoredRecord, frozen=True):
    """A record and its key in the index that ordered its page."""

    key: bytes


class Head(msgspec.Struct, frozen=True):
    """A collection's identity: what it is compiled and cached by."""

    id: str
    version: int


COLLECTIONS = Table("records_collections", CollectionRow, key=("tenant", "name"))
RECORDS = Table("records_records", RecordRow, key=("collection", "id"))
LINKS = Table("records_links", LinkRow, key=("collection", "record", "field", "target"))

COLLECTION = Query(
    "records.collection",
    f"SELECT {COLLECTIONS.columns} FROM records_collections "
    "WHERE tenant = :tenant AND name = :name",
    COLLECTIONS,
)
COLLECTION_BY_ID = Query(
    "records.collection_by_id",
    f"SELECT {COLLECTIONS.columns} FROM records_collections WHERE id = :id",
    COLLECTIONS,
)
COLLECTION_VERSIONS = Query(
    "records.collection_versions",
    "SELECT c.id, c.version FROM json_each(:ids) AS wanted CROSS JOIN records_collections AS c "
    "WHERE c.id = wanted.value",
    Head,
    postgres="SELECT id, version FROM records_collections "
    "WHERE id IN (SELECT jsonb_array_elements_text((:ids::text)::jsonb))",
)
HEAD = Query(
    "records.head",
    "SELECT id, version FROM records_collections WHERE tenant = :tenant AND name = :name",
    Head,
)
COLLECTIONS_PAGE = Query(
    "records.collections_page",
    f"SELECT {COLLECTIONS.columns} FROM records_collections "
    "WHERE tenant = :tenant AND name > :after ORDER BY name LIMIT :limit",
    COLLECTIONS,
)
COLLECTIONS_EPOCH = Query(
    "records.collections_epoch",
    "SELECT count(*), CAST(coalesce(sum(version), 0) AS BIGINT), coalesce(max(updated_ms), 0), "
    "coalesce(max(id), '') FROM records_collections WHERE tenant = :tenant",
    Epoch,
)
# With the collection held before it, so that whoever comes now has to wait.
COLLECTIONS_STILL = Statement(
    "records.collections_still",
    "UPDATE records_collections SET version = version WHERE id = :id AND :count = "
    "(SELECT count(*) FROM records_collections WHERE tenant = :tenant) AND :versions = "
    "(SELECT CAST(sum(version) AS BIGINT) FROM records_collections WHERE tenant = :tenant)",
)
COLLECTIONS_COUNT = Query(
    "records.collections_count",
    "SELECT count(*) FROM records_collections WHERE tenant = :tenant",
    int,
)
RECORD = Query(
    "records.record",
    "SELECT c.id, c.version, r.id, r.version, r.schema_version, r.data FROM records_collections c "
    "LEFT JOIN records_records r ON r.collection = c.id AND r.id = :id "
    "WHERE c.tenant = :tenant AND c.name = :name",
    Found,
)
DATA = Query(
    "records.data",
    "SELECT data FROM records_records WHERE collection = :collection AND id = :id",
    str,
)
RECORDS_AFTER = Query(
    "records.records_after",
    "SELECT id, version, schema_version, data FROM records_records "
    "WHERE collection = :collection AND id > :after ORDER BY id LIMIT :limit",
    StoredRecord,
)
REFERRING = Query(
    "records.referring",
    "SELECT collection, record, field, target_collection, target FROM records_links "
    "WHERE target_collection = :collection AND target = :id "
    "ORDER BY collection, field, record LIMIT :limit",
    LinkRow,
)

# A change of a collection waits for those who write its records, and holds new ones back until it
# has committed: see migrations/0004. No row is found where they take too long. The collection comes
# first, as HOLD_SCHEMA has it. SQLite has one writer, so there it has nothing to wait for.
HOLD_WRITERS = Statement(
    "records.hold_writers",
    "UPDATE records_collections SET version = version WHERE id = :collection",
    postgres="SELECT 1 FROM (SELECT id FROM records_collections WHERE id = :collection FOR UPDATE) "
    "AS held WHERE records_hold_writers(held.id)",
)
# The other way round: no change of schema while stored records are written under this one.
HOLD_SCHEMA = Statement(
    "records.hold_schema",
    "UPDATE records_collections SET version = version "
    "WHERE id = :id AND schema_version = :schema_version",
)
REWRITE = Statement(
    "records.rewrite",
    "UPDATE records_records SET data = :data, version = :new_version, "
    "schema_version = :schema_version, "
    + ", ".join(f"{c} = :{c}" for c in (*KEY_COLUMNS, *UNIQUE_COLUMNS))
    + " WHERE collection = :collection AND id = :id AND version = :version",
)
# First of two: with the row in hand no link to it can appear, and the next statement sees all. It
# writes the row as a change does, so it finds none under another schema: see migrations/0002.
HOLD_RECORD = Statement(
    "records.hold_record",
    "UPDATE records_records SET data = data, schema_version = :schema_version "
    "WHERE collection = :collection AND id = :id AND version = :version",
)
DELETE = Statement(
    "records.delete",
    "DELETE FROM records_records WHERE collection = :collection AND id = :id "
    "AND version = :version AND NOT EXISTS (SELECT 1 FROM records_links "
    "WHERE target_collection = :collection AND target = :id)",
)
# Before the other writes of a batch, so that a record can take what another gives up, in any order.
RELEASE = Statement(
    "records.release",
    "UPDATE records_records SET "
    + ", ".join(f"{c} = NULL" for c in UNIQUE_COLUMNS)
    + " WHERE collection = :collection AND id IN (SELECT value FROM json_each(:ids))",
    postgres="UPDATE records_records SET "
    + ", ".join(f"{c} = NULL" for c in UNIQUE_COLUMNS)
    + " WHERE collection = :collection "
    "AND id IN (SELECT jsonb_array_elements_text((:ids::text)::jsonb))",
)
UNLINK = Statement(
    "records.unlink",
    "DELETE FROM records_links WHERE collection = :collection AND record = :record",
)
UNLINK_TARGET = Statement(
    "records.unlink_target",
    "DELETE FROM records_links WHERE collection = :collection AND record = :record "
    "AND field = :field AND target = :target",
)
UNLINK_FIELD = Statement(
    "records.unlink_field",
    "DELETE FROM records_links "
    "WHERE collection = :collection AND record = :record AND field = :field",
)
# An array is made once; PostgreSQL may join a selection row by row.
_FIRST_RECORDS, _FIRST_LINKS = (
    f"SELECT {key} FROM {table} WHERE collection = :collection ORDER BY {key} LIMIT :limit"
    for table, key in (("records_records", "id"), ("records_links", "record"))
)
PURGE_RECORDS = Statement(
    "records.purge_records",
    f"DELETE FROM records_records WHERE collection = :collection AND id IN ({_FIRST_RECORDS})",
    postgres="DELETE FROM records_records "
    f"WHERE collection = :collection AND id = ANY (ARRAY({_FIRST_RECORDS}))",
)
PURGE_LINKS = Statement(
    "records.purge_links",
    f"DELETE FROM records_links WHERE collection = :collection AND record IN ({_FIRST_LINKS})",
    postgres="DELETE FROM records_links "
    f"WHERE collection = :collection AND record = ANY (ARRAY({_FIRST_LINKS}))",
)
TAKEN = tuple(
    Query(
        f"records.taken_{column}",
        f"SELECT id FROM records_records WHERE collection = :collection AND {column} = :key",
        str,
    )
    for column in UNIQUE_COLUMNS
)
# In the order of the ids, so that whoever gets only the first of them knows which those are.
RECORDS_BY_ID = Query(
    "records.records_by_id",
    "SELECT r.id, r.version, r.schema_version, r.data "
    "FROM json_each(:ids) AS wanted CROSS JOIN records_records AS r "
    "WHERE r.collection = :collection AND r.id = wanted.value ORDER BY wanted.key LIMIT :limit",
    StoredRecord,
    postgres="SELECT r.id, r.version, r.schema_version, r.data "
    "FROM jsonb_array_elements_text((:ids::text)::jsonb) WITH ORDINALITY AS wanted (id, place) "
    "JOIN records_records AS r ON r.collection = :collection AND r.id = wanted.id "
    "ORDER BY wanted.place LIMIT :limit",
)
LINKS_OF = Query(
    "records.links_of",
    "SELECT record FROM records_links WHERE collection = :collection LIMIT :limit",
    str,
)

# What a hop of an expression leads to (see mainspring.cel.sql), and conditions that have hops

_FORWARD = Template(
    "EXISTS (SELECT 1 FROM records_records AS $rows WHERE $rows.collection = $collection "
    "AND $rows.id = $source AND $condition$hold)"
)
# By the list of the row itself, which need not be stored yet; the links are for what is stored.
_MANY = tuple(
    Template(
        f"EXISTS (SELECT 1 FROM {listed} CROSS JOIN records_records AS $rows "
        "WHERE $rows.collection = $collection AND $rows.id = ${rows}_id.value "
        "AND $condition$hold)"
    )
    for listed in (
        "json_each($source) AS ${rows}_id",
        "jsonb_array_elements_text(($source)::jsonb) AS ${rows}_id (value)",
    )
)
_BACK = Template(
    "EXISTS (SELECT 1 FROM records_links AS ${rows}_link CROSS JOIN records_records AS $rows "
    "WHERE ${rows}_link.target_collection = $start AND ${rows}_link.target = $source "
    "AND ${rows}_link.collection = $collection AND ${rows}_link.field = $field "
    "AND $rows.collection = $collection AND $rows.id = ${rows}_link.record AND $condition$hold)"
)


def _related(
    many: Template,
    hop: Hop,
    rows: str,
    source: str,
    condition: str,
    bind: Callable[[str], str],
    *,
    hold: str = "",
) -> str:
    parts = {"rows": rows, "source": source, "condition": condition, "hold": hold.format(rows=rows)}
    parts["collection"] = bind(hop.collection)
    if not hop.back:
        return (many if hop.many else _FORWARD).substitute(parts)
    return _BACK.substitute(parts, start=bind(hop.start), field=bind(hop.field))


_in_sqlite, _in_postgres = (partial(_related, many) for many in _MANY)
RELATED = (_in_sqlite, _in_postgres)
# What was found is as it was found until the commit: SQLite has one writer anyway.
RELATED_HELD = (_in_sqlite, partial(_in_postgres, hold=" FOR SHARE OF {rows}"))

_JUDGED = (
    "SELECT record.at FROM (SELECT key AS at, value AS data FROM json_each(:records)) AS record "
    "WHERE {}",
    "SELECT record.at FROM (SELECT place - 1 AS at, data FROM "
    "jsonb_array_elements((:records::text)::jsonb) WITH ORDINALITY AS wanted (data, place)) "
    "AS record WHERE {}",
)
_STILL_SO = (
    "UPDATE records_collections SET version = version WHERE id = :collection "
    "AND EXISTS (SELECT 1 FROM (SELECT :record AS data) AS record WHERE {})",
    "SELECT 1 FROM (SELECT (:record::text) AS data, (:collection::text) AS collection) AS record "
    "WHERE {}",
)

# Texts that depend on a collection, for SQLite and for PostgreSQL

DATA_COLUMN = "records_records.data"  # by its whole name: within, there are other rows

_PAGE = Template(
    "SELECT id, version, schema_version, data$key FROM records_records "
    "WHERE $tests ORDER BY $order LIMIT :limit"
)
# Where SQLite has to sort, it sorts ids: else it would hold the data of all of them.
_SORTED_PAGE = Template(
    "SELECT r.id, r.version, r.schema_version, r.data FROM (SELECT id AS at "
    "FROM records_records WHERE $tests ORDER BY $order LIMIT :limit) AS page "
    "CROSS JOIN records_records AS r WHERE r.collection = :collection AND r.id = page.at"
)
_COUNT = Template(
    "SELECT count(*) FROM (SELECT 1 AS one FROM records_records WHERE $tests LIMIT :most) AS found"
)
_GROUPS = Template("SELECT $columns FROM records_records WHERE $tests$grouping LIMIT :limit")
_MISSING = Template(
    "SELECT id FROM records_records WHERE collection = :collection AND $value IS NULL LIMIT 1"
)
_PRESENT = Template(
    "SELECT id FROM records_records WHERE collection = :collection AND $value IS NOT NULL LIMIT 1"
)
# In the commit of a schema change, once nobody else writes: what was found before still is so.
_STILL = Template(
    "UPDATE records_collections SET version = version WHERE id = :collection AND NOT EXISTS "
    "(SELECT 1 FROM records_records WHERE collection = :collection AND $value $fault)"
)
_DOUBLE = Template(
    "SELECT min(id), max(id) FROM records_records WHERE collection = :collection AND $tests "
    "GROUP BY $values HAVING count(*) > 1 LIMIT 1"
)


@lru_cache(QUERIES_CACHED)
def judging(tests: Texts, *, scans: bool) -> Query[int]:
    """The places of the records among those given that meet a condition on ``record.data``.

    Takes ``records``, a JSON list, and what the tests name.
    """
    sqlite, postgres = (text.format(test) for text, test in zip(_JUDGED, tests, strict=True))
    return Query("records.judge", sqlite, int, postgres=postgres, scans=scans)


@lru_cache(QUERIES_CACHED)
def still_so(tests: Texts) -> Statement:
    """Change nothing, and no row at all unless a record meets a condition on ``record.data``.

    Takes ``record``, its ``collection``, and what the tests name.
    """
    sqlite, postgres = (text.format(test) for text, test in zip(_STILL_SO, tests, strict=True))
    return Statement("records.still_so", sqlite, postgres=postgres)


@lru_cache(QUERIES_CACHED)
def page_query(
    column: str | None, tests: Texts, orders: Texts, *, sorts: bool, scans: bool
) -> Query[StoredRecord]:
    """A page of a list. Takes ``limit`` and what the tests name.

    ``column`` is that of the index that orders it: its records are IndexedRecords.
    """
    texts = (_SORTED_PAGE if sorts else _PAGE, _PAGE)
    key, row = (f", {column}", IndexedRecord) if column else ("", StoredRecord)
    sqlite, postgres = (
        text.substitute(key=key, tests=test, order=order)
        for text, test, order in zip(texts, tests, orders, strict=True)
    )
    return Query("records.list", sqlite, row, postgres=postgres, scans=scans)


@lru_cache(QUERIES_CACHED)
def count_query(tests: Texts) -> Query[int]:
    """How many records a list has, up to ``most``. Takes that and what the tests name."""
    sqlite, postgres = (_COUNT.substitute(tests=test) for test in tests)
    return Query("records.count", sqlite, int, postgres=postgres, scans=True)


@lru_cache(QUERIES_CACHED)
def groups_query(
    columns: Texts, tests: Texts, groupings: Texts, texts: tuple[bool, ...]
) -> Query[tuple[Any, ...]]:
    """The groups of an aggregation. Takes ``limit`` and what the tests name.

    ``texts`` says which of the columns are text.
    """
    sqlite, postgres = (
        _GROUPS.substitute(columns=column, tests=test, grouping=grouping)
        for column, test, grouping in zip(columns, tests, groupings, strict=True)
    )
    return Query("records.groups", sqlite, tuple, postgres=postgres, scans=True, long=texts)


def empty_is_null(value: Texts) -> Texts:
    """Read an empty list as null."""
    return f"NULLIF({value[0]}, '[]')", f"NULLIF({value[1]}, '[]')"


def missing_query(value: Texts) -> Query[str]:
    """A record whose value is null. Takes ``collection``."""
    sqlite, postgres = (_MISSING.substitute(value=text) for text in value)
    return Query("records.missing", sqlite, str, postgres=postgres, scans=True)


def filled_query(value: Texts) -> Query[str]:
    """A record with a value that is not null. Takes ``collection``."""
    sqlite, postgres = (_PRESENT.substitute(value=text) for text in value)
    return Query("records.filled", sqlite, str, postgres=postgres, scans=True)


def still_empty(value: Texts) -> Statement:
    """Change nothing, and no row at all where a record has the value by now. Takes ``collection``.

    It reads the records while writers wait: a collection that takes long is not asked this.
    """
    return _still(value, "IS NOT NULL")


def still_filled(value: Texts) -> Statement:
    """Change nothing, and no row at all where a record lacks the value by now."""
    return _still(value, "IS NULL")


def _still(value: Texts, fault: str) -> Statement:
    sqlite, postgres = (_STILL.substitute(value=text, fault=fault) for text in value)
    return Statement("records.still", sqlite, postgres=postgres)


def double_query(values: Sequence[Texts]) -> Query[tuple[str, str]]:
    """Two records that share values, none of them null. Takes ``collection``."""
    sqlite, postgres = (
        _DOUBLE.substitute(
            tests=" AND ".join(f"{text} IS NOT NULL" for text in texts), values=", ".join(texts)
        )
        for texts in zip(*values, strict=True)
    )
    return Query("records.double", sqlite, tuple, postgres=postgres, scans=True)
