"""Streams of records: who is told what, and that nothing else is."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from mainspring import Forbidden, Invalid, NotFound, Unauthenticated, testing
from mainspring.testing.client import Client
from tests.deadline import DEADLINE_S

OWN = {"list": "record.owner == caller.id", "view": "record.owner == caller.id"}
FIELDS = [{"name": "title", "type": "text"}, {"name": "owner", "type": "text"}]


class Reader:
    """Reads a stream of records, and holds what it was told, as a page would."""

    def __init__(self, items: AsyncIterator[Any]) -> None:
        self._items = items
        self.held: dict[str, Any] = {}
        self.position = ""

    @classmethod
    async def of(cls, client: Client, collection: str, **query: Any) -> "Reader":
        name = "records.stream_record" if "id" in query else "records.stream_records"
        named = {"id": query.pop("id")} if "id" in query else {}
        reader = cls(await client.call(name, collection=collection, query=query, **named))
        ready = await reader.next()
        assert [*ready] == ["position"]
        return reader

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_S):
            item = await anext(self._items)
        told: dict[str, Any] = msgspec.json.decode(item.data)
        self.position = told.get("position", self.position)
        assert item.id in (None, self.position)
        if "record" in told:
            self.held[told["id"]] = told["record"]
        elif "id" in told:
            del self.held[told["id"]]
        return told

    async def changes(self, count: int) -> list[tuple[str, str]]:
        """Read so many items; return what each says of which title, or of which record."""
        told = [await self.next() for _ in range(count)]
        return [(t["change"], t.get("record", {}).get("title") or t["id"]) for t in told]


async def make(client: Client, name: str, fields: Any = FIELDS, rules: Any = OWN) -> str:
    new = {"name": name, "fields": fields, "rules": rules}
    made: str = (await client.post("/v1/collections", new)).expect(201)["id"]
    return made


async def add(client: Client, collection: str, /, **values: Any) -> str:
    made: str = (await client.post(f"/v1/collections/{collection}/records", values)).expect(201)[
        "id"
    ]
    return made


@pytest.fixture
async def anna(whole: testing.Platform) -> Client:
    return await whole.as_user("anna@example.com")


async def test_a_stream_tells_of_what_is_seen_and_of_nothing_else(
    whole: testing.Platform, anna: Client
) -> None:
    await make(whole.admin, "notes")
    reader = await Reader.of(anna, "notes")
    mine = await add(whole.admin, "notes", title="mine", owner=anna.id)
    other = await add(whole.admin, "notes", title="other", owner="user_x")
    path = "/v1/collections/notes/records/"
    await whole.admin.patch(path + other, {"title": "still other"})
    await whole.admin.patch(path + mine, {"title": "mine too"})
    await whole.admin.patch(path + mine, {"owner": "user_x", "title": "secret"})
    await whole.admin.patch(path + mine, {"title": "more secret"})
    await whole.admin.patch(path + mine, {"owner": anna.id, "title": "again"})
    await whole.admin.delete(path + other)
    await whole.admin.delete(path + mine)
    await whole.place_events()
    assert await reader.changes(5) == [
        ("added", "mine"), ("changed", "mine too"), ("removed", mine), ("added", "again"),
        ("removed", mine),
    ]  # fmt: skip
    assert reader.held == {}


async def test_a_filter_narrows_a_stream_as_it_does_a_list(
    whole: testing.Platform, anna: Client
) -> None:
    await make(whole.admin, "notes")
    query = "record.title.startsWith('a')"
    reader = await Reader.of(anna, "notes", filter=query, fields="title")
    first = await add(whole.admin, "notes", title="apple", owner=anna.id)
    await add(whole.admin, "notes", title="pear", owner=anna.id)
    await add(whole.admin, "notes", title="another's", owner="user_x")
    await whole.admin.patch(f"/v1/collections/notes/records/{first}", {"title": "banana"})
    await whole.place_events()
    assert await reader.changes(2) == [("added", "apple"), ("removed", first)]
    with pytest.raises(Invalid):
        await Reader.of(anna, "notes", filter="record.titel == 'a'")
    with pytest.raises(Invalid):
        await Reader.of(anna, "notes", fields="titel")


async def test_one_record_is_followed_by_who_may_view_it(
    whole: testing.Platform, anna: Client
) -> None:
    await make(whole.admin, "notes", rules={"view": OWN["view"]})
    mine = await add(whole.admin, "notes", title="mine", owner=anna.id)
    other = await add(whole.admin, "notes", title="other", owner="user_x")
    path = f"/v1/collections/notes/records/{mine}"
    reader = await Reader.of(anna, "notes", id=mine)
    await whole.admin.patch(f"/v1/collections/notes/records/{other}", {"owner": anna.id})
    await whole.admin.patch(path, {"title": "mine still"})
    await whole.admin.patch(path, {"owner": "user_x"})
    await whole.admin.patch(path, {"title": "secret"})
    await whole.admin.patch(path, {"owner": anna.id})
    await whole.place_events()
    assert await reader.changes(3) == [
        ("changed", "mine still"), ("removed", mine), ("added", "secret"),
    ]  # fmt: skip
    await whole.admin.patch(path, {"owner": "user_x"})
    for hidden in (mine, "rec_nothing"):
        with pytest.raises(NotFound):
            await Reader.of(anna, "notes", id=hidden)
    with pytest.raises(Forbidden):  # there is no list rule
        await Reader.of(anna, "notes")
    with pytest.raises(Unauthenticated):
        await Reader.of(whole.anonymous, "notes")


TEAM_RULE = "record.team.memberships.exists(m, m.user == caller.id)"


async def teams(whole: testing.Platform) -> str:
    """Make teams, memberships and projects that a team's members see; return a team."""
    await make(whole.admin, "teams", [{"name": "name", "type": "text"}], {})
    team = {"name": "team", "type": "relation", "collection": "teams"}
    fields = [team, {"name": "user", "type": "text"}]
    await make(whole.admin, "memberships", fields, {})
    rules = {"list": TEAM_RULE, "view": TEAM_RULE}
    await make(whole.admin, "projects", [{"name": "title", "type": "text"}, team], rules)
    return await add(whole.admin, "teams", name="red")


async def test_a_rule_through_relations_is_judged_with_the_relations_of_now(
    whole: testing.Platform, anna: Client
) -> None:
    red = await teams(whole)
    blue = await add(whole.admin, "teams", name="blue")
    member = await add(whole.admin, "memberships", team=red, user=anna.id)
    reader = await Reader.of(anna, "projects")
    mine = await add(whole.admin, "projects", title="mine", team=red)
    await add(whole.admin, "projects", title="other", team=blue)
    await whole.place_events()
    assert await reader.changes(1) == [("added", "mine")]
    path = f"/v1/collections/projects/records/{mine}"
    await whole.admin.patch(path, {"team": blue})
    await whole.admin.patch(path, {"title": "secret"})
    await whole.admin.patch(path, {"team": red})
    await whole.place_events()
    assert await reader.changes(2) == [("removed", mine), ("added", "secret")]
    # A membership of somebody else's is nobody's concern here.
    other = await add(whole.admin, "memberships", team=red, user="user_x")
    await whole.admin.patch(f"/v1/collections/memberships/records/{other}", {"team": blue})
    await whole.admin.patch(path, {"title": "still told"})
    await whole.place_events()
    assert await reader.changes(1) == [("changed", "still told")]
    await whole.admin.delete(f"/v1/collections/memberships/records/{member}")
    await whole.admin.patch(path, {"title": "more secret"})
    assert (await reader.next())["end"] == "changed"
    reader = await Reader.of(anna, "projects")
    await add(whole.admin, "memberships", team=red, user=anna.id)
    assert (await reader.next())["end"] == "changed"


async def test_a_stream_ends_when_what_decides_is_otherwise(
    whole: testing.Platform, anna: Client
) -> None:
    await make(whole.admin, "notes")
    readers = [await Reader.of(anna, "notes") for _ in range(2)]
    key = await whole.as_key("records:read")
    scoped = await Reader.of(key, "notes")
    await whole.admin.patch("/v1/collections/notes", {"rules": {**OWN, "list": "true"}})
    await add(whole.admin, "notes", title="now everybody's")
    for reader in readers:
        assert (await reader.next())["end"] == "changed"
    assert (await scoped.next())["end"] == "changed"
    reader = await Reader.of(anna, "notes")
    await whole.admin.patch("/v1/collections/notes", {"rules": {}})
    await add(whole.admin, "notes", title="nobody's")
    assert (await reader.next())["end"] == "forbidden"
    scoped = await Reader.of(key, "notes")
    await whole.admin.delete("/v1/collections/notes")
    assert (await scoped.next())["end"] == "gone"


async def test_a_list_says_from_where_to_follow(whole: testing.Platform, anna: Client) -> None:
    await make(whole.admin, "notes")
    await add(whole.admin, "notes", title="before", owner=anna.id)
    page = await anna.get("/v1/collections/notes/records")
    page.expect(200)
    after = page.headers["stream-position"]
    await add(whole.admin, "notes", title="second", owner=anna.id)
    await add(whole.admin, "notes", title="third", owner=anna.id)
    await whole.place_events()
    reader = await Reader.of(anna, "notes", after=after)
    assert await reader.changes(1) == [("added", "second")]
    resumed = await Reader.of(anna, "notes", after=after, last_event_id=reader.position)
    assert await resumed.changes(1) == [("added", "third")]
    # A page that is not sent again says from where on, too.
    again = await anna.get(
        "/v1/collections/notes/records?filter=false", headers={"if-none-match": "*"}
    )
    assert again.status == 304
    assert again.headers["stream-position"] not in {after, reader.position}
    for wrong in ("1", "x", resumed.position[:-4], "é"):
        with pytest.raises(Invalid):
            await Reader.of(anna, "notes", after=wrong)


async def test_a_position_says_nothing_of_what_else_happens(
    whole: testing.Platform, anna: Client
) -> None:
    await make(whole.admin, "notes")
    await anna.get("/v1/collections/notes/records")
    seen = {
        (await anna.get("/v1/collections/notes/records")).headers["stream-position"]
        for _ in range(3)
    }
    assert len(seen) == 3  # of one place in the log: they cannot be compared
