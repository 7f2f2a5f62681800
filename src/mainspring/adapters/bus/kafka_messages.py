"""An event as a Kafka message: CloudEvents 1.0's Kafka binding, binary content mode.

The data is the message's value, so that a consumer in any language reads it without us; the
attributes are headers, ``ce_id`` and so on. The key is what events are ordered by.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from mainspring.kernel.event import Envelope
from mainspring.ports.bus import BusEvent

Headers = Sequence[tuple[str, bytes | None]]

_CONTENT_TYPE = "content-type"
_ATTRIBUTES = tuple(
    name for name in Envelope.__struct_fields__ if name not in ("data", "datacontenttype")
)
_PLACE_MAX = (1 << 63) - 1  # what a column of either engine takes
_encode = msgspec.json.Encoder().encode


class NotOurs(ValueError):
    """A message that no platform wrote."""


def headers_of(event: BusEvent) -> Headers:
    """Return the attributes of an event as headers."""
    envelope = event.envelope
    known = ((name, getattr(envelope, name)) for name in _ATTRIBUTES)
    return [
        (_CONTENT_TYPE, envelope.datacontenttype.encode()),
        *((f"ce_{name}", str(value).encode()) for name, value in known if value is not None),
    ]


def value_of(event: BusEvent) -> bytes:
    """Return the data of an event."""
    return bytes(event.envelope.data)


def event_of(offset: int, headers: Headers, value: bytes | None) -> BusEvent:
    """Make an event of a message again. Raises NotOurs."""
    if value is None:
        raise NotOurs("a message without a value")
    try:
        found: dict[str, Any] = {
            name.removeprefix("ce_"): text.decode()
            for name, text in headers
            if name.startswith("ce_") and text is not None  # Kafka has headers without a value
        }
        found["datacontenttype"] = (dict(headers).get(_CONTENT_TYPE) or b"").decode()
        found["data"] = msgspec.Raw(value)
        if "seq" in found:
            found["seq"] = _place(found["seq"])
        envelope = Envelope(**{n: found[n] for n in Envelope.__struct_fields__ if n in found})
        body = _encode(envelope).decode()
    except (TypeError, ValueError) as error:
        raise NotOurs(str(error)) from error
    return BusEvent(offset, envelope.id, envelope.tenant, envelope.type, envelope.subject, body)


def _place(text: str) -> int:
    place = int(text)
    if not 0 < place <= _PLACE_MAX:
        raise NotOurs(f"ce_seq: a place in a log is from 1 to {_PLACE_MAX}, not {place}")
    return place
