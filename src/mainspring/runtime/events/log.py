"""The event log's own form: how an event is written as a CloudEvent and read back.

``events.body`` is the CloudEvents 1.0 structured JSON without ``seq``, which an event has only once
it has its place. These bytes are the leaf of the Merkle tree, so they are never rewritten.
"""

import hashlib

import msgspec
from msgspec import UNSET, UnsetType

from mainspring.kernel.call import Call
from mainspring.kernel.clock import rfc3339
from mainspring.kernel.event import SPEC_VERSION, StagedEvent, require_size
from mainspring.runtime.tables import EventRow

_encode = msgspec.json.Encoder().encode

_LEAF_PREFIX = b"\x00"  # RFC 6962, section 2.1


class _Head(msgspec.Struct, frozen=True):
    """The attributes of a CloudEvent, in the order they are written in."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    dataschema: str
    tenant: str
    actor: str
    correlationid: str
    impersonator: str | UnsetType
    causationid: str | UnsetType
    partitionkey: str | UnsetType


def event_row(call: Call, event: StagedEvent, data: bytes) -> EventRow:
    """Write a staged event as its row; ``data`` is its JSON, personal fields already sealed.

    ``data`` stands in the body byte for byte and last, so that it can be found again. Raises
    EventTooLarge.
    """
    name = event.type.name
    head = _encode(
        _Head(
            SPEC_VERSION,
            event.id,
            "/" + name.partition(".")[0],
            name,
            event.subject,
            rfc3339(call.now_ms),
            "application/json",
            f"/v1/events/schemas/{name}",
            call.tenant,
            call.caller.actor,
            call.correlation_id,
            call.caller.impersonator or UNSET,
            UNSET if call.causation_id is None else call.causation_id,
            _partition_key(event),
        )
    )
    body = b'%b,"data":%b}' % (head[:-1], data)
    require_size(name, len(body))
    return EventRow(
        event.id, call.tenant, name, event.subject, call.now_ms, leaf_of(body), body.decode()
    )


def _partition_key(event: StagedEvent) -> str | UnsetType:
    """Return the CloudEvents extension that says within what order is kept, if not the subject."""
    field = event.type.partition_key
    if field is None:
        return UNSET
    data = msgspec.json.decode(event.data) if type(event.data) is msgspec.Raw else event.data
    key: str = data[field] if isinstance(data, dict) else getattr(data, field)
    return key


def leaf_of(body: bytes) -> bytes:
    """Return the hash that an event has in the tree."""
    return hashlib.sha256(_LEAF_PREFIX + body).digest()
