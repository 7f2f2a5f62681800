"""Work on stored records outside the call: bringing them to a new schema, and purging them."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from mainspring import Call, Rerun, handles
from mainspring.ports.blobs import Blobs
from mainspring.services.records import api
from mainspring.services.records.api import CollectionUpdated
from mainspring.services.records.fields import files_in
from mainspring.services.records.model import (
    CompiledCollection,
    Definition,
    UniqueSlot,
    decode,
    encode,
)
from mainspring.services.records.presenter import present_collection
from mainspring.services.records.schema_cache import compile_row, hold_writers
from mainspring.services.records.store import (
    COLLECTION,
    COLLECTIONS,
    HOLD_SCHEMA,
    KEY_COLUMNS,
    LINKS_OF,
    PURGE_LINKS,
    PURGE_RECORDS,
    RECORDS_AFTER,
    REWRITE,
    TAKEN,
    UNIQUE_COLUMNS,
    UNLINK_FIELD,
    CollectionRow,
    StoredRecord,
)
from mainspring.services.records.thumbnails import key_of
from mainspring.services.records.uploads import FILES, LEFT_MS, has_file

PAGE_ROWS = 500  # rewritten or purged in one commit
SWEPT_MAX = 500  # blobs looked at by one job
DELETED_AT_ONCE = 16  # a store far away takes its time for each


@handles(api.migrate_records)
async def migrate_records(
    call: Call, tenant: str, name: str, layout: int, after: str = "", files: Sequence[str] = ()
) -> None:
    row = await call.find(COLLECTION, tenant=tenant, name=name)
    if row is None:
        return
    collection = compile_row(row)
    if collection.layout != layout:
        return  # a later change has its own job
    page = await call.page(RECORDS_AFTER, collection=row.id, after=after, limit=PAGE_ROWS)
    stale = [stored for stored in page.items if stored.schema_version < layout]
    seen: dict[tuple[str, bytes], str] = {}
    call.write(HOLD_SCHEMA(id=row.id, schema_version=row.schema_version).expect(1, Rerun))
    for stored in stale:
        record = collection.upgrade(decode(stored.data))
        taken = await _taken(call, collection, record, seen)
        if taken is not None:
            _take_back(call, row, collection.definition, taken, files)
            return
        _rewrite(call, collection, stored, record)
        _drop_removed(call, collection, stored, files)
    if page.more:
        call.enqueue(
            api.migrate_records, tenant=tenant, name=name, layout=layout,
            after=page.items[-1].id, files=files,
        )  # fmt: skip
        return
    call.write(COLLECTIONS.update(row, ready_version=layout))
    _tell(call, msgspec.structs.replace(row, ready_version=layout))


@handles(api.delete_blobs)
async def delete_blobs(call: Call, blobs: list[str]) -> None:
    store = call.use(Blobs)
    for at in range(0, len(blobs), DELETED_AT_ONCE):
        some = [store.delete(blob) for blob in blobs[at : at + DELETED_AT_ONCE]]
        failed = [each for each in await asyncio.gather(*some, return_exceptions=True) if each]
        if failed:
            raise failed[0]


@handles(api.sweep_files)
async def sweep_files(call: Call, after: str | None = None) -> None:
    store = call.use(Blobs)
    before_ms = call.now_ms - LEFT_MS
    page = await store.older("", before_ms, after=after, limit=SWEPT_MAX)
    for blob in page:
        ours = blob.key.startswith(FILES)
        if not (await has_file(call.find, blob.key) if ours else blob.finished):
            await store.delete(blob.key)
    if len(page) == SWEPT_MAX:
        call.enqueue(api.sweep_files, after=page[-1].place)


def files_of(collection: str, record: str) -> str:
    """What the keys of a record's blobs begin with."""
    return f"{FILES}{collection}/{record}/"


def drop_files(call: Call, files: Iterable[Any], thumbs: Sequence[str] = ()) -> None:
    """Enqueue the deletion of what file fields held, and of thumbnails of it in these sizes.

    Those of other sizes, which the fields had before, are left to the sweep.
    """
    dropped = [file["blob"] for value in files for file in files_in(value)]
    blobs = [*dropped, *(key_of(blob, size) for blob in dropped for size in thumbs)]
    if blobs:
        call.enqueue(api.delete_blobs, blobs=blobs)


@handles(api.purge_collection)
async def purge_collection(call: Call, collection: str, files: list[str]) -> None:
    page = await call.page(RECORDS_AFTER, collection=collection, after="", limit=PAGE_ROWS)
    links = await call.all(LINKS_OF, collection=collection, limit=PAGE_ROWS)
    if not page.items and not links:
        return
    call.write(
        PURGE_LINKS(collection=collection, limit=PAGE_ROWS),
        PURGE_RECORDS(collection=collection, limit=len(page.items)),
    )
    if files:
        drop_files(call, [decode(s.data).get(name) for s in page.items for name in files])
    call.enqueue(api.purge_collection, collection=collection, files=files)


class _Taken(msgspec.Struct, frozen=True):
    """Fields that two records have the same values in."""

    names: tuple[str, ...]
    first: str
    second: str


async def _taken(
    call: Call,
    collection: CompiledCollection,
    record: dict[str, object],
    seen: dict[tuple[str, bytes], str],
) -> _Taken | None:
    """What is to be unique, and of which another record has what this record has."""
    for column, names in collection.uniques:
        key = collection.unique_key(names, record)
        if key is None:
            continue
        query = TAKEN[UNIQUE_COLUMNS.index(column)]
        found = await call.find(query, collection=collection.id, key=key)
        holder = seen.get((column, key)) if found in (None, record["id"]) else found
        if holder is not None:
            return _Taken(names, holder, str(record["id"]))
        seen[(column, key)] = str(record["id"])
    return None


def _take_back(
    call: Call, row: CollectionRow, definition: Definition, taken: _Taken, files: Sequence[str]
) -> None:
    """Two records got one value while their fields were becoming unique: they cannot be."""
    fields = [
        msgspec.structs.replace(f, unique=False) if (f.name,) == taken.names else f
        for f in definition.fields
    ]
    uniques: list[UniqueSlot] = [u for u in definition.uniques if u.names != taken.names]
    schema = row.schema_version + 1
    changed = msgspec.structs.replace(definition, fields=fields, uniques=uniques, layout=schema)
    told = " and ".join(map(repr, taken.names))
    problem = f"{told}: not unique, {taken.first} and {taken.second} have the same"
    text = msgspec.json.encode(changed).decode()
    call.write(
        hold_writers(call, row.id),
        COLLECTIONS.update(row, definition=text, schema_version=schema, problem=problem),
    )
    call.enqueue(api.migrate_records, tenant=row.tenant, name=row.name, layout=schema, files=files)
    _tell(
        call,
        msgspec.structs.replace(row, definition=text, schema_version=schema, problem=problem),
    )


def _rewrite(
    call: Call, collection: CompiledCollection, stored: StoredRecord, record: dict[str, object]
) -> None:
    data = encode(record)
    columns = dict.fromkeys((*KEY_COLUMNS, *UNIQUE_COLUMNS)) | collection.columns(record)
    call.write(
        REWRITE(
            collection=collection.id,
            id=stored.id,
            version=stored.version,
            new_version=stored.version + (data != stored.data),
            schema_version=collection.schema_version,
            data=data,
            **columns,
        )
    )


def _drop_removed(
    call: Call, collection: CompiledCollection, stored: StoredRecord, files: Sequence[str]
) -> None:
    """Unlink what a removed relation pointed at; delete the file of a removed file field."""
    for name, value in decode(stored.data).items():
        if name not in collection.types:
            if name in files:  # JSON of the caller's own may look like a file
                drop_files(call, [value])
            call.write(UNLINK_FIELD(collection=collection.id, record=stored.id, field=name))


def _tell(call: Call, row: CollectionRow) -> None:
    call.emit(CollectionUpdated(*msgspec.structs.astuple(present_collection(row))))
