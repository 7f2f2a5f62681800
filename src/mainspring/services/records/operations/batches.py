"""Operations on many records at once, which land together or not at all."""

import asyncio

import msgspec

from mainspring import Call, FieldErrors, Invalid, handles
from mainspring.services.records import access, api, ending, mutations, presenter
from mainspring.services.records.model import CompiledCollection
from mainspring.services.records.operations.records import (
    Current,
    change_record,
    create,
    current_record,
    may_change,
    upsert,
)
from mainspring.services.records.schema_cache import named

BYTES_AT_ONCE = 64 << 10  # of a batch, without letting others be served: 50 small items
ITEM_BYTES = 1_300  # what an item costs beside those of its data


@handles(api.batch_records, shows=presenter.batch_again)
async def batch_records(call: Call, collection: str, batch: api.Batch) -> api.BatchAnswer:
    found = await named(call, collection, api.WRITE)
    changing = _changing(batch)
    seen, ended = mutations.Handover(changing), ending.Ending(call)
    stored_bytes = taken_bytes = 0
    answers: list[msgspec.Raw | None] = []
    errors = FieldErrors()
    for i, item in enumerate(batch.items):
        pointer = f"/items/{i}"
        taken_bytes += ITEM_BYTES + len(bytes(item.data))
        if taken_bytes > BYTES_AT_ONCE:
            taken_bytes = 0
            await asyncio.sleep(0)  # others are served meanwhile, also where no read waits
        try:
            if item.action == "upsert":
                answers.append(await _upsert_item(call, found, item, pointer, seen))
                continue
            if item.id is None:
                answers.append(await _create_item(call, found, item, pointer, seen))
                continue
            current = await current_record(call, collection, item.id, item.action, pointer)
            answers.append(await _change_item(call, current, item, pointer, seen, ended))
        except Invalid as error:  # what is wrong with the others is told with it
            errors.extend(error.errors, error.errors_more)
            continue
        stored_bytes += current.size_bytes
        if stored_bytes > api.BATCH_BYTES_MAX:
            errors.add(
                pointer,
                f"up to here records of more than {api.BATCH_BYTES_MAX} bytes change: send fewer",
            )
            break
    if errors:
        raise Invalid("the batch is not valid", errors=errors)
    ended.stage(seen.changing)
    seen.settle(call, found)
    return api.BatchAnswer(answers)


async def _create_item(
    call: Call,
    collection: CompiledCollection,
    item: api.BatchItem,
    pointer: str,
    seen: mutations.Handover,
) -> msgspec.Raw | None:
    access.rule_for(call, collection, "create")
    made, raw = await create(call, collection, item.data, f"{pointer}/data", seen)
    return await presenter.seen(call, collection, made, raw)


async def _upsert_item(
    call: Call,
    collection: CompiledCollection,
    item: api.BatchItem,
    pointer: str,
    seen: mutations.Handover,
) -> msgspec.Raw | None:
    assert item.by is not None  # else it has been refused
    answer = await upsert(call, collection, item.by, item.data, pointer, "/data", seen)
    return answer.body or None


async def _change_item(
    call: Call,
    current: Current,
    item: api.BatchItem,
    pointer: str,
    seen: mutations.Handover,
    ended: ending.Ending,
) -> msgspec.Raw | None:
    collection = current.collection
    if item.action == "delete":
        await access.require(call, collection, "delete", current.record, pointer=pointer, hold=True)
        await ended.add(collection, current.record, current.version)
        seen.give(collection, current.record)
        return None
    values = await may_change(call, current, item.data, pointer, "/data")
    answer = await change_record(call, current, values, f"{pointer}/data", seen)
    return answer.body or None


def _changing(batch: api.Batch) -> set[str]:
    """Return the ids that a batch updates or deletes. Raises Invalid where they cannot be."""
    changing: set[str] = set()
    errors = FieldErrors()
    for i, item in enumerate(batch.items):
        if (item.action == "upsert") != (item.by is not None):
            errors.add(f"/items/{i}/by", "name the unique field to upsert by; else leave it out")
        elif (item.action in ("create", "upsert")) != (item.id is None):
            errors.add(
                f"/items/{i}/id", "leave it out to create; name the record to update or delete it"
            )
        elif item.id is not None and item.id in changing:
            errors.add(
                f"/items/{i}/id", "is in the batch twice: put all changes of a record into one item"
            )
        elif item.id is not None:
            changing.add(item.id)
    if errors:
        raise Invalid("the batch is not valid", errors=errors)
    return changing
