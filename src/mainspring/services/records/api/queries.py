"""What lists, views and aggregations take and answer."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mainspring import Input, PageQuery
from mainspring.services.records.api.fields import Name

CURSOR_CHARS_MAX = 4_096  # it may hold the longest index key

FieldNames = Annotated[
    str, Meta(max_length=1_000, description="field names with commas between them")
]
Cursor = Annotated[
    str,
    Meta(min_length=1, max_length=CURSOR_CHARS_MAX, description="next_cursor of a page before"),
]


Expression = Annotated[str, Meta(max_length=2_000, description="CEL")]


class RecordQuery(PageQuery, frozen=True):
    """Which records, in which order, and what of them."""

    cursor: Cursor | None = None
    filter: Expression | None = None
    sort: FieldNames | None = None
    fields: FieldNames | None = None
    expand: FieldNames | None = None
    total: Literal["exact", "estimate"] | None = None
    q: (
        Annotated[str, Meta(min_length=1, max_length=500, description='words, "a phrase", beginn*')]
        | None
    ) = None


class RecordPage(msgspec.Struct, frozen=True):
    """A page of records. ``total`` is of all pages, where it was asked for.

    It is ``exact``, or there are ``at_least`` so many: more than an estimate counts.
    """

    items: list[msgspec.Raw]
    next_cursor: str | None = None
    total: int | UnsetType = UNSET
    total_is: Literal["exact", "at_least"] | UnsetType = UNSET


class UpsertBy(Input, frozen=True):
    """By which unique field, or by its ``id``, the record is found that may be there."""

    by: Name


class ViewRecord(Input, frozen=True):
    """What of the record to answer."""

    fields: FieldNames | None = None
    expand: FieldNames | None = None


class Aggregation(Input, frozen=True):
    """What to compute over the records that pass the filter, for each group of them.

    Among what to ``group`` by are periods: ``day(created_at, 'Europe/Berlin')``, also ``hour``,
    ``week`` and ``month``, of UTC where no time zone is named.
    """

    filter: Expression | None = None
    group: FieldNames | None = None
    sum: FieldNames | None = None
    avg: FieldNames | None = None
    min: FieldNames | None = None
    max: FieldNames | None = None


class Group(msgspec.Struct, frozen=True, omit_defaults=True):
    """One group: its values, how many records, and what was asked for by field."""

    group: dict[str, Any]
    count: int
    sum: dict[str, Any] | UnsetType = UNSET
    avg: dict[str, Any] | UnsetType = UNSET
    min: dict[str, Any] | UnsetType = UNSET
    max: dict[str, Any] | UnsetType = UNSET


class Groups(msgspec.Struct, frozen=True):
    """The groups, in order of their values."""

    items: list[Group]
