"""The page of the guide in a real Chromium, whose own authenticator makes and uses a passkey."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from mainspring.testing import Platform
from tests.browser import IN_A_BROWSER, Browser, BrowserSaid, chromium
from tests.deadline import DEADLINE_S
from tests.services.users.relying_party import register

pytestmark = IN_A_BROWSER
GUIDE = Path(__file__).parents[3] / "docs/howto/log-in-with-a-passkey.md"
ANN = {"email": "ann@example.com", "password": "correct horse battery"}


@asynccontextmanager
async def page() -> AsyncIterator[str]:
    """Serve the guide's page, as the product's own server would; yield its origin."""
    found = re.search(r"^```html title=passkeys.html\n(.*?)^```$", GUIDE.read_text(), re.M | re.S)
    assert found is not None

    async def show(request: web.Request) -> web.Response:
        return web.Response(text=found[1], content_type="text/html")

    app = web.Application()
    app.router.add_get("/", show)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://localhost:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def refused(browser: Browser, script: str, *args: Any) -> str:
    with pytest.raises(BrowserSaid) as said:
        await browser.run(script, *args)
    return str(said.value)


async def test_a_page_registers_a_passkey_logs_in_and_steps_up() -> None:
    async with page() as origin:
        settings = {"users.passkey_origins": [origin], "cors.origins": [origin]}
        async with Platform(settings=settings, sockets=True) as platform, chromium() as browser:
            (await platform.anonymous.post("/v1/users", ANN)).expect(201)
            first = (await platform.anonymous.post("/v1/sessions", ANN)).expect(201)
            await browser.add_authenticator()
            await browser.open(f"{origin}/?api={platform.url}")
            add = "return addPasskey(...arguments)"
            made = await browser.run(add, first["access_token"], "Laptop")
            assert (made["name"], len(made["recovery_codes"])) == ("Laptop", 10)
            tokens = await browser.run("return logIn()")
            assert tokens["user"]["id"] == first["user"]["id"]
            challenge = (await platform.anonymous.post("/v1/sessions", ANN)).expect(401)[
                "challenge"
            ]
            second = await browser.run("return secondStep(...arguments)", challenge)
            given = (second["access_token"], second["session_id"])
            fresh = await browser.run("return stepUp(...arguments)", *given)
            # The authenticator knows that it has one of this user.
            assert "already registered" in await refused(browser, add, fresh["access_token"], "x")
            bearer = platform.as_bearer(fresh["access_token"])
            (await bearer.delete(f"/v1/users/me/passkeys/{made['id']}")).expect(204)
            assert "the passkey is unknown" in await refused(browser, "return logIn()")


class Front:
    """What stands before the platform at an address that is known before it starts."""

    def __init__(self) -> None:
        self.behind = ""  # where the platform is
        self.origin = ""
        self.shown: asyncio.Queue[str] = asyncio.Queue()  # pages that came of a redirect

    async def pass_on(self, request: web.Request) -> web.Response:
        kept = {"cookie", "content-type", "origin"}
        headers = {k: v for k, v in request.headers.items() if k.lower() in kept}
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method, URL(self.behind + request.raw_path, encoded=True),
                data=await request.read(), headers=headers, allow_redirects=False,
            ) as answer,
        ):  # fmt: skip
            body = await answer.read()
            if "resume=" in request.raw_path:
                self.shown.put_nowait(body.decode())
            told = [(k, v) for k, v in answer.headers.items() if k.lower() not in _OF_ONE_HOP]
            return web.Response(status=answer.status, headers=CIMultiDict(told), body=body)


_OF_ONE_HOP = {"content-length", "transfer-encoding", "connection", "date", "content-encoding"}


@asynccontextmanager
async def front() -> AsyncIterator[Front]:
    """Serve what passes everything on to a platform that starts later."""
    made, app = Front(), web.Application()
    app.router.add_route("*", "/{path:.*}", made.pass_on)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.origin = f"http://localhost:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()


MAKE = """
const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(arguments[0]);
return (await navigator.credentials.create({publicKey})).toJSON()
"""


async def test_our_own_log_in_page_takes_a_passkey() -> None:
    async with front() as before, chromium() as browser:
        settings = {"users.passkey_origins": [before.origin], "users.url": before.origin}
        async with Platform(settings=settings, sockets=True) as platform:
            before.behind = platform.url
            (await platform.anonymous.post("/v1/users", ANN)).expect(201)
            first = (await platform.anonymous.post("/v1/sessions", ANN)).expect(201)
            ann = platform.as_bearer(first["access_token"])
            wiki = await register(platform)
            await browser.add_authenticator()
            await browser.open(before.origin + wiki.url())
            options = (await ann.post("/v1/users/me/passkeys:begin")).expect(200)
            made = {"credential": await browser.run(MAKE, options["public_key"])}
            (await ann.post("/v1/users/me/passkeys", made)).expect(201)
            await browser.run("document.querySelector('#passkey button').click()")
            async with asyncio.timeout(DEADLINE_S):
                assert 'value="allow"' in await before.shown.get()
