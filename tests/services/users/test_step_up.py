"""Dangerous acts want to know who is there: recently, by a log-in or a step-up of the session."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.service import Service
from mainspring.services.users import service
from mainspring.testing import Client, HttpAnswer, Platform
from mainspring.testing.platform import PASSWORD as TEST_PASSWORD
from tests.services.users.authenticator import code_at

EMAIL, PASSWORD = "ann@example.com", "correct horse battery"
NEW = "eleven blue elephants"
RECENT_S = 900


@pytest.fixture
async def platform(platform_server: str | None) -> AsyncIterator[Platform]:
    async with Platform(database=platform_server) as platform:
        new = {"email": EMAIL, "password": PASSWORD}
        (await platform.anonymous.post("/v1/users", new)).expect(201)
        yield platform


class Browser:
    """Somebody with a session, who refreshes and steps up as a client would."""

    def __init__(self, platform: Platform, tokens: dict[str, Any]) -> None:
        self.platform = platform
        self.tokens = tokens
        self.client: Client = platform.as_bearer(tokens["access_token"])

    async def refresh(self) -> None:
        given = {"refresh_token": self.tokens["refresh_token"]}
        answer = await self.platform.anonymous.post("/v1/sessions/refresh", given)
        self.tokens = answer.expect(200)
        self.client = self.platform.as_bearer(self.tokens["access_token"])

    async def step_up(self, **given: str) -> HttpAnswer:
        path = f"/v1/sessions/{self.tokens['session_id']}:step_up"
        answer = await self.client.post(path, given)
        if answer.status == 200:
            self.client = self.platform.as_bearer(answer.json["access_token"])
        return answer

    async def enrol(self) -> str:
        made = (await self.client.post("/v1/users/me/totp")).expect(201)
        code = code_at(made["secret"], self.platform.clock.now_ms())
        (await self.client.post("/v1/users/me/totp:confirm", {"code": code})).expect(200)
        self.platform.clock.move(30)
        return str(made["secret"])


async def log_in(platform: Platform) -> Browser:
    given = {"email": EMAIL, "password": PASSWORD}
    return Browser(platform, (await platform.anonymous.post("/v1/sessions", given)).expect(201))


CHANGE = {"password": PASSWORD, "new_password": NEW}
WIDE = {"name": "k", "scopes": ["users:*"]}
DANGEROUS: Sequence[tuple[str, str, Any]] = (
    ("POST", "/v1/users/me:change_password", CHANGE),
    ("POST", "/v1/users/me:change_email", {"email": "b@example.com", "password": PASSWORD}),
    ("POST", "/v1/users/me/totp", None),
    ("POST", "/v1/users/me/totp:confirm", {"code": "123456"}),
    ("POST", "/v1/users/me/totp:disable", {"code": "123456"}),
    ("POST", "/v1/users/me/recovery_codes", {"code": "123456"}),
    ("POST", "/v1/users/me/passkeys:begin", None),
    ("POST", "/v1/users/me/passkeys", {"credential": {}}),
    ("DELETE", "/v1/users/me", None),
)


async def ask(client: Client, method: str, path: str, body: Any) -> HttpAnswer:
    return await client.request(method, path, **({} if body is None else {"body": body}))


async def test_dangerous_acts_want_a_recent_proof(platform: Platform) -> None:
    ann = await log_in(platform)
    platform.clock.move(RECENT_S - 1)  # its access token still holds, and so does the proof
    (await ann.client.patch("/v1/users/me", {"display_name": "Ann"})).expect(200)
    await ann.refresh()
    platform.clock.move(2)
    for method, path, body in DANGEROUS:
        refused = await ask(ann.client, method, path, body)
        problem = refused.expect(401)
        assert (problem["code"], problem["max_age_s"]) == ("step_up_required", RECENT_S), path
        challenge = refused.headers["www-authenticate"]
        assert 'error="insufficient_user_authentication", max_age="900"' in challenge
    (await ann.client.get("/v1/users/me")).expect(200)
    (await ann.step_up(password=PASSWORD)).expect(200)
    (await ann.client.post("/v1/users/me:change_password", CHANGE)).expect(204)


def test_each_of_them_says_so() -> None:
    marked = {(o.method, o.path) for o in service.operations.values() if o.recent_s == RECENT_S}
    assert {(method, path) for method, path, _ in DANGEROUS} <= marked


async def test_a_refresh_is_no_proof_and_a_step_up_lasts_over_one(platform: Platform) -> None:
    ann = await log_in(platform)
    platform.clock.move(600)
    (await ann.step_up(password=PASSWORD)).expect(200)
    platform.clock.move(600)
    await ann.refresh()
    (await ann.client.post("/v1/users/me/totp")).expect(201)
    platform.clock.move(301)
    await ann.refresh()
    (await ann.client.post("/v1/users/me/totp")).expect(401)


async def test_a_step_up_takes_the_second_factor_where_there_is_one(platform: Platform) -> None:
    ann = await log_in(platform)
    secret = await ann.enrol()
    platform.clock.move(RECENT_S)
    await ann.refresh()
    (await ann.step_up(password=PASSWORD)).expect(422)
    (await ann.step_up()).expect(422)
    (await ann.client.delete("/v1/users/me")).expect(401)
    now = code_at(secret, platform.clock.now_ms())
    wrong = "000000" if now != "000000" else "111111"
    assert (await ann.step_up(code=wrong)).expect(403)["code"] == "wrong_factor"
    (await ann.step_up(code=now)).expect(200)
    assert (await ann.step_up(code=now)).expect(403)["code"] == "wrong_factor"
    (await ann.client.delete("/v1/users/me")).expect(204)


async def test_a_step_up_is_of_the_session_that_asks(platform: Platform) -> None:
    ann, elsewhere = await log_in(platform), await log_in(platform)
    path = f"/v1/sessions/{elsewhere.tokens['session_id']}:step_up"
    (await ann.client.post(path, {"password": PASSWORD})).expect(404)
    assert (await ann.step_up(password="wrong horse battery")).expect(403)["code"] == (
        "wrong_password"
    )
    platform.clock.move(RECENT_S - 10)
    (await ann.step_up(password=PASSWORD)).expect(200)
    await ann.refresh()
    await elsewhere.refresh()
    platform.clock.move(20)
    (await elsewhere.client.delete("/v1/users/me")).expect(401)
    (told,) = await platform.events("users.session.stepped_up")
    assert told.subject == ann.tokens["session_id"]


async def test_wide_keys_want_a_recent_proof_and_narrow_ones_do_not(platform: Platform) -> None:
    await platform.as_user("root@example.com", roles=["admin"])
    given = {"email": "root@example.com", "password": TEST_PASSWORD}
    tokens = (await platform.anonymous.post("/v1/sessions", given)).expect(201)
    root = Browser(platform, tokens)
    (await root.client.post("/v1/api_keys", WIDE)).expect(201)
    platform.clock.move(RECENT_S - 1)
    await root.refresh()
    platform.clock.move(2)
    for scope in ("*", "users:*", "records:*", "users:write", "roles:write", "api_keys:write"):
        wide = {"name": "k", "scopes": ["records:read", scope]}
        assert (await root.client.post("/v1/api_keys", wide)).expect(401)["code"] == (
            "step_up_required"
        )
    narrow = {"name": "k", "scopes": ["records:read", "records:write", "api_keys:own"]}
    (await root.client.post("/v1/api_keys", narrow)).expect(201)


async def test_keys_pass_where_they_may_and_never_act_as_a_person(platform: Platform) -> None:
    key = await platform.as_key("*")
    (await key.post("/v1/api_keys", WIDE)).expect(201)
    for method, path, body in DANGEROUS:
        assert (await ask(key, method, path, body)).expect(403)["code"] == "session_needed"


async def test_a_repeat_is_answered_to_who_is_still_there(platform: Platform) -> None:
    ann = await log_in(platform)
    made = await ann.client.post("/v1/users/me/totp", idempotency_key="once")
    again = await ann.client.post("/v1/users/me/totp", idempotency_key="once")
    assert (made.expect(201), again.status) == (again.json, 200)
    platform.clock.move(RECENT_S - 1)
    await ann.refresh()
    platform.clock.move(2)
    (await ann.client.post("/v1/users/me/totp", idempotency_key="once")).expect(401)


def test_an_operation_of_anybody_asks_nobody_to_be_recent() -> None:
    shop = Service("shop", doc="A shop.")
    with pytest.raises(Misdeclared, match="recent_s"):

        @shop.operation("POST /v1/things", scope=None, recent_s=60)
        async def create_thing(call: Any) -> None:
            """Make a thing."""
