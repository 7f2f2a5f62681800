"""What callers see of a collection, and the writer of a record of it.

Who may write is not thereby one who may read: the view rule or ``records:read`` lets them see it,
and without the right a write answers 204.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from mainspring import Call, PreconditionFailed, Response, rfc3339
from mainspring.kernel.etag import version_tag
from mainspring.services.records import access
from mainspring.services.records.api import READ, Collection
from mainspring.services.records.model import CompiledCollection
from mainspring.services.records.schema_cache import compiled, read_definition
from mainspring.services.records.store import COLLECTION_BY_ID, HEAD, RECORDS_BY_ID, CollectionRow

NOTHING = msgspec.Raw(b"")
_NULL = msgspec.Raw(b"null")


class _Named(msgspec.Struct, frozen=True):
    id: str
    collection: str


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
        rfc3339(row.created_ms), rfc3339(row.updated_ms),
    )  # fmt: skip


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
    if await access.may_view(call, collection, record):
        return Response(raw, etag=etag, headers=headers)
    return Response(NOTHING, status=204, headers=headers)


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
    try:
        call.require_match(etag)
    except PreconditionFailed:
        if await access.may_view(call, collection, record):
            raise
        raise PreconditionFailed("the record has another version") from None


async def record_again(call: Call, body: bytes, /, *, collection: str, **args: Any) -> bytes:
    """What of a stored answer its caller may see now: all of it, or nothing."""
    if call.caller.allows(READ):
        return body
    return body if await _still_viewable(call, collection, [_id(body)]) else b""


async def batch_again(call: Call, body: bytes, /, *, collection: str, **args: Any) -> bytes:
    """What of a batch's stored answer its caller may see now: null for every other record."""
    if call.caller.allows(READ):
        return body
    items = _decode_batch(body)["items"]
    ids = [_id(item) for item in items if item != _NULL]
    seen = await _still_viewable(call, collection, ids)
    kept = [item if item != _NULL and _id(item) in seen else _NULL for item in items]
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
    seen = {id for name, ids in of.items() for id in await _still_viewable(call, name, ids)}
    kept = [item if item != _NULL and _id(item) in seen else _NULL for item in items]
    return msgspec.json.encode({"items": kept})


async def _still_viewable(call: Call, name: str, ids: Sequence[str]) -> set[str]:
    """As ``viewable``: of what is gone, nobody is shown what it was."""
    head = await call.find(HEAD, tenant=call.tenant, name=name)
    return set() if head is None else await viewable(call, head.id, ids)


def _id(record: bytes | msgspec.Raw) -> str:
    return _decode_id(record).id


async def viewable(call: Call, collection: str, ids: Sequence[str]) -> set[str]:
    """Which of the records with these ids, of the collection with this one, the caller may view."""
    row = await call.find(COLLECTION_BY_ID, id=collection)
    if row is None or not ids:
        return set()
    own = await compiled(call, row.id, row.version)
    left, seen = list(dict.fromkeys(ids)), set[str]()
    while left:  # as many at a time as a page holds
        wanted = msgspec.json.encode(left).decode()
        found = await call.page(RECORDS_BY_ID, collection=own.id, ids=wanted, limit=len(left))
        records = [own.read(stored.data, stored.schema_version) for stored in found.items]
        may = await access.viewable(call, own, records)
        seen.update(stored.id for stored, shown in zip(found.items, may, strict=True) if shown)
        left = left[left.index(found.items[-1].id) + 1 :] if found.more else []
    return seen
