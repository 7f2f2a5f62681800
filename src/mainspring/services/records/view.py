"""What of a record is answered: chosen fields, and the records its relations point at."""

from typing import Any

import msgspec

from mainspring.kernel.call import Call
from mainspring.kernel.errors import Fault, Invalid
from mainspring.services.records import access
from mainspring.services.records.api import EXPANDED_MAX
from mainspring.services.records.catalog import compiled
from mainspring.services.records.model import Compiled, decode
from mainspring.services.records.store import COLLECTION_BY_ID, RECORDS_BY_ID

Record = dict[str, Any]


class View:
    """``?fields=`` and ``?expand=`` of one call, checked. Raises Invalid pointing at them."""

    def __init__(self, collection: Compiled, fields: str | None, expand: str | None) -> None:
        self._collection = collection
        self._fields = None if fields is None else _names(fields, "/fields", set(collection.types))
        relations = {f.name for f in collection.relations}
        self._expand = [] if expand is None else _names(expand, "/expand", relations)
        if len(self._expand) > EXPANDED_MAX:
            fault = Fault("/expand", f"more than {EXPANDED_MAX} relations")
            raise Invalid("the query does not fit", faults=(fault,))

    async def render(self, call: Call, records: list[Record]) -> list[msgspec.Raw]:
        """Write records as they are answered. Related ones the caller may not view are null."""
        chosen = records
        if self._fields is not None:
            chosen = [{name: record[name] for name in self._fields} for record in records]
        if self._expand:
            related = {name: await self._related(call, name, records) for name in self._expand}
            chosen = [
                {
                    **shown,
                    "expand": {name: related[name].get(record[name]) for name in self._expand},
                }
                for shown, record in zip(chosen, records, strict=True)
            ]
        return [msgspec.Raw(msgspec.json.encode(record)) for record in chosen]

    async def _related(self, call: Call, name: str, records: list[Record]) -> dict[str, Record]:
        ids = sorted({record[name] for record in records if record[name] is not None})
        target = self._collection.definition.targets[name]
        row = await call.find(COLLECTION_BY_ID, id=target)
        if row is None or not ids:
            return {}
        other = await compiled(call, row.id, row.version)
        wanted = msgspec.json.encode(ids).decode()
        found = await call.all(RECORDS_BY_ID, collection=target, ids=wanted)
        made = {}
        for stored in found:
            record = decode(stored.data)
            if stored.schema_version < other.layout:
                record = other.upgrade(record)
            if access.may_view(call, other, record):
                made[stored.id] = record
        return made


def _names(listed: str, pointer: str, known: set[str]) -> list[str]:
    names = [name.strip() for name in listed.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise Invalid(
                "the query does not fit", faults=(Fault(pointer, f"{name!r} cannot be named here"),)
            )
    return list(dict.fromkeys(names))
