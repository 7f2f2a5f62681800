"""Disabling a user: nothing that stands for them holds, until an administrator enables them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from mainspring.kernel.call import SYSTEM, Caller
from mainspring.kernel.errors import Unauthenticated
from mainspring.services.users.api.errors import AccountDisabled, ScopeNotHeld
from mainspring.services.users.api.structs import Disabling, NewApiKey, RefreshRequest
from mainspring.testing import Client, Platform
from tests.services.users.people import EMAIL, People, data_of
from tests.services.users.test_api_keys import make, somebody
from tests.services.users.test_races import LOGIN, interrupted

ANN, PASSWORD = "ann@example.com", "correct horse battery"
WHY = Disabling(reason="left the company")


@pytest.fixture
async def platform(platform_server: str | None) -> AsyncIterator[Platform]:
    async with Platform(database=platform_server, processes=2) as platform:
        yield platform


async def log_in(platform: Platform, password: str = PASSWORD) -> Any:
    return await platform.anonymous.post("/v1/sessions", {"email": ANN, "password": password})


async def test_nothing_of_theirs_holds_once_it_is_answered(platform: Platform) -> None:
    role = {"name": "staff", "scopes": ["users:own", "api_keys:own", "events:read"]}
    (await platform.admin.post("/v1/roles", role)).expect(201)
    new = {"email": ANN, "password": PASSWORD, "roles": ["staff"]}
    ann_id = (await platform.admin.post("/v1/users", new)).expect(201)["id"]
    tokens = (await log_in(platform)).expect(201)
    ann = platform.as_bearer(tokens["access_token"])
    wanted = {"name": "k", "scopes": ["api_keys:own", "events:read"]}
    key = platform.as_bearer((await ann.post("/v1/api_keys", wanted)).expect(201)["key"])
    child = platform.as_bearer((await key.post("/v1/api_keys", wanted)).expect(201)["key"])
    stream_token = (await ann.post("/v1/stream_tokens")).expect(201)["token"]

    async def answers() -> list[int]:
        asked: list[tuple[Client, str]] = [(ann, "/v1/users/me"), (key, "/v1/api_keys")]
        asked += [(child, "/v1/api_keys"), (key, "/v1/events")]
        # Twice: each process has to have heard.
        return [(await who.get(path)).status for who, path in (*asked, *asked)]

    assert set(await answers()) == {200}
    path = f"/v1/users/{ann_id}"
    disabled = await platform.admin.post(f"{path}:disable", {"reason": "left"})
    assert disabled.expect(200)["disabled_reason"] == "left"
    assert disabled.json["disabled_at"] == platform.now
    assert set(await answers()) == {401}
    given = {"refresh_token": tokens["refresh_token"]}
    (await platform.anonymous.post("/v1/sessions/refresh", given)).expect(401)
    opened = await platform.anonymous.get(f"/v1/events/stream?stream_token={stream_token}")
    assert opened.status == 401
    assert (await log_in(platform)).expect(403)["code"] == "account_disabled"
    assert (await log_in(platform, "another password")).expect(401)["code"] == "wrong_credentials"
    enabled = (await platform.admin.post(f"{path}:enable")).expect(200)
    assert (enabled["disabled_at"], enabled["disabled_reason"]) == (None, "")
    assert await answers() == [401, 200, 200, 200] * 2  # the session has ended, keys hold again
    (await log_in(platform)).expect(201)


async def test_who_acts_later_for_them_has_no_authority(people: People) -> None:
    ann = await somebody(people, "api_keys:own", "records:read")
    made = await make(people, ann, "records:read")
    await people.ask("disable_user", caller=SYSTEM, id=ann.actor, given=WHY)
    authority, now_ms = people.authenticator, people.clock.now_ms()
    for actor in (ann.actor, made.id):
        assert await authority.current(actor, "main", now_ms) is None
        assert await authority.person(people.runtime.database, actor, "main", now_ms) is None
    await people.ask("enable_user", caller=SYSTEM, id=ann.actor)
    assert await authority.current(made.id, "main", now_ms) is not None
    (told,) = await people.bodies("users.user.disabled")
    assert data_of(told) == {"id": ann.actor, "reason": WHY.reason}
    assert (await people.events())[-1] == "users.user.enabled"


async def test_nobody_disables_who_holds_more(people: People) -> None:
    chief = await somebody(people, "api_keys:own", "jobs:admin", email="chief@example.com")
    made = await make(people, chief, "jobs:admin")
    clerk = Caller("key", "key_1", scopes=frozenset({"users:write", "api_keys:*"}))
    with pytest.raises(ScopeNotHeld):
        await people.ask("disable_user", caller=clerk, id=chief.actor, given=WHY)
    with pytest.raises(ScopeNotHeld):
        await people.ask("enable_user", caller=clerk, id=chief.actor)
    await people.ask("disable_user", caller=SYSTEM, id=chief.actor, given=WHY)
    with pytest.raises(ScopeNotHeld):  # it holds nothing now, and will again
        await people.ask("delete_api_key", caller=clerk, id=made.id)


@pytest.mark.parametrize("after", ["failure", "totp"])
async def test_no_session_begins_while_its_user_is_disabled(people: People, after: str) -> None:
    ann = await people.sign_up()

    async def disable() -> None:
        await people.ask("disable_user", caller=SYSTEM, id=ann.id, given=WHY)

    with pytest.raises(AccountDisabled):
        await interrupted(people, "create_session", after, disable, login=LOGIN)
    await people.ask("enable_user", caller=SYSTEM, id=ann.id)
    tokens = await people.log_in(EMAIL)
    given = RefreshRequest(refresh_token=tokens.refresh_token)
    with pytest.raises(Unauthenticated):
        await interrupted(people, "refresh_session", "session", disable, given=given)


async def test_no_key_is_made_by_who_is_disabled_meanwhile(people: People) -> None:
    ann = await somebody(people, "api_keys:own")

    async def disable() -> None:
        await people.ask("disable_user", caller=SYSTEM, id=ann.actor, given=WHY)

    new = NewApiKey(name="k", scopes=["api_keys:own"])
    with pytest.raises(Unauthenticated):
        await interrupted(people, "create_api_key", "api_key_page_of", disable, ann, new=new)
