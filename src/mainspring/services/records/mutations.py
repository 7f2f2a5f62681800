"""Staging a record: its row, its index keys, its links and its event, in one commit."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mainspring import Authority, Call, FieldError, Invalid, Rerun
from mainspring.kernel.event import EVENT_BYTES_MAX
from mainspring.kernel.same_json import same_json
from mainspring.services.records import keys
from mainspring.services.records.api import (
    BEFORE_BYTES_MAX,
    READ,
    Field,
    IdTaken,
    RecordCreated,
    RecordDeleted,
    RecordUpdated,
    UniqueTaken,
)
from mainspring.services.records.fields import (
    ORGANIZATIONS,
    OUTSIDE,
    USERS,
    files_in,
    targets_of,
)
from mainspring.services.records.jobs import drop_files
from mainspring.services.records.model import CompiledCollection, encode
from mainspring.services.records.presenter import viewable
from mainspring.services.records.store import (
    LINKS,
    RECORDS,
    RELEASE,
    TAKEN,
    UNIQUE_COLUMNS,
    UNLINK_TARGET,
    LinkRow,
    RecordRow,
)

Record = Mapping[str, Any]
BEFORE = "before"  # the member of an event that has old values
_ENVELOPE_BYTES = 4_000  # of an event beside its data


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
        _link(call, collection, field, record, pointer)
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
        before, after = targets_of(field, old), set(targets_of(field, new))
        for target in before:
            if target not in after:
                where = {"collection": collection.id, "record": record_id, "field": field.name}
                call.write(UNLINK_TARGET(**where, target=target))
        _link(call, collection, field, new, pointer, known=frozenset(before))
    kept = {file["blob"] for name in collection.files for file in files_in(new[name])}
    had = [file for name in collection.files for file in files_in(old.get(name))]
    left = [file for file in had if file["blob"] not in kept]
    drop_files(call, left, collection.thumbs)
    raw = data.encode()
    told = _with_before(collection, raw, old, new)
    call.emit_json(RecordUpdated, msgspec.Raw(told), subject=record_id)
    return msgspec.Raw(raw)


def delete_event(collection: CompiledCollection, record: Record) -> RecordDeleted:
    """What is told of a record that ends."""
    before: dict[str, Any] | UnsetType | None = UNSET
    if BEFORE not in collection.types:
        before = dict(record) if len(encode(record).encode()) <= BEFORE_BYTES_MAX else None
    return RecordDeleted(record["id"], collection.name, before)


def _with_before(collection: CompiledCollection, raw: bytes, old: Record, new: Record) -> bytes:
    """Put what changed, as it was, in front of a record: it ends as the answer does, see ADR 3."""
    if BEFORE in collection.types:
        return raw
    changed = {n: old.get(n) for n, value in new.items() if not same_json(old.get(n), value)}
    before = msgspec.json.encode(changed)
    if len(before) > min(BEFORE_BYTES_MAX, EVENT_BYTES_MAX - len(raw) - _ENVELOPE_BYTES):
        before = b"null"
    return b'{"%b":%b,%b' % (BEFORE.encode(), before, raw[1:])


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
        at = collection.definition.targets[field.name]
        known = set[str]() if old is None else set(targets_of(field, old))
        added = {
            target: i for i, target in enumerate(targets_of(field, new)) if target not in known
        }
        if not added or at in OUTSIDE:  # whose ids tell nothing: see _link
            continue
        seen = await viewable(call, at, list(added))
        for target, i in added.items():
            if target not in seen:
                raise _nothing(f"{pointer}/{field.name}" + (f"/{i}" if field.many else ""))


async def find_holder(
    call: Call, collection: CompiledCollection, field: str, value: Any
) -> str | None:
    """Return the id of the record that has a value in a unique field, if one has."""
    key = keys.unique_key(value, collection.types[field])
    return await _holder(call, collection, collection.unique_fields[field], key)


async def _holder(
    call: Call, collection: CompiledCollection, column: str, key: bytes
) -> str | None:
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
    for column, names in collection.uniques:
        key = collection.unique_key(names, new)
        if key is None or (old is not None and collection.unique_key(names, old) == key):
            continue
        found = await _holder(call, collection, column, key) if ask else None
        if found == new["id"]:
            found = None
        where = _Where(pointer, names)
        if seen is not None:
            seen.take((column, key), found, where)
        elif found is not None:
            raise _taken(where)


class _Where(msgspec.Struct, frozen=True):
    """The fields of a record, sent at a pointer, that are unique (together)."""

    pointer: str
    names: tuple[str, ...]


def _taken(where: _Where) -> UniqueTaken:
    if len(where.names) == 1:
        name = where.names[0]
        detail = f"the value of {name!r} is taken"
        return UniqueTaken.at(f"{where.pointer}/{name}", "another record has this value", detail)
    told = " and ".join(map(repr, where.names))
    return UniqueTaken(
        f"the values of {told} together are taken",
        errors=tuple(
            FieldError(f"{where.pointer}/{name}", f"another record has these values of {told}")
            for name in where.names
        ),
    )


class Handover:
    """The unique values that the records of one batch take, and those that they give up.

    What counts is how the records are after all of it: two may change places. ``changing`` are the
    ids that the batch updates or deletes.
    """

    def __init__(self, changing: Collection[str]) -> None:
        self.changing = set(changing)
        self._made: set[str] = set()
        self._taken: set[tuple[str, bytes]] = set()
        self._given: set[tuple[str, bytes]] = set()
        self._wanted: dict[tuple[str, bytes], tuple[str, _Where]] = {}  # from whom, and where

    def make(self, id: str, pointer: str) -> None:
        """Note a record that the batch makes under an id that was chosen. Raises IdTaken."""
        if id in self._made:
            raise IdTaken.at(f"{pointer}/id", "is the id of another item: choose another")
        self._made.add(id)

    def change(self, id: str, pointer: str) -> None:
        """Note a record that the batch changes, found while it is read. Raises Invalid."""
        if id in self.changing:
            raise Invalid.at(pointer, "is the record of another item: put its changes into one")
        self.changing.add(id)

    def take(self, value: tuple[str, bytes], holder: str | None, where: _Where) -> None:
        """Take a value that a record of the batch may still have. Raises UniqueTaken."""
        if value in self._taken or (holder is not None and holder not in self.changing):
            raise _taken(where)
        self._taken.add(value)
        if holder is not None:
            self._wanted[value] = holder, where

    def give(self, collection: CompiledCollection, old: Record, new: Record | None = None) -> None:
        """Give up what a record had and has no longer; all of it where it is deleted."""
        for column, names in collection.uniques:
            key = collection.unique_key(names, old)
            if key is not None and (new is None or collection.unique_key(names, new) != key):
                self._given.add((column, key))

    def settle(self, call: Call, collection: CompiledCollection) -> None:
        """Stage, before everything else, that what is handed on is free.

        Raises UniqueTaken for what its holder keeps.
        """
        for value, (_, where) in self._wanted.items():
            if value not in self._given:
                raise _taken(where)
        holders = sorted({holder for holder, _ in self._wanted.values()})
        if holders:
            ids = msgspec.json.encode(holders).decode()
            call.write_first(RELEASE(collection=collection.id, ids=ids))


def _link(
    call: Call,
    collection: CompiledCollection,
    field: Field,
    record: Record,
    pointer: str,
    known: frozenset[str] = frozenset(),
) -> None:
    """Stage links that fail the call where their target is not there at the commit."""
    at = collection.definition.targets[field.name]
    for i, target in enumerate(targets_of(field, record)):
        if target in known:
            continue
        where = f"{pointer}/{field.name}/{i}" if field.many else f"{pointer}/{field.name}"
        nothing = _nothing(where, _CALLED.get(at, "record"))
        if at == USERS:
            held = call.use(Authority).hold_user(target, call.tenant)
            call.write(held.expect(1, nothing))
        elif at == ORGANIZATIONS:
            held = call.use(Authority).hold_organization(target, call.tenant)
            call.write(held.expect(1, nothing))
        link = LinkRow(collection.id, record["id"], field.name, at, target)
        # No row is written while a target that is a record is not there: see migrations/0006.
        call.write(LINKS.insert(link, on_conflict=nothing))


_CALLED = {USERS: "user", ORGANIZATIONS: "organization"}


def _nothing(pointer: str, what: str = "record") -> Invalid:
    return Invalid.at(pointer, f"there is no {what} with this id")
