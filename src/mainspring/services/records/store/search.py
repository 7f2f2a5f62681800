"""How hits of a store that follows the log become records."""

from functools import lru_cache
from string import Template

from mainspring import Query
from mainspring.services.records.store import QUERIES_CACHED, StoredRecord, Texts

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
