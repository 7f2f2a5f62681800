"""How each collection looks to those who describe the API: JSON Schemas of its records."""

from typing import Any

from mainspring import Call, LruCache
from mainspring.kernel.ids import UUID7_PATTERN
from mainspring.kernel.operation import OperationVariant
from mainspring.services.records.access import scope_of
from mainspring.services.records.api import COLLECTIONS_READ, READ, Action, RecordsSettings, service
from mainspring.services.records.fields import RECORD_PREFIX, json_schema
from mainspring.services.records.model import CompiledCollection
from mainspring.services.records.schema_cache import compile_row
from mainspring.services.records.store import COLLECTIONS_EPOCH, COLLECTIONS_PAGE, Epoch

_Viewer = tuple[str, tuple[bool, ...]]  # the tenant, and which scopes that matter here
# It cannot say that the id is nobody's, nor of a moment that has come.
CHOSEN_ID = {"type": "string", "pattern": UUID7_PATTERN.format(RECORD_PREFIX)}
DESCRIBED_MAX = 64  # lists kept: one for each tenant and each set of scopes that matter here

_OPERATIONS: dict[str, Action] = {
    "create_record": "create", "get_record": "view", "list_records": "list",
    "update_record": "update", "replace_record": "update", "delete_record": "delete",
    "upsert_record": "create",
}  # fmt: skip


class DescribedCollections:
    """What a tenant's collections look like to those with the same scopes, and as of when."""

    def __init__(self) -> None:
        self._lists: LruCache[_Viewer, tuple[Epoch, list[OperationVariant]]]
        self._lists = LruCache(DESCRIBED_MAX)

    def at(self, viewer: _Viewer, epoch: Epoch) -> list[OperationVariant] | None:
        """Return what was kept, if nothing has changed since."""
        found = self._lists.get(viewer)
        return None if found is None or found[0] != epoch else found[1]

    def keep(self, viewer: _Viewer, epoch: Epoch, shapes: list[OperationVariant]) -> None:
        """Keep a list."""
        self._lists.put(viewer, (epoch, shapes))

    def forget_all(self) -> None:
        """Keep nothing."""
        self._lists.clear()


service.provide(DescribedCollections)


async def describe(call: Call) -> list[OperationVariant]:
    """Return the shape of every operation on a collection that the caller may get through.

    That is one with a rule or with its scope; who may read collections sees them all.
    """
    scopes = (COLLECTIONS_READ, *map(scope_of, sorted(set(_OPERATIONS.values()))))
    sees = tuple(call.caller.allows(scope) for scope in scopes)
    epoch = await call.one(COLLECTIONS_EPOCH, tenant=call.tenant)
    described = call.use(DescribedCollections)
    viewer = (call.tenant, sees)
    if (found := described.at(viewer, epoch)) is not None:
        return found
    allowed = call.use(RecordsSettings).collections_max
    rows = await call.all(COLLECTIONS_PAGE, tenant=call.tenant, after="", limit=allowed)
    if (found := described.at(viewer, epoch)) is not None:
        return found  # another call was first, while this one read
    shapes = [shape for row in rows for shape in _shapes(call, compile_row(row))]
    described.keep(viewer, epoch, shapes)
    return shapes


def _shapes(call: Call, collection: CompiledCollection) -> list[OperationVariant]:
    everything = call.caller.allows(COLLECTIONS_READ)
    targets = collection.definition.targets
    properties = {f.name: json_schema(f, targets) for f in collection.definition.fields}
    required = [
        f.name
        for f in collection.definition.fields
        if f.required and f.default is None and f.stamp is None
    ]
    hidden = {f.name for f in collection.definition.fields if f.hidden}
    if not call.caller.allows(READ):
        properties = {name: part for name, part in properties.items() if name not in hidden}
    shown = [name for name in properties if name not in {g.field for g in collection.withholding}]
    sent = {f.name: json_schema(f, targets, sent=True) for f in collection.definition.fields}
    whole = {
        "type": "object", "properties": sent, "additionalProperties": False, "required": required,
    }  # fmt: skip
    made = {**whole, "properties": {"id": CHOSEN_ID, **sent}}
    operators = collection.operators.json_schema()
    change = {
        "type": "object", "properties": {**sent, **operators}, "additionalProperties": False,
    }  # fmt: skip
    upserted = {**change, "properties": {"id": CHOSEN_ID, **sent, **operators}}
    record = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "collection": {"const": collection.name},
            "created_at": {"type": "string", "format": "date-time"},
            "updated_at": {"type": "string", "format": "date-time"},
            **properties,
        },
        "required": ["id", "collection", "created_at", "updated_at", *shown],
    }
    read = {name: part for name, part in record.items() if name != "required"}  # see ``?fields=``
    page = {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": read},
            "next_cursor": {"type": ["string", "null"]},
            "total": {"type": "integer"},
            "total_is": {"enum": ["exact", "at_least"]},
        },
        "required": ["items", "next_cursor"],
    }
    bodies: dict[str, Any] = {
        "create_record": made, "replace_record": whole, "update_record": change,
        "upsert_record": upserted,
    }  # fmt: skip
    responses = {"delete_record": None, "list_records": page, "get_record": read}
    return [
        OperationVariant(
            operation=f"records.{operation}",
            name=collection.name,
            values={"collection": collection.name},
            body=bodies.get(operation),
            response=responses.get(operation, record),
            public=collection.definition.rules.__getattribute__(action) == "true",
            files={name: collection.fields[name].types for name in collection.files},
        )
        for operation, action in _OPERATIONS.items()
        if everything or action in collection.rules or call.caller.allows(scope_of(action))
    ]


service.describe = describe
