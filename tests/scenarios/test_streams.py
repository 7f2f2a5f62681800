"""Live records as a page on another origin reads them: over a socket, with a token in the query."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Self

import aiohttp
import pytest

from mainspring import testing
from mainspring.testing.client import Client
from tests.deadline import DEADLINE_S

PAGE = "https://shop.example"
RULE = "record.owner == caller.id || record.open == true"
FIELDS = [
    {"name": "title", "type": "text"},
    {"name": "owner", "type": "text"},
    {"name": "open", "type": "boolean"},
]
RECORDS = "/v1/collections/offers/records"


@pytest.fixture
async def whole(platform_server: str | None) -> AsyncIterator[testing.Platform]:
    settings = {"cors.origins": [PAGE]}
    async with testing.Platform(
        database=platform_server, sockets=True, running=True, settings=settings
    ) as whole:
        new = {"name": "offers", "fields": FIELDS, "rules": {"list": RULE, "view": RULE}}
        (await whole.admin.post("/v1/collections", new)).expect(201)
        yield whole


class EventSource:
    """The part of a browser's that matters here: it sends no header, and reads lines."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url

    async def __aenter__(self) -> Self:
        headers = {"Accept": "text/event-stream", "Origin": PAGE}
        self.answer = await self._session.get(self._url, headers=headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.answer.close()

    async def next(self) -> tuple[str, str, Any]:
        """Return the kind, id and data of the next event."""
        fields = {"event": "message", "id": "", "data": ""}
        async with asyncio.timeout(DEADLINE_S):
            while line := (await self.answer.content.readline()).decode().rstrip("\n"):
                name, _, value = line.partition(": ")
                fields[name] = value
        return fields["event"], fields["id"], json.loads(fields["data"] or "null")

    async def rest(self) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            return await self.answer.content.read()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def offer(whole: testing.Platform, title: str, **values: Any) -> str:
    made: str = (await whole.admin.post(RECORDS, {"title": title, **values})).expect(201)["id"]
    return made


async def token(client: Client) -> str:
    made: str = (await client.post("/v1/stream_tokens")).expect(201)["token"]
    return made


async def test_a_page_on_another_origin_follows_what_its_user_may_see(
    whole: testing.Platform, session: aiohttp.ClientSession, capfd: pytest.CaptureFixture[str]
) -> None:
    anna = await whole.as_user("anna@example.com")
    page = await anna.get(RECORDS, headers={"origin": PAGE})
    assert "stream-position" in page.headers["access-control-expose-headers"]
    after = page.headers["stream-position"]
    first = await offer(whole, "first", owner=anna.id)
    made = (await anna.post("/v1/stream_tokens")).expect(201)
    assert made["expires_in"] == 60
    url = f"{whole.url}{RECORDS}:stream?after={after}&stream_token={made['token']}"
    async with EventSource(session, url) as source:
        assert source.answer.headers["access-control-allow-origin"] == PAGE
        assert source.answer.headers["cache-control"] == "no-store"
        assert (await source.next())[0] == "ready"
        kind, place, told = await source.next()
        assert (kind, told["change"], told["id"]) == ("message", "added", first)
        await offer(whole, "secret", owner="user_x")
        await offer(whole, "open", owner="user_x", open=True)
        assert (await source.next())[2]["record"]["title"] == "open"
    # It reconnects by itself, with the token that it has, while that can still be used.
    resumed = await session.get(url, headers={"Last-Event-ID": place})
    async with asyncio.timeout(DEADLINE_S):
        assert b'"title":"open"' in await resumed.content.readuntil(b'"title":"open"')
    resumed.close()
    whole.clock.move(61)
    late = await session.get(url, headers={"Origin": PAGE})
    text = await late.text()
    assert (late.status, late.headers["access-control-allow-origin"]) == (401, PAGE)
    assert made["token"] not in text
    assert made["token"] not in "".join(capfd.readouterr())


async def test_a_stream_token_opens_streams_and_nothing_else(
    whole: testing.Platform, session: aiohttp.ClientSession
) -> None:
    anna = await whole.as_user("anna@example.com")
    token = (await anna.post("/v1/stream_tokens")).expect(201)["token"]
    bearer = whole.as_bearer(token)
    assert (await bearer.get("/v1/users/me")).status == 401
    assert (await bearer.get(f"{RECORDS}:stream")).status == 401
    for path in (RECORDS, "/v1/users/me"):
        assert (await whole.anonymous.get(f"{path}?stream_token={token}")).status in (401, 422)
    assert (await whole.anonymous.post("/v1/stream_tokens")).status == 401
    for wrong in (token[:-6], token + "AAAA", "mso_" + token[4:], "", "é"):
        answer = await session.get(f"{whole.url}{RECORDS}:stream", params={"stream_token": wrong})
        assert answer.status == 401
    twice = f"{whole.url}{RECORDS}:stream?stream_token={token}&stream_token={token}"
    assert (await session.get(twice)).status == 422


@pytest.mark.parametrize("how", ["logged out", "deleted", "key revoked", "token over", "acted as"])
async def test_an_open_stream_ends_with_what_its_token_was_made_with(
    whole: testing.Platform, session: aiohttp.ClientSession, how: str
) -> None:
    anna = await whole.as_user("anna@example.com")
    maker = await whole.as_key("records:read") if how == "key revoked" else anna
    if how == "acted as":
        root = await whole.as_user("root@example.com", roles=["admin"])
        path, why = f"/v1/users/{anna.id}:impersonate", {"reason": "ticket 12"}
        begun = (await root.post(path, why)).expect(201)
        maker = whole.as_bearer(begun["access_token"])
    token = (await maker.post("/v1/stream_tokens")).expect(201)["token"]
    url = f"{whole.url}{RECORDS}:stream?stream_token={token}"
    async with EventSource(session, url) as source:
        assert (await source.next())[0] == "ready"
        if how == "acted as":
            (await root.delete("/v1/sessions")).expect(204)
        elif how == "logged out":
            (await anna.delete("/v1/sessions")).expect(204)
        elif how == "deleted":
            (await whole.admin.delete(f"/v1/users/{anna.id}")).expect(204)
        elif how == "key revoked":
            (await whole.admin.delete(f"/v1/api_keys/{maker.id}")).expect(204)
        else:
            whole.clock.move(15 * 60)
        await offer(whole, "not theirs any more", owner=anna.id)
        kind, _, told = await source.next()
        assert (kind, told["end"]) == ("end", "unauthenticated")
        assert await source.rest() == b""


async def test_a_page_that_keeps_losing_its_connection_holds_what_a_list_holds(
    whole: testing.Platform, session: aiohttp.ClientSession
) -> None:
    anna = await whole.as_user("anna@example.com")
    ids = [await offer(whole, f"{n}", owner=anna.id) for n in range(4)]

    async def write(writer: int) -> None:
        for turn in range(6):
            path = f"{RECORDS}/{ids[(writer + turn) % len(ids)]}"
            owner = anna.id if (writer + turn) % 3 else "user_x"
            change = {"title": f"{writer}.{turn}", "owner": owner}
            (await whole.admin.patch(path, change)).expect(200)
        await offer(whole, f"of {writer}", owner=anna.id)

    async def write_all() -> None:
        await asyncio.gather(*(write(n) for n in range(4)))
        await offer(whole, "the last", owner=anna.id)

    writing = asyncio.create_task(write_all())
    page = await anna.get(RECORDS)
    held = {record["id"]: record for record in page.expect(200)["items"]}
    place, seen, title = page.headers["stream-position"], set[tuple[str, str]](), ""
    while title != "the last":
        url = f"{whole.url}{RECORDS}:stream?after={place}&stream_token={await token(anna)}"
        async with EventSource(session, url) as source:
            assert (await source.next())[0] == "ready"
            for _ in range(3):  # and then it is gone, in the middle of whatever comes
                _, place, told = await source.next()
                if told["change"] == "removed":
                    assert "record" not in told
                    held.pop(told["id"], None)
                    continue
                held[told["id"]], title = told["record"], told["record"]["title"]
                assert told["record"]["owner"] == anna.id
                assert (told["id"], title) not in seen
                seen.add((told["id"], title))
                if title == "the last":
                    break
    await writing
    listed = (await anna.get(RECORDS)).expect(200)["items"]
    assert held == {record["id"]: record for record in listed}
