"""The feed's operations: pages, the live stream, and what each type of event holds."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec

from mainspring import Call, EventLog, NotFound, PersonalFields, Registry, StreamItem, handles
from mainspring.kernel.event_log import BusEvent, scan
from mainspring.kernel.visibility import Visibility
from mainspring.services.events import api
from mainspring.services.events.model import Selector, selector


@handles(api.list_events)
async def list_events(call: Call, query: api.FeedQuery) -> api.Feed:
    log = call.use(EventLog)
    after = await log.positions.read(query.after, "/after")
    found = await scan(
        log.events_after,
        after,
        limit=query.limit,
        scanned_max=api.SCANNED_MAX,
        wanted=_selector(call, query.type, query.filter),
        shown=lambda event: Visibility(call).shows(event.envelope),
    )
    if found.position == after:  # nothing was read: the end, or past it
        await log.positions.require_held(after)
    # The stored bytes are passed on as they are; Envelope says what is in them.
    items: list[Any] = [msgspec.Raw(await _revealed(call, event)) for event in found.entries]
    position = await log.positions.write(found.position, found.last)
    return api.Feed(items, None if found.at_end else position, position)


@handles(api.stream_events)
async def stream_events(call: Call, query: api.StreamQuery) -> AsyncIterator[StreamItem]:
    wanted = _selector(call, query.type, query.filter)
    log = call.use(EventLog)
    offset = await _start(log, query)
    await log.positions.require_held(offset)
    begin = await log.positions.write(offset)
    yield StreamItem(b'{"position":"%b"}' % begin.encode(), id=begin, event="ready")
    async with aclosing(log.follow(offset, wanted)) as followed:
        async for events in followed:
            for event in events:
                if not await call.still_allowed():
                    return
                if await Visibility(call).shows(event.envelope):
                    position = await log.positions.write(event.offset, event)
                    yield StreamItem(await _revealed(call, event), id=position)


@handles(api.get_event_schema)
async def get_event_schema(call: Call, type: str) -> dict[str, Any]:
    event = call.use(Registry).events.get(type)
    if event is None:
        raise NotFound(f"there is no event type {type[:200]!r}")
    described = {} if event.data is msgspec.Raw else msgspec.json.schema(event.data)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": type, **described}


def _selector(call: Call, types: str, filter_source: str | None) -> Selector:
    return selector(call.tenant, types, filter_source, call.use(Registry).events)


async def _start(log: EventLog, query: api.StreamQuery) -> int:
    if query.last_event_id is not None:
        return await log.positions.read(query.last_event_id, "/last_event_id")
    if query.after is not None:
        return await log.positions.read(query.after, "/after")
    return await log.end()


async def _revealed(call: Call, event: BusEvent) -> bytes:
    allowed = Visibility(call).personal
    return (await call.use(PersonalFields).reveal(event.body, allowed=allowed)).encode()
