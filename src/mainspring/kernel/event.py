"""Events: facts in CloudEvents 1.0, staged with the write that caused them."""

import builtins
from collections.abc import Collection, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from mainspring.kernel.clock import Instant
from mainspring.kernel.errors import TooLarge

E = TypeVar("E")

SPEC_VERSION = "1.0"
EVENT_BYTES_MAX = 1_000_000  # as it is logged: Kafka takes 1,048,576 in a message, headers included


class Personal:
    """Marks a field of an event as personal data: ``email: Annotated[str, Personal]``.

    Its value is sealed under the key of the event's data subject before the event is hashed, so
    destroying that key erases the value and every proof still verifies.
    """


class EventType(Generic[E]):
    """A declared type of event: its name, the struct of its ``data`` and who it is about.

    ``subject`` names the field of the struct that holds the resource's id; ``person`` the field
    that holds the id of the person whose key seals the fields marked ``Personal``. ``erases`` is
    the field that holds the id of a person whose key was destroyed with it. ``partition_key`` is
    the field within whose values order is kept, the subject where it is null. ``scope`` is what a
    caller holds to read every event of this type. ``withholds`` are fields that its service may
    keep from those whom it shows an event to without the scope: no filter of theirs asks for them.
    """

    __slots__ = (
        "data", "doc", "erases", "name", "partition_key", "person", "personal", "scope", "subject",
        "withholds",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        data: type[E],
        *,
        subject: str,
        person: str | None,
        erases: str | None = None,
        partition_key: str | None = None,
        scope: str | None = None,
        withholds: Sequence[str] = (),
    ) -> None:
        self.withholds = tuple(withholds)
        self.name = name
        self.data = data
        self.subject = subject
        self.person = person
        self.erases = erases
        self.partition_key = partition_key
        self.scope = scope or f"{name.partition('.')[0]}:read"
        self.doc = (data.__doc__ or "").strip()
        self.personal = personal_fields(data)
        if self.personal and person is None:
            raise ValueError(f"{name} has personal fields: say whose with person=")
        if partition_key in self.personal:
            raise ValueError(f"{name}: its partition key is not sealed, so it cannot be personal")


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A CloudEvent in the structured JSON form. ``seq`` is null until it has its place.

    ``impersonator`` is who acted as the ``actor``, null where the actor did.
    """

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: Instant
    datacontenttype: str
    dataschema: str
    tenant: str
    actor: str
    correlationid: str
    impersonator: str | None = None
    causationid: str | None = None
    partitionkey: str | None = None
    data: msgspec.Raw
    seq: int | None = None

    def read(self, data: builtins.type[E]) -> E:
        """Decode ``data`` into its struct; fields added since are ignored."""
        return msgspec.json.decode(self.data, type=data)


_decode = msgspec.json.Decoder(Envelope).decode


def with_seq(body: str, seq: int) -> str:
    """Return a logged body as readers see it, with the event's place in the log."""
    return f'{body[:-1]},"seq":{seq}}}'


def without_seq(body: str, seq: int | None) -> str:
    """Return the event as it is hashed; undoes ``with_seq``."""
    return body if seq is None else body.removesuffix(f',"seq":{seq}}}') + "}"


def envelope(body: str, seq: int | None = None) -> Envelope:
    """Read a logged event back into its struct."""
    return _decode(body if seq is None else with_seq(body, seq))


def without(body: str, members: Collection[str]) -> str:
    """Return an event without some members of its data, as it is shown to who may not see them."""
    if not members:
        return body
    event: dict[str, Any] = msgspec.json.decode(body)
    event["data"] = {name: value for name, value in event["data"].items() if name not in members}
    return msgspec.json.encode(event).decode()


class EventTooLarge(TooLarge):
    """What the call would tell of is longer than an event can be; nothing was committed."""

    code, title = "event_too_large", "Event too large"


def require_size(event_type: str, size_bytes: int) -> None:
    """Raise EventTooLarge when an event has more than ``EVENT_BYTES_MAX``."""
    if size_bytes > EVENT_BYTES_MAX:
        raise EventTooLarge(
            f"an event {event_type} of this would have {size_bytes:,} bytes, of at most "
            f"{EVENT_BYTES_MAX:,}: change less at once, or keep what is long in a file"
        )


class StagedEvent(msgspec.Struct, frozen=True):
    """An event as a handler staged it, without envelope. ``json`` is its data, not sealed yet."""

    type: EventType[Any]
    id: str
    data: Any
    subject: str
    json: bytes


def personal_fields(data: type) -> tuple[str, ...]:
    """Names of the struct's fields whose annotation carries ``Personal``."""
    found = []
    for field in msgspec.structs.fields(data) if issubclass(data, msgspec.Struct) else ():
        marks = getattr(field.type, "__metadata__", ())
        if Personal in marks or any(isinstance(m, Personal) for m in marks):
            found.append(field.name)
    return tuple(found)
