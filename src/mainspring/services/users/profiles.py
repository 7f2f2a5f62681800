"""Profiles: what is sent is held to the fields that settings name, and kept beside the user."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mainspring import Call, FieldErrors, Forbidden, Invalid
from mainspring.services.users import api
from mainspring.services.users.api.profiles import (
    PROFILE_BYTES_MAX,
    PROFILE_JSON_MAX,
    PROFILE_TEXT_MAX,
    ProfileField,
)

NONE = "{}"  # the profile of who has none, as it is stored
INTEGER_MAX = 2**53 - 1  # what JSON readers agree on (RFC 8259, section 6)
FLOAT_MAX = 1e100
URL_CHARS_MAX = 2_000
_URL = re.compile(r"https?://[^\s/?#\\]+[^\s\x00-\x1f]*", re.IGNORECASE)

Values = Mapping[str, Any]


def changed(call: Call, stored: str, sent: Values) -> str:
    """The profile that a merge patch (RFC 7396) makes, as it is stored; null takes a field out.

    Raises Invalid with pointers, and Forbidden for fields that administrators set. What is not
    named in settings any more is left out of it.
    """
    fields = call.use(api.UsersSettings).profile
    before = read(stored)
    made = {name: value for name, value in before.items() if name in fields}
    errors, closed = FieldErrors(), FieldErrors()
    for name, value in sent.items():
        pointer = f"/profile/{name}"
        if name not in fields:
            errors.add(pointer, "there is no such field: [users.profile] names those there are")
            continue
        try:
            kept = None if value is None else _kept(fields[name], value)
        except ValueError as error:  # msgspec's, too
            errors.add(pointer, str(error))
            continue
        same = _encode(kept) == _encode(before.get(name))
        if fields[name].by == "admin" and not same and not call.caller.allows(api.WRITE):
            closed.add(pointer, "administrators set this: leave it out")
        made[name] = kept
    if errors:
        raise Invalid("the profile does not fit", errors=errors)
    if closed:
        raise Forbidden("the profile has fields that only administrators set", errors=closed)
    text = _encode({name: value for name, value in made.items() if value is not None})
    if len(text) > PROFILE_BYTES_MAX:
        detail = f"is more than {PROFILE_BYTES_MAX} bytes of JSON together: send less"
        raise Invalid.at("/profile", detail)
    return text.decode()


def read(stored: str) -> dict[str, Any]:
    """Read a profile as it is stored."""
    return msgspec.json.decode(stored, type=dict[str, Any])


_encode = msgspec.json.Encoder(order="sorted").encode


def _kept(field: ProfileField, value: Any) -> Any:
    """A value as it is kept. Raises ValueError."""
    least, most = field.min, field.max
    match field.type:
        case "text":
            chars = Meta(
                min_length=int(least or 0),
                max_length=PROFILE_TEXT_MAX if most is None else int(most),
            )
            return msgspec.convert(value, Annotated[str, chars])
        case "integer":
            low, high = (
                -INTEGER_MAX if least is None else least,
                INTEGER_MAX if most is None else most,
            )
            return msgspec.convert(value, Annotated[int, Meta(ge=int(low), le=int(high))])
        case "number":
            low, high = -FLOAT_MAX if least is None else least, FLOAT_MAX if most is None else most
            return msgspec.convert(value, Annotated[float, Meta(ge=low, le=high)])
        case "boolean":
            return msgspec.convert(value, bool)
        case "select":
            if value not in field.values:
                raise ValueError(f"is one of {', '.join(field.values)}")
            return value
        case "url":
            text = msgspec.convert(value, Annotated[str, Meta(max_length=URL_CHARS_MAX)])
            if _URL.fullmatch(text) is None:
                raise ValueError("not an http or https URL; a space in it is written %20")
            return text
    if len(_encode(value)) > PROFILE_JSON_MAX:
        raise ValueError(f"is more than {PROFILE_JSON_MAX} bytes of JSON")
    return value
