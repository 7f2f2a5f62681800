"""Streams of records: what becomes of those that the caller may see, as it comes about.

A record is judged as the event tells it, before and after, by the rules of now; related records are
those of now. What a caller was never shown is told in no way, neither that it changed nor that it
is gone: ``removed`` says that a record which could be seen cannot be any more, for whatever reason.
"""

from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from mainspring import Call, EventLog, Failure, StreamItem, handles
from mainspring.cel import ast, evaluate
from mainspring.cel.matters import matters
from mainspring.kernel.errors import Hidden, NeedsIndex, PositionGone
from mainspring.kernel.event_log import BusEvent
from mainspring.services.records import access, api, changes, field_rights, reach
from mainspring.services.records.api import streams as streams_api
from mainspring.services.records.changes import Change, Changes
from mainspring.services.records.model import CompiledCollection
from mainspring.services.records.operations.lists import ListCondition, visible
from mainspring.services.records.operations.records import current_record
from mainspring.services.records.projection import Projection
from mainspring.services.records.schema_cache import compiled, named
from mainspring.services.records.store import HEAD
from mainspring.services.records.visibility import time_of

_COLLECTION_EVENTS = frozenset({"records.collection.updated", "records.collection.deleted"})
MOVED = "what you may see here may be otherwise now: read the list again"
_encode = msgspec.json.Encoder().encode


class StreamOver(Exception):
    """A stream is over, for a reason that its follower is told."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.item = StreamItem(_encode({"end": code, "detail": detail}), event="end")


@handles(streams_api.stream_records)
async def stream_records(
    call: Call, collection: str, query: streams_api.RecordsStream
) -> AsyncIterator[StreamItem]:
    found = await named(call, collection, api.READ)
    following = Following(call, found, "list", query, filter=query.filter)
    await following.asked_of(found)
    Projection(found, query.fields, query.expand)
    async for item in _follow(following, query):
        yield item


@handles(streams_api.stream_record)
async def stream_record(
    call: Call, collection: str, id: str, query: streams_api.RecordStream
) -> AsyncIterator[StreamItem]:
    current = await current_record(call, collection, id, "view")
    found = current.collection
    following = Following(call, found, "view", query, id=id)
    asked = await following.asked_of(found)
    if not (await _judged(call, asked, [current.record]))[0]:
        raise Hidden(access.nowhere())
    Projection(found, query.fields, query.expand)
    async for item in _follow(following, query):
        yield item


async def _follow(
    following: "Following", query: streams_api.RecordStream
) -> AsyncIterator[StreamItem]:
    call = following.call
    log = call.use(EventLog)
    if query.last_event_id is not None:
        offset = await changes.offset_of(call, query.last_event_id, "/last_event_id")
    elif query.after is not None:
        offset = await changes.offset_of(call, query.after, "/after")
    else:
        offset = await log.end()
    begin = await changes.position(call, offset)
    yield StreamItem(b'{"position":"%b"}' % begin.encode(), id=begin, event="ready")
    follower = log.follow(offset)
    try:
        while await call.still_allowed():
            found = await follower.read(following.wanted)
            for event in found.entries:
                if not await call.still_allowed():
                    return
                if (item := await following.item(event)) is not None:
                    yield item
            if found.at_end and await call.still_allowed():
                await follower.listen(following)
    except PositionGone:
        yield StreamOver("position_gone", changes.gone().detail).item
    except StreamOver as over:
        yield over.item


class Basis(msgspec.Struct, frozen=True):
    """By what a stream decides who sees what. When it changes, all of it may be otherwise."""

    version: int
    by_scope: bool
    others: tuple[tuple[str, int], ...]
    caller: bytes


class Following:
    """What the caller of a stream follows of a collection. An ``Audience``."""

    __slots__ = (
        "_action", "_basis", "_changes", "_collection", "_filter", "_id", "_query", "_reached",
        "call",
    )  # fmt: skip

    def __init__(
        self,
        call: Call,
        collection: CompiledCollection,
        action: Literal["list", "view"],
        query: streams_api.RecordStream,
        *,
        filter: str | None = None,
        id: str | None = None,
    ) -> None:
        self.call = call
        self._collection = collection
        self._action: Literal["list", "view"] = action
        self._query = query
        self._filter = filter
        self._id = id
        self._changes = call.use(Changes)
        self._basis: Basis | None = None
        self._reached: Mapping[str, CompiledCollection] = {}  # by their names

    @property
    def key(self) -> Hashable:
        """What followers have in common: credential, caller, what they ask for and by what."""
        recipient = self.call.recipient
        return (
            self._collection.id, self._id, self._filter, self._query.fields, self._query.expand,
            self._basis,
            id(self) if recipient is None else recipient.credential, self.call.caller,
        )  # fmt: skip

    def wanted(self, event: BusEvent) -> bool:
        """Tell whether an event is about what is followed, or about the collection itself."""
        if event.tenant != self.call.tenant:
            return False
        if event.subject == self._collection.id:
            return event.type in _COLLECTION_EVENTS
        name = self._changes.collection_of(event)
        if self._id is not None and event.subject != self._id:
            return name in self._reached
        return name == self._collection.name or name in self._reached

    def shows(self, event: BusEvent) -> bool | None:
        """Nothing is told as it stands in the log."""
        return None

    async def item(self, event: BusEvent) -> StreamItem | None:
        """Return what a follower is told of an event; None for nothing. Raises StreamOver."""
        try:
            return await self._item(event)
        except NeedsIndex as failure:
            raise StreamOver(failure.code, failure.detail) from None

    async def _item(self, event: BusEvent) -> StreamItem | None:
        self.call.now_ms = changes.now_ms(self.call)  # a rule may ask for the time
        collection, asked = await self._asked()
        if event.subject == collection.id:
            return None
        change = await self._changes.of(self.call, event)
        self._require_unmoved(event, change, asked)
        if self._changes.collection_of(event) != collection.name or (
            self._id not in (None, event.subject)
        ):
            return None
        if time_of(event.id) < time_of(collection.id):
            return None  # of a collection that is gone, whose name this one has
        states = [
            None if told is None else collection.upgrade(told) for told in (change.old, change.new)
        ]
        was, is_ = await _judged(self.call, asked, states)
        if not was and not is_:
            return None
        position = await changes.position(self.call, event.offset, event)
        new = states[1] if is_ else None
        if new is None:
            told = streams_api.RecordChange("removed", event.subject, position)
        else:
            projection = Projection(collection, self._query.fields, self._query.expand)
            (record,) = await projection.present(self.call, [new])
            word: Literal["added", "changed"] = "changed" if was else "added"
            told = streams_api.RecordChange(word, event.subject, position, record)
        return StreamItem(_encode(told), id=position)

    def _require_unmoved(self, event: BusEvent, change: Change, asked: ListCondition) -> None:
        """Raise StreamOver where the caller may see others now, by a change of a related one."""
        other = self._reached.get(self._changes.collection_of(event) or "")
        if other is None:
            return
        old, new = (
            None if told is None else other.upgrade(told) for told in (change.old, change.new)
        )
        if matters(asked.condition, other.id, old, new):
            raise StreamOver("changed", MOVED)

    async def _asked(self) -> tuple[CompiledCollection, ListCondition]:
        """Return what is asked of records by now. Raises StreamOver where that is otherwise."""
        call, name = self.call, self._collection.name
        head = await call.find(HEAD, tenant=call.tenant, name=name)
        if head is None or head.id != self._collection.id:
            raise StreamOver("gone", f"the collection {name!r} is gone")
        collection = await compiled(call, head.id, head.version)
        before = self._basis
        try:
            asked = await self.asked_of(collection)
        except Failure as failure:
            raise StreamOver(failure.code, failure.detail) from None
        if before is not None and self._basis != before:
            raise StreamOver("changed", MOVED)
        return collection, asked

    async def asked_of(self, collection: CompiledCollection) -> ListCondition:
        """Return what is asked of records. Raises what a list or a view would."""
        asked = await visible(self.call, collection, self._filter, self._action)
        self._basis = Basis(
            collection.version,
            self.call.caller.allows(api.READ),
            tuple(sorted((other.id, other.version) for other in asked.others.values())),
            _encode([asked.caller, (await field_rights.sight(self.call, collection)).caller]),
        )
        self._reached = {other.name: other for other in asked.others.values()}
        return asked


async def _judged(
    call: Call, asked: ListCondition, records: Sequence[Mapping[str, Any] | None]
) -> list[bool]:
    """Tell which of these are among what is asked for; what is not there is not."""
    condition = asked.condition
    if isinstance(condition, ast.Const):
        return [record is not None and condition is ast.TRUE for record in records]
    if not ast.reaches(condition):
        test = evaluate.closure(condition)
        return [record is not None and test(record, {}) is True for record in records]
    found = await reach.meeting(call, condition, [record or {} for record in records])
    return [record is not None and at in found for at, record in enumerate(records)]
