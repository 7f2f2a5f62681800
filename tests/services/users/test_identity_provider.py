"""Other applications log people in from here: what they see when all is well."""

from string import Formatter
from urllib.parse import parse_qsl, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet

from mainspring import Query
from mainspring.services.users.identity_provider.page_texts import TEXTS, PageTexts
from mainspring.testing import Platform
from tests.services.users.relying_party import (
    APP,
    BASE,
    EMAIL,
    Browser,
    RelyingParty,
    back_with,
    code_for,
    log_in,
    register,
)

SEALED = Query("test.sealed", "SELECT sealed FROM users_signing_keys", bytes)


async def test_somebody_logs_in_at_another_application(
    provider: Platform, wiki: RelyingParty, browser: Browser
) -> None:
    page = await browser.get(wiki.url(login_hint='a"nn@x'))
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "The &lt;wiki&gt; &amp; more" in page.text
    assert 'value="a&#34;nn@x"' in page.text
    consent = await log_in(browser, page)
    assert "your e-mail address" in consent.text
    assert "https://wiki.example" in consent.text
    back = back_with(await browser.send(consent, decision="allow"))
    assert (back["state"], back["iss"], back["of"]) == ("s t&te", BASE, "wiki")
    tokens = (await wiki.trade(back["code"])).expect(200)
    assert (tokens["token_type"], tokens["scope"]) == ("Bearer", "email openid profile")
    assert "refresh_token" not in tokens
    user = (await provider.admin.get(f"/v1/users?email={EMAIL}")).json["items"][0]
    claims = await wiki.read_id_token(tokens["id_token"])
    now_s = provider.clock.now_ms() // 1000
    assert claims["iss"] == BASE
    assert (claims["aud"], claims["sub"], claims["nonce"]) == (wiki.id, user["id"], "n-1")
    assert (claims["auth_time"], claims["amr"]) == (now_s, ["pwd"])
    assert claims["exp"] > now_s
    told = (await wiki.userinfo(tokens["access_token"])).expect(200)
    assert told == {
        "sub": user["id"], "name": "Ann", "updated_at": now_s, "email": EMAIL,
        "email_verified": False,
    }  # fmt: skip
    assert await wiki.is_active(tokens["access_token"])
    (granted,) = await provider.events("users.oauth_grant.created")
    assert wiki.id in bytes(granted.data).decode()
    # Who is known and has agreed sees no page; what was not agreed to is asked for.
    again = back_with(await browser.get(wiki.url(prompt="none", scope="openid")))
    assert "code" in again
    more = wiki.url(scope="openid offline_access")
    assert 'value="allow"' in (await browser.get(more)).text
    asked = back_with(await browser.get(more + "&prompt=none"))
    assert asked["error"] == "consent_required"


async def test_what_the_platform_says_of_itself(provider: Platform, wiki: RelyingParty) -> None:
    told = (await provider.anonymous.get("/.well-known/openid-configuration")).expect(200)
    also = (await provider.anonymous.get("/.well-known/oauth-authorization-server")).expect(200)
    assert told == also
    assert told["issuer"] == BASE
    for name, url in told.items():
        if name.endswith(("_endpoint", "_uri")):
            answer = await provider.anonymous.get(url.removeprefix(BASE))
            assert answer.status != 404, name
    keys = (await provider.anonymous.get("/oauth/jwks")).expect(200)["keys"]
    assert [set(key) for key in keys] == [{"kty", "n", "e", "kid", "alg", "use"}]


async def test_refresh_tokens_rotate_and_a_stolen_one_ends_all(
    provider: Platform, wiki: RelyingParty, browser: Browser
) -> None:
    code = await code_for(browser, wiki, scope="openid offline_access")
    first = (await wiki.trade(code)).expect(200)
    second = (await wiki.refresh(first["refresh_token"], scope="openid")).expect(200)
    assert second["refresh_token"] != first["refresh_token"]
    assert "nonce" not in await wiki.read_id_token(second["id_token"])
    # Whose answer was lost asks again, and is answered the same.
    again = (await wiki.refresh(first["refresh_token"])).expect(200)
    assert again["refresh_token"] == second["refresh_token"]
    assert (await wiki.refresh(second["refresh_token"], scope="email")).json["error"] == (
        "invalid_scope"
    )
    await provider.pass_time(seconds=11)
    refused = await wiki.refresh(first["refresh_token"])
    assert (refused.status, refused.json["error"]) == (400, "invalid_grant")
    for token in (second["access_token"], second["refresh_token"]):
        assert not await wiki.is_active(token)
    assert (await wiki.refresh(second["refresh_token"])).json["error"] == "invalid_grant"
    (ended,) = await provider.events("users.oauth_grant.revoked")
    assert b'"reason":"replay"' in bytes(ended.data)


async def test_tokens_end_in_their_time(
    provider: Platform, wiki: RelyingParty, browser: Browser
) -> None:
    tokens = (await wiki.trade(await code_for(browser, wiki, scope="openid offline_access"))).json
    await provider.pass_time(seconds=899)
    assert (await wiki.userinfo(tokens["access_token"])).status == 200
    await provider.pass_time(seconds=1)
    refused = await wiki.userinfo(tokens["access_token"])
    assert refused.status == 401
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]
    fresh = (await wiki.refresh(tokens["refresh_token"])).expect(200)
    await provider.pass_time(days=31)
    assert (await wiki.refresh(fresh["refresh_token"])).json["error"] == "invalid_grant"
    late = await code_for(browser, wiki, scope="openid", prompt="login")
    await provider.pass_time(seconds=60)
    assert (await wiki.trade(late)).json["error"] == "invalid_grant"


async def test_a_client_has_tokens_of_its_own(provider: Platform) -> None:
    party = await register(provider, scopes=["openid", "records:read"])
    tokens = (await party.ask("/oauth/token", grant_type="client_credentials")).expect(200)
    assert (tokens["scope"], "refresh_token" in tokens) == ("records:read", False)
    told = (await party.ask("/oauth/introspect", token=tokens["access_token"])).expect(200)
    assert (told["sub"], told["scope"], told["active"]) == (party.id, "records:read", True)
    more = await party.ask("/oauth/token", grant_type="client_credentials", scope="openid")
    assert more.json["error"] == "invalid_scope"
    assert (await party.userinfo(tokens["access_token"])).status == 401
    (await party.ask("/oauth/revoke", token=tokens["access_token"])).expect(200)
    assert not await party.is_active(tokens["access_token"])


async def test_signing_keys_rotate_without_breaking_what_is_out_there(
    provider: Platform, wiki: RelyingParty, browser: Browser
) -> None:
    async def kid() -> str:
        code = await code_for(browser, wiki, scope="openid", prompt="login")
        token = (await wiki.trade(code)).expect(200)["id_token"]
        await wiki.read_id_token(token)
        return str(jwt.decode(token, await keys(), algorithms=["RS256"]).header["kid"])

    async def keys() -> KeySet:
        shown = (await provider.anonymous.get("/oauth/jwks")).expect(200)
        return KeySet.import_key_set(shown)

    first = await kid()
    await provider.pass_time(days=90)
    assert [key.kid for key in (await keys()).keys][1] == first
    assert await kid() == first  # the next one is shown, and does not sign yet
    await provider.pass_time(days=1)
    second = await kid()
    assert second != first
    assert [key.kid for key in (await keys()).keys] == [second, first]
    rows = await provider.rows(SEALED)
    assert all(b"PRIVATE" not in sealed for sealed in rows)


async def test_the_products_own_page_logs_people_in(platform_server: str | None) -> None:
    page = "https://app.example/login?for={request}"
    settings = {"users.url": BASE, "users.oauth_log_in_page": page}
    async with Platform(database=platform_server, settings=settings) as platform:
        wiki, browser = await register(platform), Browser(platform)
        ann, nobody = await platform.as_user(EMAIL), platform.anonymous
        path = "/v1/users/me/authorizations"

        async def handed(**changed: str) -> dict[str, str]:
            answer = await browser.get(wiki.url(**changed))
            return {"request": back_with(answer, "https://app.example/login")["for"]}

        asked = await handed()
        assert (await nobody.post(path, asked)).status == 401
        key = await platform.as_key("users:own")
        assert (await key.post(path, asked)).status == 403
        unsaid = (await ann.post(path, asked)).expect(409)
        assert (unsaid["code"], unsaid["client_name"]) == ("consent_required", wiki.client["name"])
        assert unsaid["scopes"] == ["openid", "profile", "email"]
        denied = (await ann.post(path, {**asked, "decision": "deny"})).expect(201)["url"]
        assert denied.startswith(f"{APP}&error=access_denied&")
        (await ann.post(path, {**asked, "decision": "allow"})).expect(201)
        back = (await ann.post(path, await handed())).expect(201)["url"]
        assert back.startswith(f"{APP}&code=")
        code = dict(parse_qsl(urlsplit(back).query))["code"]
        tokens = (await wiki.trade(code)).expect(200)
        assert (await wiki.read_id_token(tokens["id_token"]))["sub"] == ann.id
        # A newer log-in is wanted than there was, and a page of our own is none of this.
        await platform.pass_time(seconds=5)
        late = await ann.post(path, await handed(prompt="login"))
        assert late.expect(401)["code"] == "step_up_required"
        for bad in (tokens["access_token"], asked["request"] + "A", "é"):
            assert (await ann.post(path, {"request": bad})).status == 400
        await platform.pass_time(seconds=901)
        assert (await ann.post(path, asked)).expect(400)["code"] == "oauth_page_refused"


async def test_pages_are_in_the_language_of_who_reads_them(
    provider: Platform, wiki: RelyingParty, browser: Browser
) -> None:
    browser.languages = "fr, de-CH;q=0.9"
    page = await browser.get(wiki.url())
    assert '<html lang="de">' in page.text
    assert "Bei The &lt;wiki&gt; &amp; more anmelden" in page.text
    wrong = await browser.send(page, email=EMAIL, password="another one")
    assert "E-Mail-Adresse oder Passwort ist falsch." in wrong.text
    consent = await log_in(browser, page)
    assert "Ihre E-Mail-Adresse" in consent.text
    user = (await provider.admin.get(f"/v1/users?email={EMAIL}")).json["items"][0]
    path, english = f"/v1/users/{user['id']}", {"locale": "en-GB"}
    (await provider.admin.patch(path, english)).expect(200)  # said counts before guessed
    assert "your e-mail address" in (await browser.get(wiki.url())).text
    out = await browser.get("/oauth/logout")
    assert "Log out of Mainspring?" in out.text
    assert "Sie sind abgemeldet" in (await browser.send(out)).text  # nobody is known any more


def test_pages_say_the_same_in_every_language() -> None:
    for texts in TEXTS.values():
        for name in PageTexts.__struct_fields__:
            here, there = getattr(texts, name), getattr(TEXTS["en"], name)
            if isinstance(here, str):
                assert _names(here) == _names(there), name
            else:
                assert here.keys() == there.keys(), name


def _names(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}
