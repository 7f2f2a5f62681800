"""Operations on single records. Scopes and rules are judged here, row by row."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from mainspring import Call, Failure, FieldErrors, Invalid, NotFound, Response, handles
from mainspring.kernel.errors import Hidden
from mainspring.kernel.etag import version_tag
from mainspring.services.records import access, api, mutations, presenter
from mainspring.services.records.fields import RECORD_PREFIX
from mainspring.services.records.model import CompiledCollection, changed, created_ms
from mainspring.services.records.projection import Projection
from mainspring.services.records.schema_cache import compiled, confirm, expected, missing, named
from mainspring.services.records.store import RECORD

BYTES_AT_ONCE = 64 << 10  # of a batch, without letting others be served: 50 small items
ITEM_BYTES = 1_300  # what an item costs beside those of its data


class Current(msgspec.Struct, frozen=True):
    """A record as it was read: under its collection's schema of now."""

    collection: CompiledCollection
    version: int
    etag: str
    record: dict[str, Any]
    size_bytes: int


@handles(api.create_record, shows=presenter.record_again)
async def create_record(call: Call, collection: str, body: msgspec.Raw) -> Response[msgspec.Raw]:
    found = await expected(call, collection, api.WRITE)
    try:
        access.rule_for(call, found, "create")
        made, raw = await _create(call, found, body)
    except Failure:
        await confirm(call, found)
        raise
    location = f"/v1/collections/{collection}/records/{made['id']}"
    return await presenter.written(
        call, found, made, raw, version_tag(1), (("Location", location),)
    )


@handles(api.get_record)
async def get_record(
    call: Call, collection: str, id: str, query: api.ViewRecord
) -> Response[msgspec.Raw]:
    found = await call.find(RECORD, tenant=call.tenant, name=collection, id=id)
    if found is None:
        raise missing(call, api.READ)
    own = await compiled(call, found.collection, found.collection_version)
    rule = access.rule_for(call, own, "view")
    if found.data is None or found.version is None:
        raise NotFound("no such record")
    etag = presenter.tag_as_shown(own, found.version, found.schema_version)
    as_stored = (
        query.fields is None and query.expand is None and (found.schema_version or 0) >= own.layout
    )
    program = None if rule is None else rule.program
    judged = rule is None or (program is not None and not program.asks_record)
    record = {} if as_stored and judged else own.read(found.data, found.schema_version)
    if not (await access.passing(call, own, rule, "view", [record]))[0]:
        raise Hidden(access.nowhere())
    if as_stored:
        return Response(msgspec.Raw(found.data.encode()), etag=etag)
    if query.fields is None and query.expand is None:
        return Response(_raw(record), etag=etag)
    wanted = Projection(own, query.fields, query.expand)
    # What is expanded changes without this record's version: then the tag is made of the answer.
    tag = etag if query.expand is None else None
    return Response((await wanted.present(call, [record]))[0], etag=tag)


@handles(api.update_record, shows=presenter.record_again)
async def update_record(
    call: Call, collection: str, id: str, body: msgspec.Raw
) -> Response[msgspec.Raw]:
    current = await current_record(call, collection, id, "update")
    values = await _may_change(call, current, body, current.collection.read_change)
    await presenter.require_match(call, current.collection, current.record, current.etag)
    return await change_record(call, current, values)


@handles(api.replace_record, shows=presenter.record_again)
async def replace_record(
    call: Call, collection: str, id: str, body: msgspec.Raw
) -> Response[msgspec.Raw]:
    current = await current_record(call, collection, id, "update")
    values = await _may_change(call, current, body, current.collection.read_new)
    await presenter.require_match(call, current.collection, current.record, current.etag)
    return await change_record(call, current, values)


@handles(api.delete_record)
async def delete_record(call: Call, collection: str, id: str) -> None:
    current = await current_record(call, collection, id, "delete")
    await access.require(call, current.collection, "delete", current.record, hold=True)
    await presenter.require_match(call, current.collection, current.record, current.etag)
    await mutations.delete(call, current.collection, current.record, current.version)


@handles(api.batch_records, shows=presenter.batch_again)
async def batch_records(call: Call, collection: str, batch: api.Batch) -> api.BatchAnswer:
    found = await named(call, collection, api.WRITE)
    seen = mutations.Handover(_changing(batch))
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
            if item.id is None:
                answers.append(await _create_item(call, found, item, pointer, seen))
                continue
            current = await current_record(call, collection, item.id, item.action, pointer)
            answers.append(await _change_item(call, current, item, pointer, seen))
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
    made, raw = await _create(call, collection, item.data, f"{pointer}/data", seen)
    return raw if await access.may_view(call, collection, made) else None


async def _change_item(
    call: Call, current: Current, item: api.BatchItem, pointer: str, seen: mutations.Handover
) -> msgspec.Raw | None:
    collection = current.collection
    if item.action == "delete":
        await access.require(call, collection, "delete", current.record, pointer=pointer, hold=True)
        await mutations.delete(call, collection, current.record, current.version)
        seen.give(collection, current.record)
        return None
    values = await _may_change(call, current, item.data, collection.read_change, pointer, "/data")
    answer = await change_record(call, current, values, f"{pointer}/data", seen)
    return answer.body or None


def _changing(batch: api.Batch) -> set[str]:
    """Return the ids that a batch updates or deletes. Raises Invalid where they cannot be."""
    changing: set[str] = set()
    errors = FieldErrors()
    for i, item in enumerate(batch.items):
        if (item.action == "create") != (item.id is None):
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


async def _create(
    call: Call,
    collection: CompiledCollection,
    body: msgspec.Raw,
    pointer: str = "",
    seen: mutations.Handover | None = None,
) -> tuple[dict[str, Any], msgspec.Raw]:
    values = collection.read_new(body, pointer)
    record = collection.represent(call.new_id(RECORD_PREFIX), None, values)
    given = changed(collection.unset, values)
    await access.require(call, collection, "create", record, body=body, changes=given, hold=True)
    await mutations.require_targets(call, collection, record, pointer=pointer)
    # The insert finds a taken value for nothing; only a re-run has to ask which one it was.
    ask = call.reruns > 0
    await mutations.require_unique(call, collection, record, pointer=pointer, seen=seen, ask=ask)
    return record, mutations.insert(call, collection, record, pointer)


async def _may_change(
    call: Call,
    current: Current,
    body: msgspec.Raw,
    read: Callable[[msgspec.Raw, str], dict[str, Any]],
    pointer: str = "",
    part: str = "",
) -> dict[str, Any]:
    """Read the values to change a record to, once the caller may change it so."""
    collection, record = current.collection, current.record
    try:
        values = read(body, pointer + part)
    except Failure:  # what is wrong with a body is for those to know who may change the record
        await access.require(call, collection, "update", record, body=body, pointer=pointer)
        raise
    await access.require_change(call, collection, record, values, body=body, pointer=pointer)
    return values


async def change_record(
    call: Call,
    current: Current,
    values: dict[str, Any],
    pointer: str = "",
    seen: mutations.Handover | None = None,
) -> Response[msgspec.Raw]:
    """Stage new values of a record's fields, unless they are the old ones."""
    old, collection = current.record, current.collection
    if not changed(old, values):
        return await presenter.written(call, collection, old, _raw(old), current.etag)
    merged = {**old, **values}
    updated_ms = max(call.now_ms, created_ms(old["id"]))
    new = collection.represent(old["id"], updated_ms, merged)
    await mutations.require_targets(call, collection, new, old=old, pointer=pointer)
    await mutations.require_unique(call, collection, new, old=old, pointer=pointer, seen=seen)
    if seen is not None:
        seen.give(collection, old, new)
    raw = mutations.update(call, collection, current.version, old, new, pointer)
    return await presenter.written(call, collection, new, raw, version_tag(current.version + 1))


async def current_record(
    call: Call, collection: str, record_id: str, action: api.Action, pointer: str = ""
) -> Current:
    """Read a record to do something with it; whether the caller may is asked next.

    Raises NotFound, or what a caller without scope and rule is told.
    """
    found = await call.find(RECORD, tenant=call.tenant, name=collection, id=record_id)
    if found is None:
        raise missing(call, access.scope_of(action))
    own = await compiled(call, found.collection, found.collection_version)
    if found.data is None or found.version is None:
        access.rule_for(call, own, action)
        raise NotFound(access.nowhere(pointer))
    record = own.read(found.data, found.schema_version)
    etag = presenter.tag_as_shown(own, found.version, found.schema_version)
    return Current(own, found.version, etag, record, len(found.data.encode()))


def _raw(record: dict[str, Any]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(record))
