"""What may be done with records, and why somebody may or may not."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mainspring import Input

Action = Literal["list", "view", "create", "update", "delete"]
NOBODY = "nobody"


class RuleQuestion(Input, frozen=True):
    """May ``caller`` do this? The id of a user or an API key, or ``"nobody"``; absent, oneself.

    ``record`` names the record; a new one has none. ``data`` is the body of the create or update.
    """

    action: Action
    caller: Annotated[str, Meta(max_length=64)] | None = None
    record: Annotated[str, Meta(max_length=64)] | None = None
    data: msgspec.Raw | UnsetType = UNSET


class JudgedPart(msgspec.Struct, frozen=True):
    """A part of a rule that ``&&`` or ``||`` joins: where it begins (1 is the first character)."""

    source: str
    character: int
    holds: bool


class Judgement(msgspec.Struct, frozen=True):
    """What a rule says of the record as it is, or as it would be after the change."""

    record: Literal["as_it_is", "as_it_would_be"]
    holds: bool
    parts: list[JudgedPart]


class FieldExplanation(msgspec.Struct, frozen=True):
    """Whether the caller may read or write one field that not everybody may, and why.

    Of a hidden field there is no rule: nobody reads it without the scope.
    """

    field: str
    right: Literal["read", "write"]
    allowed: bool
    rule: str | None
    judgements: list[Judgement]


class RuleExplanation(msgspec.Struct, frozen=True):
    """Whether the caller may, and why. All judgements of the rule have to hold.

    ``by`` is what decided: a scope, for who holds it is asked no rule; the rule; that there is no
    rule; or a field that the change writes and the caller may not. ``fields`` are those that not
    everybody may read, of a record that is viewed, or write, of those that are changed.
    """

    allowed: bool
    by: Literal["scope", "rule", "no_rule", "field"]
    scope: str
    rule: str | None
    judgements: list[Judgement]
    fields: list[FieldExplanation] = []
