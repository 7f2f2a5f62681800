"""Tricks against the identity provider, each by the name that its standards give it."""

import asyncio
import base64
import hashlib
import json
import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
import pytest

from mainspring import Query
from mainspring.ports.keyring import Keyring
from mainspring.services.users.identity_provider.relying_parties import (
    is_registered,
    redirect_uri_problem,
)
from mainspring.testing import HttpAnswer, Platform
from tests.services.users.authenticator import code_at
from tests.services.users.passkey_device import Device
from tests.services.users.relying_party import (
    AFTER,
    APP,
    BASE,
    EMAIL,
    FORM,
    PASSWORD,
    VERIFIER,
    Browser,
    RelyingParty,
    back_with,
    code_for,
    hidden_in,
    log_in,
    register,
)
from tests.services.users.test_passkeys import SETTINGS as PASSKEYS
from tests.services.users.test_passkeys import person

GRANTS = Query("test.grants", "SELECT COUNT(*) FROM users_oauth_grants", int)
SECRETS = Query("test.secrets", "SELECT secret_hash FROM users_oauth_clients", bytes)


@pytest.mark.parametrize(
    ("uri", "fits"),
    [
        ("https://a.example/cb", True),
        ("https://a.example/cb?x=1", True),
        ("http://127.0.0.1/cb", True),
        ("http://[::1]:80/cb", True),
        ("http://localhost:3000/cb", True),
        ("com.example.app:/cb", True),
        ("http://a.example/cb", False),
        ("https://a.example/cb#x", False),
        ("https://*.example/cb", False),
        ("https://ann@a.example/cb", False),
        ("https:///cb", False),
        ("https://a.example:99999/", False),
        ("https://a.example/\r\nX: y", False),
        ("https://a.example/ b", False),
        ("https://a.example\\@b/", False),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("/cb", False),
    ],
)
def test_what_a_browser_may_come_back_to(uri: str, fits: bool) -> None:
    assert (redirect_uri_problem(uri) is None) is fits


@pytest.mark.parametrize(
    ("uri", "fits"),
    [
        ("https://a.example/cb", True),
        ("https://a.example/cb/", False),
        ("https://a.example/cb?x=1", False),
        ("https://A.example/cb", False),
        ("https://a.example:443/cb", False),
        ("https://a.example/x/../cb", False),
        ("https://a.example/cb%00", False),
        ("https://a.example.evil.example/cb", False),
        ("http://127.0.0.1:8123/cb", True),
        ("http://127.0.0.1:8123/other", False),
        ("http://127.0.0.1:x/cb", False),
        ("http://127.0.0.1:1@evil.example/cb", False),
        ("http://localhost:1/cb", False),
        ("https://127.0.0.1/cb", False),
    ],
)
def test_an_address_is_compared_to_the_last_letter(uri: str, fits: bool) -> None:
    registered = ["https://a.example/cb", "http://127.0.0.1/cb", "http://localhost:3000/cb"]
    assert is_registered(uri, registered) is fits


async def test_nobody_is_sent_where_nothing_is_registered(
    provider: Platform, wiki: RelyingParty, browser: Browser
) -> None:
    """oidcc-redirect-uri-query-mismatch, -added, oidcc-ensure-registered-redirect-uri."""
    other = await register(provider, redirect_uris=["https://other.example/"])
    for changed in (
        {"redirect_uri": APP + "&more=1"},
        {"redirect_uri": APP.partition("?")[0]},
        {"redirect_uri": "https://other.example/"},
        {"redirect_uri": ""},
        {"client_id": "client_unknown"},
        {"client_id": ""},
        {"client_id": other.id},
        {"redirect_uri": "https://evil.example", "response_type": "nonsense", "scope": "x"},
    ):
        answer = await browser.get(wiki.url(**changed))
        assert (answer.status, "location" in answer.headers) == (400, False), changed
        assert answer.headers["content-type"].startswith("text/html")
    twice = await browser.get(wiki.url() + "&redirect_uri=https://evil.example")
    assert (twice.status, "location" in twice.headers) == (400, False)


MISFITS: list[tuple[dict[str, str], str]] = [
    ({"response_type": "token"}, "unsupported_response_type"),
    ({"response_type": "code id_token"}, "unsupported_response_type"),
    ({"response_type": ""}, "invalid_request"),
    ({"code_challenge": ""}, "invalid_request"),
    ({"code_challenge_method": "plain"}, "invalid_request"),
    ({"code_challenge_method": ""}, "invalid_request"),
    ({"code_challenge": "short"}, "invalid_request"),
    ({"scope": "openid records:read"}, "invalid_scope"),
    ({"scope": ""}, "invalid_scope"),
    ({"prompt": "none login"}, "invalid_request"),
    ({"prompt": "dance"}, "invalid_request"),
    ({"max_age": "-1"}, "invalid_request"),
    ({"response_mode": "fragment"}, "invalid_request"),
    ({"request": "eyJ"}, "request_not_supported"),
    ({"request_uri": "https://x.example"}, "request_uri_not_supported"),
    ({"nonce": "n" * 513}, "invalid_request"),
    ({"prompt": "none"}, "login_required"),
]


async def test_what_does_not_fit_goes_back_to_the_application(
    wiki: RelyingParty, browser: Browser
) -> None:
    """Among them PKCE downgrade, response types that leak tokens, and unsigned request objects."""
    for changed, error in MISFITS:
        back = back_with(await browser.get(wiki.url(**changed)))
        assert (back["error"], back["state"], back["iss"]) == (error, "s t&te", BASE), changed
        assert "code" not in back


async def test_a_code_is_for_one_client_one_address_one_verifier_and_once(
    provider: Platform, wiki: RelyingParty, browser: Browser
) -> None:
    """oidcc-codereuse, PKCE downgrade, code injection, mix-up."""
    other = await register(provider, name="Other")
    code = await code_for(browser, wiki)
    assert (await other.trade(code)).json["error"] == "invalid_grant"
    for changed in (
        {"code_verifier": "w" * 43},
        {"code_verifier": ""},
        {"redirect_uri": APP + "&x=1"},
        {"redirect_uri": ""},
        {"code": code[:-1] + ("A" if code[-1] != "A" else "B")},
        {"code": code.replace("moc_", "mor_")},
    ):
        refused = await wiki.trade(code, **changed)
        assert (refused.status, refused.json["error"]) == (400, "invalid_grant"), changed
    wrong = await wiki.ask("/oauth/token", secret="mos_wrong", grant_type="authorization_code")
    assert (wrong.status, wrong.json["error"]) == (401, "invalid_client")
    assert wrong.headers["www-authenticate"].startswith("Basic")
    # None of that spent it, or ended anything: the client itself can still use it, once.
    tokens = (await wiki.trade(code)).expect(200)
    assert await wiki.is_active(tokens["access_token"])
    assert (await wiki.trade(code, code_verifier="w" * 43)).json["error"] == "invalid_grant"
    assert await wiki.is_active(tokens["access_token"])
    assert (await wiki.trade(code)).json["error"] == "invalid_grant"
    assert not await wiki.is_active(tokens["access_token"])
    assert (await wiki.userinfo(tokens["access_token"])).status == 401


async def test_of_two_that_spend_a_code_at_once_none_keeps_what_it_gave(
    provider: Platform, wiki: RelyingParty, browser: Browser
) -> None:
    code = await code_for(browser, wiki, scope="openid offline_access")
    # There is a key to sign with: else the making of the first would already part them.
    (await provider.anonymous.get("/oauth/jwks")).expect(200)
    answers = await asyncio.gather(*(wiki.trade(code) for _ in range(4)))
    won = [answer.json for answer in answers if answer.status == 200]
    assert len(won) == 1
    assert {a.json["error"] for a in answers if a.status != 200} == {"invalid_grant"}
    assert not await wiki.is_active(won[0]["access_token"])
    assert (await wiki.refresh(won[0]["refresh_token"])).json["error"] == "invalid_grant"
    assert await provider.rows(GRANTS) == [0]


async def test_a_token_of_another_application_is_no_session(
    provider: Platform, wiki: RelyingParty, browser: Browser
) -> None:
    """Token substitution, either way round."""
    tokens = (await wiki.trade(await code_for(browser, wiki))).expect(200)
    cookie = browser.cookies["__Host-mainspring_session"]
    for token in (tokens["access_token"], tokens["id_token"], cookie):
        refused = await provider.as_bearer(token).get("/v1/users/me")
        assert refused.status == 401
        assert (await provider.as_bearer(token).post("/v1/api_keys", {})).status == 401
    with pytest.raises(ValueError, match="does not hold"):
        provider.use(Keyring).verify_token(tokens["id_token"], now_s=provider.clock.now_ms() / 1000)
    given = {"email": EMAIL, "password": PASSWORD}
    ours = (await provider.anonymous.post("/v1/sessions", given)).expect(201)
    key = await provider.as_key("users:read")
    for token in (ours["access_token"], ours["refresh_token"], await key.credential() or ""):
        assert (await wiki.userinfo(token)).status == 401
        assert not await wiki.is_active(token)
    # An ID token hint is one of ours, not an access token that we signed.
    page = await browser.get("/oauth/logout?" + urlencode({"id_token_hint": ours["access_token"]}))
    assert page.status == 400
    # A code and a refresh token are no access tokens.
    code = await code_for(browser, wiki, scope="openid offline_access", prompt="consent")
    assert (await wiki.userinfo(code)).status == 401
    offline = (await wiki.trade(code)).expect(200)
    assert (await wiki.userinfo(offline["refresh_token"])).status == 401
    assert (await wiki.refresh(offline["access_token"])).json["error"] == "invalid_grant"


async def test_pages_are_framed_by_nobody_and_load_nothing(
    wiki: RelyingParty, browser: Browser
) -> None:
    """Clickjacking, and scripts in what others have named."""
    page = await browser.get(wiki.url(login_hint="<script>alert(1)</script>"))
    consent = await log_in(browser, page)
    refused = await browser.get(wiki.url(client_id="<script>"))
    for each in (page, consent, refused):
        policy = each.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert "script" not in policy
        assert "unsafe" not in policy
        assert each.headers["x-frame-options"] == "DENY"
        assert each.headers["referrer-policy"] == "no-referrer"
        assert each.headers["cache-control"] == "no-store"
        assert "<script" not in each.text
    assert "form-action 'self' https://wiki.example;" in page.headers["content-security-policy"]


async def test_a_form_of_another_browser_or_session_is_refused(
    provider: Platform, wiki: RelyingParty, browser: Browser
) -> None:
    """CSRF on log-in and on consent."""
    page = await browser.get(wiki.url())
    stranger = Browser(provider)
    assert (await log_in(stranger, page)).status == 400  # without the cookie
    await stranger.get(wiki.url())
    assert (await log_in(stranger, page)).status == 400  # with another one
    consent = await log_in(browser, page)
    victim = Browser(provider)
    given = {"email": "eve@example.com", "password": PASSWORD}
    (await provider.anonymous.post("/v1/users", given)).expect(201)
    theirs = await log_in(victim, await victim.get(wiki.url()), "eve@example.com")
    # Somebody else's consent page, in a browser that is made to send it off.
    assert (await victim.send(consent, decision="allow")).status == 400
    victim.cookies["__Host-mainspring_browser"] = browser.cookies["__Host-mainspring_browser"]
    assert (await victim.send(consent, decision="allow")).status == 400
    assert (await victim.send(theirs, decision="allow")).status == 400  # not its cookie any more
    # A page of one kind is not one of another, and none lasts for ever.
    fields = {**hidden_in(page), "decision": "allow"}
    assert (await browser.post("/oauth/consent", fields)).status == 400
    await provider.pass_time(seconds=901)
    assert (await browser.send(consent, decision="allow")).status == 400
    assert await provider.rows(GRANTS) == [0]
    assert await provider.events("users.oauth_consent.granted") == []


async def test_denying_gives_nothing(wiki: RelyingParty, browser: Browser) -> None:
    consent = await log_in(browser, await browser.get(wiki.url()))
    back = back_with(await browser.send(consent, decision="deny"))
    assert (back["error"], "code" in back) == ("access_denied", False)


async def test_who_must_log_in_again_does(
    provider: Platform, wiki: RelyingParty, browser: Browser
) -> None:
    """oidcc-prompt-login, oidcc-max-age-1, oidcc-max-age-10000, oidcc-prompt-none-logged-in."""
    await code_for(browser, wiki)
    await provider.pass_time(seconds=30)
    assert "code" in back_with(await browser.get(wiki.url(max_age="10000")))
    assert back_with(await browser.get(wiki.url(max_age="10", prompt="none")))["error"] == (
        "login_required"
    )
    for changed in ({"prompt": "login"}, {"max_age": "10"}, {"prompt": "select_account"}):
        page = await browser.get(wiki.url(**changed))
        assert 'type="password"' in page.text, changed
        # The page's own way back does not go past it.
        resume = "/oauth/authorize?" + urlencode({"resume": hidden_in(page)["request"]})
        assert 'type="password"' in (await browser.get(resume)).text
    tokens = (await wiki.trade(back_with(await log_in(browser, page))["code"])).expect(200)
    claims = await wiki.read_id_token(tokens["id_token"])
    assert claims["auth_time"] == provider.clock.now_ms() // 1000


async def test_a_second_factor_is_asked_for_on_the_page_too(
    provider: Platform, wiki: RelyingParty, browser: Browser
) -> None:
    given = {"email": EMAIL, "password": PASSWORD}
    tokens = (await provider.anonymous.post("/v1/sessions", given)).expect(201)
    me = provider.as_bearer(tokens["access_token"])
    secret = (await me.post("/v1/users/me/totp")).expect(201)["secret"]
    code = code_at(secret, provider.clock.now_ms())
    (await me.post("/v1/users/me/totp:confirm", {"code": code})).expect(200)
    await provider.pass_time(seconds=60)
    page = await log_in(browser, await browser.get(wiki.url()))
    assert 'autocomplete="one-time-code"' in page.text
    assert "__Host-mainspring_session" not in browser.cookies
    wrong = await browser.send(page, code="000000")
    assert (wrong.status, 'role="alert"' in wrong.text) == (403, True)
    consent = await browser.send(wrong, code=code_at(secret, provider.clock.now_ms()))
    back = back_with(await browser.send(consent, decision="allow"))
    claims = await wiki.read_id_token((await wiki.trade(back["code"])).expect(200)["id_token"])
    assert claims["amr"] == ["mfa", "otp", "pwd"]
    over = await browser.send(wrong, code="000000")  # its challenge is spent
    assert (over.status, 'type="password"' in over.text) == (401, True)


async def test_wrong_passwords_are_counted_on_the_page_too(
    wiki: RelyingParty, browser: Browser
) -> None:
    page = await browser.get(wiki.url())
    for _ in range(5):
        page = await browser.send(page, email=EMAIL, password="wrong horse")
        assert (page.status, 'role="alert"' in page.text) == (401, True)
    page = await log_in(browser, page)
    assert (page.status, "wait" in page.text) == (429, True)
    nobody = await browser.send(page, email="nobody@example.com", password="p" * 5_000)
    assert nobody.status == 401


async def test_revocation_holds_before_it_is_answered(
    provider: Platform, wiki: RelyingParty, browser: Browser
) -> None:
    given = {"email": EMAIL, "password": PASSWORD}
    login = (await provider.anonymous.post("/v1/sessions", given)).expect(201)
    me = provider.as_bearer(login["access_token"])

    async def tokens(scope: str = "openid offline_access") -> dict[str, Any]:
        found = (await wiki.trade(await code_for(browser, wiki, scope=scope))).expect(200)
        assert await wiki.is_active(found["access_token"])
        return dict(found)

    async def are_ended(found: dict[str, Any]) -> bool:
        assert (await wiki.userinfo(found["access_token"])).status == 401
        refresh = await wiki.refresh(found.get("refresh_token", ""))
        assert refresh.json["error"] == "invalid_grant"
        return not await wiki.is_active(found["access_token"])

    found = await tokens()
    (one,) = (await me.get("/v1/users/me/authorizations")).expect(200)["items"]
    assert (one["client_id"], one["client_name"]) == (wiki.id, wiki.client["name"])
    eve = await provider.as_user("eve@example.com")
    assert (await eve.delete(f"/v1/users/me/authorizations/{one['id']}")).status == 404
    (await me.delete(f"/v1/users/me/authorizations/{one['id']}")).expect(204)
    assert await are_ended(found)
    assert (await me.get("/v1/users/me/authorizations")).json["items"] == []
    # A session's end takes what lives by it, and leaves what was to go on.
    offline, online = await tokens(), await tokens("openid")
    here = [s for s in (await me.get("/v1/sessions")).json["items"] if not s["current"]]
    for session in here:
        (await me.delete(f"/v1/sessions/{session['id']}")).expect(204)
    assert await are_ended(online)
    assert await wiki.is_active(offline["access_token"])
    assert 'type="password"' in (await browser.get(wiki.url())).text
    (await me.delete("/v1/sessions")).expect(204)
    assert await are_ended(offline)
    user = (await provider.admin.get(f"/v1/users?email={EMAIL}")).json["items"][0]
    disabled, path = await tokens(), f"/v1/users/{user['id']}"
    (await provider.admin.post(f"{path}:disable", {"reason": "away"})).expect(200)
    assert await are_ended(disabled)
    assert (await log_in(browser, await browser.get(wiki.url()))).status == 403
    (await provider.admin.post(f"{path}:enable")).expect(200)
    assert await are_ended(disabled)
    last = await tokens()
    (await provider.admin.delete(f"/v1/users/{user['id']}?erase=true")).expect(204)
    assert await are_ended(last)
    assert await provider.rows(GRANTS) == [0]


async def test_a_client_that_changes_or_goes_takes_its_tokens_along(
    provider: Platform, browser: Browser
) -> None:
    party = await register(provider, scopes=["openid", "email", "records:read"])
    code = await code_for(browser, party, scope="openid email records:read")
    found = (await party.trade(code)).expect(200)
    told = (await party.ask("/oauth/introspect", token=found["access_token"])).expect(200)
    assert told["scope"] == "email openid"  # Ann holds no records:read, whatever was agreed
    path = f"/v1/oauth_clients/{party.id}"
    (await provider.admin.patch(path, {"scopes": ["openid"]})).expect(200)
    assert "email" not in (await party.userinfo(found["access_token"])).expect(200)
    fresh = (await provider.admin.post(f"{path}:rotate_secret")).expect(200)
    assert (await party.ask("/oauth/introspect", token="x")).json["error"] == "invalid_client"
    party.client["secret"] = fresh["secret"]
    assert await party.is_active(found["access_token"])
    (await provider.admin.delete(path)).expect(204)
    assert (await party.userinfo(found["access_token"])).status == 401
    assert (await party.ask("/oauth/introspect", token="x")).json["error"] == "invalid_client"
    assert (await browser.get(party.url())).status == 400


async def test_a_client_is_told_of_its_own_tokens_alone(
    provider: Platform, wiki: RelyingParty, browser: Browser
) -> None:
    nosy = await register(provider, name="Nosy")
    api = await register(provider, name="API", introspects=True)
    spa = await register(provider, name="SPA", public=True)
    assert spa.client["secret"] is None
    found = (await wiki.trade(await code_for(browser, wiki))).expect(200)["access_token"]
    assert not await nosy.is_active(found)
    assert await api.is_active(found)
    assert (await nosy.ask("/oauth/revoke", token=found)).json["error"] == "invalid_grant"
    assert (await spa.ask("/oauth/introspect", secret="", token=found)).json["error"] == (
        "invalid_client"
    )
    assert (await wiki.ask("/oauth/revoke", token="unknown")).status == 200
    assert await wiki.is_active(found)
    # A public client has PKCE alone, and no secret will do.
    code = await code_for(browser, spa)
    assert (await spa.ask("/oauth/token", secret="mos_x", code=code)).status == 401
    own = await spa.ask(
        "/oauth/token", secret="", grant_type="authorization_code", code=code, redirect_uri=APP,
        code_verifier=VERIFIER,
    )  # fmt: skip
    assert own.status == 200
    none = await spa.ask("/oauth/token", secret="", grant_type="client_credentials")
    assert none.json["error"] == "unauthorized_client"


async def test_the_token_endpoint_speaks_its_protocol(
    provider: Platform, wiki: RelyingParty
) -> None:
    async def post(content: bytes, kind: str = FORM, path: str = "/oauth/token") -> HttpAnswer:
        return await provider.anonymous.post(path, content=content, content_type=kind)

    for answer in (
        await post(b"grant_type=a&grant_type=b"),
        await post(b'{"grant_type": "x"}', "application/json"),
        await post(b"grant_type=%FF"),
        await post(b"x=" + b"y" * 20_000),
        await post(b"a=b", path="/oauth/token?client_secret=x"),
        await wiki.ask("/oauth/token"),
    ):
        assert (answer.status, answer.json["error"]) == (400, "invalid_request")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "application/json"
    unknown = await wiki.ask("/oauth/token", grant_type="password", username="a", password="b")
    assert unknown.json["error"] == "unsupported_grant_type"
    pair = base64.b64encode(f"{wiki.id}:{wiki.client['secret']}".encode()).decode()
    nul = base64.b64encode(b"client%00:x").decode()
    for header in (f"Bearer {pair}", "Basic !", "Basic", "Basic " + "A" * 4_000, f"Basic {nul}"):
        refused = await provider.anonymous.post(
            "/oauth/token", content=b"grant_type=x", content_type=FORM,
            headers={"authorization": header},
        )  # fmt: skip
        assert (refused.status, refused.json["error"]) == (401, "invalid_client"), header
    both = urlencode({"client_id": wiki.id, "client_secret": "x", "grant_type": "x"}).encode()
    twice = await provider.anonymous.post(
        "/oauth/token", content=both, content_type=FORM, headers={"authorization": f"Basic {pair}"}
    )
    assert twice.json["error"] == "invalid_request"
    assert all(wiki.client["secret"].encode() not in row for row in await provider.rows(SECRETS))


async def test_logging_out_is_the_users_word(
    provider: Platform, wiki: RelyingParty, browser: Browser
) -> None:
    """oidcc-rp-initiated-logout, -bad-post-logout-redirect-uri, -no-id-token-hint."""
    found = (await wiki.trade(await code_for(browser, wiki))).expect(200)
    hint = {"id_token_hint": found["id_token"]}

    def logout(**fields: str) -> str:
        return "/oauth/logout?" + urlencode(fields)

    for fields in (
        {**hint, "post_logout_redirect_uri": "https://evil.example"},
        {"client_id": wiki.id, "post_logout_redirect_uri": AFTER + "x"},
        {"post_logout_redirect_uri": AFTER},
        {"id_token_hint": found["id_token"][:-4] + "AAAA"},
        {"id_token_hint": "W10.W10.W10"},
        {"id_token_hint": "bnVsbA.e30."},
        {"id_token_hint": "é.é.é"},
        {"id_token_hint": "eyJhbGciOiJSUzI1NiIsImNyaXQiOjF9.e30.AA"},  # crit is a number
        {"id_token_hint": "eyJhbGciOiJub25lIn0.e30."},
        {**hint, "client_id": "client_other"},
    ):
        answer = await browser.get(logout(**fields))
        assert (answer.status, "location" in answer.headers) == (400, False), fields
    page = await browser.get(logout())
    assert "<form" in page.text
    assert await wiki.is_active(found["access_token"])  # nothing but the question
    stranger = Browser(provider)
    assert (await stranger.send(page)).status == 400
    to = {"post_logout_redirect_uri": AFTER, "state": "x y"}
    back = back_with(await browser.get(logout(**hint, **to)), AFTER)
    assert back == {"state": "x y"}
    assert not browser.cookies["__Host-mainspring_session"]
    assert not await wiki.is_active(found["access_token"])
    # By our own page, with nobody to go back to.
    await code_for(browser, wiki)
    done = await browser.send(await browser.get(logout()))
    assert (done.status, "logged out" in done.text) == (200, True)
    assert 'type="password"' in (await browser.get(wiki.url())).text


async def test_who_registers_gives_no_more_than_they_hold(provider: Platform) -> None:
    some = await provider.as_key("oauth_clients:read", "oauth_clients:write")
    new = {"name": "x", "redirect_uris": ["https://x.example/"], "scopes": ["openid"]}
    made = (await some.post("/v1/oauth_clients", new)).expect(201)
    wide = {**new, "scopes": ["records:read"]}
    assert (await some.post("/v1/oauth_clients", wide)).json["code"] == "scope_not_held"
    path = f"/v1/oauth_clients/{made['id']}"
    assert (await some.patch(path, {"scopes": ["records:read"]})).status == 403
    (await provider.admin.patch(path, {"scopes": ["records:read"]})).expect(200)
    # It can have more than they hold by now: they could send its codes to themselves.
    assert (await some.patch(path, {"redirect_uris": ["https://evil.example/"]})).status == 403
    assert (await some.post(f"{path}:rotate_secret")).status == 403
    assert (await some.delete(path)).status == 403
    for scopes in (["users:own"], ["*"], ["records:*"], ["api_keys:read"], ["nonsense"]):
        refused = await provider.admin.post("/v1/oauth_clients", {**new, "scopes": scopes})
        assert refused.json["errors"][0]["pointer"] == "/scopes/0"
    bad = {**new, "redirect_uris": ["https://x.example/", "http://x.example/"]}
    refused = await provider.admin.post("/v1/oauth_clients", bad)
    assert refused.expect(422)["errors"][0]["pointer"] == "/redirect_uris/1"
    shown = (await some.get("/v1/oauth_clients")).text
    assert made["secret"] not in shown
    told = msgspec.json.encode(await provider.events("users.oauth_client.*"))
    assert made["secret"].encode() not in told
    user = await provider.as_user("eve@example.com")
    for method, where in (("GET", "/v1/oauth_clients"), ("GET", path), ("DELETE", path)):
        assert (await user.request(method, where)).status == 403


async def test_without_a_url_there_is_no_issuer() -> None:
    async with Platform() as platform:
        for path in ("/.well-known/openid-configuration", "/oauth/jwks", "/oauth/authorize"):
            assert (await platform.anonymous.get(path)).status == 404
        answer = await platform.anonymous.post("/oauth/token", content=b"a=b", content_type=FORM)
        assert answer.status in (400, 404)


async def test_a_code_in_an_address_leaks_nowhere(
    provider: Platform, wiki: RelyingParty, browser: Browser
) -> None:
    """The browser's way back holds a code and no token; events hold neither."""
    answer = await browser.send(
        await log_in(browser, await browser.get(wiki.url())), decision="allow"
    )
    fields = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
    assert fields.keys() == {"of", "code", "state", "iss"}
    assert answer.headers["referrer-policy"] == "no-referrer"
    tokens = (await wiki.trade(fields["code"])).expect(200)
    told = b"".join(bytes(event.data) for event in await provider.events())
    for secret in (fields["code"], tokens["access_token"], tokens["id_token"]):
        assert secret.encode() not in told


async def test_a_passkey_is_asked_for_elsewhere(platform_server: str | None) -> None:
    settings = {"users.url": BASE, **PASSKEYS}
    async with Platform(database=platform_server, settings=settings) as platform:
        wiki, browser, ann = await register(platform), Browser(platform), await person(platform)
        made = (await ann.add(Device())).expect(201)
        page = await log_in(browser, await browser.get(wiki.url()))
        assert 'autocomplete="one-time-code"' in page.text
        for code in made["recovery_codes"]:
            await platform.pass_time(seconds=1)
            page = await log_in(browser, await browser.get(wiki.url(prompt="login")))
            assert 'value="allow"' in (await browser.send(page, code=code)).text
        await platform.pass_time(seconds=1)
        page = await log_in(browser, await browser.get(wiki.url(prompt="login")))
        assert "passkey" in page.text
        assert (page.status, "<form" in page.text) == (400, False)


OWN_PAGES = {"users.url": BASE, "users.passkey_rp_id": "id.example"}


async def test_our_own_page_takes_a_passkey(platform_server: str | None) -> None:
    settings = {**OWN_PAGES, "users.passkey_origins": [BASE]}
    async with Platform(database=platform_server, settings=settings) as platform:
        wiki, browser, ann = await register(platform), Browser(platform), await person(platform)
        device = Device()
        device.origin, device.rp_id = BASE, "id.example"
        (await ann.add(device)).expect(201)

        async def signed(page: HttpAnswer, wish: dict[str, str]) -> HttpAnswer:
            options = (await platform.anonymous.post("/v1/passkeys:begin", wish)).expect(200)
            return await browser.send(page, passkey=json.dumps(device.sign(options)))

        page = await browser.get(wiki.url())
        policy = page.headers["content-security-policy"]
        (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
        hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{hashed}'; connect-src 'self'" in policy
        for wrong in ("{", "[]", '{"id": "x"}'):
            refused = await browser.send(page, passkey=wrong)
            assert (refused.status, "The passkey is refused" in refused.text) == (401, True), wrong
        consent = await signed(page, {})
        code = back_with(await browser.send(consent, decision="allow"))["code"]
        tokens = (await wiki.trade(code)).expect(200)
        assert (await wiki.read_id_token(tokens["id_token"]))["amr"] == ["mfa", "pop", "user"]
        # After a password the same page takes it as the second factor.
        await platform.pass_time(seconds=1)
        page = await log_in(browser, await browser.get(wiki.url(prompt="login")))
        challenge = hidden_in(page)["challenge"]
        assert "code" in back_with(await signed(page, {"challenge": challenge}))
        # Another origin gains nothing by what was signed here.
        await platform.pass_time(seconds=1)
        device.origin = "https://evil.example"
        assert (await signed(await browser.get(wiki.url(prompt="login")), {})).status == 401


async def test_pages_of_an_origin_without_passkeys_have_no_script(provider: Platform) -> None:
    wiki, browser = await register(provider), Browser(provider)
    page = await browser.get(wiki.url())
    assert "<script" not in page.text
    assert "script-src" not in page.headers["content-security-policy"]
