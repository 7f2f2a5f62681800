"""The feed's operations: pages, the live stream, and what each type of event holds."""

from collections.abc import AsyncIterator, Collection, Hashable
from typing import Any

import msgspec

from mainspring import (
    Call,
    Clock,
    EventLog,
    NotFound,
    PersonalFields,
    Registry,
    StreamItem,
    handles,
)
from mainspring.kernel.event import without
from mainspring.kernel.event_log import BusEvent, scan
from mainspring.kernel.visibility import Visibility
from mainspring.services.events import api
from mainspring.services.events.model import Selector, Selectors


@handles(api.list_events)
async def list_events(call: Call, query: api.FeedQuery) -> api.Feed:
    log, visibility = call.use(EventLog), Visibility(call)
    after = await log.positions.read(query.after, "/after")
    selector = _selector(call, query.type, query.filter)
    found = await scan(
        log.events_after,
        after,
        limit=query.limit,
        scanned_max=api.SCANNED_MAX,
        wanted=lambda event: selector.takes(event, visibility.unasked(event.type)),
        shown=lambda event: _is_shown(call, event),
    )
    if found.position == after:  # nothing was read: the end, or past it
        await log.positions.require_held(after)
    # The stored bytes are passed on as they are; Envelope says what is in them.
    items: list[Any] = [
        msgspec.Raw(await _revealed(call, event, await visibility.withheld(event.envelope) or ()))
        for event in found.entries
    ]
    position = await log.positions.write(found.position, found.last)
    return api.Feed(items, None if found.at_end else position, position)


@handles(api.stream_events)
async def stream_events(call: Call, query: api.StreamQuery) -> AsyncIterator[StreamItem]:
    asked = Asked(call, query)
    log = call.use(EventLog)
    offset = await _start(log, query)
    await log.positions.require_held(offset)
    begin = await log.positions.write(offset)
    yield StreamItem(b'{"position":"%b"}' % begin.encode(), id=begin, event="ready")
    follower = log.follow(offset)
    while True:
        found = await follower.read(asked.wanted)
        for event in found.entries:
            if not await call.still_allowed():
                return
            if (item := await asked.item(event)) is not None:
                yield item
        if found.at_end:
            if not await call.still_allowed():
                return
            await follower.listen(asked)


@handles(api.get_event_schema)
async def get_event_schema(call: Call, type: str) -> dict[str, Any]:
    event = call.use(Registry).events.get(type)
    if event is None:
        raise NotFound(f"there is no event type {type[:200]!r}")
    described = {} if event.data is msgspec.Raw else msgspec.json.schema(event.data)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": type, **described}


class Asked:
    """What the caller of a stream asks for, and may have. An ``Audience``."""

    __slots__ = ("_fields", "_for", "_query", "_selector", "_visibility", "call")

    def __init__(self, call: Call, query: api.StreamQuery) -> None:
        self.call = call
        self._selector = _selector(call, query.type, query.filter)
        self._query = query
        self._fields = call.use(PersonalFields)
        self._for, self._visibility = call.caller, Visibility(call)

    @property
    def key(self) -> Hashable:
        """What followers have in common: credential, caller and what they ask for."""
        recipient = self.call.recipient
        return (
            id(self) if recipient is None else recipient.credential,
            self.call.caller,
            self._query.type,
            self._query.filter,
        )

    def _seen(self) -> Visibility:
        """What the caller sees by now: it may be allowed more, or less, than a moment ago."""
        if self.call.caller is not self._for:
            self._for, self._visibility = self.call.caller, Visibility(self.call)
        return self._visibility

    def wanted(self, event: BusEvent) -> bool:
        """Tell whether this event is asked for."""
        return self._selector.takes(event, self._seen().unasked(event.type))

    def shows(self, event: BusEvent) -> bool | None:
        """Tell at once whether it has a wanted event as it stands in the log; None: it cannot."""
        seen = self._seen()
        if seen.shows_type(event.type):
            return None if self._fields.seals(event.body) else True
        return None if seen.is_judged(event.type) else False

    async def item(self, event: BusEvent) -> StreamItem | None:
        """Return a wanted event as it is to see it; None where it has nothing of it."""
        call = self.call
        call.now_ms = call.use(Clock).now_ms()  # a rule may ask for the time
        withheld = await self._seen().withheld(event.envelope)
        if withheld is None:
            return None
        position = await call.use(EventLog).positions.write(event.offset, event)
        return StreamItem(await _revealed(call, event, withheld), id=position)


def _selector(call: Call, types: str, filter_source: str | None) -> Selector:
    known = call.use(Registry).events
    return call.use(Selectors).of(call.tenant, types, filter_source, known)


async def _start(log: EventLog, query: api.StreamQuery) -> int:
    if query.last_event_id is not None:
        return await log.positions.read(query.last_event_id, "/last_event_id")
    if query.after is not None:
        return await log.positions.read(query.after, "/after")
    return await log.end()


async def _is_shown(call: Call, event: BusEvent) -> bool:
    return await Visibility(call).withheld(event.envelope) is not None


async def _revealed(call: Call, event: BusEvent, withheld: Collection[str]) -> bytes:
    allowed = Visibility(call).personal
    body = without(event.body, withheld)
    return (await call.use(PersonalFields).reveal(body, allowed=allowed)).encode()
