"""Sweeps: what a service keeps for a time, and removes then."""

import msgspec

from mainspring.kernel.table import Query, Statement


class HowMany(msgspec.Struct, frozen=True):
    """How many rows there are, counted up to a bound, and since when the oldest is there."""

    rows: int
    oldest_ms: int | None


class Sweep(msgspec.Struct, frozen=True):
    """What is kept for ``kept_ms`` and removed then, by the platform, each minute.

    ``remove`` takes up to ``:limit`` of the rows of every tenant that are as old as ``:before_ms``,
    and returns something for each. ``count`` counts up to ``:most`` rows, in the words ``what``.
    """

    what: str
    remove: Statement
    count: Query[HowMany]
    kept_ms: int = 0


def sweep_of(
    what: str, table: str, key: str, since: str, *, kept_ms: int = 0, where: str = "true"
) -> Sweep:
    """Return the sweep of a table's rows by a column with a moment, in ms, that has an index."""
    first = f"FROM {table} WHERE {where} AND {since} <= :before_ms ORDER BY {since} LIMIT :limit"
    # What another process removes just now is left to it. Rows are named in an array, which is made
    # once: a table that the server last knew as empty would be joined row by row. They are locked,
    # so that each is where it was, and one that was changed since the look is left to the next.
    statement = Statement(
        f"{table}.sweep",
        f"DELETE FROM {table} WHERE ({key}) IN (SELECT {key} {first}) RETURNING 1",
        postgres=f"DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid {first} "
        "FOR UPDATE SKIP LOCKED)) RETURNING 1",
    )
    return Sweep(what, statement, count_of(table, since, where=where), kept_ms)


def count_of(table: str, since: str = "", *, where: str = "true") -> Query[HowMany]:
    """Return what counts a table's rows; the oldest by a column with a moment, in ms, if given."""
    oldest = f"(SELECT MIN({since}) FROM {table} WHERE {where})" if since else "NULL"
    return Query(
        f"{table}.count",
        f"SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM {table} WHERE {where} LIMIT :most) "
        f"AS counted) AS rows, CAST({oldest} AS bigint) AS oldest_ms",
        HowMany,
        scans=True,
    )
