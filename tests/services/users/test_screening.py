"""Passwords that leaked elsewhere, and tasks that programs do not solve: asked over HTTP."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from mainspring import App, Service, Unavailable
from mainspring.adapters.http_client.lazy import LazyHttpClient
from mainspring.ports.captcha import Captcha
from mainspring.ports.http_client import ANSWER_BYTES_MAX, HttpClient
from mainspring.ports.password_screen import PasswordScreen
from mainspring.services.users import screening
from mainspring.services.users.api import UsersSettings
from mainspring.testing import HttpAnswer, Platform

EMAIL, PASSWORD, LEAKED = "ann@example.com", "correct horse battery", "a password that leaked"
SECRET = "the secret of the site"


class Others:
    """Have I Been Pwned and a siteverify, on loopback: what they were asked, and what they say."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.range_status, self.padding = 200, b""
        self.sent: list[dict[str, str]] = []
        self.verdict: Any = {"success": True, "hostname": "app.example", "error-codes": []}

    async def range(self, request: web.Request) -> web.Response:
        prefix = request.match_info["prefix"]
        self.asked.append(request.path)
        assert request.headers["Add-Padding"] == "true"
        digest = hashlib.sha1(LEAKED.encode()).hexdigest().upper()
        lines = [f"{'0' * 35}:7"]
        if digest.startswith(prefix):
            lines.append(f"{digest[5:]}:3")
        right = hashlib.sha1(PASSWORD.encode()).hexdigest().upper()
        if right.startswith(prefix):
            lines.append(f"{right[5:]}:0")  # a line that is only there to make answers alike
        body = "\r\n".join(lines).encode() + self.padding
        return web.Response(status=self.range_status, body=body)

    async def siteverify(self, request: web.Request) -> web.Response:
        fields = parse_qs((await request.read()).decode())
        self.sent.append({name: values[0] for name, values in fields.items()})
        if isinstance(self.verdict, bytes):
            return web.Response(body=self.verdict)
        return web.json_response(self.verdict)


@pytest.fixture
async def others() -> AsyncIterator[Others]:
    others = Others()
    app = web.Application()
    app.router.add_get("/range/{prefix}", others.range)
    app.router.add_post("/siteverify", others.siteverify)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    others.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield others
    await runner.cleanup()


def platform_with(others: Others, app: App | None = None, **users: Any) -> Platform:
    settings = {f"users.{name}": value for name, value in users.items()}
    return Platform(app, settings=settings, ports={HttpClient: LazyHttpClient(allow_private=True)})


async def sign_up(platform: Platform, password: str = PASSWORD, **more: Any) -> HttpAnswer:
    given = {"email": EMAIL, "password": password, **more}
    return await platform.anonymous.post("/v1/users", given)


async def test_a_password_that_leaked_is_refused_by_its_first_letters_alone(others: Others) -> None:
    url = f"{others.url}/range/{{prefix}}"
    async with platform_with(others, breached_passwords_url=url) as platform:
        refused = (await sign_up(platform, LEAKED)).expect(422)
        assert refused["errors"] == [
            {
                "pointer": "/password",
                "detail": "is known from a leak of passwords elsewhere: choose another",
            }
        ]
        digest = hashlib.sha1(LEAKED.encode()).hexdigest().upper()
        assert others.asked == [f"/range/{digest[:5]}"]
        (await sign_up(platform)).expect(201)
        tokens = (await platform.anonymous.post("/v1/sessions", _login())).expect(201)
        me = platform.as_bearer(tokens["access_token"])
        change = {"password": PASSWORD, "new_password": LEAKED}
        refused = (await me.post("/v1/users/me:change_password", change)).expect(422)
        assert refused["errors"][0]["pointer"] == "/new_password"


@pytest.mark.parametrize("fail", ["open", "closed"])
async def test_a_screen_that_cannot_be_asked_does_what_settings_say(
    others: Others, fail: str
) -> None:
    more = {"breached_passwords_fail": fail}
    url = f"{others.url}/range/{{prefix}}"
    async with platform_with(others, breached_passwords_url=url, **more) as platform:
        others.range_status = 503
        answer = await sign_up(platform)
        assert answer.status == {"open": 201, "closed": 503}[fail], answer.text
        others.range_status, others.padding = 200, b"\r\n" + b"0" * ANSWER_BYTES_MAX
        answer = await sign_up(platform, email="bob@example.com")
        assert answer.status == {"open": 201, "closed": 503}[fail], answer.text
        # What is found in the part that is read counts all the same.
        (await sign_up(platform, LEAKED, email="eve@example.com")).expect(422)


class OwnScreen:
    """An app's own: it knows one password, and cannot tell of another."""

    async def is_breached(self, password: str) -> bool:
        if password == PASSWORD:
            raise Unavailable("not now")
        return password == LEAKED


class OwnCaptcha:
    """An app's own: a word."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str | None]] = []

    async def is_solved(self, token: str, action: str, address: str | None, once: str) -> bool:
        self.asked.append((token, action, address))
        return token == "please"


async def test_an_app_brings_its_own(others: Others) -> None:
    own, captcha = Service("own", doc="Screens of its own."), OwnCaptcha()
    own.provide(PasswordScreen, OwnScreen)
    own.provide(Captcha, lambda: captcha)
    more = {"breached_passwords_fail": "closed", "captcha_on": ["sign_up"]}
    async with platform_with(others, App("test", services=[own]), **more) as platform:
        assert (await sign_up(platform, LEAKED, captcha="please")).expect(422)
        (await sign_up(platform, captcha="please")).expect(503)
        good = "eleven blue elephants"
        assert (await sign_up(platform, good)).expect(403)["code"] == "captcha_required"
        assert (await sign_up(platform, good, captcha="x")).expect(403)["code"] == "captcha_refused"
        (await sign_up(platform, good, captcha="please")).expect(201)
        assert captcha.asked[-1] == ("please", "sign_up", "127.0.0.1")
        assert others.asked == others.sent == []


def _login(password: str = PASSWORD, **more: str) -> dict[str, str]:
    return {"email": EMAIL, "password": password, **more}


CAPTCHA: dict[str, Any] = {
    "captcha_secret": SECRET,
    "captcha_on": ["sign_up", "log_in", "reset"],
    "captcha_after_failures": 2,
    "captcha_hostnames": ["app.example"],
}


async def test_a_task_is_asked_for_where_settings_say(others: Others) -> None:
    async with platform_with(others, captcha_url=f"{others.url}/siteverify", **CAPTCHA) as platform:
        assert (await sign_up(platform)).expect(403)["code"] == "captcha_required"
        assert others.sent == []
        (await sign_up(platform, captcha="good")).expect(201)
        assert others.sent == [{"secret": SECRET, "response": "good", "remoteip": "127.0.0.1"}]
        reset = {"email": EMAIL}
        path = "/v1/users:request_password_reset"
        (await platform.anonymous.post(path, reset)).expect(403)
        (await platform.anonymous.post(path, {**reset, "captcha": "x"})).expect(202)
        for email in (EMAIL, "nobody@example.com"):  # alike, whether or not somebody has it
            given = {"email": email, "password": "wrong horse battery"}
            for _ in range(2):
                (await platform.anonymous.post("/v1/sessions", given)).expect(401)
            for _ in range(3):  # and nothing is counted any more
                refused = (await platform.anonymous.post("/v1/sessions", given)).expect(403)
                assert refused["code"] == "captcha_required"
        (await platform.anonymous.post("/v1/sessions", _login(captcha="x"))).expect(201)
        (await platform.anonymous.post("/v1/sessions", _login())).expect(201)  # it is forgotten
        new = {"email": "bob@example.com", "password": PASSWORD}
        (await platform.admin.post("/v1/users", new)).expect(201)
        root = await platform.as_user("root@example.com", roles=["admin"])
        new["email"] = "eve@example.com"
        (await root.post("/v1/users", new)).expect(201)


async def test_what_a_verdict_says_counts(others: Others) -> None:
    good = others.verdict
    cases: dict[str, tuple[Any, int]] = {
        "not solved": ({**good, "success": False, "error-codes": ["timeout-or-duplicate"]}, 403),
        "another site": ({**good, "hostname": "evil.example"}, 403),
        "another form": ({**good, "action": "comment"}, 403),
        "like a program": ({**good, "score": 0.1}, 403),
        "a wrong secret": ({"success": False, "error-codes": ["invalid-input-secret"]}, 503),
        "no JSON": (b"<html>", 503),
        "something else": (b"[]", 503),
        "of this form": ({**good, "action": "sign_up", "score": 0.9}, 201),
    }
    faults = []
    url = f"{others.url}/siteverify"
    async with platform_with(others, captcha_url=url, **CAPTCHA) as platform:
        for name, (verdict, status) in cases.items():
            others.verdict = verdict
            answer = await sign_up(platform, captcha="x")
            if answer.status != status:
                faults.append(f"{name}: {answer.text}")
        assert SECRET not in str(faults)
    assert faults == []


async def test_a_call_that_runs_again_sends_a_token_once(others: Others) -> None:
    url = f"{others.url}/siteverify"
    async with platform_with(others, captcha_url=url, **CAPTCHA) as platform:
        verify = platform.app.runtime.resources[screening.SiteVerify]
        for _ in range(2):
            assert await verify.is_solved("t", "sign_up", None, "capt_1")
        assert len(others.sent) == 1
        assert await verify.is_solved("t", "sign_up", None, "capt_2")
        assert len(others.sent) == 2


async def test_nobody_is_waited_for_without_end(
    others: Others, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screening, "TIMEOUT_S", 0.0)
    url = f"{others.url}/siteverify"
    async with platform_with(others, captcha_url=url, **CAPTCHA) as platform:
        (await sign_up(platform, captcha="x")).expect(503)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"breached_passwords_url": "https://example.com/range/"}, "holds {prefix}"),
        ({"breached_passwords_url": "http://example.com/{prefix}"}, "is https://"),
        ({"captcha_url": "https://example.com"}, "needs captcha_secret"),
        ({"captcha_url": "http://example.com", "captcha_secret": "x"}, "is https://"),
    ],
)
def test_settings_that_do_not_hold_are_told(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        UsersSettings(**settings)
