"""What callers see of a collection, and the writer of a record of it.

Who may write is not thereby one who may read: the view rule or ``records:read`` lets them see it,
and without the right a write answers 204.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mainspring import Call, PreconditionFailed, Response, rfc3339
from mainspring.kernel.etag import version_tag
from mainspring.services.records import access, field_rights
from mainspring.services.records.api import READ, Collection
from mainspring.services.records.api.runs import Run, RunError
from mainspring.services.records.model import CompiledCollection
from mainspring.services.records.schema_cache import compiled, read_definition
from mainspring.services.records.store import COLLECTION_BY_ID, HEAD, RECORDS_BY_ID, CollectionRow
from mainspring.services.records.store.runs import RunRow

NOTHING = msgspec.Raw(b"")
_NULL = msgspec.Raw(b"null")


class _Named(msgspec.Struct, frozen=True):
    id: str
    collection: str


class _Size(msgspec.Struct, frozen=True):
    """How large the file of an import is."""

    size_bytes: int


class _Offset(msgspec.Struct, frozen=True):
    """How far the file of an import is read."""

    offset: int


decode_errors = msgspec.json.Decoder(list[RunError]).decode
_decode_size = msgspec.json.Decoder(_Size).decode
_decode_offset = msgspec.json.Decoder(_Offset).decode
_decode_id = msgspec.json.Decoder(_Named).decode
_decode_batch = msgspec.json.Decoder(dict[str, list[msgspec.Raw]]).decode


def present_collection(row: CollectionRow) -> Collection:
    """Write a collection as callers see one."""
    definition = read_definition(row)
    return Collection(
        row.id, row.name, definition.fields, definition.rules,
        [slot.fields for slot in definition.indexes],
        [list(slot.names) for slot in definition.uniques if not slot.field],
        row.ready_version >= definition.layout, row.problem,
        rfc3339(row.created_ms), rfc3339(row.updated_ms), definition.documents,
    )  # fmt: skip


def present_run(row: RunRow) -> Run:
    """Write a run as callers see one."""
    return Run(
        id=row.id or None, kind=row.kind, collection=row.collection, state=row.state,  # type: ignore[arg-type]
        total=row.total, progress=_progress(row),
        done=row.done, skipped=row.skipped, failed=row.failed, reported=row.reported,
        errors=decode_errors(row.errors), problem=row.problem,
        created_at=rfc3339(row.created_ms), updated_at=rfc3339(row.updated_ms),
    )  # fmt: skip


def _progress(row: RunRow) -> float | None:
    """How much of a run is behind, as far as that is known."""
    if row.state == "done":
        return 1.0
    if row.state != "running":
        return None
    if row.kind == "import":
        size_bytes = _decode_size(row.spec).size_bytes
        return _decode_offset(row.place).offset / size_bytes if size_bytes else None
    handled = row.done + row.skipped + row.failed
    return min(1.0, handled / row.total) if row.total else None


async def written(
    call: Call,
    collection: CompiledCollection,
    record: dict[str, Any],
    raw: msgspec.Raw,
    etag: str,
    headers: tuple[tuple[str, str], ...] = (),
) -> Response[msgspec.Raw]:
    """Answer with a record as it is now, its text being ``raw``; with 204 to who may not view it.

    Those get no tag either: it would tell of changes that are not theirs.
    """
    shown = await seen(call, collection, record, raw)
    if shown is None:
        return Response(NOTHING, status=204, headers=headers)
    unseen = await field_rights.unseen(call, collection, record)
    return Response(shown, etag=field_rights.tag_of_shown(etag, unseen), headers=headers)


async def seen(
    call: Call, collection: CompiledCollection, record: dict[str, Any], raw: msgspec.Raw
) -> msgspec.Raw | None:
    """What the caller may see of a record whose text is ``raw``; None where that is nothing."""
    if not await access.may_view(call, collection, record):
        return None
    sight = await field_rights.sight(call, collection)
    if sight.whole:
        return raw
    (shown,) = await field_rights.readable(call, collection, [record])
    return msgspec.Raw(msgspec.json.encode(shown))


def tag_as_shown(collection: CompiledCollection, version: int, schema_version: int | None) -> str:
    """The entity tag of a record as its collection shows it.

    One that is still stored under an older layout is shown under the new one: that is another
    representation of the same version, and has a tag of its own.
    """
    if (schema_version or 0) >= collection.layout:
        return version_tag(version)
    return version_tag(version, collection.layout)


async def require_match(
    call: Call, collection: CompiledCollection, record: dict[str, Any], etag: str
) -> None:
    """Compare ``If-Match`` with a record's tag, which only who may view the record is told."""
    unseen = await field_rights.unseen(call, collection, record)
    try:
        call.require_match(field_rights.tag_of_shown(etag, unseen))
    except PreconditionFailed:
        if await access.may_view(call, collection, record):
            raise
        raise PreconditionFailed("the record has another version") from None


async def record_again(call: Call, body: bytes, /, *, collection: str, **args: Any) -> bytes:
    """What of a stored answer its caller may see now: all of it, or nothing."""
    if call.caller.allows(READ):
        return body
    now = await _still_viewable(call, collection, [_id(body)])
    return bytes(_as_seen(msgspec.Raw(body), now)) if _id(body) in now else b""


async def batch_again(call: Call, body: bytes, /, *, collection: str, **args: Any) -> bytes:
    """What of a batch's stored answer its caller may see now: null for every other record."""
    if call.caller.allows(READ):
        return body
    items = _decode_batch(body)["items"]
    ids = [_id(item) for item in items if item != _NULL]
    now = await _still_viewable(call, collection, ids)
    kept = [_as_seen(item, now) for item in items]
    return msgspec.json.encode({"items": kept})


async def steps_again(call: Call, body: bytes, /, **args: Any) -> bytes:
    """What of a stored answer over several collections its caller may see now: null for others."""
    if call.caller.allows(READ):
        return body
    items = _decode_batch(body)["items"]
    of: dict[str, list[str]] = {}
    for item in items:
        if item != _NULL:
            named = _decode_id(item)
            of.setdefault(named.collection, []).append(named.id)
    now: dict[str, tuple[str, ...]] = {}
    for name, ids in of.items():
        now |= await _still_viewable(call, name, ids)
    kept = [_as_seen(item, now) for item in items]
    return msgspec.json.encode({"items": kept})


def _as_seen(item: msgspec.Raw, now: Mapping[str, Sequence[str]]) -> msgspec.Raw:
    """What of a record in a stored answer is seen now: nothing, or what is not withheld."""
    if item == _NULL or (id := _id(item)) not in now:
        return _NULL
    return field_rights.without(item, now[id]) if now[id] else item


async def _still_viewable(call: Call, name: str, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """As ``viewable``: of what is gone, nobody is shown what it was."""
    head = await call.find(HEAD, tenant=call.tenant, name=name)
    return {} if head is None else await viewable(call, head.id, ids)


def _id(record: bytes | msgspec.Raw) -> str:
    return _decode_id(record).id


async def viewable(call: Call, collection: str, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Which of the records with these ids, of the collection with this one, the caller may view.

    Each with the fields of it that are withheld.
    """
    row = await call.find(COLLECTION_BY_ID, id=collection)
    if row is None or not ids:
        return {}
    own = await compiled(call, row.id, row.version)
    sight = await field_rights.sight(call, own)
    left, found_now = list(dict.fromkeys(ids)), dict[str, tuple[str, ...]]()
    while left:  # as many at a time as a page holds
        wanted = msgspec.json.encode(left).decode()
        found = await call.page(RECORDS_BY_ID, collection=own.id, ids=wanted, limit=len(left))
        records = [own.read(stored.data, stored.schema_version) for stored in found.items]
        may = await access.viewable(call, own, records)
        for record, shown in zip(records, may, strict=True):
            if shown:
                found_now[record["id"]] = sight.withheld(record)
        left = left[left.index(found.items[-1].id) + 1 :] if found.more else []
    return found_now
