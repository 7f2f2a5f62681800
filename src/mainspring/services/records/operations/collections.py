"""Operations on collections, and what a change of schema asks of the records that are stored."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from mainspring import (
    Call,
    Command,
    Conflict,
    Invalid,
    Page,
    PageQuery,
    Rerun,
    Response,
    check_all,
    handles,
)
from mainspring.cel import Type, ast, sql
from mainspring.kernel.errors import NeedsIndex
from mainspring.kernel.etag import version_tag
from mainspring.kernel.same_json import same_json
from mainspring.services.records import api
from mainspring.services.records.definition import (
    check_fields,
    check_indexes,
    check_uniques,
    index_slots,
    unique_slots,
)
from mainspring.services.records.document_copies import COPIES
from mainspring.services.records.fields import (
    ORGANIZATIONS,
    OUTSIDE,
    USERS,
    bounds,
    cel_type,
    items_max,
)
from mainspring.services.records.guards import compile_guards
from mainspring.services.records.indexing import SEARCH
from mainspring.services.records.model import (
    RESERVED_COLLECTIONS,
    Definition,
    Shape,
    compile_rules,
    shape_of,
)
from mainspring.services.records.presenter import present_collection
from mainspring.services.records.reach import reached_by, require_unused
from mainspring.services.records.renaming import laid_out, noted, renamed, renames_of
from mainspring.services.records.schema_cache import (
    compile_row,
    every,
    hold_writers,
    read_definition,
)
from mainspring.services.records.store import (
    COLLECTION,
    COLLECTIONS,
    COLLECTIONS_COUNT,
    COLLECTIONS_PAGE,
    HOLD_SCHEMA,
    RECORDS_AFTER,
    CollectionRow,
    double_query,
    empty_is_null,
    filled_query,
    missing_query,
    still_empty,
    still_filled,
)

PREFIX = "coll"

# What a stored value may be read as without being rewritten.
_WIDER = {
    "integer": {"number"},
    "email": {"text"},
    "url": {"text"},
    "select": {"text"},
}


@handles(api.create_collection)
async def create_collection(call: Call, new: api.NewCollection) -> Response[api.Collection]:
    if new.name in RESERVED_COLLECTIONS:
        raise Invalid.at("/name", f"{new.name!r} is reserved: choose another name")
    allowed = call.use(api.RecordsSettings).collections_max
    if await call.one(COLLECTIONS_COUNT, tenant=call.tenant) >= allowed:
        raise Conflict(f"there are {allowed} collections, and [records] allows no more")
    collection_id = call.new_id(PREFIX)
    targets = await _targets(call, new.fields, {new.name: collection_id})
    before = Definition([], api.Rules(), [], [], {}, 1)
    shape = shape_of(collection_id, new.name, new.fields, targets)
    definition, reached = await _define(call, shape, new, 1, before)
    row = CollectionRow(
        call.tenant, new.name, collection_id, msgspec.json.encode(definition).decode(),
        1, 1, None, call.now_ms, call.now_ms,
    )  # fmt: skip
    taken = api.NameTaken(f"{new.name!r} is taken: choose another")
    call.write(*reached, COLLECTIONS.insert(row, on_conflict=taken))
    made = present_collection(row)
    call.emit(api.CollectionCreated(*msgspec.structs.astuple(made)))
    for projector in (SEARCH, COPIES):
        projector.ask_wanted(call, row.id, definition)
    location = f"{api.COLLECTIONS_PATH}/{new.name}"
    return Response(made, etag=version_tag(1), headers=(("Location", location),))


@handles(api.list_collections)
async def list_collections(call: Call, query: PageQuery) -> Page[api.Collection]:
    rows = await call.page(
        COLLECTIONS_PAGE, tenant=call.tenant, after=query.cursor or "", limit=query.limit
    )
    return Page.of(rows, present_collection, lambda row: row.name)


@handles(api.get_collection)
async def get_collection(call: Call, name: str) -> Response[api.Collection]:
    row = await call.one(COLLECTION, tenant=call.tenant, name=name)
    return Response(present_collection(row), etag=version_tag(row.version))


@handles(api.update_collection)
async def update_collection(
    call: Call, name: str, query: api.ChangeCollection, change: api.CollectionChange
) -> Response[api.Collection | None]:
    row = await call.one(COLLECTION, tenant=call.tenant, name=name)
    call.require_match(version_tag(row.version))
    old = compile_row(row).definition
    renames = {} if change.fields is UNSET else renames_of(old.fields, change.fields)
    before = renamed(old, renames)
    wanted = _changed(name, before, change)
    targets = await _targets(call, wanted.fields, {name: row.id})
    schema = row.schema_version + 1
    shape = shape_of(row.id, name, wanted.fields, targets)
    new, reached = await _define(call, shape, wanted, schema, before)
    new = noted(new, old, renames)
    if not same_json(new.fields, old.fields):
        reached.append(await require_unused(call, row.id, shape))
    checks: list[Command] = []
    if not same_json(_layout(new), _layout(old)):
        if row.ready_version < old.layout:
            raise api.SchemaChangeRefused(
                "stored records are still being converted for the last change: "
                "try again when that is done"
            )
        checks = [
            *await _require_possible(call, row.id, old, new, renames),
            *await _require_confirmed(call, row.id, old, new, query.confirm, renames),
        ]
        new = laid_out(new, old, schema, renames)
        kept = {f.name for f in new.fields}.union(renames.values())
        files = [f.name for f in old.fields if f.type == "file" and f.name not in kept]
        call.enqueue(api.migrate_records, tenant=call.tenant, name=name, layout=schema, files=files)
    definition = msgspec.json.encode(new).decode()
    changed = msgspec.structs.replace(
        row, definition=definition, schema_version=schema, problem=None,
        updated_ms=call.now_ms, version=row.version + 1,
    )  # fmt: skip
    call.write(
        hold_writers(call, row.id),
        *reached,
        COLLECTIONS.update(
            row, definition=definition, schema_version=schema, problem=None, updated_ms=call.now_ms
        ),
        *checks,
    )
    made = present_collection(changed)
    call.emit(api.CollectionUpdated(*msgspec.structs.astuple(made)))
    for projector in (SEARCH, COPIES):
        projector.ask_changed(call, row.id, old, new)
    readable = call.caller.allows(api.COLLECTIONS_READ)
    return Response.shown_if(readable, made, etag=version_tag(changed.version))


@handles(api.delete_collection)
async def delete_collection(call: Call, name: str) -> None:
    row = await call.one(COLLECTION, tenant=call.tenant, name=name)
    call.require_match(version_tag(row.version))
    async for other in every(call):
        if other.id != row.id and row.id in read_definition(other).targets.values():
            raise api.StillReferenced(
                f"the collection {other.name!r} has a relation to this one: remove it first"
            )
    unused = await require_unused(call, row.id, None)
    call.write(hold_writers(call, row.id), unused, COLLECTIONS.delete(row))
    files = [f.name for f in compile_row(row).definition.fields if f.type == "file"]
    call.enqueue(api.purge_collection, collection=row.id, files=files)
    for projector in (SEARCH, COPIES):
        projector.ask_wanted(call, row.id, read_definition(row))
    call.emit(api.CollectionDeleted(row.id, name))


def _layout(definition: Definition) -> tuple[Any, ...]:
    """What says how records are stored: who may read or write a field does not."""
    fields = [
        msgspec.structs.replace(f, hidden=False, rules=None, search=False, search_weight=1)
        for f in definition.fields
    ]
    return fields, definition.indexes, definition.uniques


def _changed(name: str, old: Definition, change: api.CollectionChange) -> api.NewCollection:
    """What a collection is to be after a change."""
    return api.NewCollection(
        name,
        old.fields if change.fields is UNSET else change.fields,
        old.rules if change.rules is UNSET else change.rules,
        [s.fields for s in old.indexes] if change.indexes is UNSET else change.indexes,
        [s.together for s in old.uniques if not s.field]
        if change.uniques is UNSET
        else change.uniques,
        old.documents if change.documents is UNSET else change.documents,
    )


async def _define(
    call: Call, shape: Shape, wanted: api.NewCollection, schema: int, before: Definition
) -> tuple[Definition, list[Command]]:
    """Check a definition as a whole. Raises Invalid with pointers.

    Returns what holds the collections that its rules reach as they are, until the commit.
    """
    fields, rules = wanted.fields, wanted.rules
    around = await reached_by(call, rules, shape)
    check_all(
        "the collection is not valid",
        lambda: check_fields(fields, {f.name for f in before.fields}),
        lambda: check_indexes(fields, wanted.indexes),
        lambda: check_uniques(fields, wanted.uniques),
        lambda: compile_rules(rules, around.names(shape)),
        lambda: compile_guards(fields, shape.names()),
    )
    fields = check_fields(fields, {f.name for f in before.fields})
    others = [other for other in around.loaded if other.id != shape.id]
    held = [
        HOLD_SCHEMA(id=other.id, schema_version=other.schema_version).expect(1, Rerun)
        for other in others
    ]
    return Definition(
        fields, rules, index_slots(wanted.indexes, fields, schema, before),
        unique_slots(fields, wanted.uniques, before.uniques), dict(shape.targets), before.layout,
        [other.id for other in others], documents=wanted.documents,
    ), held  # fmt: skip


async def _targets(call: Call, fields: list[api.Field], known: dict[str, str]) -> dict[str, str]:
    """Find the collections that relations point into. Raises Invalid for one that is not there."""
    found = {}
    for i, field in enumerate(fields):
        if field.type != "relation" or field.collection is None:
            continue
        if field.collection not in known:
            row = await call.find(COLLECTION, tenant=call.tenant, name=field.collection)
            if row is None and field.collection not in OUTSIDE:
                problem = f"there is no collection {field.collection!r}"
                raise Invalid.at(f"/fields/{i}/collection", problem)
            known[field.collection] = field.collection if row is None else row.id
        found[field.name] = known[field.collection]
        if found[field.name] in OUTSIDE:
            _require_leaving(field, f"/fields/{i}/on_delete")
    return found


def _require_leaving(field: api.Field, pointer: str) -> None:
    """Raise Invalid for a relation that would keep a user or organisation from being deleted."""
    if field.on_delete == "restrict" or (field.required and field.on_delete is None):
        fits = "cascade" if field.required else "cascade, or set_null"
        whom = {USERS: "a user", ORGANIZATIONS: "an organization"}[field.collection or USERS]
        raise Invalid.at(pointer, f"nothing keeps {whom} from being deleted: say {fits}")


async def _require_possible(
    call: Call, collection: str, old: Definition, new: Definition, renames: Mapping[str, str]
) -> list[Command]:
    """Raise SchemaChangeRefused when the stored records do not allow the change.

    Returns what asks again in the commit, when no record can come between.
    """
    # As they are stored, by the names of now.
    before = {f.name: f for f in old.fields}
    now = {was: name for name, was in renames.items()}
    before = {
        name: msgspec.structs.replace(f, personal_of=now.get(f.personal_of or "", f.personal_of))
        for name, f in before.items()
    }
    before |= {name: before[was] for name, was in renames.items()}
    checks: list[Command] = []
    if not await call.all(RECORDS_AFTER, collection=collection, after="", limit=1):
        return checks
    for field in new.fields:
        was = before.get(field.name)
        if was is None:
            if field.required and field.default is None:
                raise api.SchemaChangeRefused(
                    f"{field.name!r} is required and has no default for stored records: give it one"
                )
            continue
        _require_wider(was, field)
        if field.required and not was.required and field.default is None:
            stored = msgspec.structs.replace(field, name=was.name)
            checks.append(await _require_none(call, collection, stored))
    held = {slot.names for slot in renamed(old, renames).uniques}
    for slot in new.uniques:
        if slot.names not in held and all(name in before for name in slot.names):
            await _require_distinct(call, collection, [before[name] for name in slot.names])
    return checks


async def _require_confirmed(
    call: Call,
    collection: str,
    old: Definition,
    new: Definition,
    confirm: str | None,
    renames: Mapping[str, str],
) -> list[Command]:
    """Raise SchemaChangeRefused for removed fields that lose values and are not confirmed.

    Returns what asks again in the commit, when no value can come between.
    """
    kept = {f.name for f in new.fields}.union(renames.values())
    removed = [f for f in old.fields if f.name not in kept]
    named = {name.strip() for name in (confirm or "").split(",") if name.strip()}
    if others := sorted(named - {f.name for f in removed}):
        raise Invalid.at("/confirm", f"{others[0]!r} is not removed by this change")
    unnamed = [f for f in removed if f.name not in named]
    losing = [f for f in unnamed if await _has_values(call, collection, f)]
    if losing:
        names = ",".join(f.name for f in losing)
        raise api.SchemaChangeRefused(
            f"stored records would lose what they have in {names}: to keep it under another name, "
            f"say renamed_from at that; to lose it, repeat with ?confirm={names}"
        )
    return [
        still_empty(_as_text(field))(collection=collection).expect(1, Rerun) for field in unnamed
    ]


async def _has_values(call: Call, collection: str, field: api.Field) -> bool:
    """Whether a record has a value in a field; also where that cannot be found out in time."""
    try:
        return bool(await call.all(filled_query(_as_text(field)), collection=collection))
    except NeedsIndex:
        return True


def _as_text(field: api.Field) -> tuple[str, str]:
    """A field read as text whatever it is: nothing but null, or an empty list, is null then."""
    value = sql.column(ast.FieldValue(Type.TEXT, (field.name,)), "data")
    return empty_is_null(value) if field.many else value


def _require_wider(was: api.Field, field: api.Field) -> None:
    """A changed field must take every value that it took before."""
    if field.type != was.type and field.type not in _WIDER.get(was.type, ()):
        raise api.SchemaChangeRefused(
            f"{field.name!r} cannot become {field.type}: remove it, then add it under another name"
        )
    if (field.personal, field.personal_of) != (was.personal, was.personal_of):
        raise api.SchemaChangeRefused(
            f"{field.name!r} cannot change whether or of whom it is personal: what is stored and "
            "told already stays as it is: add another field, copy, then remove this one"
        )
    if field.many != was.many:
        raise api.SchemaChangeRefused(
            f"{field.name!r} cannot become {'a list' if field.many else 'one value'}: "
            "add another field, copy what is there, then remove this one"
        )
    if field.many and items_max(field) < items_max(was):
        raise api.SchemaChangeRefused(
            f"{field.name!r} cannot take fewer items than before: let it take {items_max(was)}"
        )
    if field.type == was.type == "relation" and field.collection != was.collection:
        raise api.SchemaChangeRefused(
            f"{field.name!r} cannot point into another collection: add another relation for that"
        )
    if field.type == was.type == "select" and not set(was.values) <= set(field.values):
        raise api.SchemaChangeRefused(
            f"{field.name!r} cannot lose values that records may have: keep {', '.join(was.values)}"
        )
    (least, most), (least_now, most_now) = bounds(was), bounds(field)
    if least_now > least or most_now < most:
        raise api.SchemaChangeRefused(
            f"{field.name!r} cannot take less than before: "
            f"let it take what goes from {least:g} to {most:g}"
        )


async def _require_none(call: Call, collection: str, field: api.Field) -> Command:
    value = _as_text(field)
    if await call.all(missing_query(value), collection=collection):
        raise api.SchemaChangeRefused(
            f"{field.name!r} cannot be required: stored records have no value in it: fill them"
        )
    return still_filled(value)(collection=collection).expect(1, Rerun)


async def _require_distinct(call: Call, collection: str, fields: list[api.Field]) -> None:
    values = [sql.column(ast.FieldValue(cel_type(f), (f.name,)), "data") for f in fields]
    found = await call.all(double_query(values), collection=collection)
    if found:
        told, (first, second) = " and ".join(repr(f.name) for f in fields), found[0]
        raise api.SchemaChangeRefused(
            f"{told} cannot be unique: the records {first} and {second} have the same: change one"
        )
