"""What the tables hold of uploads that were begun and are to be finished."""

import msgspec

from mainspring import Query, Table


class UploadRow(msgspec.Struct, frozen=True):
    """An upload that is to be finished: ``blob`` is empty until the platform itself has taken it.

    It has ``compared`` what came then; what went to the store is compared when it is finished.
    """

    id: str
    tenant: str
    maker: str
    collection: str
    record: str
    field: str
    blob: str
    compared: int
    size_bytes: int
    sha256: str
    media_type: str
    name: str | None
    expires_ms: int
    version: int = 1


UPLOADS = Table("records_uploads", UploadRow, key=("id",))
UPLOAD = Query(
    "records.upload",
    f"SELECT {UPLOADS.columns} FROM records_uploads WHERE id = :id AND tenant = :tenant",
    UPLOADS,
)
UPLOADS_OF = Query(
    "records.uploads_of",
    "SELECT id FROM records_uploads WHERE tenant = :tenant AND maker = :maker LIMIT :limit",
    str,
)
