"""Who sees an event about a record without ``records:read``: whoever a view rule would show it to.

Its own room because the log asks it, not a caller of an operation.
"""

import msgspec

from mainspring import Call, Envelope
from mainspring.services.records import access, field_rights
from mainspring.services.records.api import service
from mainspring.services.records.schema_cache import compiled
from mainspring.services.records.store import HEAD

RECORD_EVENTS = "records.record."
CREATED = "records.record.created"
DELETED = "records.record.deleted"
ID_TIME_CHARS = 10  # of the 26 after an id's prefix: its milliseconds


@service.shows
async def shows(call: Call, event: Envelope) -> bool:
    """Judge the record as the event tells it by its collection's view rule of now.

    An event that does not hold the record (its end) is shown where the rule asks nothing of it. One
    tells all of its record: whoever may not read a field of it is not shown it.
    """
    if not event.type.startswith(RECORD_EVENTS):
        return False
    record = msgspec.json.decode(event.data)
    head = await call.find(HEAD, tenant=call.tenant, name=record["collection"])
    if head is None or time_of(event.id) < time_of(head.id):
        return False  # of a collection that is gone, whoever has its name now
    collection = await compiled(call, head.id, head.version)
    rule = collection.rules.get("view")
    if rule is None:
        return False
    if event.type == DELETED:
        asks = rule.program is None or rule.program.asks_record
        return not asks and await access.may_view(call, collection, {})
    gone = [name for name in collection.definition.withheld if name not in collection.fields]
    if any(record.get(name) is not None for name in gone):
        return False
    told = collection.upgrade(record)
    seen = await field_rights.sight(call, collection)
    return not seen.withheld(told) and await access.may_view(call, collection, told)


def time_of(id: str) -> str:
    """Return what of an id is its time: it sorts as that does."""
    return id.rpartition("_")[2][:ID_TIME_CHARS]
