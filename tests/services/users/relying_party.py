"""Another application, and the browser between it and the platform."""

import base64
import hashlib
import html
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet

from mainspring.testing import HttpAnswer, Platform

BASE = "https://id.example"
APP = "https://wiki.example/back?of=wiki"
AFTER = "https://wiki.example/bye"
EMAIL, PASSWORD = "ann@example.com", "correct horse battery"
VERIFIER = "v" * 43
FORM = "application/x-www-form-urlencoded"


def challenge_of(verifier: str = VERIFIER) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class Browser:
    """Follows forms and keeps cookies, as a browser without JavaScript does."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.cookies: dict[str, str] = {}
        self.languages = ""

    async def get(self, url: str) -> HttpAnswer:
        return self._kept(await self.platform.anonymous.get(_path(url), headers=self._headers()))

    async def post(self, url: str, fields: Mapping[str, str]) -> HttpAnswer:
        return self._kept(
            await self.platform.anonymous.post(
                _path(url), content=urlencode(fields).encode(), content_type=FORM,
                headers=self._headers(),
            )
        )  # fmt: skip

    async def send(self, page: HttpAnswer, **typed: str) -> HttpAnswer:
        """Fill in the form of a page and send it off; follow where that leads on our side."""
        action = html.unescape(re.findall(r'action="([^"]+)"', page.text)[0])
        answer = await self.post(action, {**hidden_in(page), **typed})
        while answer.status == 303 and answer.headers["location"].startswith(BASE):
            answer = await self.get(answer.headers["location"])
        return answer

    def _headers(self) -> dict[str, str]:
        said = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"cookie": said} if said else {}
        return headers | ({"accept-language": self.languages} if self.languages else {})

    def _kept(self, answer: HttpAnswer) -> HttpAnswer:
        cookie = answer.headers.get("set-cookie")
        if cookie is not None:
            assert "; HttpOnly; SameSite=Lax; Secure" in cookie
            name, _, value = cookie.partition(";")[0].partition("=")
            assert name.startswith("__Host-")
            self.cookies[name] = value
        return answer


class RelyingParty:
    """An application that is registered, as its own server would act."""

    def __init__(self, platform: Platform, client: dict[str, Any]) -> None:
        self.platform = platform
        self.client = client
        self.id: str = client["id"]

    def url(self, **changed: str) -> str:
        """Where a browser is sent to log in; a field that is changed to nothing is left out."""
        fields = {
            "response_type": "code", "client_id": self.id, "redirect_uri": APP,
            "scope": "openid profile email", "state": "s t&te", "nonce": "n-1",
            "code_challenge": challenge_of(), "code_challenge_method": "S256", **changed,
        }  # fmt: skip
        return "/oauth/authorize?" + urlencode({k: v for k, v in fields.items() if v})

    async def ask(self, path: str, secret: str | None = None, **fields: str) -> HttpAnswer:
        """Post a form as the client, by Basic where it has a secret."""
        secret = self.client["secret"] if secret is None else secret
        headers = {}
        if secret:
            pair = base64.b64encode(f"{self.id}:{secret}".encode()).decode()
            headers["authorization"] = f"Basic {pair}"
        else:
            fields = {"client_id": self.id, **fields}
        return await self.platform.anonymous.post(
            path, content=urlencode(fields).encode(), content_type=FORM, headers=headers
        )

    async def trade(self, code: str, /, **changed: str) -> HttpAnswer:
        fields = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": APP,
            "code_verifier": VERIFIER, **changed,
        }  # fmt: skip
        return await self.ask("/oauth/token", **fields)

    async def refresh(self, token: str, **more: str) -> HttpAnswer:
        return await self.ask(
            "/oauth/token", grant_type="refresh_token", refresh_token=token, **more
        )

    async def userinfo(self, token: str) -> HttpAnswer:
        headers = {"authorization": f"Bearer {token}"}
        return await self.platform.anonymous.get("/oauth/userinfo", headers=headers)

    async def is_active(self, token: str) -> bool:
        told = (await self.ask("/oauth/introspect", token=token)).expect(200)
        return bool(told["active"])

    async def read_id_token(self, token: str) -> dict[str, Any]:
        keys = (await self.platform.anonymous.get("/oauth/jwks")).expect(200)
        found = jwt.decode(token, KeySet.import_key_set(keys), algorithms=["RS256"])
        assert found.header["typ"] == "JWT"
        return dict(found.claims)


async def register(platform: Platform, **more: Any) -> RelyingParty:
    new = {
        "name": "The <wiki> & more", "redirect_uris": [APP], "post_logout_redirect_uris": [AFTER],
        "scopes": ["openid", "profile", "email", "offline_access"], **more,
    }  # fmt: skip
    made = (await platform.admin.post("/v1/oauth_clients", new)).expect(201)
    return RelyingParty(platform, made)


async def log_in(browser: Browser, page: HttpAnswer, email: str = EMAIL) -> HttpAnswer:
    return await browser.send(page, email=email, password=PASSWORD)


async def code_for(browser: Browser, party: RelyingParty, **changed: str) -> str:
    """Go through all pages that come, and return the code that the browser brings back."""
    answer = await browser.get(party.url(**changed))
    if "password" in answer.text:
        answer = await log_in(browser, answer)
    if 'value="allow"' in answer.text:
        answer = await browser.send(answer, decision="allow")
    return back_with(answer)["code"]


def back_with(answer: HttpAnswer, app: str = APP) -> dict[str, str]:
    """Return what a browser brings back to the application."""
    assert answer.status == 303, answer.text
    location = answer.headers["location"]
    assert location.startswith(app), location
    assert answer.headers["cache-control"] == "no-store"
    return dict(parse_qsl(urlsplit(location).query))


def hidden_in(page: HttpAnswer) -> dict[str, str]:
    found = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text)
    return {name: html.unescape(value) for name, value in found}


def _path(url: str) -> str:
    return url.removeprefix(BASE)
