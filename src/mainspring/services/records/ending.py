"""The end of records: what goes with them, what lets go of them, and what keeps them.

A relation's ``on_delete`` is its collection's, as a foreign key is: whoever may delete a record
ends what its collection's owner tied to it, and no rule of the others is asked.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec

from mainspring import Call, Invalid, Rerun
from mainspring.services.records import mutations
from mainspring.services.records.api import (
    BATCH_BYTES_MAX,
    ENDED_MAX,
    READ,
    Field,
    OnDelete,
    StillReferenced,
)
from mainspring.services.records.fields import OUTSIDE
from mainspring.services.records.jobs import drop_files
from mainspring.services.records.model import CompiledCollection, created_ms
from mainspring.services.records.schema_cache import compiled
from mainspring.services.records.store import (
    COLLECTION_BY_ID,
    DELETE,
    HOLD_RECORD,
    RECORDS_BY_ID,
    REFERRING,
    UNLINK,
    LinkRow,
)

_Place = tuple[str, str]  # a collection's id and a record's


class _Touched(msgspec.Struct, frozen=True):
    """A record that ends, or that becomes ``values``, and how it was read."""

    collection: CompiledCollection
    record: Mapping[str, Any]
    version: int
    values: dict[str, Any] = {}


def on_delete(field: Field, target: str) -> OnDelete:
    """What becomes of a record when what its relation points at goes."""
    return field.on_delete or ("set_null" if target in OUTSIDE else "restrict")


class Ending:
    """The records that end in one commit. What they are tied to is followed as they are added."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._ended: dict[_Place, _Touched] = {}
        self._changed: dict[_Place, _Touched] = {}
        self._kept_by: list[LinkRow] = []
        self._roots: set[str] = set()
        self._bytes = 0

    async def add(
        self, collection: CompiledCollection, record: Mapping[str, Any], version: int
    ) -> None:
        """End a record, and what goes with it. Raises StillReferenced where that is too much."""
        self._roots.add(record["id"])
        place = (collection.id, record["id"])
        if place in self._ended:
            return
        self._changed.pop(place, None)
        self._ended[place] = _Touched(collection, record, version)
        await self._follow([place])

    async def lose(self, links: Sequence[LinkRow]) -> None:
        """Do what links ask for whose target is gone."""
        await self._follow(await self._apply(links))

    async def _follow(self, places: Sequence[_Place]) -> None:
        left = deque(places)
        while left:
            collection, id = left.popleft()
            links = await self._call.all(
                REFERRING, collection=collection, id=id, limit=ENDED_MAX + 2
            )
            left.extend(await self._apply(links))

    async def _apply(self, links: Sequence[LinkRow]) -> list[_Place]:
        """Note what becomes of the records that point at one that ends. Returns those that end."""
        more: list[_Place] = []
        for (id, name), found in groupby(links, lambda link: (link.collection, link.field)):
            row = await self._call.find(COLLECTION_BY_ID, id=id)
            if row is None:
                continue  # what is left of a collection that is gone keeps nothing
            collection = await compiled(self._call, row.id, row.version)
            field = collection.fields.get(name)
            if field is None:
                continue  # nor does a relation that is removed
            those = [link for link in found if (id, link.record) not in self._ended]
            then = on_delete(field, collection.definition.targets[name])
            if then == "restrict":
                self._kept_by += those
                continue
            for link, touched in await self._read(collection, those):
                place = (id, link.record)
                if then == "cascade":
                    self._changed.pop(place, None)
                    self._ended[place] = touched
                    more.append(place)
                else:
                    known = self._changed.setdefault(place, touched)
                    known.values[name] = _without(field, known, link.target)
        return more

    async def _read(
        self, collection: CompiledCollection, links: Sequence[LinkRow]
    ) -> list[tuple[LinkRow, _Touched]]:
        """Read the records of links. Raises StillReferenced when they become too many."""
        self._require_few(len(links))
        by_id = {link.record: link for link in links}
        left, made = list(by_id), list[tuple[LinkRow, _Touched]]()
        while left:
            wanted = msgspec.json.encode(left).decode()
            page = await self._call.page(
                RECORDS_BY_ID, collection=collection.id, ids=wanted, limit=len(left)
            )
            for stored in page.items:
                self._bytes += len(stored.data)
                record = collection.read(stored.data, stored.schema_version)
                made.append((by_id[stored.id], _Touched(collection, record, stored.version, {})))
            self._require_few(len(links))
            left = left[left.index(page.items[-1].id) + 1 :] if page.more else []
        return made

    def _require_few(self, more: int) -> None:
        if (
            len(self._ended) + len(self._changed) + more > ENDED_MAX + 1
            or self._bytes > BATCH_BYTES_MAX
        ):
            raise StillReferenced(
                f"more than {ENDED_MAX:,} records, or {BATCH_BYTES_MAX:,} bytes of them, would end "
                "or change with it: first delete or change some of those that point at it"
            )

    def stage(self, changing: Collection[str] = ()) -> None:
        """Stage it all. Raises StillReferenced while something that stays keeps one of them.

        ``changing`` are the ids that the call writes by other means as well.
        """
        self._require_unkept()
        touched = {id for _, id in (*self._ended, *self._changed)} - self._roots
        if twice := sorted(touched.intersection(changing)):
            raise Invalid(
                f"{twice[0]} ends or changes with a record that is deleted: leave it out here"
            )
        call, ended = self._call, self._ended.values()
        for one in ended:
            schema = one.collection.schema_version
            call.write(HOLD_RECORD(**_key(one), schema_version=schema).expect(1, Rerun))
        call.write(
            *(UNLINK(collection=one.collection.id, record=one.record["id"]) for one in ended)
        )
        for one in self._changed.values():
            updated_ms = max(call.now_ms, created_ms(one.record["id"]))
            merged = {**one.record, **one.values}
            new = one.collection.represent(one.record["id"], updated_ms, merged)
            mutations.update(call, one.collection, one.version, one.record, new)
        for one in ended:
            call.write(DELETE(**_key(one)).expect(1, Rerun))
            files = [one.record.get(f) for f in one.collection.files]
            drop_files(call, files, one.collection.thumbs)
            call.emit(mutations.delete_event(one.collection, one.record))

    def _require_unkept(self) -> None:
        link = next((k for k in self._kept_by if (k.collection, k.record) not in self._ended), None)
        if link is None:
            return
        if self._call.caller.allows(READ):
            raise StillReferenced(
                f"record {link.record} refers to {link.target} in its field {link.field!r}: "
                "change or delete that one first"
            )
        # Who may delete this one may still know nothing of the other, or of its collection.
        raise StillReferenced("another record refers to this one: change or delete that one first")


async def end(
    call: Call, collection: CompiledCollection, record: Mapping[str, Any], version: int
) -> None:
    """Stage the end of one record, and what goes with it. Raises StillReferenced."""
    ending = Ending(call)
    await ending.add(collection, record, version)
    ending.stage()


def _key(one: _Touched) -> dict[str, Any]:
    return {"collection": one.collection.id, "id": one.record["id"], "version": one.version}


def _without(field: Field, one: _Touched, target: str) -> Any:
    if not field.many:
        return None
    value: list[str] = one.values.get(field.name, one.record[field.name])
    return [item for item in value if item != target]
