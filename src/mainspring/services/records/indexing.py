"""Keeps the words of records in the search engine: a projection of the log and of what is stored.

A consumer writes what changed to every index of a collection, a job builds a new one beside it.
Both read records as they are stored by then, with a place in the log that they are not older than:
whichever writes last, what an index holds at a version is never older than that. So whatever comes
twice, late or in between does no harm, and a cursor that is past a change has it in the index.

Writing to the engine is an effect outside the commit. It may be done again and be ahead of it.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from mainspring import Call, Envelope, EventLog, handles
from mainspring.kernel.search_terms import TERMS_VERSION, words_of
from mainspring.ports.search import IndexChange, NoIndex, SearchEngine
from mainspring.services.records.api import search as api
from mainspring.services.records.model import CompiledCollection, Definition
from mainspring.services.records.schema_cache import compiled, read_definition
from mainspring.services.records.store import (
    COLLECTION_BY_ID,
    RECORDS_AFTER,
    RECORDS_BY_ID,
    CollectionRow,
    StoredRecord,
)
from mainspring.services.records.store.search import (
    BUILDING,
    LOST,
    MARK_LOST,
    NOTE_APPLIED,
    READY,
    SEARCH,
    SEARCHES,
    SEARCHES_NAMED,
    SEARCHES_OF,
    SEARCHES_PAGE,
    NamedSearch,
    SearchRow,
)

CONSUMER = "records.index_records"
PREFIX = "idx"
PAGE_ROWS = 500  # indexed by one job
CHECKED_ROWS = 500  # indexes of one look


class _About(msgspec.Struct, frozen=True):
    collection: str


_about = msgspec.json.Decoder(_About).decode
_fields = msgspec.json.Decoder(list[str]).decode


def searched(definition: Definition) -> list[str]:
    """Name the fields that are searched, in their order."""
    return [field.name for field in definition.fields if field.search]


def fields_of(row: SearchRow) -> list[str]:
    """Name the fields that are in an index."""
    return _fields(row.fields)


async def take(call: Call, events: Sequence[Envelope]) -> None:
    """Write what events of records tell has changed to the indexes that there are."""
    engine = call.offered(SearchEngine)
    if engine is None:
        return
    by_name: dict[str, list[NamedSearch]] = {}
    for index in await call.all(SEARCHES_NAMED, tenant=call.tenant):
        if index.state != LOST:
            by_name.setdefault(index.name, []).append(index)
    if not by_name:
        return
    changed: dict[str, dict[str, int]] = {}
    for event in events:
        name = _about(event.data).collection
        if name in by_name:
            changed.setdefault(name, {})[event.subject] = event.seq or 0
    for name, versions in changed.items():
        await _bring(call, engine, by_name[name], versions)


async def _bring(
    call: Call, engine: SearchEngine, indexes: Sequence[NamedSearch], versions: Mapping[str, int]
) -> None:
    """Bring changed records of a collection to its indexes, as they are by now."""
    row = await call.find(COLLECTION_BY_ID, id=indexes[0].collection)
    if row is None:
        return  # its end takes the indexes along
    collection = await compiled(call, row.id, row.version)
    changes = await _changes(call, collection, versions)
    position = max(versions.values())
    for index in indexes:
        try:
            await engine.apply(index.id, changes, position)
        except NoIndex:
            if index.state == BUILDING and not index.place:
                continue  # it is read from the beginning when that is made
            call.write(MARK_LOST(id=index.id))
            ask_refresh(call, row.id)
        else:
            call.write(NOTE_APPLIED(id=index.id, position=position))


async def _changes(
    call: Call, collection: CompiledCollection, versions: Mapping[str, int]
) -> list[IndexChange]:
    """The records with these ids, each at this version or later; what is not there is gone."""
    made: dict[str, IndexChange] = {id: IndexChange(id, at, None) for id, at in versions.items()}
    left = list(versions)
    while left:  # as many at a time as a page holds
        wanted = msgspec.json.encode(left).decode()
        found = await call.page(
            RECORDS_BY_ID, collection=collection.id, ids=wanted, limit=len(left)
        )
        for change in await _indexed(collection, found.items, versions):
            made[change.id] = change
        left = left[left.index(found.items[-1].id) + 1 :] if found.more else []
    return list(made.values())


async def _indexed(
    collection: CompiledCollection, stored: Iterable[StoredRecord], versions: Mapping[str, int]
) -> list[IndexChange]:
    """Find the words of records, in a thread: texts may be long."""
    names = searched(collection.definition)

    def run() -> list[IndexChange]:
        changes = []
        for one in stored:
            record = collection.read(one.data, one.schema_version)
            words = {name: _words(record.get(name)) for name in names}
            changes.append(IndexChange(one.id, versions[one.id], words))
        return changes

    return await asyncio.to_thread(run)


def _words(value: object) -> str:
    texts = value if isinstance(value, list) else [value]
    return " ".join([word for text in texts if isinstance(text, str) for word in words_of(text)])


# Which indexes there are


def ask_refresh(call: Call, collection: str) -> None:
    """Enqueue that a collection gets the index which it asks for by then."""
    once = api.refresh_search.configure(unique_key=f"records.search {collection}")
    call.enqueue(once, collection=collection)


def ask_build(call: Call, index: str) -> None:
    """Enqueue that an index is built on."""
    call.enqueue(api.build_search.configure(unique_key=f"records.search {index}"), index=index)


@handles(api.refresh_search)
async def refresh_search(call: Call, collection: str) -> None:
    """Keep the index that fits, or begin one; remove what neither fits nor is searched."""
    kept = await call.all(SEARCHES_OF, collection=collection)
    row = await call.find(COLLECTION_BY_ID, id=collection)
    names = [] if row is None else searched(read_definition(row))
    if row is None or not names:
        _drop(call, kept)
        return
    made_of = await _made_of(call, row)
    fields = msgspec.json.encode(names).decode()
    fitting = [
        one for one in kept if (one.fields, one.made_of) == (fields, made_of) and one.state != LOST
    ]
    _drop(call, [one for one in kept if one.state != READY and one not in fitting])
    if not fitting:
        fitting = [SearchRow(call.new_id(PREFIX), row.tenant, row.id, fields, made_of, BUILDING)]
        call.write(SEARCHES.insert(fitting[0]))
    if fitting[-1].state == BUILDING:
        ask_build(call, fitting[-1].id)


async def _made_of(call: Call, row: CollectionRow) -> str:
    """What an index of a collection is made of: with any other it is another index.

    A change of how records are stored may change what fields hold without an event for each. After
    a restore the places of another log would be taken for newer.
    """
    epoch = (await call.use(EventLog).positions.name()).epoch
    return f"terms {TERMS_VERSION}, layout {read_definition(row).layout}, epoch {epoch}"


def _drop(call: Call, rows: Iterable[SearchRow]) -> None:
    for row in rows:
        call.write(SEARCHES.delete(row))
        call.enqueue(api.drop_search, index=row.id)


@handles(api.build_search)
async def build_search(call: Call, index: str) -> None:
    """Index one page of the collection as it is stored by now."""
    engine, row = call.offered(SearchEngine), await call.find(SEARCH, id=index)
    if engine is None or row is None or row.state != BUILDING:
        return
    stored = await call.find(COLLECTION_BY_ID, id=row.collection)
    if stored is None or row.made_of != await _made_of(call, stored):
        ask_refresh(call, row.collection)
        return
    if not row.place:
        await engine.make(index, fields_of(row))
    elif not await _is_whole(engine, row):
        call.write(SEARCHES.update(row, state=LOST))
        ask_refresh(call, row.collection)
        return
    at = await call.use(EventLog).end()  # before the records, which are not older than it
    page = await call.page(
        RECORDS_AFTER, collection=row.collection, after=row.place, limit=PAGE_ROWS
    )
    collection = await compiled(call, stored.id, stored.version)
    changes = await _indexed(collection, page.items, dict.fromkeys([r.id for r in page.items], at))
    try:
        await engine.apply(index, changes)
    except NoIndex:  # lost this moment: it is begun anew
        call.write(SEARCHES.update(row, state=LOST))
        ask_refresh(call, row.collection)
        return
    built = row.built + len(page.items)
    if page.more:
        call.write(SEARCHES.update(row, place=page.items[-1].id, built=built))
        ask_build(call, index)
        return
    call.write(SEARCHES.update(row, state=READY, built=built))
    others = await call.all(SEARCHES_OF, collection=row.collection)
    _drop(call, [other for other in others if other.id != index])


async def _is_whole(engine: SearchEngine, row: SearchRow) -> bool:
    """Whether the engine has all of an index that was written to it."""
    try:
        return await engine.position(row.id) >= row.applied
    except NoIndex:
        return False


@handles(api.drop_search)
async def drop_search(call: Call, index: str) -> None:
    """Remove it from the engine."""
    engine = call.offered(SearchEngine)
    if engine is not None:
        await engine.drop(index)


@handles(api.check_search)
async def check_search(call: Call) -> None:
    """Compare what is stored of indexes with what the engine has."""
    engine = call.offered(SearchEngine)
    if engine is None:
        return
    there = await engine.indexes()  # before the rows: one is made after its row
    after, more = "", True
    known: set[str] = set()
    while more:
        page = await call.page(SEARCHES_PAGE, after=after, limit=CHECKED_ROWS)
        for row in page.items:
            known.add(row.id)
            await _look_after(call, engine, row)
        after, more = (page.items[-1].id if page.items else ""), page.more
    for index in there:
        if index not in known:
            call.enqueue(api.drop_search, index=index)


async def _look_after(call: Call, engine: SearchEngine, row: SearchRow) -> None:
    """Go on with an index that is being built; begin anew what is lost, or of something else."""
    stored = await call.find(COLLECTION_BY_ID, id=row.collection)
    if stored is None or row.state == LOST or row.made_of != await _made_of(call, stored):
        ask_refresh(call, row.collection)
    elif row.state == BUILDING:
        ask_build(call, row.id)
    elif not await _is_whole(engine, row):
        call.write(SEARCHES.update(row, state=LOST))
        ask_refresh(call, row.collection)
