"""Events: facts in CloudEvents 1.0, staged with the write that caused them."""

import builtins
from typing import Any, Generic, TypeVar

import msgspec

from mainspring.kernel.clock import Instant

E = TypeVar("E")

SPEC_VERSION = "1.0"


class Personal:
    """Marks a field of an event as personal data: ``email: Annotated[str, Personal]``.

    Its value is sealed under the key of the event's data subject before the event is hashed, so
    destroying that key erases the value and every proof still verifies.
    """


class EventType(Generic[E]):
    """A declared type of event: its name, the struct of its ``data`` and who it is about.

    ``subject`` names the field of the struct that holds the resource's id; ``person`` the field
    that holds the id of the person whose key seals the fields marked ``Personal``. ``scope`` is
    what a caller holds to read every event of this type.
    """

    __slots__ = ("data", "doc", "name", "person", "personal", "scope", "subject")

    def __init__(
        self,
        name: str,
        data: type[E],
        *,
        subject: str,
        person: str | None,
        scope: str | None = None,
    ) -> None:
        self.name = name
        self.data = data
        self.subject = subject
        self.person = person
        self.scope = scope or f"{name.partition('.')[0]}:read"
        self.doc = (data.__doc__ or "").strip()
        self.personal = personal_fields(data)
        if self.personal and person is None:
            raise ValueError(f"{name} has personal fields: say whose with person=")


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A CloudEvent in the structured JSON form. ``seq`` is null until it has its place."""

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
    causationid: str | None = None
    data: msgspec.Raw
    seq: int | None = None

    def read(self, data: builtins.type[E]) -> E:
        """Decode ``data`` into its struct; fields added since are ignored."""
        return msgspec.json.decode(self.data, type=data)


class StagedEvent(msgspec.Struct, frozen=True):
    """An event as a handler staged it, before it has an envelope."""

    type: EventType[Any]
    id: str
    data: Any
    subject: str


def personal_fields(data: type) -> tuple[str, ...]:
    """Names of the struct's fields whose annotation carries ``Personal``."""
    found = []
    for field in msgspec.structs.fields(data) if issubclass(data, msgspec.Struct) else ():
        marks = getattr(field.type, "__metadata__", ())
        if Personal in marks or any(isinstance(m, Personal) for m in marks):
            found.append(field.name)
    return tuple(found)
