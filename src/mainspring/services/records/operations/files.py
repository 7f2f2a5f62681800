"""Files of records: uploaded to a field's own address, and downloaded from it."""

import msgspec

from mainspring import Call, NotFound, Raw, Response, Upload, UploadTerms, handles
from mainspring.kernel.errors import UnsupportedMedia
from mainspring.kernel.etag import version_tag
from mainspring.kernel.media import attachment
from mainspring.ports.blobs import Blobs
from mainspring.services.records import access, api, file_types, presenter
from mainspring.services.records.fields import StoredFile
from mainspring.services.records.jobs import files_of
from mainspring.services.records.model import CompiledCollection
from mainspring.services.records.operations.records import (
    Current,
    change_record,
    current_record,
)


async def may_upload(call: Call, collection: str, record_id: str, field: str) -> UploadTerms:
    """Refuse before the body is read; its blob will be named after the record."""
    current = await _changeable(call, collection, record_id, field)
    return terms_of(current.collection, record_id, current.collection.fields[field])


def terms_of(collection: CompiledCollection, record_id: str, field: api.Field) -> UploadTerms:
    """What a file may be that is uploaded to a field."""

    def judged(head: bytes, claimed: str) -> str:
        media_type = file_types.judge(head, claimed)
        if field.types and not file_types.fits(media_type, field.types):
            wanted = ", ".join(field.types)
            raise UnsupportedMedia.at(
                f"/{field.name}",
                f"this is {media_type}, by what is in it: send one of {wanted}",
                f"{field.name!r} takes {wanted}, and this is {media_type}, by what is in it",
            )
        return media_type

    prefix, what = files_of(collection.id, record_id), f"the file of {field.name!r}"
    return UploadTerms(prefix, what, field.max_bytes, judged)


@handles(api.upload_file, prepare=may_upload, shows=presenter.record_again)
async def upload_file(
    call: Call, collection: str, record_id: str, field: str, upload: Upload
) -> Response[msgspec.Raw]:
    current = await _changeable(call, collection, record_id, field)
    await presenter.require_match(call, current.collection, current.record, current.etag)
    file = StoredFile(
        upload.key, upload.filename, upload.media_type, upload.size_bytes, upload.sha256
    )
    values = {field: msgspec.structs.asdict(file)}
    await access.require_change(call, current.collection, current.record, values)
    answer = await change_record(call, current, values)
    return msgspec.structs.replace(answer, status=answer.status or 201)


@handles(api.get_file)
async def get_file(call: Call, collection: str, record_id: str, field: str) -> Raw:
    current = await current_record(call, collection, record_id, "view")
    await access.require(call, current.collection, "view", current.record)
    _require_file_field(current.collection, field)
    value = current.record[field]
    if value is None:
        raise NotFound("the record has no file in this field")
    file = msgspec.convert(value, StoredFile)
    blobs = call.use(Blobs)
    return Raw(
        blobs.get(file.blob),
        media_type=file.media_type,
        headers=(
            ("Content-Length", str(file.size_bytes)),
            ("Content-Disposition", attachment(file.name or field)),
            ("ETag", version_tag(file.sha256)),
        ),
    )


async def _changeable(call: Call, collection: str, id: str, field: str) -> Current:
    current = await current_record(call, collection, id, "update")
    await access.require(call, current.collection, "update", current.record, changes=[field])
    _require_file_field(current.collection, field)
    return current


def _require_file_field(collection: CompiledCollection, field: str) -> None:
    if field not in collection.files:
        raise NotFound(f"the collection has no file field {field!r}")
