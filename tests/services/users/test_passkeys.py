"""Passkeys: registered, logged in with, a second factor, a step-up; and what is refused."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from mainspring.services.users import passkeys
from mainspring.services.users.api import UsersSettings
from mainspring.testing import Client, HttpAnswer, Platform
from tests.services.users.authenticator import code_at
from tests.services.users.passkey_device import VERIFIED, Device, base64url, from_base64url

EMAIL, PASSWORD, NEW = "ann@example.com", "correct horse battery", "eleven blue elephants"
MINE = "/v1/users/me/passkeys"
SETTINGS = {
    "users.passkey_rp_id": "example.com",
    "users.passkey_origins": ["https://app.example.com", "https://example.com"],
    "users.log_in_links": True,
}


class Person:
    """Somebody with an account, a session and devices."""

    def __init__(self, platform: Platform, email: str, tokens: dict[str, Any]) -> None:
        self.platform, self.email = platform, email
        self.use(tokens)

    def use(self, tokens: dict[str, Any]) -> None:
        self.tokens = tokens
        self.client: Client = self.platform.as_bearer(tokens["access_token"])

    async def add(self, device: Device, **more: str) -> HttpAnswer:
        options = (await self.client.post(f"{MINE}:begin")).expect(200)
        given = {"credential": device.make(options), **more}
        return await self.client.post(MINE, given)

    async def device(self, **more: Any) -> Device:
        device = Device(**more)
        (await self.add(device)).expect(201)
        return device

    async def step_up(self, **given: Any) -> HttpAnswer:
        path = f"/v1/sessions/{self.tokens['session_id']}:step_up"
        answer = await self.client.post(path, given)
        if answer.status == 200:
            self.client = self.platform.as_bearer(answer.json["access_token"])
        return answer

    async def step_up_with(self, device: Device) -> HttpAnswer:
        options = (await self.client.post("/v1/passkeys:begin", {})).expect(200)
        return await self.step_up(passkey=device.sign(options))

    async def log_in(self, password: str = PASSWORD) -> HttpAnswer:
        given = {"email": self.email, "password": password}
        return await self.platform.anonymous.post("/v1/sessions", given)

    def claims(self, answer: HttpAnswer) -> dict[str, Any]:
        token = answer.json["access_token"].split(".")[1]
        claims: dict[str, Any] = msgspec.json.decode(from_base64url(token))
        return claims


@pytest.fixture
async def platform(platform_server: str | None) -> AsyncIterator[Platform]:
    async with Platform(database=platform_server, settings=SETTINGS) as platform:
        yield platform


async def person(platform: Platform, email: str = EMAIL, *, proved: bool = True) -> Person:
    anyone, given = platform.anonymous, {"email": email, "password": PASSWORD}
    (await anyone.post("/v1/users", given)).expect(201)
    if proved:
        await platform.drain()
        token = (await platform.mails(email))[-1].text.splitlines()[2]
        (await anyone.post("/v1/users:verify_email", {"token": token})).expect(204)
    return Person(platform, email, (await anyone.post("/v1/sessions", given)).expect(201))


async def log_in(platform: Platform, device: Device) -> HttpAnswer:
    options = (await platform.anonymous.post("/v1/passkeys:begin", {})).expect(200)
    given = {"credential": device.sign(options)}
    return await platform.anonymous.post("/v1/sessions/passkey", given)


async def subjects(platform: Platform, email: str = EMAIL) -> list[str]:
    await platform.drain()
    return [mail.subject for mail in await platform.mails(email)]


async def test_a_passkey_logs_in_without_an_address_and_is_two_factors(platform: Platform) -> None:
    ann = await person(platform)
    options = (await ann.client.post(f"{MINE}:begin")).expect(200)["public_key"]
    assert options["rp"] == {"id": "example.com", "name": "Mainspring"}
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert ann.tokens["user"]["id"] not in options["user"]["id"]
    device = Device()
    made = (await ann.add(device, name=" Telephone ")).expect(201)
    assert (made["name"], made["backup_eligible"], made["backed_up"]) == ("Telephone", True, True)
    assert len(made["recovery_codes"]) == 10
    asked = (await platform.anonymous.post("/v1/passkeys:begin", {})).expect(200)["public_key"]
    assert (asked["allowCredentials"], asked["userVerification"]) == ([], "required")
    answer = await log_in(platform, device)
    assert answer.expect(201)["user"]["id"] == ann.tokens["user"]["id"]
    assert ann.claims(answer)["amr"] == ["mfa", "pop", "user"]
    (shown,) = (await ann.client.get(MINE)).expect(200)["items"]
    assert shown["last_used_at"] == platform.now
    factors = (await ann.client.get("/v1/users/me/factors")).expect(200)
    assert (factors["passkeys"], factors["recovery_codes"], factors["totp"]) == (1, 10, False)
    path = f"{MINE}/{made['id']}"
    assert (await ann.client.patch(path, {"name": "Old one"})).expect(200)["name"] == "Old one"
    (told,) = await platform.events("users.passkey.created")
    assert msgspec.json.decode(told.data) == {
        "id": ann.tokens["user"]["id"],
        "passkey_id": made["id"],
    }
    assert (await subjects(platform))[-1] == (
        "Mainspring: a passkey or authenticator app was added to your account"
    )


async def test_a_password_is_not_enough_for_who_has_one(platform: Platform) -> None:
    ann, bob = await person(platform), await person(platform, "bob@example.com")
    device, other = await ann.device(), await bob.device()
    refused = (await ann.log_in()).expect(401)
    assert (refused["code"], refused["factors"]) == (
        "factor_required",
        ["passkey", "recovery_code"],
    )
    anyone, first = platform.anonymous, {"challenge": refused["challenge"]}
    options = (await anyone.post("/v1/passkeys:begin", first)).expect(200)
    (allowed,) = options["public_key"]["allowCredentials"]
    assert allowed["id"] == base64url(device.credential)
    assert allowed["transports"] == ["hybrid", "internal"]
    wrong = {**first, "passkey": other.sign(options)}
    assert (await anyone.post("/v1/sessions:complete", wrong)).expect(403)["code"] == "wrong_factor"
    other.credential = device.credential  # another key in the name of hers
    wrong = {**first, "passkey": other.sign(options)}
    assert (await anyone.post("/v1/sessions:complete", wrong)).expect(403)["code"] == "wrong_factor"
    right = {**first, "passkey": device.sign(options)}
    answer = await anyone.post("/v1/sessions:complete", right)
    answer.expect(201)
    assert ann.claims(answer)["amr"] == ["mfa", "pop", "pwd", "user"]
    (await anyone.post("/v1/sessions:complete", right)).expect(401)
    assert (await anyone.post("/v1/passkeys:begin", {"challenge": "mst_x"})).expect(401)[
        "code"
    ] == ("challenge_invalid")


async def test_a_step_up_and_other_acts_take_a_passkey(platform: Platform) -> None:
    ann = await person(platform)
    device = await ann.device()
    # The session is of before the passkey: it knows a password alone.
    for method, path, body in (
        ("POST", f"{MINE}:begin", None),
        ("POST", "/v1/users/me/totp", None),
        ("DELETE", f"{MINE}/{(await ann.client.get(MINE)).json['items'][0]['id']}", None),
    ):
        sent = {} if body is None else {"body": body}
        answer = await ann.client.request(method, path, **sent)
        assert answer.expect(401)["code"] == "step_up_required", path
    (await ann.step_up(password=PASSWORD)).expect(422)
    (await ann.step_up_with(device)).expect(200)
    second = await ann.device()
    secret = (await ann.client.post("/v1/users/me/totp")).expect(201)["secret"]
    code = {"code": code_at(secret, platform.clock.now_ms())}
    (await ann.client.post("/v1/users/me/totp:confirm", code)).expect(200)
    options = (await ann.client.post("/v1/passkeys:begin", {})).expect(200)
    proof = {"passkey": second.sign(options)}
    (await ann.client.post("/v1/users/me/totp:disable", proof)).expect(204)
    factors = (await ann.client.get("/v1/users/me/factors")).expect(200)
    assert (factors["totp"], factors["passkeys"], factors["recovery_codes"]) == (False, 2, 10)
    (await ann.client.post("/v1/users/me/totp:disable", proof)).expect(409)
    for each in (await ann.client.get(MINE)).json["items"]:
        (await ann.client.delete(f"{MINE}/{each['id']}")).expect(204)
    factors = (await ann.client.get("/v1/users/me/factors")).expect(200)
    assert (factors["passkeys"], factors["recovery_codes"]) == (0, 0)
    (await ann.log_in()).expect(201)
    assert (await log_in(platform, device)).expect(401)["code"] == "wrong_passkey"


def _bend(**changed: Any) -> Callable[[Device], None]:
    def bend(device: Device) -> None:
        for name, value in changed.items():
            setattr(device, name, value)

    return bend


LIES = {
    "another origin": _bend(origin="https://evil.example"),
    "a page of the domain that is not named": _bend(origin="https://blog.example.com"),
    "not encrypted": _bend(origin="http://app.example.com"),
    "another relying party": _bend(rp_id="app.example.com"),
    "nobody was verified": lambda device: setattr(device, "flags", device.flags & ~VERIFIED),
    "nobody was there": lambda device: setattr(device, "flags", device.flags & ~1),
    "framed by another page": _bend(client={"crossOrigin": True}),
    "another ceremony": _bend(client={"type": "webauthn.other"}),
    "no challenge": _bend(client={"challenge": ""}),
    "another challenge": _bend(client={"challenge": base64url(b"mst_" + b"x" * 43)}),
    "a challenge of no text": _bend(client={"challenge": base64url(b"\xff" * 8)}),
    "a challenge that is none": _bend(client={"challenge": ["x"]}),
}


async def test_what_does_not_hold_logs_nobody_in_and_registers_nothing(platform: Platform) -> None:
    ann = await person(platform)
    faults = []
    for name, bend in LIES.items():
        device = Device()
        bend(device)
        answer = await ann.add(device)
        if answer.status != 422 or answer.json["errors"][0]["pointer"] != "/credential":
            faults.append(f"register, {name}: {answer.text}")
    device = await ann.device()
    straight = {name: getattr(device, name) for name in ("origin", "rp_id", "flags", "client")}
    more: dict[str, Callable[[Device], None]] = {
        "another user": _bend(handle=b"h" * 32),
        "no user": _bend(handle=b""),
        "another credential": _bend(credential=b"c" * 32),
        "not synced any more": _bend(flags=5),
    }
    kept = device.handle, device.credential
    for name, bend in {**LIES, **more}.items():
        bend(device)
        answer = await log_in(platform, device)
        if answer.status != 401 or answer.json["code"] != "wrong_passkey":
            faults.append(f"log in, {name}: {answer.text}")
        for field, value in straight.items():
            setattr(device, field, value)
        device.handle, device.credential = kept
    assert faults == []
    (await log_in(platform, device)).expect(201)


WORTHLESS = (None, 7, "", "é", "AA", "g" * 40_000, [[]], base64url(b"\x81" * 20_000))


async def test_what_is_no_credential_is_refused_with_words(platform: Platform) -> None:
    ann = await person(platform)
    device = await ann.device()
    (await ann.step_up_with(device)).expect(200)
    anyone = platform.anonymous
    options = (await anyone.post("/v1/passkeys:begin", {})).expect(200)
    good = device.sign(options)
    for path in (MINE, "/v1/sessions/passkey"):
        begun = (await ann.client.post(f"{MINE}:begin")).expect(200)
        whole = Device().make(begun) if path == MINE else good
        bad: list[Any] = [{}, {"id": 1}, {**whole, "response": []}, {**whole, "rawId": "!"}]
        for field in whole["response"]:
            bad += [
                {**whole, "response": {**whole["response"], field: value}} for value in WORTHLESS
            ]
        bad += [{**whole, "id": value} for value in (None, "", "é", "x" * 3_000)]
        bad += [{**whole, "type": "password"}, {**whole, "rawId": base64url(b"other")}]
        for credential in bad:
            response = credential.get("response")
            if isinstance(response, dict) and response.get("transports") != (
                whole["response"].get("transports")
            ):
                continue  # it may say there what it wants
            answer = await ann.client.post(path, {"credential": credential})
            refused = {MINE: 422}.get(path, 401)
            assert answer.status in (refused, 422), (path, credential, answer.text)
    (await anyone.post("/v1/sessions/passkey", {"credential": good})).expect(201)


async def test_a_challenge_holds_once_for_five_minutes_and_for_what_it_is(
    platform: Platform,
) -> None:
    ann, anyone = await person(platform), platform.anonymous
    begun = (await ann.client.post(f"{MINE}:begin")).expect(200)
    platform.clock.move(300)
    (await ann.client.post(MINE, {"credential": Device().make(begun)})).expect(422)
    bob = await person(platform, "bob@example.com")
    theirs = (await bob.client.post(f"{MINE}:begin")).expect(200)
    (await ann.client.post(MINE, {"credential": Device().make(theirs)})).expect(422)
    device = await ann.device()
    log_in_options = (await anyone.post("/v1/passkeys:begin", {})).expect(200)
    factor_options = (await ann.client.post("/v1/passkeys:begin", {})).expect(200)
    (await ann.step_up(passkey=device.sign(log_in_options))).expect(403)
    crossed = {"credential": device.sign(factor_options)}
    (await anyone.post("/v1/sessions/passkey", crossed)).expect(401)
    given = {"credential": device.sign(log_in_options)}
    answers = await asyncio.gather(*(anyone.post("/v1/sessions/passkey", given) for _ in range(4)))
    assert sorted(answer.status for answer in answers) == [201, 401, 401, 401]
    late = (await anyone.post("/v1/passkeys:begin", {})).expect(200)
    platform.clock.move(300)
    late_given = {"credential": device.sign(late)}
    assert (await anyone.post("/v1/sessions/passkey", late_given)).expect(401)["code"] == (
        "wrong_passkey"
    )


async def test_a_count_that_goes_back_is_refused_and_told(platform: Platform) -> None:
    ann = await person(platform)
    device = await ann.device(synced=False, counts=True)
    (await log_in(platform, device)).expect(201)
    (await log_in(platform, device)).expect(201)
    for count in (1, 0):  # the next is no higher than the last
        device.count = count
        assert (await log_in(platform, device)).expect(401)["code"] == "wrong_passkey"
    (made,) = (await ann.client.get(MINE)).json["items"]
    told = await platform.events("users.passkey.refused")
    assert [msgspec.json.decode(event.data) for event in told] == [
        {"id": ann.tokens["user"]["id"], "passkey_id": made["id"]}
    ] * 2
    assert (await subjects(platform))[-1] == (
        "Mainspring: a passkey of your account was refused, as there may be a copy of it"
    )
    device.count = 2
    (await log_in(platform, device)).expect(201)


async def test_how_many_and_whose(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob = await person(platform), await person(platform, "bob@example.com")
    device = await ann.device()
    assert (await bob.add(device)).expect(409)["code"] == "passkey_taken"
    (made,) = (await ann.client.get(MINE)).json["items"]
    assert (await bob.client.get(MINE)).expect(200)["items"] == []
    (await bob.client.delete(f"{MINE}/{made['id']}")).expect(404)
    (await bob.client.patch(f"{MINE}/{made['id']}", {"name": "x"})).expect(404)
    assert (await bob.client.post("/v1/passkeys:begin", {})).expect(409)["code"] == "factor_missing"
    theirs = await bob.device()
    (await bob.step_up_with(theirs)).expect(200)
    begun = [(await bob.client.post(f"{MINE}:begin")).expect(200) for _ in range(3)]
    monkeypatch.setattr("mainspring.services.users.api.PASSKEYS_MAX", 2)
    answers = await asyncio.gather(
        *(bob.client.post(MINE, {"credential": Device().make(options)}) for options in begun)
    )
    assert sorted(answer.status for answer in answers) == [201, 409, 409]
    assert (await bob.client.post(f"{MINE}:begin")).expect(409)["code"] == "too_many_passkeys"
    monkeypatch.undo()
    path = f"/v1/users/{bob.tokens['user']['id']}/passkeys:reset"
    (await platform.admin.post(path)).expect(204)
    assert (await platform.admin.post(path)).expect(409)["code"] == "factor_missing"
    (await bob.log_in()).expect(201)
    user = ann.tokens["user"]["id"]
    (await platform.admin.delete(f"/v1/users/{user}?erase=true")).expect(204)
    assert (await log_in(platform, device)).expect(401)["code"] == "wrong_passkey"


async def test_who_waits_in_a_foreign_account_with_a_passkey_is_put_out(platform: Platform) -> None:
    """Somebody signs up with the address of another, adds a passkey, and waits."""
    thief = await person(platform, proved=False)
    device = await thief.device()
    anyone = platform.anonymous
    platform.clock.move(3_600)
    (await anyone.post("/v1/users:request_password_reset", {"email": EMAIL})).expect(202)
    await platform.drain()
    token = (await platform.mails(EMAIL))[-1].text.splitlines()[2]
    given = {"token": token, "password": NEW}
    (await anyone.post("/v1/users:reset_password", given)).expect(204)
    assert (await log_in(platform, device)).expect(401)["code"] == "wrong_passkey"
    ann = Person(platform, EMAIL, (await thief.log_in(NEW)).expect(201))
    # Of an account that was proved a reset leaves the second factor.
    device = await ann.device()
    platform.clock.move(3_600)
    (await anyone.post("/v1/users:request_password_reset", {"email": EMAIL})).expect(202)
    await platform.drain()
    token = (await platform.mails(EMAIL))[-1].text.splitlines()[2]
    given = {"token": token, "password": PASSWORD}
    (await anyone.post("/v1/users:reset_password", given)).expect(204)
    assert (await ann.log_in()).expect(401)["code"] == "factor_required"
    (await log_in(platform, device)).expect(201)


async def token_to(platform: Platform, email: str) -> str:
    await platform.drain()
    return (await platform.mails(email))[-1].text.splitlines()[2]


async def test_a_log_in_by_mail_that_proves_the_address_puts_them_out(platform: Platform) -> None:
    thief = await person(platform, proved=False)
    device = await thief.device()
    platform.clock.move(3_600)
    anyone = platform.anonymous
    (await anyone.post("/v1/sessions/magic", {"email": EMAIL})).expect(202)
    given = {"token": await token_to(platform, EMAIL)}
    (await anyone.post("/v1/sessions/magic:redeem", given)).expect(201)  # no factor is asked for
    assert (await log_in(platform, device)).expect(401)["code"] == "wrong_passkey"
    told = await platform.events("users.passkey.deleted")
    assert [msgspec.json.decode(event.data)["how"] for event in told] == ["log_in"]


async def test_taking_an_account_back_ends_what_a_thief_added(platform: Platform) -> None:
    ann = await person(platform)
    own = await ann.device()
    platform.clock.move(8 * 86_400)
    tokens = (await log_in(platform, own)).expect(201)
    thief = Person(platform, EMAIL, tokens)
    added = await thief.device()
    change = {"email": "eve@example.com", "password": PASSWORD}
    (await thief.client.post("/v1/users/me:change_email", change)).expect(202)
    given = {"token": await token_to(platform, "eve@example.com")}
    (await platform.anonymous.post("/v1/users:verify_email", given)).expect(204)
    undo = {"token": await token_to(platform, EMAIL), "password": NEW}
    (await platform.anonymous.post("/v1/users:undo_email_change", undo)).expect(204)
    assert (await log_in(platform, added)).expect(401)["code"] == "wrong_passkey"
    (await log_in(platform, own)).expect(201)


async def test_without_settings_or_the_package_there_are_none(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, anyone = await person(platform), platform.anonymous
    monkeypatch.setattr(passkeys, "PACKAGE", "a_package_that_is_not_there")
    asked = (
        (ann.client, f"{MINE}:begin", None),
        (ann.client, MINE, {"credential": {}}),
        (anyone, "/v1/passkeys:begin", {}),
        (anyone, "/v1/sessions/passkey", {"credential": {}}),
    )
    for client, path, body in asked:
        answer = await (client.post(path) if body is None else client.post(path, body))
        assert "[passkeys]" in answer.expect(403)["detail"]
    monkeypatch.setitem(platform.app.runtime.resources, UsersSettings, UsersSettings())
    for client, path, body in asked:
        answer = await (client.post(path) if body is None else client.post(path, body))
        assert answer.expect(403)["code"] == "passkeys_off"
        assert "passkey_origins" in answer.json["detail"]


@pytest.mark.parametrize(
    ("rp_id", "origins", "says"),
    [
        ("example.com", (), "needs passkey_origins"),
        ("", ("https://a.example.com", "https://b.example.com"), "passkey_rp_id is needed"),
        ("com", ("https://example.com",), "is a domain"),
        ("ample.com", ("https://example.com",), "is not under"),
        ("example.com", ("https://example.com/",), "passkey_origins are"),
        ("example.com", ("http://example.com",), "passkey_origins are"),
        ("", ("http://127.0.0.1:8080",), "passkey_origins are"),
        ("", ("*",), "passkey_origins are"),
    ],
)
def test_settings_that_do_not_fit_are_told(rp_id: str, origins: tuple[str, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        UsersSettings(passkey_rp_id=rp_id, passkey_origins=origins)


def test_settings_that_fit_are_taken() -> None:
    app = "android:apk-key-hash:" + "A" * 43
    for rp_id, origins in (
        ("", ("http://localhost:3000", app)),
        ("", ("https://example.com",)),
        ("example.com", ("https://a.example.com:8443", "https://example.com", app)),
    ):
        settings = UsersSettings(passkey_rp_id=rp_id, passkey_origins=origins)
        assert settings.passkey_origins == origins
