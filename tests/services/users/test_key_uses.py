"""API keys: from where they are good, when they were used, how long they last, whose they are."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mainspring.kernel.clock import rfc3339
from mainspring.testing import Client, HttpAnswer, Platform
from tests.deadline import DEADLINE_S

KEYS = "/v1/api_keys"
ELSEWHERE = ["192.0.2.0/24", "2001:db8::1"]
HERE = "127.0.0.1"
DAY_S = 86_400


@pytest.fixture
async def platform(platform_server: str | None) -> AsyncIterator[Platform]:
    settings = {"server.trusted_proxies": [HERE], "users.api_key_life_max_s": 30 * DAY_S}
    async with Platform(database=platform_server, settings=settings) as platform:
        yield platform


async def make(platform: Platform, maker: Client, **more: Any) -> tuple[str, Client]:
    new = {"name": "k", "scopes": ["api_keys:own", "events:read"], **more}
    made = (await maker.post(KEYS, new)).expect(201)
    return made["id"], platform.as_bearer(made["key"])


async def asked(who: Client, address: str | None = None, path: str = KEYS) -> HttpAnswer:
    headers = {} if address is None else {"x-forwarded-for": address}
    return await who.get(path, headers=headers)


async def test_a_key_is_good_from_its_addresses_alone(platform: Platform) -> None:
    id, key = await make(platform, platform.admin, addresses=ELSEWHERE)
    shown = (await platform.admin.get(f"{KEYS}/{id}")).expect(200)
    assert shown["addresses"] == ["192.0.2.0/24", "2001:db8::1/128"]
    for _ in range(2):  # looked up, and remembered
        for address, status in (
            ("192.0.2.7", 200), ("::ffff:192.0.2.7", 200), ("2001:db8::1", 200),
            ("192.0.3.7", 403), ("2001:db8::2", 403), (None, 403),
            ("192.0.2.7, 203.0.113.9", 403),  # only the last is a trusted proxy's word
        ):  # fmt: skip
            answer = await asked(key, address)
            assert answer.status == status, address
            if status == 403:
                assert answer.json["code"] == "address_refused"
    # What is made with it is bound as well, and by its own.
    headers = {"x-forwarded-for": "192.0.2.7"}
    new = {"name": "c", "scopes": ["api_keys:own"], "addresses": ["192.0.2.7", "203.0.113.1"]}
    made = (await key.request("POST", KEYS, body=new, headers=headers)).expect(201)
    child = platform.as_bearer(made["key"])
    for address, status in (("192.0.2.7", 200), ("192.0.2.8", 403), ("203.0.113.1", 403)):
        assert (await asked(child, address)).status == status, address
    # So is a stream that it lets somebody open.
    token = await key.request("POST", "/v1/stream_tokens", headers=headers)
    path = f"/v1/events/stream?stream_token={token.expect(201)['token']}"
    assert (await asked(platform.anonymous, None, path)).status == 403
    for wrong in ("192.0.2.0/33", "example.com", "192.0.2"):
        refused = await platform.admin.post(KEYS, {**new, "addresses": [HERE, wrong]})
        assert refused.status == 422
        assert refused.json["errors"][0]["pointer"] == "/addresses/1"


async def test_when_a_key_was_used_is_noted_once_in_a_while(platform: Platform) -> None:
    id, key = await make(platform, platform.admin)

    async def used(since: str | None) -> tuple[str, str | None]:
        """Wait until another use is noted than this: nobody waits for it else."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                answer = await platform.admin.get(f"{KEYS}/{id}")
                found: str | None = answer.expect(200)["last_used_at"]
                if found != since:
                    return found or "", answer.etag

    assert (await platform.admin.get(f"{KEYS}/{id}")).expect(200)["last_used_at"] is None
    first = platform.now
    (await asked(key)).expect(200)
    told, tag = await used(None)
    assert told == first
    platform.clock.move(590)
    (await asked(key)).expect(200)
    platform.clock.move(120)
    second = platform.now
    (await asked(key)).expect(200)
    told, other = await used(first)
    assert told == second  # and not the one between
    assert tag != other


async def test_keys_last_as_long_as_settings_let_them(platform: Platform) -> None:
    last = rfc3339(platform.clock.now_ms() + 30 * DAY_S * 1000)
    later = rfc3339(platform.clock.now_ms() + 30 * DAY_S * 1000 + 1)
    id, key = await make(platform, platform.admin)
    assert (await platform.admin.get(f"{KEYS}/{id}")).expect(200)["expires_at"] == last
    new = {"name": "k", "scopes": ["events:read"], "expires_at": later}
    refused = await platform.admin.post(KEYS, new)
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "/expires_at")
    platform.clock.move(30 * DAY_S)
    assert (await asked(key)).status == 401


async def test_a_lineage_shows_what_ends_together(platform: Platform) -> None:
    grand, first = await make(platform, platform.admin)
    middle, second = await make(platform, first)
    last, third = await make(platform, second)

    async def lineage(who: Client, id: str) -> tuple[list[str], list[str]]:
        found = (await who.get(f"{KEYS}/{id}/lineage")).expect(200)
        assert found["more"] is False
        return [k["id"] for k in found["makers"]], [k["id"] for k in found["made"]]

    root = (await platform.admin.get(KEYS)).expect(200)["items"][0]["id"]
    assert await lineage(platform.admin, middle) == ([grand, root], [last])
    assert await lineage(second, last) == ([middle], [])
    assert await lineage(second, middle) == ([], [last])
    assert (await third.get(f"{KEYS}/{middle}/lineage")).status == 404
    (await platform.admin.delete(f"{KEYS}/{middle}")).expect(204)
    for gone in (second, third):
        assert (await asked(gone)).status == 401
    assert await lineage(platform.admin, grand) == ([root], [])
