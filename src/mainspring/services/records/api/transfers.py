"""The public face of records that come and go as files: exports, and imports by a run."""

from typing import Annotated, Literal

from msgspec import Meta

from mainspring import Call, Impersonated, Input, Raw, Response, Upload
from mainspring.services.records.api import RECORDS_PATH, Expression, FieldNames, Name, service
from mainspring.services.records.api.runs import Run, TooManyRuns

FileFormat = Literal["csv", "ndjson", "json"]


class ExportQuery(Input, frozen=True):
    """Which records, and how they are written. ``after`` is the id of the last one that one has."""

    format: FileFormat = "ndjson"
    filter: Expression | None = None
    fields: FieldNames | None = None
    after: (
        Annotated[str, Meta(pattern=r"^rec_[0-9a-z]{26}$", min_length=1, max_length=30)] | None
    ) = None
    escape_formulas: bool = False


class ImportQuery(Input, frozen=True):
    """How what is sent is to be read, and by what a record is found that may be there."""

    format: FileFormat
    by: Name | None = None


@service.contract.raw(f"GET {RECORDS_PATH}:export", scope=None)
async def export_records(call: Call, collection: str, query: ExportQuery) -> Raw:
    """Download the records that a list with this filter shows, in the order of their ids.

    It is written page by page, by the rules of the moment, however many they are. One that is cut
    off goes on with ``after``.
    """


@service.contract.upload(
    f"POST {RECORDS_PATH}:import", scope=None, status=202, raises=(TooManyRuns,),
    impersonated=Impersonated.REFUSED,
)  # fmt: skip
async def import_records(
    call: Call, collection: str, query: ImportQuery, upload: Upload
) -> Response[Run]:
    """Create the records of a file, or upsert them ``by`` a unique field or ``id``, by a run.

    Each is judged as a call of its own; what keeps one from being written is told with its line.
    """
