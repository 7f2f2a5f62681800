"""Logging in with an issuer: the way there and back, lies on it, and whose account is entered."""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from mainspring.adapters.http_client.lazy import LazyHttpClient
from mainspring.ports.http_client import HttpClient
from mainspring.testing import Client, HttpAnswer, Platform
from tests.services.users.authenticator import code_at
from tests.services.users.issuer import CLIENT, SECRET, Issuer, apple_key, running, with_query

EMAIL, PASSWORD = "ann@example.com", "correct horse battery"
APP = "https://app.example/back"
BASE = "http://127.0.0.1:9"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest())[:43].decode()

Lie = Callable[[Issuer, dict[str, Any]], str]


class Site:
    """A platform, its issuer, and a browser between them."""

    def __init__(self, platform: Platform, issuer: Issuer) -> None:
        self.platform = platform
        self.issuer = issuer
        self.anyone = platform.anonymous

    async def begin(
        self, who: Client | None = None, provider: str = "test", **more: str
    ) -> HttpAnswer:
        given = {"provider": provider, "redirect_uri": APP, "code_challenge": CHALLENGE, **more}
        path = "/v1/logins" if who is None else "/v1/users/me/logins"
        return await (who or self.anyone).post(path, given)

    async def come_back(self, url: str, **changed: str) -> HttpAnswer:
        """Go to the issuer and come back from it to the platform."""
        back, fields = self.issuer.visit(url)
        assert back.startswith(BASE)
        sent = {**fields, **changed}
        return await self.anyone.get(
            with_query(back.removeprefix(BASE), {k: v for k, v in sent.items() if v})
        )

    async def code(self, who: Client | None = None, provider: str = "test", **more: str) -> str:
        begun = (await self.begin(who, provider, **more)).expect(201)
        return code_in(await self.come_back(begun["url"]))

    async def log_in(self, provider: str = "test") -> HttpAnswer:
        return await self.complete(await self.code(provider=provider))

    async def complete(self, code: str, verifier: str = VERIFIER) -> HttpAnswer:
        given = {"code": code, "code_verifier": verifier}
        return await self.anyone.post("/v1/logins:complete", given)

    async def sign_up(self, email: str = EMAIL, *, proved: bool) -> Client:
        given = {"email": email, "password": PASSWORD}
        (await self.anyone.post("/v1/users", given)).expect(201)
        if proved:
            await self.platform.drain()
            token = (await self.platform.mails(email))[-1].text.splitlines()[2]
            (await self.anyone.post("/v1/users:verify_email", {"token": token})).expect(204)
        tokens = (await self.anyone.post("/v1/sessions", given)).expect(201)
        return self.platform.as_bearer(tokens["access_token"])

    async def users(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.platform.admin.get("/v1/users")).json["items"]
        return found


def code_in(answer: HttpAnswer) -> str:
    assert answer.status == 303, answer.text
    fields = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
    return fields["code"]


@pytest.fixture
async def site(platform_server: str | None) -> AsyncIterator[Site]:
    key = apple_key()
    web = LazyHttpClient(allow_private=True)
    async with running() as issuer:
        other = issuer.url.replace("127.0.0.1", "localhost")
        login = {
            "test": {"issuer": issuer.url, "client_id": CLIENT, "client_secret": SECRET},
            "other": {"issuer": other, "client_id": CLIENT, "client_secret": SECRET},
            "distrusted": {"issuer": issuer.url, "client_id": CLIENT, "trust_email": False},
            "github": {"issuer": issuer.url, "client_id": CLIENT, "client_secret": SECRET},
            "apple": {
                "issuer": issuer.url, "client_id": CLIENT, "team_id": "TEAM", "key_id": "KEY",
                "private_key": key.as_pem(private=True).decode(),
            },
            "microsoft": {"issuer": issuer.url, "client_id": CLIENT},
        }  # fmt: skip
        settings = {"users.url": BASE, "users.login_redirects": [APP]} | {
            f"users.login.{name}.{field}": value
            for name, provider in login.items()
            for field, value in provider.items()
        }
        ports = {HttpClient: web}
        async with Platform(database=platform_server, settings=settings, ports=ports) as platform:
            issuer.clock = platform.clock
            issuer.apple = key
            yield Site(platform, issuer)


async def test_somebody_new_signs_up_and_comes_again(site: Site) -> None:
    site.issuer.claims["name"] = "Ann"
    first = (await site.log_in()).expect(201)
    user = first["user"]
    assert (user["email"], user["email_verified"], user["display_name"]) == (EMAIL, True, "Ann")
    again = (await site.log_in()).expect(201)
    assert again["user"]["id"] == user["id"]
    me = site.platform.as_bearer(again["access_token"])
    (identity,) = (await me.get("/v1/users/me/identities")).expect(200)["items"]
    assert (identity["provider"], identity["subject"]) == ("test", "sub-1")
    assert identity["issuer"] == site.issuer.url
    assert site.issuer.authorization.startswith("Basic ")
    told = await site.platform.events("users.identity.linked")
    assert [event.subject for event in told] == [user["id"]]
    for password in ("", "x"):  # there is none
        given = {"email": EMAIL, "password": password}
        assert (await site.anyone.post("/v1/sessions", given)).expect(401)["code"] == (
            "wrong_credentials"
        )


async def test_the_browser_brings_a_code_that_holds_once_for_who_began(site: Site) -> None:
    begun = (await site.begin(state="of the app & more")).expect(201)
    back = await site.come_back(begun["url"])
    location = urlsplit(back.headers["location"])
    assert f"{location.scheme}://{location.netloc}{location.path}" == APP
    assert dict(parse_qsl(location.query))["state"] == "of the app & more"
    assert back.headers["cache-control"] == "no-store"
    code = code_in(back)
    assert (await site.complete(code, "w" * 43)).expect(401)["code"] == "login_refused"
    tokens = (await site.complete(code)).expect(201)
    for secret in (tokens["access_token"], tokens["refresh_token"]):
        assert secret not in back.headers["location"]
    assert (await site.complete(code)).expect(401)["code"] == "login_refused"
    assert site.issuer.tokens_asked == 1


async def test_a_code_of_ours_holds_a_minute_and_a_state_a_quarter_of_an_hour(site: Site) -> None:
    code = await site.code()
    site.platform.clock.move(60)
    (await site.complete(code)).expect(401)
    begun = (await site.begin()).expect(201)
    site.platform.clock.move(900)
    assert (await site.come_back(begun["url"])).expect(401)["code"] == "login_refused"


async def test_a_browser_comes_back_once(site: Site) -> None:
    begun = (await site.begin()).expect(201)
    code_in(await site.come_back(begun["url"]))
    (await site.come_back(begun["url"])).expect(401)


async def test_who_says_no_over_there_comes_back_with_an_error(site: Site) -> None:
    begun = (await site.begin(state="s")).expect(201)
    back = await site.come_back(begun["url"], code="", error="access_denied")
    assert back.headers["location"] == f"{APP}?error=access_denied&state=s"
    begun = (await site.begin()).expect(201)
    back = await site.come_back(begun["url"], error="<script>")
    assert back.headers["location"] == f"{APP}?error=login_failed"


def none(issuer: Issuer, claims: dict[str, Any]) -> str:
    parts = (msgspec.json.encode({"alg": "none"}), msgspec.json.encode(claims))
    return ".".join(base64.urlsafe_b64encode(p).rstrip(b"=").decode() for p in parts) + "."


def hmac_of_the_secret(issuer: Issuer, claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(SECRET))


def hmac_of_the_public_key(issuer: Issuer, claims: dict[str, Any]) -> str:
    # Written by hand: no library signs with a public key.
    parts = (msgspec.json.encode({"alg": "HS256", "kid": "k1"}), msgspec.json.encode(claims))
    said = ".".join(base64.urlsafe_b64encode(p).rstrip(b"=").decode() for p in parts)
    mac = hmac.digest(issuer.keys[0].as_pem(private=False), said.encode(), "sha256")
    return f"{said}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def key_of_somebody_else(issuer: Issuer, claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "RS256", "kid": "k1"}, claims, RSAKey.generate_key(2048))


def says(**changed: Any) -> Lie:
    def lie(issuer: Issuer, claims: dict[str, Any]) -> str:
        given = {**claims, **changed}
        return issuer.signed({name: value for name, value in given.items() if value is not None})

    return lie


def at(name: str, by_s: int) -> Lie:
    return lambda issuer, claims: issuer.signed({**claims, name: claims["iat"] + by_s})


LIES: dict[str, Lie] = {
    "alg none": none,
    "HS256 with the client's secret": hmac_of_the_secret,
    "HS256 with the public key": hmac_of_the_public_key,
    "another key": key_of_somebody_else,
    "another nonce": says(nonce="other"),
    "no nonce": says(nonce=None),
    "another audience": says(aud="client-2"),
    "among audiences, for another": says(aud=[CLIENT, "client-2"], azp="client-2"),
    "among audiences, for nobody": says(aud=[CLIENT, "client-2"]),
    "authorised for another": says(azp="client-2"),
    "another issuer": says(iss="https://issuer.example"),
    "no issuer": says(iss=None),
    "no subject": says(sub=None),
    "an empty subject": says(sub=""),
    "a number as subject": says(sub=7),
    "expired": at("exp", -61),
    "no end": says(exp=None),
    "of the future": at("iat", 120),
    "not a token": lambda issuer, claims: "x.y.z",
    "no token": lambda issuer, claims: "",
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*insecure.*", "ignore:.*HS256.*")
async def test_lies_of_an_issuer_let_nobody_in(site: Site) -> None:
    faults = []
    for name, lie in LIES.items():
        site.issuer.sign = lambda claims, lie=lie: lie(site.issuer, claims)
        answer = await site.log_in()
        if answer.status != 401 or answer.json["code"] != "login_refused":
            faults.append(f"{name}: {answer.text}")
    assert faults == []
    assert await site.users() == []
    site.issuer.sign = site.issuer.signed
    (await site.log_in()).expect(201)


async def test_one_issuer_cannot_answer_for_another(site: Site) -> None:
    begun = (await site.begin()).expect(201)
    (await site.come_back(begun["url"], iss="https://attacker.example")).expect(401)
    begun = (await site.begin()).expect(201)  # it promises to say who it is (RFC 9207)
    (await site.come_back(begun["url"], iss="")).expect(401)
    begun = (await site.begin()).expect(201)
    back, fields = site.issuer.visit(begun["url"])
    path = back.removeprefix(BASE).replace("/test/", "/other/")
    (await site.anyone.get(with_query(path, fields))).expect(401)
    assert site.issuer.tokens_asked == 0


async def test_an_issuer_that_calls_itself_otherwise_is_refused(site: Site) -> None:
    assert (await site.begin(provider="other")).expect(401)["code"] == "login_refused"


async def test_a_code_of_the_issuer_is_spent_once(site: Site) -> None:
    first = (await site.begin()).expect(201)
    back, fields = site.issuer.visit(first["url"])
    code = code_in(await site.anyone.get(with_query(back.removeprefix(BASE), fields)))
    (await site.complete(code)).expect(201)
    second = (await site.begin()).expect(201)
    code = code_in(await site.come_back(second["url"], code=fields["code"]))
    (await site.complete(code)).expect(401)


# Whose account


@pytest.mark.parametrize(
    ("here", "there", "enters"),
    [(True, True, True), (False, True, False), (True, False, False), (False, False, False)],
)
async def test_an_address_counts_when_both_sides_proved_it(
    site: Site, here: bool, there: bool, enters: bool
) -> None:
    ann = await site.sign_up(proved=here)
    site.issuer.claims["email_verified"] = there
    answer = await site.log_in()
    if enters:
        assert answer.expect(201)["user"]["id"] == (await ann.get("/v1/users/me")).json["id"]
        return
    assert answer.expect(409)["code"] == "link_required"
    assert (await ann.get("/v1/users/me/identities")).expect(200)["items"] == []


async def test_a_distrusted_issuer_proves_no_address(site: Site) -> None:
    await site.sign_up(proved=True)
    for provider in ("distrusted", "microsoft"):
        assert (await site.log_in(provider)).expect(409)["code"] == "link_required"


async def test_who_is_logged_in_links_and_unlinks(site: Site) -> None:
    ann = await site.sign_up("ann@elsewhere.example", proved=False)
    code = await site.code(ann)
    (await site.complete(code)).expect(401)  # it was begun to link, not to log in
    given = {"code": code, "code_verifier": VERIFIER}
    bob = await site.sign_up("bob@example.com", proved=False)
    (await bob.post("/v1/users/me/identities", given)).expect(401)
    identity = (await ann.post("/v1/users/me/identities", given)).expect(201)
    me = (await ann.get("/v1/users/me")).json["id"]
    assert (await site.log_in()).expect(201)["user"]["id"] == me
    theirs = {"code": await site.code(bob), "code_verifier": VERIFIER}
    assert (await bob.post("/v1/users/me/identities", theirs)).expect(409)["code"] == (
        "identity_taken"
    )
    (await bob.delete(f"/v1/users/me/identities/{identity['id']}")).expect(404)
    (await ann.delete(f"/v1/users/me/identities/{identity['id']}")).expect(204)
    assert (await site.log_in()).expect(201)["user"]["id"] != me


async def test_a_code_to_log_in_links_nothing(site: Site) -> None:
    ann = await site.sign_up("ann@elsewhere.example", proved=False)
    given = {"code": await site.code(), "code_verifier": VERIFIER}
    (await ann.post("/v1/users/me/identities", given)).expect(401)


async def test_linking_wants_a_recent_proof(site: Site) -> None:
    ann = await site.platform.as_user("ann@elsewhere.example")
    code = await site.code(ann)
    (identity,) = [
        (await ann.post("/v1/users/me/identities", {"code": code, "code_verifier": VERIFIER}))
        .expect(201)["id"]
    ]  # fmt: skip
    site.platform.clock.move(901)
    assert (await site.begin(ann)).expect(401)["code"] == "step_up_required"
    path = f"/v1/users/me/identities/{identity}"
    assert (await ann.delete(path)).expect(401)["code"] == "step_up_required"


async def test_the_last_way_in_stays(site: Site) -> None:
    tokens = (await site.log_in()).expect(201)
    ann = site.platform.as_bearer(tokens["access_token"])
    (identity,) = (await ann.get("/v1/users/me/identities")).json["items"]
    path = f"/v1/users/me/identities/{identity['id']}"
    assert (await ann.delete(path)).expect(409)["code"] == "last_way_in"
    site.issuer.subject = "sub-2"
    given = {"code": await site.code(ann), "code_verifier": VERIFIER}
    (await ann.post("/v1/users/me/identities", given)).expect(201)
    (await ann.delete(path)).expect(204)
    (told,) = await site.platform.events("users.identity.unlinked")
    assert told.subject == tokens["user"]["id"]


async def test_a_second_factor_is_asked_for_here_too(site: Site) -> None:
    tokens = (await site.log_in()).expect(201)
    ann = site.platform.as_bearer(tokens["access_token"])
    secret = (await ann.post("/v1/users/me/totp")).expect(201)["secret"]
    code = code_at(secret, site.platform.clock.now_ms())
    (await ann.post("/v1/users/me/totp:confirm", {"code": code})).expect(200)
    site.platform.clock.move(30)
    problem = (await site.log_in()).expect(401)
    assert problem["code"] == "factor_required"
    code = code_at(secret, site.platform.clock.now_ms())
    given = {"challenge": problem["challenge"], "code": code}
    (await site.anyone.post("/v1/sessions:complete", given)).expect(201)


async def test_nothing_of_an_identity_outlives_its_user(site: Site) -> None:
    tokens = (await site.log_in()).expect(201)
    ann = site.platform.as_bearer(tokens["access_token"])
    (await ann.delete("/v1/users/me")).expect(204)
    again = (await site.log_in()).expect(201)
    assert again["user"]["id"] != tokens["user"]["id"]


@pytest.mark.parametrize("email", [None, 7])
async def test_without_an_address_nobody_signs_up(site: Site, email: Any) -> None:
    site.issuer.claims["email"] = email
    assert (await site.log_in()).expect(409)["code"] == "address_missing"
    assert await site.users() == []


async def test_where_sign_up_is_closed_nobody_new_comes_in(platform_server: str | None) -> None:
    async with running() as issuer:
        settings = {
            "users.sign_up": False,
            "users.url": BASE,
            "users.login_redirects": [APP],
            "users.login.test.issuer": issuer.url,
            "users.login.test.client_id": CLIENT,
        }
        ports = {HttpClient: LazyHttpClient(allow_private=True)}
        async with Platform(database=platform_server, settings=settings, ports=ports) as platform:
            issuer.clock = platform.clock
            assert (await Site(platform, issuer).log_in()).expect(403)["code"] == "sign_up_closed"


# The issuer


async def test_keys_are_asked_for_anew_when_they_rotate_and_not_more_often(site: Site) -> None:
    (await site.log_in()).expect(201)
    assert site.issuer.keys_asked == 1
    site.platform.clock.move(60)
    site.issuer.rotate()
    (await site.log_in()).expect(201)
    assert site.issuer.keys_asked == 2
    site.issuer.sign = lambda claims: key_of_somebody_else(site.issuer, claims)
    for _ in range(3):
        (await site.log_in()).expect(401)
    assert site.issuer.keys_asked == 2  # no stranger makes us ask more than once a minute


async def test_an_issuer_that_is_down_is_said_to_be(site: Site) -> None:
    site.issuer.down = True
    answer = await site.begin()
    assert answer.expect(503)["code"] == "issuer_unavailable"
    assert "retry-after" in answer.headers


async def test_nobody_is_sent_where_the_settings_do_not_say(site: Site) -> None:
    for given in ({"redirect_uri": APP + "/x"}, {"redirect_uri": "https://evil.example/back"}):
        (await site.begin(**given)).expect(422)
    (await site.begin(provider="nobody")).expect(422)
    (await site.anyone.get("/v1/logins/test/callback?code=x&state=y")).expect(401)
    (await site.anyone.get("/v1/logins/test/callback")).expect(401)


async def test_apple_posts_a_form_and_takes_a_signed_secret(site: Site) -> None:
    site.issuer.claims["email_verified"] = "true"
    begun = (await site.begin(provider="apple")).expect(201)
    assert dict(parse_qsl(urlsplit(begun["url"]).query))["response_mode"] == "form_post"
    back, fields = site.issuer.visit(begun["url"])
    posted = {**fields, "user": '{"name": {}}'}
    path, form = back.removeprefix(BASE), "application/x-www-form-urlencoded"
    (await site.anyone.post(path, posted)).expect(415)
    body = urlencode(posted).encode()
    answer = await site.anyone.request("POST", path, content=body, content_type=form)
    tokens = (await site.complete(code_in(answer))).expect(201)
    assert tokens["user"]["email_verified"] is True
    secret = site.issuer.token_request["client_secret"]
    claims = jwt.decode(secret, site.issuer.apple, algorithms=["ES256"])
    assert claims.header["kid"] == "KEY"
    assert (claims.claims["iss"], claims.claims["sub"]) == ("TEAM", CLIENT)
    assert claims.claims["aud"] == site.issuer.url


async def test_github_is_asked_who_its_token_is_of(site: Site) -> None:
    site.issuer.answer = {"iss": ""}
    site.issuer.emails = [
        {"email": "old@example.com", "primary": False, "verified": True},
        {"email": EMAIL, "primary": True, "verified": True},
    ]
    tokens = (await site.log_in("github")).expect(201)
    assert (tokens["user"]["email"], tokens["user"]["display_name"]) == (EMAIL, "Ann")
    ann = site.platform.as_bearer(tokens["access_token"])
    (identity,) = (await ann.get("/v1/users/me/identities")).json["items"]
    assert identity["subject"] == "583231"
