"""The public face, where it lasts: streams of records. No handler asks for one, only callers do."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mainspring import Call, Input, StreamItem
from mainspring.services.records.api import (
    RECORD_PATH,
    RECORDS_PATH,
    Expression,
    FieldNames,
    service,
)

FollowFrom = Annotated[
    str,
    Meta(
        min_length=1, max_length=500,
        description="the `Stream-Position` of a list, or the id of a stream's item",
    ),
]  # fmt: skip


class RecordStream(Input, frozen=True):
    """From where on, and what of the record to tell; ``after`` yields to ``Last-Event-ID``."""

    after: FollowFrom | None = None
    last_event_id: FollowFrom | None = None
    fields: FieldNames | None = None
    expand: FieldNames | None = None


class RecordsStream(RecordStream, frozen=True):
    """Which records, from where on, and what of them to tell."""

    filter: Expression | None = None


class RecordChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """One item: what became of a record among those that are followed, and how it is."""

    change: Literal["added", "changed", "removed"]
    id: str
    position: str
    record: msgspec.Raw | UnsetType = UNSET


@service.contract.stream(f"GET {RECORDS_PATH}:stream", scope=None)
def stream_records(call: Call, collection: str, query: RecordsStream) -> AsyncIterator[StreamItem]:
    """Follow the records that a list with this filter holds for the caller, live.

    Each item says that a record was ``added`` to them, ``changed`` or ``removed``, whichever way
    that came about. ``position``, its id, resumes after it, as ``Last-Event-ID`` or ``after``; a
    list answers ``Stream-Position``, from which nothing is missed. The list's rules are asked anew
    for each change. When what the caller may see changes as a whole, an item of kind ``end`` says
    so: read the list again.
    """


@service.contract.stream(f"GET {RECORD_PATH}:stream", scope=None)
def stream_record(
    call: Call, collection: str, id: str, query: RecordStream
) -> AsyncIterator[StreamItem]:
    """Follow one record that the caller may view, live. Items are those of ``records:stream``."""
