"""The SQL of lists that are read from their far end: from what the records are related to."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from string import Template
from typing import Any

import msgspec

from mainspring import Query
from mainspring.services.records.store import QUERIES_CACHED, StoredRecord, Texts

# Records found from what they are related to: each returns texts that select ids. They take names
# of parameters: ``at`` is the collection that a hop leads to, ``start`` the one that it comes from.
# Of arrays PostgreSQL takes for granted that they are short, whatever the parameters are: so what
# it plans for some of them does for all.

_EACH = ("($found) AS found", "unnest(ARRAY($found)) AS found (id)")
_IN_RANGE = Template("SELECT id FROM records_records WHERE $tests")
_LINKED = tuple(
    Template(
        f"SELECT l.record AS id FROM {each} CROSS JOIN records_links AS l "
        "WHERE l.target_collection = :$at AND l.target = found.id "
        "AND l.collection = :$start AND l.field = :$field"
    )
    for each in _EACH
)
_LINKED_BACK = tuple(
    Template(
        f"SELECT l.target AS id FROM {each} CROSS JOIN records_links AS l "
        "WHERE l.collection = :$at AND l.record = found.id "
        "AND l.field = :$field AND l.target_collection = :$start"
    )
    for each in _EACH
)
_COUNTED = Template("SELECT count(*) AS ids FROM ($found LIMIT :most) AS found")
_MOST = Template("SELECT max(ids) FROM ($counts) AS counted")

# The first records that point at any of those found, in the order of their ids. The index of links
# has them in that order for each; SQLite takes the smallest of all that are next in turn, from the
# queue of a recursive query, and PostgreSQL as many of each as the page holds, which it merges.

_NEXT = Template(
    "(SELECT l.record FROM records_links AS l WHERE l.target_collection = $at "
    "AND l.target = $target AND l.collection = :collection AND l.field = $field$after "
    "ORDER BY l.record$word LIMIT 1)"
)
_HEADS = Template(
    "SELECT $next, found.id, :$at, :$field "
    "FROM (SELECT DISTINCT id FROM ($found) AS several) AS found"
)
_MERGED = Template(
    "WITH RECURSIVE merged (id, target, reached, field) AS ($heads UNION ALL "
    "SELECT $next, merged.target, merged.reached, merged.field FROM merged "
    "WHERE merged.id IS NOT NULL ORDER BY 1$word) "
    "SELECT r.id, r.version, r.schema_version, r.data FROM (SELECT DISTINCT merged.id FROM merged "
    "WHERE merged.id IS NOT NULL LIMIT :limit) AS page CROSS JOIN records_records AS r "
    "WHERE r.collection = :collection AND r.id = page.id"
)
_FIRST_OF_EACH = Template(
    "SELECT l.record AS id FROM unnest(ARRAY(SELECT DISTINCT id FROM ($found) AS several)) "
    "AS found (id) CROSS JOIN LATERAL (SELECT l.record FROM records_links AS l "
    "WHERE l.target_collection = :$at AND l.target = found.id AND l.collection = :collection "
    "AND l.field = :$field$after ORDER BY l.record$word LIMIT :limit) AS l"
)
_FIRST = Template(
    "SELECT r.id, r.version, r.schema_version, r.data FROM records_records AS r "
    "WHERE r.collection = :collection AND r.id = ANY (ARRAY(SELECT DISTINCT id FROM ($each) "
    "AS each ORDER BY id$word LIMIT :limit)) ORDER BY r.id$word"
)


class Way(msgspec.Struct, frozen=True):
    """A relation that leads from records to some that are found, and the texts that find those.

    ``at`` and ``field`` name parameters; ``params`` are those of the texts. ``before`` are the
    texts of what is found on the way there.
    """

    found: Texts
    at: str
    field: str
    params: Mapping[str, Any]
    before: tuple[Texts, ...]


def in_range(column: str, at: str, low: str | None, high: str | None, *, exact: bool) -> Texts:
    """The records of a collection within a range of one of its indexes."""
    bounds = [("collection", "=", at, "text")]
    kind = "text" if column == "id" else "bytea"
    if low is not None:
        bounds.append((column, "=" if exact else ">=", low, kind))
    if high is not None:
        bounds.append((column, "<", high, kind))
    sqlite = " AND ".join(f"{name} {sign} :{bound}" for name, sign, bound, _ in bounds)
    # PostgreSQL is not to look into the parameters: it would plan anew for each of them.
    postgres = " AND ".join(
        f"{name} {sign} (SELECT (:{bound}::{kind}))" for name, sign, bound, kind in bounds
    )
    return _IN_RANGE.substitute(tests=sqlite), _IN_RANGE.substitute(tests=postgres)


def linked(found: Texts, *, at: str, field: str, start: str) -> Texts:
    """The records of which a relation points at one that is found."""
    return _following(_LINKED, found, at=at, field=field, start=start)


def linked_back(found: Texts, *, at: str, field: str, start: str) -> Texts:
    """The records at which a relation of one that is found points."""
    return _following(_LINKED_BACK, found, at=at, field=field, start=start)


def _following(hops: Sequence[Template], found: Texts, **names: str) -> Texts:
    sqlite, postgres = (
        hop.substitute(found=text, **names) for hop, text in zip(hops, found, strict=True)
    )
    return sqlite, postgres


def either(found: Sequence[Texts]) -> Texts:
    """What one of several texts finds."""
    sqlite, postgres = (" UNION ".join(texts) for texts in zip(*found, strict=True))
    return sqlite, postgres


def among_found(found: Texts) -> Texts:
    """The test that a record is one of those."""
    return f"id IN ({found[0]})", f"id = ANY (ARRAY({found[1]}))"


@lru_cache(QUERIES_CACHED)
def count_found(found: tuple[Texts, ...]) -> Query[int]:
    """How many ids each of some texts finds, up to ``most``: the most of those.

    Takes that and what the texts name.
    """
    sqlite, postgres = (
        _MOST.substitute(counts=" UNION ALL ".join(_COUNTED.substitute(found=t) for t in texts))
        for texts in zip(*found, strict=True)
    )
    return Query("records.far_end", sqlite, int, postgres=postgres, scans=True)


@lru_cache(QUERIES_CACHED)
def first_query(
    ways: tuple[tuple[Texts, str, str], ...], *, descending: bool, after: bool
) -> Query[StoredRecord]:
    """The first records, by id, from which ways lead: each texts, ``at`` and ``field``.

    Takes ``collection``, ``limit``, what the ways name, and ``last`` for those ``after`` it. It is
    for few to which the ways lead, so that what it reads is bounded.
    """
    sign, word = ("<", " DESC") if descending else (">", "")
    beyond = f" AND l.record {sign} :last" if after else ""
    heads, each = [], []
    for (sqlite, postgres), at, field in ways:
        parts = {"at": at, "field": field, "after": beyond, "word": word}
        first = _NEXT.substitute(parts, at=f":{at}", field=f":{field}", target="found.id")
        heads.append(_HEADS.substitute(parts, found=sqlite, next=first))
        each.append(f"({_FIRST_OF_EACH.substitute(parts, found=postgres)})")
    following = _NEXT.substitute(
        at="merged.reached", field="merged.field", target="merged.target", word=word,
        after=f" AND l.record {sign} merged.id",
    )  # fmt: skip
    merged = _MERGED.substitute(heads=" UNION ALL ".join(heads), next=following, word=word)
    first = _FIRST.substitute(each=" UNION ALL ".join(each), word=word)
    return Query("records.first", merged, StoredRecord, postgres=first)
