"""Streams that are followed through breaks, sessions that end, and a server that stops."""

import asyncio
from typing import Any

import msgspec
import pytest

from mainspring.client import PositionGone, StreamEnded, Unauthenticated
from mainspring.client.sse import Parser
from mainspring.testing import Platform
from tests.client.between import Between, Fault
from tests.client.conftest import Either

BOOKS = {"name": "books", "fields": [{"name": "title", "type": "text", "required": True}]}
TYPE = "records.record.created"


async def test_events_come_each_once_through_broken_connections(
    client: Either, platform: Platform, path: Between
) -> None:
    await client(lambda c: c.records.create_collection(BOOKS))
    made = [
        (await client(lambda c, n=n: c.records.create("books", {"title": f"{n}"})))["id"]
        for n in range(6)
    ]
    first = await client.many(lambda c: c.events.list(type=TYPE), 1)
    before = str(first[0].seq - 1)
    path.faults += [Fault("unanswered", after_bytes=n) for n in (1_200, 0, 2_300, 1_700)]
    events = await client.many(lambda c: c.events.stream(after=before, type=TYPE), 6)
    assert [each.json["subject"] for each in events] == made
    assert len([each for each in path.seen if each.startswith("GET /v1/events/stream")]) == 5
    with pytest.raises(PositionGone):
        await client.many(lambda c: c.events.stream(after="999999"), 1)


async def test_a_list_of_events_is_read_page_by_page(client: Either) -> None:
    await client(lambda c: c.records.create_collection(BOOKS))
    for n in range(5):
        await client(lambda c, n=n: c.records.create("books", {"title": f"{n}"}))
    found = await client.many(lambda c: c.events.list(type=TYPE, limit=2))
    assert [msgspec.json.decode(each.data)["title"] for each in found] == ["0", "1", "2", "3", "4"]


async def test_a_stream_that_is_over_for_good_says_why(client: Either, path: Between) -> None:
    await client(lambda c: c.records.create_collection(BOOKS))
    task = asyncio.ensure_future(client.many(lambda c: c.records.stream_records("books"), 5))
    await path.asked("/v1/collections/books/records:stream")
    await client(lambda c: c.records.delete_collection("books"))
    with pytest.raises(StreamEnded) as ended:
        await task
    assert ended.value.code == "gone"


async def test_a_stream_ends_with_the_right_to_it(
    client: Either, platform: Platform, path: Between
) -> None:
    key = await client(lambda c: c.users.create_api_key({"name": "x", "scopes": ["events:read"]}))
    follower = Either(type(client.made)(path.url, api_key=key.key))
    task = asyncio.ensure_future(follower.many(lambda c: c.events.stream(after="0"), 500))
    await path.asked("/v1/events/stream")
    await client(lambda c: c.users.delete_api_key(key.id))
    with pytest.raises(Unauthenticated):
        await task
    await follower.close()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
def test_events_are_read_however_they_are_cut(size: int) -> None:
    text = (
        ": hello\nretry: 250\n\nid: 1\nevent: tick\ndata: a\ndata:b\n\r\n"
        "data\r\rid: 2\r\ndata: ü\r\n\r\nid: 3\ndata: not whole\n"
    ).encode()
    parser, found = Parser("0"), []
    for at in range(0, len(text), size):
        found += parser.feed(text[at : at + size])
    told: list[tuple[Any, ...]] = [(each.id, each.event, each.data) for each in found]
    assert told == [("1", "tick", "a\nb"), ("1", None, ""), ("2", None, "ü")]
    assert (parser.last_id, parser.retry_s) == ("2", 0.25)


def test_an_event_without_end_is_refused() -> None:
    parser, longest = Parser(), b"data: " + b"x" * (16 << 20)
    with pytest.raises(ValueError, match="more than"):
        parser.feed(longest)
