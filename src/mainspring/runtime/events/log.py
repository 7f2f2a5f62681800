"""The event log's own form: how an event is written as a CloudEvent and read back.

``events.body`` is the CloudEvents 1.0 structured JSON without ``seq``, which an event has only once
it has its place. These bytes are the leaf of the Merkle tree, so they are never rewritten.
"""

import hashlib

import msgspec

from mainspring.kernel.call import Call
from mainspring.kernel.clock import rfc3339
from mainspring.kernel.event import SPEC_VERSION, StagedEvent, require_size
from mainspring.runtime.tables import EventRow

_encode = msgspec.json.Encoder().encode

_LEAF_PREFIX = b"\x00"  # RFC 6962, section 2.1


def event_row(call: Call, event: StagedEvent, data: bytes) -> EventRow:
    """Write a staged event as its row; ``data`` is its JSON, personal fields already sealed.

    ``data`` stands in the body byte for byte and last, so that it can be found again. Raises
    EventTooLarge.
    """
    name = event.type.name
    head = _encode(
        {
            "specversion": SPEC_VERSION,
            "id": event.id,
            "source": "/" + name.partition(".")[0],
            "type": name,
            "subject": event.subject,
            "time": rfc3339(call.now_ms),
            "datacontenttype": "application/json",
            "dataschema": f"/v1/events/schemas/{name}",
            "tenant": call.tenant,
            "actor": call.caller.actor,
            "correlationid": call.correlation_id,
            **({} if call.causation_id is None else {"causationid": call.causation_id}),
            **_partition_key(event),
        }
    )
    body = b'%b,"data":%b}' % (head[:-1], data)
    require_size(name, len(body))
    return EventRow(
        event.id, call.tenant, name, event.subject, call.now_ms, leaf_of(body), body.decode()
    )


def _partition_key(event: StagedEvent) -> dict[str, str]:
    """Return the CloudEvents extension that says within what order is kept, if not the subject."""
    field = event.type.partition_key
    if field is None:
        return {}
    data = msgspec.json.decode(event.data) if type(event.data) is msgspec.Raw else event.data
    return {"partitionkey": data[field] if isinstance(data, dict) else getattr(data, field)}


def leaf_of(body: bytes) -> bytes:
    """Return the hash that an event has in the tree."""
    return hashlib.sha256(_LEAF_PREFIX + body).digest()
