"""The feed's operations: pages, the live stream, and what each type of event holds."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from mainspring.kernel.call import Call
from mainspring.kernel.errors import NotFound
from mainspring.kernel.operation import StreamItem
from mainspring.kernel.registry import Registry
from mainspring.kernel.service import handles
from mainspring.kernel.visibility import Visibility
from mainspring.ports.bus import BusEvent
from mainspring.runtime.events import feed
from mainspring.runtime.events.field_encryption import FieldEncryption
from mainspring.runtime.events.log_bus import PARTITION
from mainspring.runtime.events.positions import Positions
from mainspring.runtime.events.reader import CHUNK_BYTES, SharedReader
from mainspring.runtime.notifier import wait
from mainspring.runtime.tables import LAST_SEQ
from mainspring.services.events import api
from mainspring.services.events.api import SCANNED_MAX, Feed, FeedQuery, StreamQuery
from mainspring.services.events.model import Selector, selector

STREAM_CHUNK_EVENTS = 100  # held in memory for one reader
STREAM_POLL_S = 5.0  # a wake can be lost with its connection; the log never is


@handles(api.read)
async def read(call: Call, query: FeedQuery) -> Feed:
    positions = call.use(Positions)
    after = await positions.read(query.after, "/after")
    bus = call.use(SharedReader).bus
    found = await feed.scan(
        lambda offset, count: bus.read(PARTITION, offset, count, CHUNK_BYTES),
        after,
        limit=query.limit,
        scanned_max=SCANNED_MAX,
        wanted=_selector(call, query.type, query.filter),
        shown=lambda event: Visibility(call).shows(event.envelope),
    )
    if found.position == after:  # nothing was read: the end, or past it
        await positions.require_held(after)
    # The stored bytes are passed on as they are; Envelope says what is in them.
    items: list[Any] = [msgspec.Raw(await _shown(call, event)) for event in found.entries]
    position = (await positions.name()).position(found.position)
    return Feed(items, None if found.at_end else position, position)


@handles(api.stream)
async def stream(call: Call, query: StreamQuery) -> AsyncIterator[StreamItem]:
    wanted = _selector(call, query.type, query.filter)
    positions = call.use(Positions)
    position = await _start(call, query)
    await positions.require_held(position)
    log = await positions.name()
    window = call.use(SharedReader).window(PARTITION)
    with window.listen() as signal:
        begin = log.position(position)
        yield StreamItem(b'{"position":"%b"}' % begin.encode(), id=begin, event="ready")
        while True:
            signal.clear()
            found = await feed.scan(
                window.after,
                position,
                limit=STREAM_CHUNK_EVENTS,
                scanned_max=SCANNED_MAX,
                wanted=wanted,
            )
            for event in found.entries:
                if not await call.still_allowed():
                    return
                if await Visibility(call).shows(event.envelope):
                    yield StreamItem(await _shown(call, event), id=log.position(event.offset))
            position = found.position
            if position > window.end:  # it has not read that far yet, or the log fell back
                await positions.require_held(position)
            if found.at_end and not await wait(signal, STREAM_POLL_S):
                window.look_again()


@handles(api.schema)
async def schema(call: Call, type: str) -> dict[str, Any]:
    event = call.use(Registry).events.get(type)
    if event is None:
        raise NotFound(f"no event type {type[:200]}")
    described = {} if event.data is msgspec.Raw else msgspec.json.schema(event.data)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": type, **described}


def _selector(call: Call, types: str, filter_source: str | None) -> Selector:
    return selector(call.tenant, types, filter_source, call.use(Registry).events)


async def _start(call: Call, query: StreamQuery) -> int:
    if query.last_event_id is not None:
        return await call.use(Positions).read(query.last_event_id, "/last_event_id")
    if query.after is not None:
        return await call.use(Positions).read(query.after, "/after")
    last: int = await call.one(LAST_SEQ)
    return last


async def _shown(call: Call, event: BusEvent) -> bytes:
    allowed = Visibility(call).personal
    return (await call.use(FieldEncryption).reveal(event.body, allowed=allowed)).encode()
