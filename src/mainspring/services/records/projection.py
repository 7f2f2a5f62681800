"""What of a record is answered: chosen fields, and the records its relations point at."""

from typing import Any

import msgspec

from mainspring import Call, FieldError, Invalid
from mainspring.kernel.page import PAGE_BYTES_MAX
from mainspring.services.records import access, field_rights
from mainspring.services.records.api import EXPANDED_MAX
from mainspring.services.records.fields import OUTSIDE, targets_of
from mainspring.services.records.model import CompiledCollection
from mainspring.services.records.schema_cache import compiled
from mainspring.services.records.store import COLLECTION_BY_ID, RECORDS_BY_ID

Record = dict[str, Any]


class Projection:
    """``?fields=`` and ``?expand=`` of one call, checked. Raises Invalid pointing at them."""

    def __init__(
        self, collection: CompiledCollection, fields: str | None = None, expand: str | None = None
    ) -> None:
        self._collection = collection
        self._fields = None if fields is None else _names(fields, "/fields", set(collection.types))
        targets = collection.definition.targets  # of what is outside only the id is told
        relations = {name for name, target in targets.items() if target not in OUTSIDE}
        self._expand = [] if expand is None else _names(expand, "/expand", relations)
        if len(self._expand) > EXPANDED_MAX:
            raise Invalid.at("/expand", f"at most {EXPANDED_MAX} relations can be expanded at once")

    async def present(self, call: Call, records: list[Record]) -> list[msgspec.Raw]:
        """Write records as they are answered. Related ones the caller may not view are null.

        Fields that the caller may not read are left out.

        As many of the first records are written as one page may hold, with what they point at, and
        one of them however long it gets.
        """
        seen = await field_rights.sight(call, self._collection)
        if not seen.whole:
            records = await field_rights.readable(call, self._collection, records)
        related = {name: await self._related(call, name, records) for name in self._expand}
        written: list[msgspec.Raw] = []
        size = 0
        for record in records:
            shown = record
            if self._fields is not None:
                shown = {name: record[name] for name in self._fields if name in record}
            if self._expand:
                ids = {name: self._ids(record, name) for name in self._expand}
                if any(related[name].unread.intersection(ids[name]) for name in self._expand):
                    break
                shown = {
                    **shown,
                    "expand": {name: self._pointed(name, ids[name], related) for name in ids},
                }
            text = msgspec.json.encode(shown)
            size += len(text)
            if written and size > PAGE_BYTES_MAX:
                break
            written.append(msgspec.Raw(text))
        return written

    def _ids(self, record: Record, name: str) -> list[str]:
        return targets_of(self._collection.fields[name], record)

    def _pointed(self, name: str, ids: list[str], related: dict[str, "_Related"]) -> Any:
        """What a relation points at: a record or null; of a list those that may be viewed."""
        found = [related[name].records[id] for id in ids if id in related[name].records]
        if self._collection.fields[name].many:
            return found
        return found[0] if found else None

    async def _related(self, call: Call, name: str, records: list[Record]) -> "_Related":
        """Read what a relation points at, of the first records first, as far as a page holds it."""
        ids = list(dict.fromkeys(id for record in records for id in self._ids(record, name)))
        target = self._collection.definition.targets[name]
        row = await call.find(COLLECTION_BY_ID, id=target)
        if row is None or not ids:
            return _Related({}, frozenset())
        other = await compiled(call, row.id, row.version)
        wanted = msgspec.json.encode(ids).decode()
        found = await call.page(RECORDS_BY_ID, collection=target, ids=wanted, limit=len(ids))
        unread = ids[ids.index(found.items[-1].id) + 1 :] if found.more else []
        read = [other.read(stored.data, stored.schema_version) for stored in found.items]
        seen = await access.viewable(call, other, read)
        viewed = [record for record, may in zip(read, seen, strict=True) if may]
        made = {record["id"]: record for record in await field_rights.readable(call, other, viewed)}
        return _Related(made, frozenset(unread))


class _Related(msgspec.Struct, frozen=True):
    """Records that one relation points at, and the ids that there was no room for."""

    records: dict[str, Record]
    unread: frozenset[str]


def _names(listed: str, pointer: str, known: set[str]) -> list[str]:
    names = [name.strip() for name in listed.split(",") if name.strip()]
    unknown = [FieldError(pointer, f"there is no field {name!r} that fits here") for name in names
               if name not in known]  # fmt: skip
    if unknown:
        raise Invalid("the query does not fit", errors=unknown)
    return list(dict.fromkeys(names))
