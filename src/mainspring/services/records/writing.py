"""Staging a record: its row, its index keys, its links and its event, in one commit."""

from collections.abc import Mapping
from typing import Any

import msgspec

from mainspring.kernel.call import Call
from mainspring.kernel.errors import Fault, Invalid, Rerun
from mainspring.kernel.same_json import same_json
from mainspring.services.records import access, keys
from mainspring.services.records.api import (
    RecordCreated,
    RecordDeleted,
    RecordUpdated,
    StillReferenced,
    UniqueTaken,
)
from mainspring.services.records.jobs import drop_files
from mainspring.services.records.model import Compiled, encode
from mainspring.services.records.store import (
    DELETE,
    HOLD_RECORD,
    LINKS,
    RECORDS,
    REFERENCED,
    TAKEN,
    UNIQUE_COLUMNS,
    UNLINK,
    UNLINK_FIELD,
    LinkRow,
    RecordRow,
)

Record = Mapping[str, Any]


def insert(call: Call, collection: Compiled, record: Record, pointer: str = "") -> msgspec.Raw:
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
    call.write(RECORDS.insert(row, taken=Rerun))
    for field in collection.relations:
        _link(call, collection, record_id, field.name, record[field.name], pointer)
    raw = msgspec.Raw(data.encode())
    call.emit_json(RecordCreated, raw, subject=record_id)
    return raw


def update(
    call: Call, collection: Compiled, version: int, old: Record, new: Record, pointer: str = ""
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
    drop_files(call, [old.get(f) for f in collection.files if not same_json(old.get(f), new[f])])
    raw = msgspec.Raw(data.encode())
    call.emit_json(RecordUpdated, raw, subject=record_id)
    return raw


async def delete(call: Call, collection: Compiled, record: Record, version: int) -> None:
    """Stage the end of a record. Raises StillReferenced."""
    record_id = record["id"]
    await require_unreferenced(call, collection.id, record_id)
    key = {"collection": collection.id, "id": record_id, "version": version}
    call.write(
        HOLD_RECORD(**key).expect(1, Rerun),
        UNLINK(collection=collection.id, record=record_id),
        DELETE(**key).expect(1, Rerun),
    )
    drop_files(call, [record.get(f) for f in collection.files])
    call.emit(RecordDeleted(record_id, collection.name))


async def require_unreferenced(call: Call, collection: str, record_id: str) -> None:
    """Raise StillReferenced while another record points at this one."""
    link = await call.find(REFERENCED, collection=collection, id=record_id)
    if link is None:
        return
    # Who may delete this one may still know nothing of the other.
    which = link.record if call.caller.allows(access.READ) else "another record"
    raise StillReferenced(f"{which} points here with its field {link.field!r}")


async def require_unique(
    call: Call,
    collection: Compiled,
    new: Record,
    *,
    old: Record | None = None,
    pointer: str = "",
    seen: set[tuple[str, bytes]] | None = None,
) -> None:
    """Raise UniqueTaken when another record, or an earlier one of the batch, has the value."""
    for column, name in collection.unique_fields:
        value = new[name]
        if value is None or (old is not None and same_json(old.get(name), value)):
            continue
        key = keys.unique_key(value, collection.types[name])
        query = TAKEN[UNIQUE_COLUMNS.index(column)]
        found = await call.find(query, collection=collection.id, key=key)
        again = seen is not None and (column, key) in seen
        if again or (found is not None and found != new["id"]):
            fault = Fault(f"{pointer}/{name}", "another record has this value")
            raise UniqueTaken(f"the value of {name!r} is taken", faults=(fault,))
        if seen is not None:
            seen.add((column, key))


def _link(
    call: Call, collection: Compiled, record_id: str, field: str, target: Any, pointer: str
) -> None:
    """Stage a link that fails the call when its target is not there at the commit."""
    if target is None:
        return
    fault = Fault(f"{pointer}/{field}", "there is no such record")
    link = LinkRow(collection.id, record_id, field, collection.definition.targets[field], target)
    # No row is written while the target is not there: see migrations/0003.
    nothing = Invalid("a relation points at nothing", faults=(fault,))
    call.write(LINKS.insert(link, taken=nothing))
