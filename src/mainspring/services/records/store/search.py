"""What the tables hold of indexes in the search engine, and how hits become records."""

from functools import lru_cache
from string import Template

import msgspec

from mainspring import Query, Statement, Table
from mainspring.services.records.store import QUERIES_CACHED, StoredRecord, Texts

BUILDING, READY, LOST = "building", "ready", "lost"


class SearchRow(msgspec.Struct, frozen=True):
    """An index of a collection's texts. ``fields`` is JSON; ``made_of`` says of what it was made.

    ``place`` is the last record that was indexed while it is built, ``built`` how many were, and
    ``applied`` where in the log the last change stands that was written to it.
    """

    id: str
    tenant: str
    collection: str
    fields: str
    made_of: str
    state: str
    place: str = ""
    built: int = 0
    applied: int = 0
    version: int = 1


class NamedSearch(msgspec.Struct, frozen=True):
    """An index, and the name of its collection."""

    name: str
    id: str
    collection: str
    state: str
    place: str


SEARCHES = Table("records_search", SearchRow, key=("id",))
SEARCH = Query(
    "records.search",
    f"SELECT {SEARCHES.columns} FROM records_search WHERE id = :id",
    SEARCHES,
)
SEARCHES_OF = Query(
    "records.searches_of",
    f"SELECT {SEARCHES.columns} FROM records_search WHERE collection = :collection ORDER BY id",
    SEARCHES,
)
SEARCHES_PAGE = Query(
    "records.searches_page",
    f"SELECT {SEARCHES.columns} FROM records_search WHERE id > :after ORDER BY id LIMIT :limit",
    SEARCHES,
)
SEARCHES_NAMED = Query(
    "records.searches_named",
    "SELECT c.name, s.id, s.collection, s.state, s.place FROM records_search AS s "
    "JOIN records_collections AS c ON c.id = s.collection WHERE s.tenant = :tenant ORDER BY s.id",
    NamedSearch,
)
NOTE_APPLIED = Statement(
    "records.note_applied",
    "UPDATE records_search SET applied = :position WHERE id = :id AND applied < :position",
)
MARK_LOST = Statement(
    "records.mark_search_lost",
    "UPDATE records_search SET state = 'lost', version = version + 1 WHERE id = :id",
)

# In the order of the hits. The condition asks of the data only, by its whole name.
_FOUND = (
    Template(
        "SELECT records_records.id, records_records.version, records_records.schema_version, "
        "records_records.data FROM json_each(:ids) AS wanted CROSS JOIN records_records "
        "WHERE records_records.collection = :collection AND records_records.id = wanted.value "
        "AND $tests ORDER BY wanted.key LIMIT :limit"
    ),
    Template(
        "SELECT records_records.id, records_records.version, records_records.schema_version, "
        "records_records.data FROM jsonb_array_elements_text((:ids::text)::jsonb) "
        "WITH ORDINALITY AS wanted (hit, place) JOIN records_records "
        "ON records_records.collection = :collection AND records_records.id = wanted.hit "
        "WHERE $tests ORDER BY wanted.place LIMIT :limit"
    ),
)


@lru_cache(QUERIES_CACHED)
def found_query(tests: Texts) -> Query[StoredRecord]:
    """The records among ``ids``, a JSON list, that meet a condition. Takes ``limit`` too."""
    sqlite, postgres = (
        text.substitute(tests=test) for text, test in zip(_FOUND, tests, strict=True)
    )
    return Query("records.found", sqlite, StoredRecord, postgres=postgres, scans=True)
