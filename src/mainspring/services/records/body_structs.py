"""What the bodies of a collection's records are decoded as: one struct for each way of writing."""

from collections.abc import Collection
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from mainspring.kernel.ids import UUID7_PATTERN
from mainspring.services.records.api import Field
from mainspring.services.records.change_operators import renamed
from mainspring.services.records.fields import RECORD_PREFIX, annotation

ID_FITS = "Expected rec_ and a UUIDv7, as TypeIDs are written"
ChosenId = Annotated[
    str,
    msgspec.Meta(
        pattern=UUID7_PATTERN.format(RECORD_PREFIX),
        extra_json_schema={"description": ID_FITS.removeprefix("Expected ")},
    ),
]


def body_struct(
    fields: list[Field], change: list[Any] | None = None, keeping: Collection[str] = ()
) -> type[msgspec.Struct]:
    """The struct a body is decoded as: a whole record, or a patch with the operators ``change``.

    Fields that are ``keeping`` what they have may be left out of a whole one.
    """
    partial = change is not None
    members: list[Any] = [("id", ChosenId | UnsetType, UNSET), *(change or ())]
    for field in fields:
        kind = annotation(field)
        if field.type == "file":
            kind = kind | None if field.many else kind
            members.append((field.name, kind | UnsetType, UNSET))  # a PUT keeps it, too
            continue
        if not field.required:
            kind = kind | None if kind is not Any else kind
        if field.stamp is not None:
            members.append((field.name, kind | UnsetType, UNSET))
            continue
        if partial or field.name in keeping:
            members.append((field.name, kind | UnsetType if kind is not Any else kind, UNSET))
        elif field.default is not None:
            members.append((field.name, kind, default_of(field)))
        elif field.required:
            members.append((field.name, kind))
        else:
            members.append((field.name, kind, None))
    return msgspec.defstruct(
        "Record", members, rename=renamed, kw_only=True, forbid_unknown_fields=True, frozen=True
    )


def default_of(field: Field) -> Any:
    """What a new record has in a field that is left out."""
    if field.many:
        return []
    whole = field.type == "number" and field.default is not None
    return float(field.default) if whole else field.default
