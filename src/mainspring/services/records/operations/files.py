"""Files of records: uploaded to a field's own address, and downloaded from it."""

import base64
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec

from mainspring import (
    Call,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    Raw,
    Response,
    Unauthenticated,
    Upload,
    UploadTerms,
    handles,
    rfc3339,
)
from mainspring.kernel.etag import version_tag
from mainspring.kernel.media import disposition
from mainspring.kernel.operation import Seekable
from mainspring.kernel.visibility import acting_for
from mainspring.ports.blobs import Blobs
from mainspring.ports.keyring import Keyring
from mainspring.services.records import (
    access,
    api,
    field_rights,
    file_types,
    presenter,
    stamps,
    thumbnails,
)
from mainspring.services.records.fields import StoredFile, file_id, files_in
from mainspring.services.records.file_terms import terms_of, with_files
from mainspring.services.records.model import CompiledCollection
from mainspring.services.records.operations.records import (
    Current,
    change_record,
    current_record,
)
from mainspring.services.records.thumbnails import Thumbnails

_LINKS = "records.file_link"  # what links are sealed for
# Whatever is in a file, it runs nowhere and asks for nothing.
_INERT = "default-src 'none'; frame-ancestors 'none'; sandbox"
# What a browser makes a page of by itself has its own style, and shows the file in it.
_SHOWN = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"
_DOCUMENT = "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'"  # no viewer in a box

api.service.provide(Thumbnails)


async def may_upload(call: Call, collection: str, record_id: str, field: str) -> UploadTerms:
    """Refuse before the body is read; its blob will be named after the record."""
    current = await changeable(call, collection, record_id, field)
    return terms_of(current.collection, record_id, current.collection.fields[field])


@handles(api.upload_file, prepare=may_upload, shows=presenter.record_again)
async def upload_file(
    call: Call, collection: str, record_id: str, field: str, upload: Upload
) -> Response[msgspec.Raw]:
    return await put_in(call, await changeable(call, collection, record_id, field), field, upload)


async def put_in(call: Call, current: Current, field: str, upload: Upload) -> Response[msgspec.Raw]:
    """Put a file into a field that the caller may change, as far as that was asked before it came.

    Raises what a change of the record does.
    """
    await presenter.require_match(call, current.collection, current.record, current.etag)
    values = with_files(current.collection, {}, {field: upload}, current.record)
    stamped = await stamps.of_change(call, current.collection, current.record, values)
    await access.require_change(call, current.collection, current.record, values, stamps=stamped)
    becomes = {**current.record, **values, **stamped}
    await field_rights.require_writable(
        call, current.collection, [field], [current.record, becomes], before=current.record
    )
    answer = await change_record(call, current, {**values, **stamped})
    return msgspec.structs.replace(answer, status=answer.status or 201)


@handles(api.get_file)
async def get_file(
    call: Call, collection: str, record_id: str, field: str, query: api.FileView
) -> Raw:
    found, file = await _viewable_file(call, collection, record_id, field, query.file)
    return await _download(call, found, file, query)


@handles(api.link_file)
async def link_file(
    call: Call, collection: str, record_id: str, field: str, new: api.NewFileLink
) -> api.FileLink:
    found, file = await _viewable_file(call, collection, record_id, field, new.file)
    _require_thumbnail(found, file, new.thumb)
    expires_ms = call.now_ms + new.expires_in_s * 1000
    link = _Link(
        call.tenant, call.caller.actor, collection, record_id, field, file.blob, expires_ms,
        new.download, new.thumb, file_id(file.blob) if found.many else None,
    )  # fmt: skip
    sealed = call.use(Keyring).seal(msgspec.json.encode(link), purpose=_LINKS)
    token = base64.urlsafe_b64encode(sealed).decode().rstrip("=")
    return api.FileLink(f"{api.LINKED_FILES_PATH}/{token}", rfc3339(expires_ms))


@handles(api.get_linked_file)
async def get_linked_file(call: Call, token: str) -> Raw:
    link = _read_link(call, token)
    if link is None or link.tenant != call.tenant:
        raise NotFound("there is no such link")
    if link.expires_ms <= call.now_ms:
        raise Gone("the link has expired: ask for another one")
    maker = await acting_for(call, link.maker)
    if maker is None:
        raise NotFound("whoever made the link may not do so any more")
    try:
        found, file = await _viewable_file(
            maker, link.collection, link.record, link.field, link.file
        )
    except (Unauthenticated, Forbidden):  # of the maker's rights, not of whoever follows it
        raise NotFound("whoever made the link may not see this any more") from None
    if file.blob != link.blob:
        raise NotFound("the record has another file by now: ask for another link")
    view = api.FileView(download=link.download, thumb=link.thumb)
    raw = await _download(call, found, file, view, until_ms=link.expires_ms)
    return msgspec.structs.replace(raw, headers=(*raw.headers, ("Referrer-Policy", "no-referrer")))


class _Link(msgspec.Struct, frozen=True, array_like=True):
    """What a link stands for: one file, shown while its maker may see it."""

    tenant: str
    maker: str
    collection: str
    record: str
    field: str
    blob: str
    expires_ms: int
    download: bool
    thumb: str | None
    file: str | None = None  # of a list, its id


def _read_link(call: Call, token: str) -> _Link | None:
    try:
        sealed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        opened = call.use(Keyring).unseal(sealed, purpose=_LINKS)
    except ValueError:
        return None
    return msgspec.json.decode(opened, type=_Link)


async def _viewable_file(
    call: Call, collection: str, record_id: str, field: str, which: str | None
) -> tuple[api.Field, StoredFile]:
    """Return a file that the caller may see. Raises NotFound, Unauthenticated, Forbidden."""
    current = await current_record(call, collection, record_id, "view")
    await access.require(call, current.collection, "view", current.record)
    _require_file_field(current.collection, field)
    seen = await field_rights.sight(call, current.collection)
    found = current.collection.fields[field]
    value = _picked(found, files_in(seen.shown(current.record).get(field)), which)
    if value is None:
        raise NotFound("the record has no file in this field, or not this one")
    return found, msgspec.convert(value, StoredFile)


def _picked(field: api.Field, files: list[dict[str, Any]], which: str | None) -> Any:
    """One file of a field: of a list that with this id, or at this place. Raises Invalid."""
    if field.many and which is None:
        raise Invalid.at("/file", "this field holds several: name one by its id, or its place")
    if not field.many and which is not None:
        raise Invalid.at("/file", "this field holds one file: leave it out")
    if which is not None and which.isdecimal():
        files = files[int(which) :][:1]
    elif which is not None:
        files = [file for file in files if file_id(file["blob"]) == which]
    return files[0] if files else None


def _require_thumbnail(field: api.Field, file: StoredFile, size: str | None) -> None:
    """Raise Invalid for a size that the field has not, NotFound where there is none of the file."""
    if size is None:
        return
    if size not in field.thumbs:
        there = ", ".join(field.thumbs) or "no thumbnails"
        raise Invalid.at("/thumb", f"{field.name!r} has {there}")
    thumbnails.media_type_of(file.media_type)


async def _download(
    call: Call,
    field: api.Field,
    file: StoredFile,
    view: api.FileView,
    *,
    until_ms: int | None = None,
) -> Raw:
    """Answer with a file: shown by a browser where its field lets it and nothing in it can run.

    A large one is fetched where it lies, if clients reach that: no longer than ``until_ms``.
    """
    _require_thumbnail(field, file, view.thumb)
    etag, blobs, media_type = version_tag(file.sha256), call.use(Blobs), file.media_type
    body: AsyncIterator[bytes] | Seekable = Seekable(file.size_bytes, partial(blobs.get, file.blob))
    if view.thumb is not None:
        etag = version_tag(file.sha256, view.thumb)
        maker = call.use(Thumbnails)
        media_type, body = await maker.of(blobs, file.blob, media_type, view.thumb, call.account)
    call.require_match(etag)
    inline = field.inline and not view.download and file_types.is_harmless(media_type)
    shown_as = disposition(file.name or field.name, inline=inline)
    settings, elsewhere = call.use(api.RecordsSettings), None
    large = 0 < settings.direct_bytes_min <= file.size_bytes
    if blobs.direct is not None and large and view.redirect and view.thumb is None:
        life_s = settings.direct_url_s
        if until_ms is not None:
            life_s = max(1, min(life_s, (until_ms - call.now_ms) // 1000))
        elsewhere = blobs.direct.to_get(
            file.blob, life_s=life_s, media_type=media_type, disposition=shown_as
        )
    policy = _INERT
    if inline:
        policy = _DOCUMENT if media_type == "application/pdf" else _SHOWN
    return Raw(
        body,
        media_type=media_type,
        headers=(
            ("Content-Disposition", shown_as),
            ("Content-Security-Policy", policy),
            ("ETag", etag),
        ),
        elsewhere=elsewhere,
    )


async def changeable(call: Call, collection: str, id: str, field: str) -> Current:
    """Return the record, if its file field may be changed. Raises NotFound, Forbidden."""
    current = await current_record(call, collection, id, "update")
    await access.require(call, current.collection, "update", current.record, changes=[field])
    _require_file_field(current.collection, field)
    await field_rights.require_writable(
        call, current.collection, [field], [current.record], before=current.record
    )
    return current


def _require_file_field(collection: CompiledCollection, field: str) -> None:
    if field not in collection.files:
        raise NotFound(f"the collection has no file field {field!r}")
