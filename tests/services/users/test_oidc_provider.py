"""Logging in with npm's oidc-provider, which nobody here wrote."""

import re
from urllib.parse import urljoin

import aiohttp
import pytest

from mainspring.adapters.http_client.lazy import LazyHttpClient
from mainspring.kernel.clock import SystemClock, rfc3339
from mainspring.ports.http_client import HttpClient
from mainspring.testing import Platform
from tests.services.users.issuer import CLIENT, SECRET
from tests.services.users.oidc_provider import ABSENT, oidc_provider
from tests.services.users.test_logins import APP, BASE, CHALLENGE, VERIFIER, code_in

NAME = "real"
CALLBACK = f"{BASE}/v1/logins/{NAME}/callback"

pytestmark = [pytest.mark.more, pytest.mark.skipif(bool(ABSENT), reason=ABSENT)]


async def visit(url: str, login: str) -> str:
    """Go through the provider's own pages as a browser would; return where it sends us back."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        form: dict[str, str] | None = None
        for _ in range(12):
            method = "GET" if form is None else "POST"
            async with browser.request(method, url, data=form, allow_redirects=False) as answer:
                text = await answer.text()
                if answer.status in (302, 303):
                    url, form = urljoin(url, answer.headers["Location"]), None
                    if url.startswith(BASE):
                        return url
                    continue
            assert answer.status == 200, text
            action = re.search(r'action="([^"]+)"', text)
            prompt = re.search(r'name="prompt" value="(\w+)"', text)
            assert action is not None, text
            assert prompt is not None, text
            url = urljoin(url, action[1])
            form = {"prompt": prompt[1], "login": login, "password": "x"}
    raise AssertionError("the provider goes round in circles")


async def test_somebody_logs_in_with_a_real_issuer(platform_server: str | None) -> None:
    async with oidc_provider(CALLBACK) as issuer:
        settings = {
            "users.url": BASE,
            "users.login_redirects": [APP],
            f"users.login.{NAME}.issuer": issuer,
            f"users.login.{NAME}.client_id": CLIENT,
            f"users.login.{NAME}.client_secret": SECRET,
        }
        ports = {HttpClient: LazyHttpClient(allow_private=True)}
        now = rfc3339(SystemClock().now_ms())  # the provider's clock is the real one
        async with Platform(
            database=platform_server, settings=settings, ports=ports, start=now
        ) as platform:
            known = None
            for _ in range(2):
                given = {"provider": NAME, "redirect_uri": APP, "code_challenge": CHALLENGE}
                begun = (await platform.anonymous.post("/v1/logins", given)).expect(201)
                back = await visit(begun["url"], "ann")
                answer = await platform.anonymous.get(back.removeprefix(BASE))
                spent = {"code": code_in(answer), "code_verifier": VERIFIER}
                tokens = (await platform.anonymous.post("/v1/logins:complete", spent)).expect(201)
                user = tokens["user"]
                assert (user["email"], user["email_verified"]) == ("ann@example.com", True)
                known = known or user["id"]
                assert user["id"] == known
