"""Staging a record: its row, its index keys, its links and its event, in one commit."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from mainspring import Call, Invalid, Rerun
from mainspring.kernel.same_json import same_json
from mainspring.services.records import keys
from mainspring.services.records.api import (
    READ,
    RecordCreated,
    RecordDeleted,
    RecordUpdated,
    StillReferenced,
    UniqueTaken,
)
from mainspring.services.records.jobs import drop_files
from mainspring.services.records.model import CompiledCollection, encode
from mainspring.services.records.presenter import viewable
from mainspring.services.records.store import (
    DELETE,
    HOLD_RECORD,
    LINKS,
    RECORDS,
    REFERENCED,
    RELEASE,
    TAKEN,
    UNIQUE_COLUMNS,
    UNLINK,
    UNLINK_FIELD,
    LinkRow,
    RecordRow,
)

Record = Mapping[str, Any]


def insert(
    call: Call, collection: CompiledCollection, record: Record, pointer: str = ""
) -> msgspec.Raw:
    """Stage a new record. A unique value that is taken, or a newer schema, re-runs the handler."""
    data = encode(record)
    record_id = record["id"]
    row = RecordRow(
        collection.id,
        record_id,
        1,
        collection.schema_version,
        data,
        **collection.columns(record),
    )
    call.write(RECORDS.insert(row, on_conflict=Rerun))
    for field in collection.relations:
        _link(call, collection, record_id, field.name, record[field.name], pointer)
    raw = msgspec.Raw(data.encode())
    call.emit_json(RecordCreated, raw, subject=record_id)
    return raw


def update(
    call: Call,
    collection: CompiledCollection,
    version: int,
    old: Record,
    new: Record,
    pointer: str = "",
) -> msgspec.Raw:
    """Stage a change to a record that was read at ``version``, which is its guard."""
    data = encode(new)
    record_id = new["id"]
    row = RecordRow(collection.id, record_id, version, collection.schema_version, "")
    columns = collection.columns(new)
    schema = collection.schema_version
    call.write(RECORDS.update(row, data=data, schema_version=schema, **columns))
    for field in collection.relations:
        before, after = old.get(field.name), new[field.name]
        if before != after:
            if before is not None:
                unlink = UNLINK_FIELD(collection=collection.id, record=record_id, field=field.name)
                call.write(unlink)
            _link(call, collection, record_id, field.name, after, pointer)
    gone = [old.get(f) for f in collection.files if not same_json(old.get(f), new[f])]
    drop_files(call, gone, collection.thumbs)
    raw = msgspec.Raw(data.encode())
    call.emit_json(RecordUpdated, raw, subject=record_id)
    return raw


async def delete(call: Call, collection: CompiledCollection, record: Record, version: int) -> None:
    """Stage the end of a record. Raises StillReferenced."""
    record_id = record["id"]
    await require_unreferenced(call, collection.id, record_id)
    key = {"collection": collection.id, "id": record_id, "version": version}
    call.write(
        HOLD_RECORD(**key, schema_version=collection.schema_version).expect(1, Rerun),
        UNLINK(collection=collection.id, record=record_id),
        DELETE(**key).expect(1, Rerun),
    )
    drop_files(call, [record.get(f) for f in collection.files], collection.thumbs)
    call.emit(RecordDeleted(record_id, collection.name))


async def require_unreferenced(call: Call, collection: str, record_id: str) -> None:
    """Raise StillReferenced while another record points at this one."""
    link = await call.find(REFERENCED, collection=collection, id=record_id)
    if link is None:
        return
    if call.caller.allows(READ):
        raise StillReferenced(
            f"record {link.record} refers to this one in its field {link.field!r}: "
            "change or delete that one first"
        )
    # Who may delete this one may still know nothing of the other, or of its collection.
    raise StillReferenced("another record refers to this one: change or delete that one first")


async def require_targets(
    call: Call,
    collection: CompiledCollection,
    new: Record,
    *,
    old: Record | None = None,
    pointer: str = "",
) -> None:
    """Raise Invalid when a relation is to point at a record that the caller may not view.

    Told as if it were not there: pointing at it would find it out, and would keep it from being
    deleted. Whoever may read every record is not asked; whether it is there shows at the commit.
    """
    if call.caller.allows(READ):
        return
    for field in collection.relations:
        target = new[field.name]
        if target is None or (old is not None and old.get(field.name) == target):
            continue
        if target not in await viewable(call, collection.definition.targets[field.name], [target]):
            raise _nothing(f"{pointer}/{field.name}")


async def find_holder(
    call: Call, collection: CompiledCollection, field: str, value: Any
) -> str | None:
    """Return the id of the record that has a value in a unique field, if one has."""
    column = next(column for column, name in collection.unique_fields if name == field)
    key = keys.unique_key(value, collection.types[field])
    query = TAKEN[UNIQUE_COLUMNS.index(column)]
    return await call.find(query, collection=collection.id, key=key)


async def require_unique(
    call: Call,
    collection: CompiledCollection,
    new: Record,
    *,
    old: Record | None = None,
    pointer: str = "",
    seen: "Handover | None" = None,
    ask: bool = True,
) -> None:
    """Raise UniqueTaken when another record, or another one of the batch, has the value.

    The stored records are not asked where an insert will find a taken value for nothing.
    """
    for column, name in collection.unique_fields:
        value = new[name]
        if value is None or (old is not None and same_json(old.get(name), value)):
            continue
        key = keys.unique_key(value, collection.types[name])
        found = await find_holder(call, collection, name, value) if ask else None
        if found == new["id"]:
            found = None
        where = f"{pointer}/{name}"
        if seen is not None:
            seen.take((column, key), found, where)
        elif found is not None:
            raise _taken(where)


def _taken(pointer: str) -> UniqueTaken:
    name = pointer.rpartition("/")[2]
    detail = f"the value of {name!r} is taken"
    return UniqueTaken.at(pointer, "another record has this value", detail)


class Handover:
    """The unique values that the records of one batch take, and those that they give up.

    What counts is how the records are after all of it: two may change places. ``changing`` are the
    ids that the batch updates or deletes.
    """

    def __init__(self, changing: Collection[str]) -> None:
        self._changing = set(changing)
        self._taken: set[tuple[str, bytes]] = set()
        self._given: set[tuple[str, bytes]] = set()
        self._wanted: dict[tuple[str, bytes], tuple[str, str]] = {}  # from whom, and the pointer

    def change(self, id: str, pointer: str) -> None:
        """Note a record that the batch changes, found while it is read. Raises Invalid."""
        if id in self._changing:
            raise Invalid.at(pointer, "is the record of another item: put its changes into one")
        self._changing.add(id)

    def take(self, value: tuple[str, bytes], holder: str | None, pointer: str) -> None:
        """Take a value that a record of the batch may still have. Raises UniqueTaken."""
        if value in self._taken or (holder is not None and holder not in self._changing):
            raise _taken(pointer)
        self._taken.add(value)
        if holder is not None:
            self._wanted[value] = holder, pointer

    def give(self, collection: CompiledCollection, old: Record, new: Record | None = None) -> None:
        """Give up what a record had and has no longer; all of it where it is deleted."""
        for column, name in collection.unique_fields:
            value = old.get(name)
            if value is not None and (new is None or not same_json(value, new[name])):
                self._given.add((column, keys.unique_key(value, collection.types[name])))

    def settle(self, call: Call, collection: CompiledCollection) -> None:
        """Stage, before everything else, that what is handed on is free.

        Raises UniqueTaken for what its holder keeps.
        """
        for value, (_, pointer) in self._wanted.items():
            if value not in self._given:
                raise _taken(pointer)
        holders = sorted({holder for holder, _ in self._wanted.values()})
        if holders:
            ids = msgspec.json.encode(holders).decode()
            call.write_first(RELEASE(collection=collection.id, ids=ids))


def _link(
    call: Call,
    collection: CompiledCollection,
    record_id: str,
    field: str,
    target: Any,
    pointer: str,
) -> None:
    """Stage a link that fails the call when its target is not there at the commit."""
    if target is None:
        return
    link = LinkRow(collection.id, record_id, field, collection.definition.targets[field], target)
    # No row is written while the target is not there: see migrations/0003.
    call.write(LINKS.insert(link, on_conflict=_nothing(f"{pointer}/{field}")))


def _nothing(pointer: str) -> Invalid:
    return Invalid.at(pointer, "there is no record with this id")
