"""What an event tells of a record: how it is from then on, and how it was before.

Its own room because a stream asks the log, not the tables: they have what is so by now.
"""

import asyncio
import base64
from collections.abc import Awaitable
from typing import Any

import msgspec

from mainspring import Call, Clock, EventLog, Invalid, LruCache, PersonalFields
from mainspring.kernel.errors import PositionGone
from mainspring.kernel.event_log import BusEvent
from mainspring.ports.keyring import Keyring
from mainspring.services.records.api import service
from mainspring.services.records.visibility import CREATED, DELETED, RECORD_EVENTS

READ_MAX = 512  # events that this process has read for those who follow
BEHIND_EVENTS_MAX = 100_000  # that a follower may read on from: more is slower than a list
_PURPOSE = "records.stream_position"


class _Named(msgspec.Struct, frozen=True):
    collection: str


class _About(msgspec.Struct, frozen=True):
    data: _Named


class _Told(msgspec.Struct, frozen=True):
    data: dict[str, Any]


_about = msgspec.json.Decoder(_About).decode
_told = msgspec.json.Decoder(_Told).decode

Record = dict[str, Any]


class Change(msgspec.Struct, frozen=True):
    """How a record was, and how it is; None where it is not there. Under the schema of then."""

    old: Record | None
    new: Record | None


class Changes:
    """The events of records that are read last, each once for all who follow."""

    __slots__ = ("_collections", "_read")

    def __init__(self) -> None:
        self._collections: LruCache[str, str] = LruCache(READ_MAX)
        self._read: LruCache[str, asyncio.Task[Change]] = LruCache(READ_MAX)

    def collection_of(self, event: BusEvent) -> str | None:
        """Return the name of the collection whose record an event is about, if it is about one."""
        if not event.type.startswith(RECORD_EVENTS):
            return None
        name = self._collections.get(event.id)
        if name is None:
            name = _about(event.body).data.collection
            self._collections.put(event.id, name)
        return name

    def of(self, call: Call, event: BusEvent) -> Awaitable[Change]:
        """Return what an event tells of its record."""
        known = self._read.get(event.id)
        if known is None or (known.done() and (known.cancelled() or known.exception())):
            log, fields = call.use(EventLog), call.use(PersonalFields)
            known = asyncio.create_task(_read(log, fields, event), name="record change")
            self._read.put(event.id, known)
        return asyncio.shield(known)  # others wait for it too


async def _read(log: EventLog, fields: PersonalFields, event: BusEvent) -> Change:
    # What was made was not there before, whatever had its id in a collection that is gone.
    old = None if event.type == CREATED else await log.before(event, RECORD_EVENTS)
    if old is not None and _about(old.body).data.collection != _about(event.body).data.collection:
        old = None
    return Change(
        None if old is None or old.type == DELETED else await _record(fields, old),
        None if event.type == DELETED else await _record(fields, event),
    )


async def _record(fields: PersonalFields, event: BusEvent) -> Record:
    return _told(await fields.reveal(event.body)).data


service.provide(Changes)


# Positions. They are sealed: how far the log has come tells how much happens that is not shown.


async def position(call: Call, offset: int, after: BusEvent | None = None) -> str:
    """Write a place in the log for whoever may see little of it, after this event if at hand."""
    name = await call.use(EventLog).positions.name()
    text = name.position(offset, "" if after is None else after.id)
    sealed = call.use(Keyring).seal(text.encode(), purpose=_PURPOSE)
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


async def place(call: Call) -> str:
    """Write the place from which on nothing is missed of what is read from now on."""
    log = call.use(EventLog)
    return await position(call, log.seen or await log.end())


async def offset_of(call: Call, told: str, pointer: str) -> int:
    """Read a position. Raises Invalid; PositionGone where the log does not go on from there."""
    log = call.use(EventLog)
    try:
        sealed = base64.b64decode(told + "=" * (-len(told) % 4), b"-_", validate=True)
        text = call.use(Keyring).unseal(sealed, purpose=_PURPOSE).decode()
    except ValueError:
        raise Invalid.at(
            pointer, "is not the position of a list or of a stream: read the list again"
        ) from None
    try:
        offset = await log.positions.read(text, pointer)
        await log.positions.require_held(offset)
    except PositionGone:
        raise gone() from None
    if await log.end() - offset > BEHIND_EVENTS_MAX:
        raise gone()
    return offset


def gone() -> PositionGone:
    """Say that there is no going on from a place, and nothing of the log: few may know of that."""
    return PositionGone("what happened since then is not told any more: read the list again")


def now_ms(call: Call) -> int:
    """The time by now, for a call that lasts."""
    return call.use(Clock).now_ms()
