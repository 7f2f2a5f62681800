"""What an installation wants to know of its users: fields of their profiles, named in settings."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

PROFILE_FIELDS_MAX = 50
PROFILE_BYTES_MAX = 16 << 10  # of one user's profile, as JSON
PROFILE_TEXT_MAX = 5_000  # characters of one text
PROFILE_JSON_MAX = 4 << 10  # bytes of one JSON value
VALUES_MAX = 200  # of one select

Profile = Annotated[
    dict[str, Any],
    Meta(max_length=PROFILE_FIELDS_MAX, description="the fields that ``[users.profile]`` names"),
]


class ProfileField(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[users.profile.NAME]``: one field. ``min`` and ``max`` bound characters, or the number.

    ``values`` are those of a select. Who holds ``users:write`` sets every field; others their own
    ``by = "user"`` ones.
    """

    type: Literal["text", "integer", "number", "boolean", "select", "url", "json"]
    min: float | None = None
    max: float | None = None
    values: tuple[Annotated[str, Meta(max_length=255)], ...] = ()
    by: Literal["user", "admin"] = "user"

    def __post_init__(self) -> None:
        if (self.type == "select") != bool(self.values):
            raise ValueError("a select needs values, and no other type takes them")
        if len(set(self.values)) != len(self.values) or len(self.values) > VALUES_MAX:
            raise ValueError(f"values are up to {VALUES_MAX}, each listed once")
        if self.type not in ("text", "integer", "number"):
            if self.min is not None or self.max is not None:
                raise ValueError(f"{self.type} takes neither min nor max")
        elif self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("max is smaller than min")
        bounds = [bound for bound in (self.min, self.max) if bound is not None]
        if self.type == "text" and not all(0 <= bound <= PROFILE_TEXT_MAX for bound in bounds):
            raise ValueError(f"min and max of a text are characters, up to {PROFILE_TEXT_MAX}")
