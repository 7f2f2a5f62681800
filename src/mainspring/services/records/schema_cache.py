"""Collections as they run, cached by id and version: what a version compiles to never changes.

A call learns the version in the same query that reads its record, so no process serves an old one.
"""

from collections.abc import AsyncIterator

import msgspec

from mainspring import (
    PAGE_LIMIT_MAX,
    Call,
    Command,
    Failure,
    Forbidden,
    NotFound,
    Rerun,
    Unauthenticated,
    Unavailable,
)
from mainspring.services.records.api import service
from mainspring.services.records.fields import complete
from mainspring.services.records.model import CompiledCollection, Definition
from mainspring.services.records.shared_cache import SharedLruCache
from mainspring.services.records.store import (
    COLLECTION_BY_ID,
    COLLECTIONS_PAGE,
    HEAD,
    HOLD_WRITERS,
    CollectionRow,
    Head,
)

CACHED_MAX = 512  # compiled collections in one process
HOLDS_MAX = 5  # attempts to keep writers out, each for as long as migrations/0004 says

_definition = msgspec.json.Decoder(Definition).decode


class SchemaCache:
    """The collections that this process has compiled, and which version it saw last."""

    def __init__(self) -> None:
        self._compiled: SharedLruCache[tuple[str, int], CompiledCollection]
        self._compiled = SharedLruCache(CACHED_MAX)
        self._heads: SharedLruCache[tuple[str, str], Head] = SharedLruCache(CACHED_MAX)

    def compiled(self, collection: str, version: int) -> CompiledCollection | None:
        """Return this version of a collection, by its id."""
        return self._compiled.get((collection, version))

    def compile(self, row: CollectionRow) -> CompiledCollection:
        """Compile what is stored, and keep it."""
        made = compile_row(row)
        self._compiled.put((row.id, row.version), made)
        return made

    def saw(self, tenant: str, name: str, head: Head) -> None:
        """Note which version was current a moment ago."""
        if self._heads.get((tenant, name)) != head:
            self._heads.put((tenant, name), head)

    def last(self, tenant: str, name: str) -> CompiledCollection | None:
        """Return the version that was current when this process looked last."""
        head = self._heads.get((tenant, name))
        return None if head is None else self.compiled(head.id, head.version)

    def forget(self, tenant: str, name: str) -> None:
        """No longer take what was seen last for current."""
        self._heads.pop((tenant, name))

    def forget_all(self) -> None:
        """Compile anew: a database that went back gives the numbers of versions away again."""
        self._compiled.clear()
        self._heads.clear()


service.provide(SchemaCache)


async def compiled(call: Call, collection: str, version: int) -> CompiledCollection:
    """Return this version of a collection, or a newer one if there is. Raises NotFound.

    What was read under the older one is brought to the newer, and writes are guarded by it.
    """
    cache = call.use(SchemaCache)
    found = cache.compiled(collection, version)
    if found is not None:
        return found
    # As of now, whoever reads: what a version is taken for is kept, for all who come.
    row = await call.find_newest(COLLECTION_BY_ID, id=collection)
    if row is None:
        raise NotFound("no such collection")
    return cache.compile(row)


async def named(call: Call, name: str, scope: str) -> CompiledCollection:
    """Return the collection of this name.

    Raises NotFound; to callers without the scope, what they are told of one without a rule.
    """
    head = await call.find(HEAD, tenant=call.tenant, name=name)
    if head is None:
        raise missing(call, scope)
    call.use(SchemaCache).saw(call.tenant, name, head)
    return await compiled(call, head.id, head.version)


async def expected(call: Call, name: str, scope: str) -> CompiledCollection:
    """Return the collection as this process saw it last, without a read.

    Only for writes: the database takes none under another version than the current one, and then
    the handler runs again and reads. Before it fails for another reason it must ``confirm``.
    """
    if call.reruns == 0:
        found = call.use(SchemaCache).last(call.tenant, name)
        if found is not None:
            return found
    return await named(call, name, scope)


async def confirm(call: Call, collection: CompiledCollection) -> None:
    """Raise Rerun when ``expected`` was wrong."""
    head = await call.find(HEAD, tenant=call.tenant, name=collection.name)
    if head is None or (head.id, head.version) != (collection.id, collection.version):
        call.use(SchemaCache).forget(call.tenant, collection.name)
        if call.reruns == 0:
            raise Rerun


def hold_writers(call: Call, collection: str) -> Command:
    """Return what keeps others from writing records of a collection until this call commits.

    It comes before what changes the collection. When a transaction that wrote records does not end,
    the handler runs again, and at last the call fails: those who wait behind it go on in between.
    """
    if call.reruns < HOLDS_MAX - 1:
        return HOLD_WRITERS(collection=collection).expect(1, Rerun)
    busy = Unavailable(
        "a transaction that takes long is writing records of this collection: repeat the change "
        "when that has ended",
        retry_after_s=1,
    )
    return HOLD_WRITERS(collection=collection).expect(1, busy)


async def every(call: Call) -> AsyncIterator[CollectionRow]:
    """Go through a tenant's collections by name, holding no more than a page of them."""
    after, more = "", True
    while more:
        rows = await call.page(
            COLLECTIONS_PAGE, tenant=call.tenant, after=after, limit=PAGE_LIMIT_MAX
        )
        for row in rows.items:
            yield row
            after = row.name
        more = rows.more


def read_definition(row: CollectionRow) -> Definition:
    """Read what is stored of a collection, without compiling it."""
    definition = _definition(row.definition)
    fields = [complete(field) for field in definition.fields]
    indexes = [
        msgspec.structs.replace(slot, since=slot.since or definition.layout)
        for slot in definition.indexes
    ]
    return msgspec.structs.replace(definition, fields=fields, indexes=indexes)


def compile_row(row: CollectionRow) -> CompiledCollection:
    """Compile a stored collection."""
    definition = read_definition(row)
    return CompiledCollection(
        row.id, row.name, row.version, row.schema_version, row.ready_version, definition
    )


def missing(call: Call, scope: str) -> Failure:
    """Why there is nothing here, without telling strangers which collections there are."""
    return NotFound("no such collection") if call.caller.allows(scope) else denied(call, scope)


def denied(call: Call, scope: str) -> Failure:
    """Refuse a caller that neither a scope nor a rule lets in."""
    if call.caller.kind == "anonymous":
        return Unauthenticated("log in, or send an API key")
    return Forbidden(f"this needs the scope {scope}, or a rule of the collection that allows it")
