"""Who sees an event about a record without ``records:read``: whoever a view rule would show it to.

Its own room because the log asks it, not a caller of an operation.
"""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from mainspring import Call, Envelope
from mainspring.services.records import access, field_rights
from mainspring.services.records.api import service
from mainspring.services.records.model import CompiledCollection
from mainspring.services.records.mutations import BEFORE
from mainspring.services.records.schema_cache import compiled
from mainspring.services.records.store import HEAD

RECORD_EVENTS = "records.record."
CREATED = "records.record.created"
DELETED = "records.record.deleted"
ID_TIME_CHARS = 10  # of the 26 after an id's prefix: its milliseconds


@service.shows
async def shows(call: Call, event: Envelope) -> bool | Collection[str]:
    """Judge the record as the event tells it by its collection's view rule of now.

    How it was before a change is withheld from those who could not view it so. The end of a record
    is shown to those who could view it; one that does not tell how it was, where the rule asks
    nothing of the record. One tells all of its record: whoever may not read a field of it is not
    shown it.
    """
    if not event.type.startswith(RECORD_EVENTS):
        return False
    record: dict[str, Any] = msgspec.json.decode(event.data)
    head = await call.find(HEAD, tenant=call.tenant, name=record["collection"])
    if head is None or time_of(event.id) < time_of(head.id):
        return False  # of a collection that is gone, whoever has its name now
    collection = await compiled(call, head.id, head.version)
    rule = collection.rules.get("view")
    if rule is None:
        return False
    before = None if BEFORE in collection.types else record.pop(BEFORE, None)
    if event.type == DELETED:
        if isinstance(before, dict):
            return (await _viewable(call, collection, [before]))[0]
        asks = rule.program is None or rule.program.asks_record
        return not asks and await access.may_view(call, collection, {})
    told = [record]
    if isinstance(before, dict):
        told.append({**record, **before})
    shown = await _viewable(call, collection, told)
    return shown[0] and (all(shown) or (BEFORE,))


async def _viewable(
    call: Call, collection: CompiledCollection, told: Sequence[dict[str, Any]]
) -> list[bool]:
    """Tell which of these states of a record the caller may view all of."""
    gone = [name for name in collection.definition.withheld if name not in collection.fields]
    sight = await field_rights.sight(call, collection)
    records = [collection.upgrade(record) for record in told]
    return [
        may and not sight.withheld(record) and all(state.get(name) is None for name in gone)
        for may, record, state in zip(
            await access.viewable(call, collection, records), records, told, strict=True
        )
    ]


def time_of(id: str) -> str:
    """Return what of an id is its time: it sorts as that does."""
    return id.rpartition("_")[2][:ID_TIME_CHARS]
