"""Operations on single records. Scopes and rules are judged here, row by row."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from mainspring import (
    Call,
    Conflict,
    Failure,
    Invalid,
    NotFound,
    PreconditionFailed,
    Rerun,
    Response,
    UploadTerms,
    handles,
)
from mainspring.kernel.errors import Hidden
from mainspring.kernel.etag import version_tag
from mainspring.kernel.operation import NO_FILES, Files
from mainspring.services.records import (
    access,
    api,
    chosen_ids,
    ending,
    field_rights,
    mutations,
    personal,
    presenter,
    stamps,
)
from mainspring.services.records.api import IdTaken, UniqueTaken
from mainspring.services.records.fields import RECORD_PREFIX
from mainspring.services.records.file_terms import is_of_stored, record_of, terms_of, with_files
from mainspring.services.records.model import CompiledCollection, changed, created_ms
from mainspring.services.records.projection import Projection
from mainspring.services.records.schema_cache import (
    compiled,
    confirm,
    denied,
    expected,
    missing,
    named,
)
from mainspring.services.records.store import DATA, RECORD


class Current(msgspec.Struct, frozen=True):
    """A record as it was read: under its collection's schema of now."""

    collection: CompiledCollection
    version: int
    etag: str
    record: dict[str, Any]
    size_bytes: int


async def may_create_with_files(
    call: Call, collection: str, body: msgspec.Raw
) -> Mapping[str, UploadTerms]:
    """Refuse before files come; their blobs are named after the record that is to be."""
    found = await named(call, collection, api.WRITE)
    access.rule_for(call, found, "create")
    record_id = chosen_ids.of_new(call, found.read_new(body, with_id=True))
    return {name: terms_of(found, record_id, found.fields[name]) for name in found.files}


@handles(api.create_record, prepare=may_create_with_files, shows=presenter.record_again)
async def create_record(
    call: Call, collection: str, body: msgspec.Raw, files: Files = NO_FILES
) -> Response[msgspec.Raw]:
    found = await expected(call, collection, api.WRITE)
    try:
        access.rule_for(call, found, "create")
        made, raw = await create(call, found, body, files=files)
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
    seen = await field_rights.sight(call, own)
    as_stored = (
        query.fields is None
        and query.expand is None
        and (found.schema_version or 0) >= own.layout
        and seen.whole
    )
    program = None if rule is None else rule.program
    judged = rule is None or (program is not None and not program.asks_record)
    record = {} if as_stored and judged else own.read(found.data, found.schema_version)
    if not (await access.passing(call, own, rule, "view", [record]))[0]:
        raise Hidden(access.nowhere())
    if as_stored:
        return Response(msgspec.Raw(found.data.encode()), etag=etag)
    etag = field_rights.tag_of_shown(etag, await field_rights.unseen(call, own, record))
    if query.fields is None and query.expand is None:
        (shown,) = await field_rights.readable(call, own, [record])
        return Response(_raw(shown), etag=etag)
    wanted = Projection(own, query.fields, query.expand)
    # What is expanded changes without this record's version: then the tag is made of the answer.
    tag = etag if query.expand is None else None
    return Response((await wanted.present(call, [record]))[0], etag=tag)


async def may_update_with_files(
    call: Call, collection: str, id: str, body: msgspec.Raw
) -> Mapping[str, UploadTerms]:
    """Refuse before files come, as far as the rule does not ask what the request brings."""
    current = await current_record(call, collection, id, "update")
    own = current.collection
    rule = access.rule_for(call, own, "update")
    program = None if rule is None else rule.program
    if program is not None and "request" not in program.asks_context:
        await access.require(call, own, "update", current.record)
    return {name: terms_of(own, id, own.fields[name]) for name in own.files}


@handles(api.update_record, prepare=may_update_with_files, shows=presenter.record_again)
async def update_record(
    call: Call, collection: str, id: str, body: msgspec.Raw, files: Files = NO_FILES
) -> Response[msgspec.Raw]:
    current = await current_record(call, collection, id, "update")
    values = await may_change(call, current, body, files=files)
    await presenter.require_match(call, current.collection, current.record, current.etag)
    return await change_record(call, current, values)


@handles(api.replace_record, prepare=may_update_with_files, shows=presenter.record_again)
async def replace_record(
    call: Call, collection: str, id: str, body: msgspec.Raw, files: Files = NO_FILES
) -> Response[msgspec.Raw]:
    current = await current_record(call, collection, id, "update")
    values = await may_change(call, current, body, whole=True, files=files)
    await presenter.require_match(call, current.collection, current.record, current.etag)
    return await change_record(call, current, values)


async def may_upsert_with_files(
    call: Call, collection: str, query: api.UpsertBy, body: msgspec.Raw
) -> Mapping[str, UploadTerms]:
    """Refuse before files come; they are stored under the record that is there, or is to be."""
    found = await named(call, collection, api.WRITE)
    value = _upsert_value(call, found, query.by, body)
    holder = await _holder(call, found, query.by, value)
    record_id = holder or found.read_sent(body, "id") or call.new_id(RECORD_PREFIX)
    there = holder is not None
    return {name: terms_of(found, record_id, found.fields[name], there) for name in found.files}


@handles(api.upsert_record, prepare=may_upsert_with_files, shows=presenter.record_again)
async def upsert_record(
    call: Call,
    collection: str,
    query: api.UpsertBy,
    body: msgspec.Raw,
    files: Files = NO_FILES,
) -> Response[msgspec.Raw]:
    found = await named(call, collection, api.WRITE)
    return await upsert(call, found, query.by, body, files=files)


@handles(api.delete_record)
async def delete_record(call: Call, collection: str, id: str) -> None:
    current = await current_record(call, collection, id, "delete")
    await access.require(call, current.collection, "delete", current.record, hold=True)
    await presenter.require_match(call, current.collection, current.record, current.etag)
    await ending.end(call, current.collection, current.record, current.version)


async def create(
    call: Call,
    collection: CompiledCollection,
    body: msgspec.Raw,
    pointer: str = "",
    seen: mutations.Handover | None = None,
    *,
    read: Callable[[msgspec.Raw, str], dict[str, Any]] | None = None,
    files: Files = NO_FILES,
) -> tuple[dict[str, Any], msgspec.Raw]:
    """Stage a new record, once the caller may create it: of a body as ``read`` reads it.

    ``files`` that came with it are stored under the id that it was to have.
    """
    sent = (read or partial(collection.read_new, with_id=True))(body, pointer)
    chosen = "id" in sent
    record_id = chosen_ids.of_new(call, sent, pointer)
    values = with_files(collection, sent, files, {}, pointer)
    stamped = await stamps.of_new(call, collection, values, pointer)
    if files and not chosen:
        record_id = record_of(next(iter(files.values())).key)
    updated_ms = max(call.now_ms, created_ms(record_id)) if chosen else None
    record = collection.represent(record_id, updated_ms, {**values, **stamped})
    record |= await personal.sealed(call, collection, record, values, pointer)
    given = changed(collection.unset, values)
    await access.require(call, collection, "create", record, body=body, changes=given, hold=True)
    await field_rights.require_writable(
        call, collection, given, [record], body=body, pointer=pointer
    )
    if chosen:
        await chosen_ids.require_free(call, collection, record_id, pointer)
        if seen is not None:
            seen.make(record_id, pointer)
    await mutations.require_targets(call, collection, record, pointer=pointer)
    # The insert finds a taken value for nothing; only a re-run has to ask which one it was.
    ask = call.reruns > 0
    await mutations.require_unique(call, collection, record, pointer=pointer, seen=seen, ask=ask)
    return record, mutations.insert(call, collection, record, pointer)


async def may_change(
    call: Call,
    current: Current,
    body: msgspec.Raw,
    pointer: str = "",
    part: str = "",
    *,
    whole: bool = False,
    with_id: bool = False,
    files: Files = NO_FILES,
) -> dict[str, Any]:
    """Read the values to change a record to, all or some, once the caller may change it so.

    ``with_id`` takes its own id among them.
    """
    collection, record = current.collection, current.record
    at = pointer + part
    try:
        if whole:
            known = await field_rights.open_to(call, collection, record)
            values = collection.read_whole(body, known, at)
        else:
            await field_rights.require_no_blind_operator(call, collection, record, body, at)
            values = collection.read_change(body, record, at, with_id=with_id)
        chosen_ids.of_changed(values, record["id"], at)
        values = with_files(collection, values, files, record, at)
        values = await personal.as_stored_where_same(call, collection, record, values)
        touched = await field_rights.blind(call, collection, record, values)
        stamped = await stamps.of_change(call, collection, record, values, at, touched=touched)
        becomes = {**record, **values, **stamped}
        values = await personal.sealed(call, collection, becomes, values, at, record)
    except Failure:  # what is wrong with a body is for those to know who may change the record
        await access.require(call, collection, "update", record, body=body, pointer=pointer)
        raise
    await access.require_change(
        call, collection, record, values, body=body, pointer=pointer, stamps=stamped,
        touched=touched,
    )  # fmt: skip
    await field_rights.require_writable(
        call, collection, field_rights.changes_of(record, values, touched),
        [record, {**record, **values, **stamped}], body=body, pointer=at, before=record,
    )  # fmt: skip
    return {**values, **stamped}


async def upsert(
    call: Call,
    collection: CompiledCollection,
    by: str,
    body: msgspec.Raw,
    pointer: str = "",
    part: str = "",
    seen: mutations.Handover | None = None,
    files: Files = NO_FILES,
) -> Response[msgspec.Raw]:
    """Stage a change of the record that has what was sent in a unique field, or else a new one.

    A record that the caller may neither change nor view is taken for one that is not there: the
    create that follows tells no more of it than any create of theirs does.
    """
    at = pointer + part
    value = _upsert_value(call, collection, by, body, pointer, part)
    found = await _holder(call, collection, by, value)
    if found is not None:
        try:
            current = await current_record(call, collection.name, found, "update", pointer)
        except NotFound:  # it went away between the two reads
            raise Rerun from None
        values = await _upserted(call, current, body, pointer, part, files)
        if values is not None:
            _require_stored_for(found, files)
            if seen is not None:
                seen.change(found, pointer)
            await presenter.require_match(call, collection, current.record, current.etag)
            return await change_record(call, current, values, at, seen)
    access.rule_for(call, collection, "create")
    if call.if_match is not None:
        raise PreconditionFailed("there is no record to have this version")
    _require_stored_for(None, files)
    try:
        made, raw = await create(
            call, collection, body, at, seen, read=partial(_made, collection), files=files
        )
    except (UniqueTaken, IdTaken):
        if found is None and await _holder(call, collection, by, value) is not None:
            raise Rerun from None  # somebody came in between: theirs is changed
        raise
    headers = (("Location", f"/v1/collections/{collection.name}/records/{made['id']}"),)
    answer = await presenter.written(call, collection, made, raw, version_tag(1), headers)
    return msgspec.structs.replace(answer, status=answer.status or 201)


async def _holder(call: Call, collection: CompiledCollection, by: str, value: Any) -> str | None:
    """Return the id of the record that an upsert is to find, if it is there."""
    if by != "id":
        return await mutations.find_holder(call, collection, by, value)
    data = await call.find(DATA, collection=collection.id, id=value)
    return None if data is None else str(value)


def _upsert_value(
    call: Call,
    collection: CompiledCollection,
    by: str,
    body: msgspec.Raw,
    pointer: str = "",
    part: str = "",
) -> Any:
    """What an upsert finds its record by. Raises what who has no way in is told, and Invalid."""
    if not any(access.has_way(call, collection, action) for action in ("create", "update")):
        raise denied(call, api.WRITE)
    if by != "id" and by not in collection.unique_fields:
        raise Invalid.at(f"{pointer}/by", f"there is no unique field {by!r}")
    value = collection.read_sent(body, by, pointer + part)
    if value is None:
        raise Invalid.at(f"{pointer}{part}/{by}", "required: the record is found by it")
    return value


def _require_stored_for(holder: str | None, files: Files) -> None:
    """Raise Conflict where files were stored for another record than the one they are to be of."""
    for file in files.values():
        if (record_of(file.key) if is_of_stored(file.key) else None) != holder:
            raise Conflict("the record was made or deleted while its files came: send them again")


def _made(collection: CompiledCollection, body: msgspec.Raw, pointer: str) -> dict[str, Any]:
    """Read what a change makes of nothing: a whole record, defaults filled in."""
    values = collection.read_change(body, collection.unset, pointer, with_id=True)
    return collection.read_new(msgspec.Raw(msgspec.json.encode(values)), pointer, with_id=True)


async def _upserted(
    call: Call, current: Current, body: msgspec.Raw, pointer: str, part: str, files: Files
) -> dict[str, Any] | None:
    """What an upsert changes; None where the caller may neither do that nor know of the record."""
    if not access.has_way(call, current.collection, "update"):
        if await access.may_view(call, current.collection, current.record):
            raise denied(call, api.WRITE)
        return None
    try:
        return await may_change(call, current, body, pointer, part, with_id=True, files=files)
    except Hidden:
        return None


async def change_record(
    call: Call,
    current: Current,
    values: dict[str, Any],
    pointer: str = "",
    seen: mutations.Handover | None = None,
) -> Response[msgspec.Raw]:
    """Stage new values of a record's fields, unless they are the old ones."""
    old, collection = current.record, current.collection
    touched = await field_rights.blind(call, collection, old, values)
    if not changed(old, values) and not touched:
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
