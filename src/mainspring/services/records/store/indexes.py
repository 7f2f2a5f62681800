"""What the tables hold of indexes in stores that follow the log: which there are, how far each is.

A table for each kind of store, all of one form.
"""

from string import Template

import msgspec

from mainspring import Query, Statement, Table

BUILDING, READY, LOST = "building", "ready", "lost"


class IndexRow(msgspec.Struct, frozen=True):
    """An index of a collection's records. ``fields`` is JSON; ``made_of`` says of what it was made.

    ``place`` is the last record that was written while it is built, ``built`` how many were, and
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


class NamedIndex(msgspec.Struct, frozen=True):
    """An index, and the name of its collection."""

    name: str
    id: str
    collection: str
    state: str
    place: str


_ROWS = Template("SELECT $columns FROM $table")
_NAMED = Template(
    "SELECT c.name, s.id, s.collection, s.state, s.place FROM $table AS s "
    "JOIN records_collections AS c ON c.id = s.collection WHERE s.tenant = :tenant ORDER BY s.id"
)
_MISSING = Template(
    "SELECT c.id FROM records_collections AS c WHERE c.definition LIKE :marked "
    "AND NOT EXISTS (SELECT 1 FROM $table AS s WHERE s.collection = c.id) "
    "ORDER BY c.id LIMIT :limit"
)
_APPLIED = Template("UPDATE $table SET applied = :position WHERE id = :id AND applied < :position")
_LOST = Template("UPDATE $table SET state = 'lost', version = version + 1 WHERE id = :id")


class IndexTable:
    """The statements of one kind of index, over its table."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        name = f"records_{kind}"
        self.rows = Table(name, IndexRow, key=("id",))
        rows = _ROWS.substitute(columns=self.rows.columns, table=name)
        self.row = Query(f"records.{kind}", rows + " WHERE id = :id", self.rows)
        self.of = Query(
            f"records.{kind}_of", rows + " WHERE collection = :collection ORDER BY id", self.rows
        )
        self.page = Query(
            f"records.{kind}_page",
            rows + " WHERE id > :after ORDER BY id LIMIT :limit",
            self.rows,
        )
        self.named = Query(f"records.{kind}_named", _NAMED.substitute(table=name), NamedIndex)
        self.missing = Query(f"records.{kind}_missing", _MISSING.substitute(table=name), str)
        applied, lost = _APPLIED.substitute(table=name), _LOST.substitute(table=name)
        self.note_applied = Statement(f"records.note_{kind}_applied", applied)
        self.mark_lost = Statement(f"records.mark_{kind}_lost", lost)


SEARCHES = IndexTable("search")
DOCUMENTS = IndexTable("documents")
