"""The page of the guide in a real Chromium, whose own authenticator makes and uses a passkey."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from mainspring.testing import Platform
from tests.browser import IN_A_BROWSER, Browser, BrowserSaid, chromium

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
