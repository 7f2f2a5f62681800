"""Uploads in two steps: begun under the field's rules, sent to where files lie, then finished."""

import base64

import msgspec

from mainspring import (
    Call,
    Conflict,
    Gone,
    Invalid,
    NotFound,
    Response,
    Unauthenticated,
    Upload,
    UploadTerms,
    handles,
    rfc3339,
)
from mainspring.kernel import media
from mainspring.kernel.errors import TooLarge
from mainspring.kernel.operation import UPLOAD_HEAD_BYTES
from mainspring.kernel.sweep import sweep_of
from mainspring.kernel.upload_settings import UploadSettings
from mainspring.ports.blobs import Blobs
from mainspring.ports.keyring import Keyring
from mainspring.services.records import api, presenter
from mainspring.services.records.api import direct_uploads as contract
from mainspring.services.records.api.direct_uploads import FINISH_S, PENDING_MAX, PENDING_PATH
from mainspring.services.records.file_terms import terms_of
from mainspring.services.records.jobs import files_of
from mainspring.services.records.operations.files import changeable, put_in
from mainspring.services.records.store.uploads import UPLOAD, UPLOADS, UPLOADS_OF, UploadRow

_SENDING = "records.pending_upload"  # what addresses at the platform are sealed for

api.service.keeps(
    sweep_of("unfinished uploads", "records_uploads", "id", "expires_ms", kept_ms=FINISH_S * 1000)
)


@handles(contract.begin_upload)
async def begin_upload(
    call: Call, collection: str, record_id: str, field: str, new: contract.NewUpload
) -> contract.PendingUpload:
    current = await changeable(call, collection, record_id, field)
    if call.caller.kind == "anonymous":
        raise Unauthenticated("an upload is finished by whoever began it: log in, or send it whole")
    terms = terms_of(current.collection, record_id, current.collection.fields[field])
    most = call.use(UploadSettings).file_bytes_max
    if terms.size_bytes_max is not None:
        most = min(most, terms.size_bytes_max)
    if new.size_bytes > most:
        raise TooLarge(f"{terms.what} has at most {most} bytes: {new.size_bytes} were announced")
    whose = {"tenant": call.tenant, "maker": call.caller.actor}
    if len(await call.all(UPLOADS_OF, **whose, limit=PENDING_MAX)) == PENDING_MAX:
        raise Conflict(f"{PENDING_MAX} uploads of yours wait to be finished: finish them, or wait")
    life_s = call.use(api.RecordsSettings).upload_url_s
    row = UploadRow(
        call.new_id("upl"), call.tenant, call.caller.actor, current.collection.id, record_id, field,
        "", 0, new.size_bytes, new.sha256, _media_type(new.media_type), _name(new.name),
        call.now_ms + life_s * 1000,
    )  # fmt: skip
    direct = call.use(Blobs).direct
    if direct is None:
        sealed = call.use(Keyring).seal(msgspec.json.encode((row.tenant, row.id)), purpose=_SENDING)
        token = base64.urlsafe_b64encode(sealed).decode().rstrip("=")
        url, headers = f"{PENDING_PATH}/{token}", {"content-type": row.media_type}
    else:
        row = msgspec.structs.replace(row, blob=terms.prefix + call.new_id("blob"))
        put = direct.to_put(
            row.blob, life_s=life_s, size_bytes=row.size_bytes, sha256=row.sha256,
            media_type=row.media_type,
        )  # fmt: skip
        url, headers = put.url, put.headers
    call.write(UPLOADS.insert(row))
    return contract.PendingUpload(row.id, url, "PUT", headers, rfc3339(row.expires_ms))


async def may_upload_pending(call: Call, token: str) -> UploadTerms:
    """Refuse before the body is read."""
    row = await _sent_to(call, token)
    prefix, what = files_of(row.collection, row.record), f"the file of {row.field!r}"
    return UploadTerms(prefix, what, row.size_bytes)


@handles(contract.upload_pending_file, prepare=may_upload_pending)
async def upload_pending_file(call: Call, token: str, upload: Upload) -> None:
    row = await _sent_to(call, token)
    if (upload.size_bytes, upload.sha256) != (row.size_bytes, row.sha256):
        raise Invalid(
            f"{row.size_bytes} bytes with the SHA-256 {row.sha256} were announced: "
            f"{upload.size_bytes} came, with {upload.sha256}"
        )
    call.write(UPLOADS.update(row, blob=upload.key, compared=1))
    if row.blob:
        call.enqueue(api.delete_blobs, blobs=[row.blob])


@handles(contract.finish_upload, shows=presenter.record_again)
async def finish_upload(
    call: Call, collection: str, record_id: str, field: str, finish: contract.FinishUpload
) -> Response[msgspec.Raw]:
    current = await changeable(call, collection, record_id, field)
    row = await call.find(UPLOAD, id=finish.id, tenant=call.tenant)
    place = (call.caller.actor, current.collection.id, record_id, field)
    if row is None or (row.maker, row.collection, row.record, row.field) != place:
        raise NotFound("no upload of yours with this id waits for this field")
    if row.expires_ms + FINISH_S * 1000 <= call.now_ms:
        raise Gone("it was not finished in time: begin another one")
    await _require_arrived(call, row)
    terms = terms_of(current.collection, record_id, current.collection.fields[field])
    judged, head = row.media_type, b""
    async for chunk in call.use(Blobs).get(row.blob, 0, UPLOAD_HEAD_BYTES):
        head += chunk
    if terms.judge is not None:
        judged = terms.judge(head, judged)
    call.write(UPLOADS.delete(row))
    upload = Upload(row.blob, row.size_bytes, row.sha256, judged, row.name)
    return await put_in(call, current, field, upload)


async def _require_arrived(call: Call, row: UploadRow) -> None:
    """Raise Conflict unless exactly what was announced lies in the store."""
    direct = call.use(Blobs).direct
    if row.blob and row.compared:
        return
    try:
        if row.blob and direct is not None:
            if await direct.arrived(row.blob, size_bytes=row.size_bytes, sha256=row.sha256):
                return
            raise Conflict(
                "the store has something else than was announced, or compared no checksum: begin "
                "another one, or send the file whole"
            )
    except NotFound:
        pass  # said below
    raise Conflict("nothing has come yet: first send the file to its url")


async def _sent_to(call: Call, token: str) -> UploadRow:
    """Return the upload that an address is of. Raises NotFound, Gone."""
    try:
        sealed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        opened = call.use(Keyring).unseal(sealed, purpose=_SENDING)
        tenant, upload_id = msgspec.json.decode(opened, type=tuple[str, str])
    except ValueError:
        raise NotFound("nothing is sent to this address: ask for another one") from None
    row = None
    if tenant == call.tenant:
        row = await call.find(UPLOAD, id=upload_id, tenant=tenant)
    if row is None:
        raise NotFound("the upload is finished, or was given up: begin another one")
    if row.expires_ms <= call.now_ms:
        raise Gone("the address has expired: begin another upload")
    return row


def _media_type(claimed: str) -> str:
    try:
        return media.media_type(claimed)
    except ValueError as error:
        raise Invalid.at("/media_type", str(error)) from None


def _name(given: str | None) -> str | None:
    """Clean a name as that of a file is that comes with its name."""
    return None if given is None else media.file_name(media.disposition(given, inline=False))
