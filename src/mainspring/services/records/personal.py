"""Personal fields of records: sealed before a record is staged, opened where one is shown.

In between a record has them sealed, as it is stored and as its event has it: what reads it for any
other reason never holds the value. Destroying the key of the person empties them everywhere.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mainspring import Call, FieldErrors, Invalid, PersonalFields
from mainspring.kernel.same_json import same_json
from mainspring.services.records.model import UNFIT, CompiledCollection

Record = Mapping[str, Any]


async def opened(
    call: Call, collection: CompiledCollection, records: Sequence[Record]
) -> list[dict[str, Any]]:
    """Records with their personal fields readable; null where the person was erased."""
    if not collection.personal:
        return [dict(record) for record in records]
    # One after the other: a call inside a transaction awaits its own reads and nothing else.
    return [await _opened(call, collection, each) for each in records]


async def _opened(call: Call, collection: CompiledCollection, record: Record) -> dict[str, Any]:
    sealed = {name: record[name] for name in collection.personal if record.get(name) is not None}
    if not sealed:
        return dict(record)
    return {**record, **await call.use(PersonalFields).open(call, record["id"], sealed)}


async def as_stored_where_same(
    call: Call, collection: CompiledCollection, record: Record, values: dict[str, Any]
) -> dict[str, Any]:
    """Take for what a record has, sealed, each value that is sent and is the same."""
    sent = [name for name in values if name in collection.personal]
    if not sent:
        return values
    plain = await _opened(call, collection, record)
    same = [name for name in sent if same_json(plain.get(name), values[name])]
    return {**values, **{name: record.get(name) for name in same}}


async def sealed(
    call: Call,
    collection: CompiledCollection,
    record: Record,
    values: dict[str, Any],
    pointer: str = "",
    old: Record | None = None,
) -> dict[str, Any]:
    """Seal values for whom the record, as it is to be, says they are of; stages a new key.

    What an ``old`` record has of somebody else is sealed anew. Raises Invalid where the record
    names nobody.
    """
    if not collection.personal:
        return values
    made, errors = dict(values), FieldErrors()
    plain = {} if old is None else await _opened(call, collection, old)
    for name, owner in collection.personal.items():
        value, person = values.get(name), record.get(owner)
        if old is not None and same_json(value, old.get(name)) and value is not None:
            if person == old.get(owner):
                continue  # sealed for the same person
            value = plain.get(name)
        elif old is not None and name not in values and person != old.get(owner):
            value = plain.get(name)
        if value is None:
            if name in values or (old is not None and person != old.get(owner)):
                made[name] = None
            continue
        if person is None:
            errors.add(f"{pointer}/{name}", f"is personal, and {owner!r} says of nobody")
            continue
        fields = call.use(PersonalFields)
        kept, writes = await fields.seal(call, person, record["id"], {name: value})
        call.write(*writes)
        made |= kept
    if errors:
        raise Invalid(UNFIT, errors=errors)
    return made
