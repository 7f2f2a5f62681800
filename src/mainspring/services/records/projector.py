"""Keeps records in stores that follow the log: projections of it and of what is stored.

A consumer writes what changed to every index of a collection, a job builds a new one beside it.
Both read records as they are stored by then, with a place in the log that they are not older than:
whichever writes last, what an index holds at a version is never older than that. So whatever comes
twice, late or in between does no harm, and a cursor that is past a change has it in the index.

Writing to a store is an effect outside the commit. It may be done again and be ahead of it.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from mainspring import Call, Envelope, EventLog, Job
from mainspring.ports.projection import NoIndex, Projected
from mainspring.services.records.model import CompiledCollection, Definition
from mainspring.services.records.schema_cache import compiled, read_definition
from mainspring.services.records.store import (
    COLLECTION_BY_ID,
    RECORDS_AFTER,
    RECORDS_BY_ID,
    CollectionRow,
    StoredRecord,
)
from mainspring.services.records.store.indexes import (
    BUILDING,
    LOST,
    READY,
    IndexRow,
    IndexTable,
    NamedIndex,
)
from mainspring.services.records.visibility import RECORD_EVENTS

PREFIX = "idx"
PAGE_ROWS = 500  # written by one job
CHECKED_ROWS = 500  # indexes of one look
WAIT_FIRST_S, WAIT_MOST_S = 0.002, 0.05  # between two looks how far an index is

ChangeT = TypeVar("ChangeT")
MakeChange = Callable[[str, int, dict[str, Any] | None], ChangeT]  # of id, version and record


class _About(msgspec.Struct, frozen=True):
    collection: str


_about = msgspec.json.Decoder(_About).decode
_fields = msgspec.json.Decoder(list[str]).decode


def fields_of(row: IndexRow) -> list[str]:
    """Name what is in an index."""
    return _fields(row.fields)


class Jobs(msgspec.Struct, frozen=True):
    """The jobs of one kind of index: one for a collection, two for an index."""

    refresh: Job[...]
    build: Job[...]
    drop: Job[...]


class Projector(Generic[ChangeT]):
    """One kind of index: which store has it, what it is made of, and what is made of a record.

    ``holds`` names what an index of a collection has, nothing where none is wanted. ``making``
    returns what makes a change of a record, and is called in a thread. ``marked`` stands in the
    text of each definition that wants an index.
    """

    def __init__(
        self,
        *,
        port: type[Projected[ChangeT]],
        table: IndexTable,
        consumer: str,
        jobs: Jobs,
        holds: Callable[[Definition], list[str]],
        marked: str,
        layout: str,
        making: Callable[[CompiledCollection], MakeChange[ChangeT]],
    ) -> None:
        self._port = port
        self.table = table
        self._consumer = consumer
        self._jobs = jobs
        self._holds = holds
        self._marked = f"%{marked}%"
        self._layout = layout
        self._making = making

    # Following the log

    async def take(self, call: Call, events: Sequence[Envelope]) -> None:
        """Write what events of records tell has changed to the indexes that there are."""
        store = call.offered(self._port)
        by_name: dict[str, list[NamedIndex]] = {}
        for index in await call.all(self.table.named, tenant=call.tenant):
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
            if store is None:  # one that comes back has missed this
                call.write(*[self.table.mark_lost(id=index.id) for index in by_name[name]])
            else:
                await self._bring(call, store, by_name[name], versions)

    async def _bring(
        self,
        call: Call,
        store: Projected[ChangeT],
        indexes: Sequence[NamedIndex],
        versions: Mapping[str, int],
    ) -> None:
        """Bring changed records of a collection to its indexes, as they are by now."""
        row = await call.find(COLLECTION_BY_ID, id=indexes[0].collection)
        if row is None:
            return  # its end takes the indexes along
        collection = await compiled(call, row.id, row.version)
        changes = await self._changes(call, collection, versions)
        position = max(versions.values())
        for index in indexes:
            try:
                await store.apply(index.id, changes, position)
            except NoIndex:
                if index.state == BUILDING and not index.place:
                    continue  # it is read from the beginning when that is made
                call.write(self.table.mark_lost(id=index.id))
                self.ask_refresh(call, row.id)
            else:
                call.write(self.table.note_applied(id=index.id, position=position))

    async def _changes(
        self, call: Call, collection: CompiledCollection, versions: Mapping[str, int]
    ) -> list[ChangeT]:
        """The records with these ids, each at this version or later; what is not there is gone."""
        make = self._making(collection)
        made: dict[str, ChangeT] = {id: make(id, at, None) for id, at in versions.items()}
        left = list(versions)
        while left:  # as many at a time as a page holds
            wanted = msgspec.json.encode(left).decode()
            found = await call.page(
                RECORDS_BY_ID, collection=collection.id, ids=wanted, limit=len(left)
            )
            changes = await self._indexed(collection, found.items, versions)
            made |= zip([one.id for one in found.items], changes, strict=True)
            left = left[left.index(found.items[-1].id) + 1 :] if found.more else []
        return list(made.values())

    async def _indexed(
        self,
        collection: CompiledCollection,
        stored: Sequence[StoredRecord],
        versions: Mapping[str, int],
    ) -> list[ChangeT]:
        """Make changes of records, in a thread: texts may be long."""
        make = self._making(collection)

        def run() -> list[ChangeT]:
            return [
                make(one.id, versions[one.id], collection.read(one.data, one.schema_version))
                for one in stored
            ]

        return await asyncio.to_thread(run)

    # Which indexes there are

    def ask_changed(self, call: Call, collection: str, old: Definition, new: Definition) -> None:
        """Have what follows from a changed schema: another index, or none."""
        held = self._holds(new)
        if held != self._holds(old) or (held and new.layout != old.layout):
            self.ask_refresh(call, collection)

    def ask_wanted(self, call: Call, collection: str, definition: Definition) -> None:
        """Have what follows from a collection that begins or ends, where it has an index."""
        if self._holds(definition):
            self.ask_refresh(call, collection)

    def ask_refresh(self, call: Call, collection: str) -> None:
        """Enqueue that a collection gets the index which it asks for by then."""
        once = self._jobs.refresh.configure(unique_key=self._key(collection))
        call.enqueue(once, collection=collection)

    def _ask_build(self, call: Call, index: str) -> None:
        call.enqueue(self._jobs.build.configure(unique_key=self._key(index)), index=index)

    def _key(self, of: str) -> str:
        return f"records.{self.table.kind} {of}"

    async def refresh(self, call: Call, collection: str) -> None:
        """Keep the index that fits, or begin one; remove what neither fits nor is wanted."""
        kept = await call.all(self.table.of, collection=collection)
        row = await call.find(COLLECTION_BY_ID, id=collection)
        held = [] if row is None else self._holds(read_definition(row))
        if row is None or not held:
            self._drop(call, kept)
            return
        made_of = await self._made_of(call, row)
        fields = msgspec.json.encode(held).decode()
        fitting = [
            one
            for one in kept
            if (one.fields, one.made_of) == (fields, made_of) and one.state != LOST
        ]
        self._drop(call, [one for one in kept if one.state != READY and one not in fitting])
        if not fitting:
            made = IndexRow(call.new_id(PREFIX), row.tenant, row.id, fields, made_of, BUILDING)
            fitting = [made]
            call.write(self.table.rows.insert(made))
        if fitting[-1].state == BUILDING:
            self._ask_build(call, fitting[-1].id)

    async def _made_of(self, call: Call, row: CollectionRow) -> str:
        """What an index of a collection is made of: with any other it is another index.

        A change of how records are stored may change what fields hold without an event for each.
        After a restore the places of another log would be taken for newer.
        """
        epoch = (await call.use(EventLog).positions.name()).epoch
        return f"{self._layout}, layout {read_definition(row).layout}, epoch {epoch}"

    def _drop(self, call: Call, rows: Iterable[IndexRow]) -> None:
        for row in rows:
            call.write(self.table.rows.delete(row))
            call.enqueue(self._jobs.drop, index=row.id)

    async def build(self, call: Call, index: str) -> None:
        """Write one page of the collection as it is stored by now."""
        store, row = call.offered(self._port), await call.find(self.table.row, id=index)
        if store is None or row is None or row.state != BUILDING:
            return
        stored = await call.find(COLLECTION_BY_ID, id=row.collection)
        if stored is None or row.made_of != await self._made_of(call, stored):
            self.ask_refresh(call, row.collection)
            return
        if not row.place:
            await store.make(index, fields_of(row))
        elif not await _is_whole(store, row):
            self._begin_anew(call, row)
            return
        at = await call.use(EventLog).end()  # before the records, which are not older than it
        page = await call.page(
            RECORDS_AFTER, collection=row.collection, after=row.place, limit=PAGE_ROWS
        )
        collection = await compiled(call, stored.id, stored.version)
        versions = dict.fromkeys([r.id for r in page.items], at)
        try:
            await store.apply(index, await self._indexed(collection, page.items, versions))
        except NoIndex:  # lost this moment
            self._begin_anew(call, row)
            return
        built = row.built + len(page.items)
        if page.more:
            call.write(self.table.rows.update(row, place=page.items[-1].id, built=built))
            self._ask_build(call, index)
            return
        call.write(self.table.rows.update(row, state=READY, built=built))
        others = await call.all(self.table.of, collection=row.collection)
        self._drop(call, [other for other in others if other.id != index])

    def _begin_anew(self, call: Call, row: IndexRow) -> None:
        call.write(self.table.rows.update(row, state=LOST))
        self.ask_refresh(call, row.collection)

    async def drop(self, call: Call, index: str) -> None:
        """Remove an index from the store."""
        store = call.offered(self._port)
        if store is not None:
            await store.drop(index)

    async def check(self, call: Call) -> None:
        """Compare what is stored of indexes with what the store has."""
        store = call.offered(self._port)
        if store is None:
            return
        there = await store.indexes()  # before the rows: one is made after its row
        after, more = "", True
        known: set[str] = set()
        while more:
            page = await call.page(self.table.page, after=after, limit=CHECKED_ROWS)
            for row in page.items:
                known.add(row.id)
                await self._look_after(call, store, row)
            after, more = (page.items[-1].id if page.items else ""), page.more
        for index in there:
            if index not in known:
                call.enqueue(self._jobs.drop, index=index)
        missing = await call.page(self.table.missing, marked=self._marked, limit=CHECKED_ROWS)
        for collection in missing.items:
            self.ask_refresh(call, collection)

    async def _look_after(self, call: Call, store: Projected[ChangeT], row: IndexRow) -> None:
        """Go on with an index that is being built; begin anew what is lost, or something else."""
        stored = await call.find(COLLECTION_BY_ID, id=row.collection)
        if stored is None or row.state == LOST or row.made_of != await self._made_of(call, stored):
            self.ask_refresh(call, row.collection)
        elif row.state == BUILDING:
            self._ask_build(call, row.id)
        elif not await _is_whole(store, row):
            self._begin_anew(call, row)

    # Reading

    async def caught_up(self, call: Call, wait_s: float) -> bool:
        """Wait until what was committed before the call is in the indexes; tell whether it is."""
        log, pause_s = call.use(EventLog), WAIT_FIRST_S
        try:
            async with asyncio.timeout(wait_s):
                end = await log.committed()
                while not await log.taken(self._consumer, RECORD_EVENTS, end):
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 1.5, WAIT_MOST_S)
        except TimeoutError:
            return False
        return True


async def _is_whole(store: Projected[ChangeT], row: IndexRow) -> bool:
    """Whether the store has all of an index that was written to it."""
    try:
        return await store.position(row.id) >= row.applied
    except NoIndex:
        return False
