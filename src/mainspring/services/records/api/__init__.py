"""The public face of records: operations and jobs, what they take and answer, events, errors.

``streams`` has the operations that last: only callers ask for those, no handler does.
"""

from collections.abc import Sequence
from importlib.resources import files
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mainspring import (
    CachePolicy,
    Call,
    Conflict,
    Input,
    Instant,
    Page,
    PageQuery,
    Raw,
    Response,
    Service,
    Upload,
)
from mainspring.kernel.operation import NO_FILES, Files
from mainspring.services.records.api.documents import DocumentPage as DocumentPage
from mainspring.services.records.api.documents import FindQuery as FindQuery
from mainspring.services.records.api.documents import Pipeline as Pipeline
from mainspring.services.records.api.documents import PipelineAnswer as PipelineAnswer
from mainspring.services.records.api.downloads import FileLink as FileLink
from mainspring.services.records.api.downloads import FileView as FileView
from mainspring.services.records.api.downloads import NewFileLink as NewFileLink
from mainspring.services.records.api.explanations import NOBODY as NOBODY
from mainspring.services.records.api.explanations import Action as Action
from mainspring.services.records.api.explanations import FieldExplanation as FieldExplanation
from mainspring.services.records.api.explanations import JudgedPart as JudgedPart
from mainspring.services.records.api.explanations import Judgement as Judgement
from mainspring.services.records.api.explanations import RuleExplanation as RuleExplanation
from mainspring.services.records.api.explanations import RuleQuestion as RuleQuestion
from mainspring.services.records.api.fields import FILE_BYTES_MAX as FILE_BYTES_MAX
from mainspring.services.records.api.fields import GUARDED_MAX as GUARDED_MAX
from mainspring.services.records.api.fields import ITEMS_MAX as ITEMS_MAX
from mainspring.services.records.api.fields import NAME as NAME
from mainspring.services.records.api.fields import SEARCHED_MAX as SEARCHED_MAX
from mainspring.services.records.api.fields import THUMBS_MAX as THUMBS_MAX
from mainspring.services.records.api.fields import TYPES_MAX as TYPES_MAX
from mainspring.services.records.api.fields import VALUES_MAX as VALUES_MAX
from mainspring.services.records.api.fields import Field as Field
from mainspring.services.records.api.fields import FieldRules as FieldRules
from mainspring.services.records.api.fields import FieldType as FieldType
from mainspring.services.records.api.fields import Name as Name
from mainspring.services.records.api.fields import OnDelete as OnDelete
from mainspring.services.records.api.fields import Stamp as Stamp
from mainspring.services.records.api.queries import CURSOR_CHARS_MAX as CURSOR_CHARS_MAX
from mainspring.services.records.api.queries import Aggregation as Aggregation
from mainspring.services.records.api.queries import Cursor as Cursor
from mainspring.services.records.api.queries import Expression as Expression
from mainspring.services.records.api.queries import FieldNames as FieldNames
from mainspring.services.records.api.queries import Group as Group
from mainspring.services.records.api.queries import Groups as Groups
from mainspring.services.records.api.queries import RecordPage as RecordPage
from mainspring.services.records.api.queries import RecordQuery as RecordQuery
from mainspring.services.records.api.queries import UpsertBy as UpsertBy
from mainspring.services.records.api.queries import ViewRecord as ViewRecord

READ, WRITE = "records:read", "records:write"
COLLECTIONS_READ, COLLECTIONS_WRITE = "collections:read", "collections:write"
EXPLAIN = "records:explain"
COLLECTIONS_PATH = "/v1/collections"
RECORDS_PATH = COLLECTIONS_PATH + "/{collection}/records"
RECORD_PATH = RECORDS_PATH + "/{id}"
FILE_PATH = RECORDS_PATH + "/{record_id}/files/{field}"
LINKED_FILES_PATH = "/v1/linked_files"

FIELDS_MAX = 100
INDEXES_MAX = 8  # of one collection: the columns k1 to k8
INDEX_FIELDS_MAX = 4
UNIQUES_MAX = 4  # of one collection: the columns u1 to u4
ENDED_MAX = 1_000  # records that end or change because one does
RULE_CHARS_MAX = 2_000
BATCH_MAX = 1_000
BATCH_BYTES_MAX = 8 << 20  # of one batch's body, and of the stored records that it changes
GROUPS_MAX = 1_000
ESTIMATED_MAX = 10_000  # records that an estimate of a total counts
EXPANDED_MAX = 3  # relations followed by one list


class RecordsSettings(msgspec.Struct, frozen=True):
    """``[records]``: how much of it there may be."""

    collections_max: Annotated[int, Meta(ge=1, le=10_000)] = 500  # of one tenant
    direct_bytes_min: Annotated[int, Meta(ge=0, le=1 << 40)] = 1 << 20  # 0: never
    direct_url_s: Annotated[int, Meta(ge=1, le=3_600)] = 60
    upload_url_s: Annotated[int, Meta(ge=1, le=43_200)] = 900
    open_runs_per_caller_max: Annotated[int, Meta(ge=1, le=1_000)] = 10
    search_wait_s: Annotated[float, Meta(ge=0, le=30)] = 3.0
    documents_wait_s: Annotated[float, Meta(ge=0, le=30)] = 3.0


service = Service(
    "records",
    doc="Records in collections with a schema, access rules, filters and indexes.",
    migrations=files("mainspring.services.records") / "migrations",
    settings=RecordsSettings,
    handlers=(
        "mainspring.services.records.consumers",
        "mainspring.services.records.document_copies",
        "mainspring.services.records.indexing",
        "mainspring.services.records.jobs",
        "mainspring.services.records.openapi_schemas",
        "mainspring.services.records.operations",
        "mainspring.services.records.visibility",
    ),
)


Rule = Annotated[str, Meta(max_length=RULE_CHARS_MAX, description="CEL")]


class Rules(Input, frozen=True):
    """Who may do what without the scope, in CEL over ``caller``, ``record``, ``request``.

    Absent means only keys with the scope; ``"true"`` means everyone.
    """

    list: Rule | None = None
    view: Rule | None = None
    create: Rule | None = None
    update: Rule | None = None
    delete: Rule | None = None


IndexField = Annotated[str, Meta(pattern=r"^-?[a-z][a-z0-9_]*$", max_length=64)]
Index = Annotated[list[IndexField], Meta(min_length=1, max_length=INDEX_FIELDS_MAX)]
Fields = Annotated[list[Field], Meta(max_length=FIELDS_MAX)]
Indexes = Annotated[
    list[Index],
    Meta(max_length=INDEXES_MAX, description="fields in order; '-' puts the largest first"),
]


UniqueField = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]
Unique = Annotated[list[UniqueField], Meta(min_length=2, max_length=INDEX_FIELDS_MAX)]
Uniques = Annotated[
    list[Unique],
    Meta(
        max_length=UNIQUES_MAX,
        description="fields whose values together no two records have, unless one of them is null",
    ),
]


AsDocuments = Annotated[bool, Meta(description="whether it can be asked in MongoDB's language")]


class NewCollection(Input, frozen=True):
    """A collection to be."""

    name: Name
    fields: Fields = msgspec.field(default_factory=list)
    rules: Rules = Rules()
    indexes: Indexes = msgspec.field(default_factory=list)
    uniques: Uniques = msgspec.field(default_factory=list)
    documents: AsDocuments = False


class CollectionChange(Input, frozen=True):
    """What to change; each part that is given replaces the whole of it."""

    fields: Fields | UnsetType = UNSET
    rules: Rules | UnsetType = UNSET
    indexes: Indexes | UnsetType = UNSET
    uniques: Uniques | UnsetType = UNSET
    documents: AsDocuments | UnsetType = UNSET


Removed = Annotated[
    str,
    Meta(max_length=FIELDS_MAX * 64, description="removed fields, with commas between them"),
]


class ChangeCollection(Input, frozen=True):
    """What of a change is meant though it loses data: the fields whose stored values go."""

    confirm: Removed | None = None


class Collection(msgspec.Struct, frozen=True):
    """A collection. While ``ready`` is false its stored records are being brought to the schema.

    Until then an index is not used that is new, or of a field that stored records get a default in;
    all others are. ``problem`` says if a change had to be taken back.
    """

    id: str
    name: str
    fields: list[Field]
    rules: Rules
    indexes: list[list[str]]
    uniques: list[list[str]]
    ready: bool
    problem: str | None
    created_at: Instant
    updated_at: Instant
    documents: bool


class BatchItem(Input, frozen=True):
    """One write of a batch. ``create`` takes ``data``; ``update`` and ``delete`` an ``id``.

    ``upsert`` takes ``data`` and the unique field ``by`` which it finds the record.
    """

    action: Literal["create", "update", "delete", "upsert"]
    id: str | None = None
    by: str | None = None
    data: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))


class Batch(Input, frozen=True):
    """Writes that land together or not at all, in order."""

    items: Annotated[list[BatchItem], Meta(min_length=1, max_length=BATCH_MAX)]


class BatchAnswer(msgspec.Struct, frozen=True):
    """The records as they are now, in the order of the request; null for one that was deleted."""

    items: list[msgspec.Raw | None]


# Events


@service.event("records.collection.created", scope=COLLECTIONS_READ)
class CollectionCreated(Collection, frozen=True):
    """A collection was made."""


@service.event("records.collection.updated", scope=COLLECTIONS_READ)
class CollectionUpdated(Collection, frozen=True):
    """A collection's fields, rules or indexes changed, or its records are ready for them."""


@service.event("records.collection.deleted", scope=COLLECTIONS_READ)
class CollectionDeleted(msgspec.Struct, frozen=True):
    """A collection is gone, and its records with it, without an event for each."""

    id: str
    name: str


@service.event("records.record.created")
class RecordCreated(msgspec.Struct, frozen=True):
    """A record was made: these members and the collection's fields."""

    id: str
    collection: str
    created_at: Instant
    updated_at: Instant


BEFORE_BYTES_MAX = 64 << 10  # of old values that an event tells


@service.event("records.record.updated", withholds=("before",))
class RecordUpdated(msgspec.Struct, frozen=True):
    """A record changed: these members and the collection's fields, as they are now.

    ``before`` has the old values of the fields that changed, by their names: null where they are
    longer than 64 KiB; absent where the collection has a field of this name, in events of an older
    version, and for those who could not view the record as it was.
    """

    id: str
    collection: str
    created_at: Instant
    updated_at: Instant
    before: dict[str, Any] | UnsetType | None = UNSET


@service.event("records.record.deleted", withholds=("before",))
class RecordDeleted(msgspec.Struct, frozen=True):
    """A record is gone. ``before`` is what it was: null or absent as in ``RecordUpdated``."""

    id: str
    collection: str
    before: dict[str, Any] | UnsetType | None = UNSET


# Errors


class NameTaken(Conflict):
    """The tenant has a collection with this name."""

    code, title = "name_taken", "The name is taken"


class UniqueTaken(Conflict):
    """Another record has the value of a unique field, or of several together: see the errors."""

    code, title = "unique", "A unique value is taken"


class IdTaken(Conflict):
    """The id that was chosen for a new record is one that a record has, or has had."""

    code, title = "id_taken", "The id is taken"


class StillReferenced(Conflict):
    """Other records or collections point here."""

    code, title = "still_referenced", "Something still refers to it"


class SchemaChangeRefused(Conflict):
    """The stored records do not allow the change; the detail says why."""

    code, title = "schema_change_refused", "The stored records do not allow this change"


# Jobs


@service.contract.job(queue="platform", max_attempts=20)
async def migrate_records(
    call: Call, tenant: str, name: str, layout: int, after: str = "", files: Sequence[str] = ()
) -> None:
    """Bring a page of stored records to their collection's schema, then enqueue the next.

    A record that somebody changes meanwhile is brought there by that change. The last page makes
    the collection ready: from then on its new indexes are used. ``files`` are the file fields that
    the change removes.
    """


@service.contract.job(queue="platform", max_attempts=20)
async def delete_blobs(call: Call, blobs: list[str]) -> None:
    """Delete files that no record has any more."""


@service.contract.job(queue="platform")
async def sweep_files(call: Call, after: str | None = None) -> None:
    """Once a day: delete files that no record has, a page of the store at a time.

    An upload is stored before its commit, so one whose commit failed is left behind. What nobody
    finished to send goes too, whichever operation it was sent to.
    """


@service.contract.job(queue="platform", max_attempts=20)
async def purge_collection(call: Call, collection: str, files: list[str]) -> None:
    """Remove a page of the records of a deleted collection, then enqueue the next."""


@service.contract.job(queue="platform", max_attempts=20)
async def part_with_user(call: Call, user: str, at_once: int = 100) -> None:
    """Do what the relations of records ask for that point at a user who is gone, a page at a time.

    A record that something keeps, or that takes too many with it, stays and names nobody.
    """


@service.contract.job(queue="platform", max_attempts=20)
async def part_with_organization(call: Call, organization: str, at_once: int = 100) -> None:
    """Do the same for an organisation that is gone."""


service.every("41 3 * * *", sweep_files)


# Operations


@service.contract.operation(
    f"POST {COLLECTIONS_PATH}", scope=COLLECTIONS_WRITE, status=201, raises=(NameTaken,)
)
async def create_collection(call: Call, new: NewCollection) -> Response[Collection]:
    """Create a collection: its fields, access rules and indexes."""


@service.contract.operation(f"GET {COLLECTIONS_PATH}", scope=COLLECTIONS_READ)
async def list_collections(call: Call, query: PageQuery) -> Page[Collection]:
    """List the collections, by name."""


@service.contract.operation(f"GET {COLLECTIONS_PATH}/{{name}}", scope=COLLECTIONS_READ)
async def get_collection(call: Call, name: str) -> Response[Collection]:
    """Return a collection."""


@service.contract.operation(
    f"PATCH {COLLECTIONS_PATH}/{{name}}", scope=COLLECTIONS_WRITE, raises=(SchemaChangeRefused,)
)
async def update_collection(
    call: Call, name: str, query: ChangeCollection, change: CollectionChange
) -> Response[Collection | None]:
    """Change fields, rules or indexes; what is left out stays.

    The collection is answered to those who may read collections, others hear 204.

    Records that are stored are brought to the new schema in the background, and read under it at
    once. Refused, with the reason, when what is stored does not allow it. A field that is left out
    of ``fields`` is removed: while records have a value in it, only where ``confirm`` names it.
    """


@service.contract.operation(
    f"DELETE {COLLECTIONS_PATH}/{{name}}", scope=COLLECTIONS_WRITE, raises=(StillReferenced,)
)
async def delete_collection(call: Call, name: str) -> None:
    """Delete a collection and its records. Refused while another collection points at it."""


@service.contract.operation(
    f"POST {RECORDS_PATH}", scope=None, status=201, raises=(UniqueTaken, IdTaken)
)
async def create_record(
    call: Call, collection: str, body: msgspec.Raw, files: Files = NO_FILES
) -> Response[msgspec.Raw]:
    """Create a record, with its files where it is sent as a form.

    The collection's schema says what it holds. Callers without the scope ``records:write`` need a
    create rule that lets this record in. ``Location`` names it, and who may view it is shown it.

    ``id`` may be chosen: ``rec_`` and a UUIDv7, as TypeIDs are written. Its moment becomes
    ``created_at``. One that a record has, or has had, is 409.
    """


@service.contract.operation(f"GET {RECORD_PATH}", scope=None, may_lag=True)
async def get_record(
    call: Call, collection: str, id: str, query: ViewRecord
) -> Response[msgspec.Raw]:
    """Return a record. One that the caller may not see is not found."""


@service.contract.operation(f"PATCH {RECORD_PATH}", scope=None, raises=(UniqueTaken,))
async def update_record(
    call: Call, collection: str, id: str, body: msgspec.Raw, files: Files = NO_FILES
) -> Response[msgspec.Raw]:
    """Change the fields that are sent (RFC 7396); null empties one that may be empty.

    ``$add`` adds to numbers, ``$append`` to lists in json fields, ``$remove`` takes values out of
    them: ``{"$add": {"stock": -1}}``. Each counts from what the record holds at the commit.

    An update rule must hold for the record as it is and as it becomes. Who may not view what it
    becomes is answered 204.
    """


@service.contract.operation(f"PUT {RECORD_PATH}", scope=None, raises=(UniqueTaken,))
async def replace_record(
    call: Call, collection: str, id: str, body: msgspec.Raw, files: Files = NO_FILES
) -> Response[msgspec.Raw]:
    """Replace every field; one that is left out gets its default, or null. Judged as a PATCH is.

    Files stay where they are neither sent, in a form, nor emptied.
    """


@service.contract.operation(
    f"POST {RECORDS_PATH}:upsert", scope=None, raises=(UniqueTaken, IdTaken)
)
async def upsert_record(
    call: Call, collection: str, query: UpsertBy, body: msgspec.Raw, files: Files = NO_FILES
) -> Response[msgspec.Raw]:
    """Create a record, or change the one that has the same value in a unique field.

    The create rule judges what is created (201), the update rule what is changed (200); fields that
    are not sent stay as they are. A record that the caller may neither view nor change is taken for
    one that is not there, as a create takes it: then the value is taken, or there is no create.
    """


@service.contract.operation(f"DELETE {RECORD_PATH}", scope=None, raises=(StillReferenced,))
async def delete_record(call: Call, collection: str, id: str) -> None:
    """Delete a record.

    What points at it goes with it, lets go of it, or keeps it, as its relation's ``on_delete`` says
    (``restrict`` where it says nothing): all in one commit, of up to 1,000 records.
    """


@service.contract.operation(
    f"POST {RECORDS_PATH}:batch",
    scope=None,
    raises=(UniqueTaken, IdTaken),
    body_bytes_max=BATCH_BYTES_MAX,
)
async def batch_records(call: Call, collection: str, batch: Batch) -> BatchAnswer:
    """Create, update, upsert and delete up to 1,000 records: all of them, or none.

    The body has at most 8 MiB, and so have the records together that it changes. A unique value
    may go from one record to another: what counts is how they are after all of it. Each is judged
    by itself; one that the caller may not view is answered with null.
    """


@service.contract.operation(f"GET {RECORDS_PATH}", scope=None, may_lag=True)
async def list_records(call: Call, collection: str, query: RecordQuery) -> Response[RecordPage]:
    """List the records that pass the filter and that the caller may see.

    ``total=exact`` counts all of them under the budget of a scan, ``estimate`` up to 10,000.

    A filter or order that no index covers is scanned for under a budget, and refused with
    ``filter_needs_index`` and what would help when it goes over: an index, or a smaller range.

    ``q`` finds those that have all of its words in fields with ``search``, the best first; with
    ``sort=-id``, and for who may not see every record, the newest first. What was written before
    the call is found.
    """


@service.contract.operation(f"GET {RECORDS_PATH}:aggregate", scope=None, may_lag=True)
async def aggregate_records(call: Call, collection: str, query: Aggregation) -> Groups:
    """Count, sum and group. Reads every record that passes, under the budget of a scan."""


@service.contract.operation(f"POST {RECORDS_PATH}:find", scope=None, reads=True, may_lag=True)
async def find_documents(call: Call, collection: str, find: FindQuery) -> DocumentPage:
    """Find records in MongoDB's language, where the collection has ``documents``.

    Each is a document as the caller may see it, its ``_id`` beside its ``id``. In the order of the
    ids a page begins after ``cursor``, and one that looked at 10,000 records ends early. A sort
    reads all that pass: where they are more than 10,000, or 16 MiB, it is 422.
    """


@service.contract.operation(f"POST {RECORDS_PATH}:aggregate", scope=None, reads=True, may_lag=True)
async def aggregate_documents(call: Call, collection: str, pipeline: Pipeline) -> PipelineAnswer:
    """Run a pipeline in MongoDB's language over what the caller may see of the records.

    It reads what the first ``$match`` leaves, up to 10,000 records or 16 MiB: more is 422.
    """


@service.contract.operation(f"POST {RECORDS_PATH}:explain", scope=EXPLAIN)
async def explain_rule(call: Call, collection: str, question: RuleQuestion) -> RuleExplanation:
    """Tell whether a caller may do something, and by which part of which rule. Nothing is done.

    It shows what the rules ask of any record, caller and related record: whoever may change rules
    can find out all of that with it.
    """


@service.contract.upload(f"POST {FILE_PATH}", scope=None)
async def upload_file(
    call: Call, collection: str, record_id: str, field: str, upload: Upload
) -> Response[msgspec.Raw]:
    """Put a file into a file field, in the place of the one that was there.

    The body is the file itself; ``Content-Disposition`` may name it. It takes what an update takes,
    and ``request.changes`` holds the field's name. Its media type is read from its first bytes; the
    ``Content-Type`` counts where they do not tell.
    """


@service.contract.raw(f"GET {FILE_PATH}", scope=None, cache=CachePolicy())
async def get_file(call: Call, collection: str, record_id: str, field: str, query: FileView) -> Raw:
    """Download the file of a record, or a range of it, to whoever may view the record.

    It is an attachment, or shown where its field is ``inline`` and a browser can show it safely.
    """


@service.contract.operation(f"POST {FILE_PATH}:link", scope=None, secret=True)
async def link_file(
    call: Call, collection: str, record_id: str, field: str, new: NewFileLink
) -> FileLink:
    """Make a link to a file that needs no credentials, and holds for a while.

    Whoever follows it sees what its maker may see then. It ends with the file, and with its
    maker's rights.
    """


@service.contract.raw(f"GET {LINKED_FILES_PATH}/{{token}}", scope=None, cache=CachePolicy())
async def get_linked_file(call: Call, token: str) -> Raw:
    """Download the file that a link stands for, or a range of it."""


# Declared apart, on the service above: who imports this face has every contract of it.
from mainspring.services.records.api import direct_uploads as direct_uploads  # noqa: E402
from mainspring.services.records.api import document_copies as document_copies  # noqa: E402
from mainspring.services.records.api import runs as runs  # noqa: E402
from mainspring.services.records.api import search as search  # noqa: E402
from mainspring.services.records.api import steps as steps  # noqa: E402
from mainspring.services.records.api import streams as streams  # noqa: E402
from mainspring.services.records.api import transfers as transfers  # noqa: E402
