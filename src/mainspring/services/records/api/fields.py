"""What a field of a collection is."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mainspring import Input
from mainspring.services.records.api.downloads import ThumbSize

VALUES_MAX = 200  # of one select field
TYPES_MAX = 50  # of one file field
THUMBS_MAX = 10  # of one file field
FILE_BYTES_MAX = 1 << 40  # whatever the settings allow
ITEMS_MAX = 1_000  # of one list in a record
FIELD_RULE_CHARS_MAX = 2_000
SEARCHED_MAX = 16  # fields of one collection that are searched
SEARCH_WEIGHT_MAX = 100
GUARDED_MAX = 20  # fields of one collection that have rules of their own, or are hidden

NAME = r"^[a-z](?:_?[a-z0-9])*_?$(?!\n)"
Name = Annotated[
    str,
    Meta(
        pattern=NAME,
        max_length=63,
        description="lower case letters, digits and '_', first a letter, no '__'",
    ),
]
FieldType = Literal[
    "text",
    "number",
    "integer",
    "boolean",
    "datetime",
    "email",
    "url",
    "select",
    "json",
    "relation",
    "file",
]

Stamp = Literal["caller.id", "caller.user", "now"]
OnDelete = Literal["restrict", "cascade", "set_null"]


FieldRule = Annotated[str, Meta(max_length=FIELD_RULE_CHARS_MAX, description="CEL")]


class FieldRules(Input, frozen=True):
    """Who may ``read`` and who may ``write`` a field, beside what the collection's rules say.

    Each is CEL over the record, ``caller`` and ``request``, and reaches no other collection.
    Absent means whoever may view, or create and update, the record.
    """

    read: FieldRule | None = None
    write: FieldRule | None = None


class Field(Input, frozen=True):
    """A field of a collection. ``min`` and ``max`` bound the characters of text, or the number.

    ``values`` are those of a select, ``collection`` the one a relation points into, or ``users``. A
    ``default`` is stored when a new record leaves the field out. A ``file`` is uploaded to its own
    address, and emptied with null; it is one of ``types`` (``image/*``, ``application/pdf``; none
    is any), and has at most ``max_bytes``. Where it is ``inline`` browsers show it;
    ``thumbs`` are the sizes that smaller pictures of it come in (``200x200``, ``400x0``).

    ``many`` makes it a list of up to ``max_items``, which is never null. ``on_delete`` says what
    becomes of a record when what its relation points at goes. A ``stamp`` is set by the platform
    when a record is made, or with each change (``stamp_on``).

    A ``personal`` field is sealed under the key of the user that the field ``personal_of`` names,
    and ends when that user is erased.

    A text field with ``search`` is found by its words with ``?q=``; what is found in one with more
    ``search_weight`` comes first.

    A ``hidden`` field is shown to nobody without ``records:read``; ``rules`` say who else may read
    or write one. ``renamed_from`` is the name that a field had until now: its values stay.
    """

    name: Name
    type: FieldType
    required: bool = False
    unique: bool = False
    personal: bool = False
    personal_of: Name | None = None
    min: float | None = None
    max: float | None = None
    values: Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(max_length=VALUES_MAX)] = (
        msgspec.field(default_factory=list)
    )
    collection: str | None = None
    default: Any = None
    types: Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(max_length=TYPES_MAX)] = (
        msgspec.field(default_factory=list)
    )
    max_bytes: Annotated[int, Meta(ge=1, le=FILE_BYTES_MAX)] | None = None
    inline: bool = False
    thumbs: Annotated[list[ThumbSize], Meta(max_length=THUMBS_MAX)] = msgspec.field(
        default_factory=list
    )
    many: bool = False
    max_items: Annotated[int, Meta(ge=1, le=ITEMS_MAX)] | None = None
    on_delete: OnDelete | None = None
    stamp: Stamp | None = None
    stamp_on: Literal["create", "write"] = "create"
    hidden: bool = False
    rules: FieldRules | None = None
    renamed_from: Name | None = None
    search: bool = False
    search_weight: Annotated[int, Meta(ge=1, le=SEARCH_WEIGHT_MAX)] = 1
