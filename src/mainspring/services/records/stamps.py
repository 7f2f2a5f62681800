"""Stamped fields: what the platform writes into a record of whoever calls, and when.

Another value that somebody sends is refused, but from who holds ``records:write``: a stamp that
could be forged would be worth nothing to a rule.
"""

from collections.abc import Collection, Mapping
from typing import Any

from mainspring import Call, Caller, FieldErrors, Invalid, rfc3339
from mainspring.kernel.same_json import same_json
from mainspring.services.records import access
from mainspring.services.records.api import WRITE
from mainspring.services.records.model import UNFIT, CompiledCollection

_OWN = "is set by the platform: leave it out"


async def of_new(
    call: Call,
    collection: CompiledCollection,
    values: Mapping[str, Any],
    pointer: str = "",
    caller: Caller | None = None,
) -> dict[str, Any]:
    """The stamps of a new record, beside what was given. Raises Invalid for a forged one."""
    if not collection.stamped:
        return {}
    caller = caller or call.caller
    errors = FieldErrors()
    made: dict[str, Any] = {}
    for field in collection.stamped:
        if field.name in values and caller.allows(WRITE):
            continue
        made[field.name] = await _value(call, caller, field.stamp)
        if field.name in values and not same_json(values[field.name], made[field.name]):
            errors.add(f"{pointer}/{field.name}", _OWN)
            continue
        if made[field.name] is None and field.required:
            nobody = f"is stamped with {field.stamp}, and the caller has none: log in"
            errors.add(f"{pointer}/{field.name}", nobody)
    if errors:
        raise Invalid(UNFIT, errors=errors)
    return made


async def of_change(
    call: Call,
    collection: CompiledCollection,
    record: Mapping[str, Any],
    values: Mapping[str, Any],
    pointer: str = "",
    caller: Caller | None = None,
    touched: Collection[str] = (),
) -> dict[str, Any]:
    """The stamps of a changed record, where something else changes, or is ``touched``.

    Raises Invalid as above.

    A stamp that is sent as it is stored is no forgery: it comes back with the rest of the record.
    """
    if not collection.stamped:
        return {}
    caller = caller or call.caller
    names = {field.name for field in collection.stamped}
    given = {
        name: value
        for name, value in values.items()
        if name in names and (name in touched or not same_json(record.get(name), value))
    }
    if given and not caller.allows(WRITE):
        errors = FieldErrors()
        for name in given:
            errors.add(f"{pointer}/{name}", _OWN)
        raise Invalid(UNFIT, errors=errors)
    if not touched and all(same_json(record.get(name), value) for name, value in values.items()):
        return {}
    return {
        field.name: value
        for field in collection.stamped
        if field.stamp_on == "write" and field.name not in given
        if (value := await _value(call, caller, field.stamp)) is not None or not field.required
    }


async def _value(call: Call, caller: Caller, stamp: str | None) -> Any:
    if stamp == "now":
        return rfc3339(call.now_ms)
    if stamp == "caller.id":
        return caller.id
    return (await access.person(call, caller)).get("user")
