"""The market's page on another origin in two real browsers: mail, an issuer, a passkey, live.

Everything is real but the time: Chromium with its own authenticator, an SMTP server, npm's
oidc-provider as the company that Bert works for.
"""

import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

from mainspring.adapters.http_client.lazy import LazyHttpClient
from mainspring.adapters.mail import smtp
from mainspring.kernel.clock import SystemClock, rfc3339
from mainspring.ports.http_client import HttpClient
from mainspring.ports.mail import Mail
from mainspring.testing import Platform
from mainspring.testing.servers import free_ports
from tests.browser import IN_A_BROWSER, Browser, chromium
from tests.examples.market.platforms import COLLECTIONS, MARKET
from tests.services.users.issuer import CLIENT, SECRET
from tests.services.users.oidc_provider import ABSENT, oidc_provider
from tests.smtp_server import SECRET as MAIL_SECRET
from tests.smtp_server import SENDER, SmtpServer

pytestmark = [*IN_A_BROWSER, pytest.mark.skipif(bool(ABSENT), reason=ABSENT)]
PASSWORD = "correct horse battery 9"

# Defines ``until``: waits in the page for what comes to hold there.
UNTIL = """
const until = (holds) => new Promise((resolve) => {
  const look = () => { if (holds()) { observer.disconnect(); resolve(); } };
  const observer = new MutationObserver(look);
  const all = {subtree: true, childList: true, attributes: true, characterData: true};
  observer.observe(document, all);
  look();
});
"""
LOADED = UNTIL + "await until(() => document.body?.dataset.ready)"
SHOWS = (
    UNTIL
    + """
const [selector, text] = arguments;
await until(() => document.querySelector(selector).textContent.includes(text))
"""
)
FILL = (
    UNTIL
    + """
const [selector, values, way] = arguments;
const form = document.querySelector(selector);
for (const [name, value] of Object.entries(values)) {
  const field = form.elements[name];
  const option = [...field.options ?? []].find((one) => one.text === value);
  field.value = option ? option.value : value;
}
const done = Number(document.body.dataset.done ?? 0);
form.requestSubmit(way ? form.querySelector(`[value=${way}]`) : undefined);
await until(() => Number(document.body.dataset.done ?? 0) > done);
return document.querySelector("#said").textContent;
"""
)
CLICK = "document.querySelector(arguments[0]).click()"


class Person:
    """Somebody in front of a browser that shows the market."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    async def opens(self, url: str) -> None:
        await self.browser.open(url)
        await self.browser.run(LOADED)

    async def sees(self, selector: str, text: str) -> None:
        """Wait until the page shows it."""
        await self.browser.run(SHOWS, selector, text)

    async def sends(self, form: str, way: str | None = None, **values: str) -> str:
        """Fill in a form and send it; what the page says then."""
        return str(await self.browser.run(FILL, form, values, way))

    async def clicks(self, selector: str) -> None:
        await self.browser.run(CLICK, selector)

    async def reads(self, selector: str) -> str:
        """What an element says now."""
        return str(
            await self.browser.run(
                "return document.querySelector(arguments[0]).textContent", selector
            )
        )


@contextlib.asynccontextmanager
async def page() -> AsyncIterator[str]:
    """Serve the page, as somebody else's server would; yield its address."""
    app = web.Application()

    async def index(request: web.Request) -> web.FileResponse:
        return web.FileResponse(MARKET / "web" / "index.html")

    app.router.add_get("/", index)
    app.router.add_static("/", MARKET / "web")
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://localhost:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def market(page: str, post: SmtpServer) -> AsyncIterator[Platform]:
    """The platform as the page's owner runs it, with an issuer to log in with."""
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    origin = page.rstrip("/")
    async with oidc_provider(f"{url}/v1/logins/company/callback") as issuer:
        settings = {
            "server.port": port,
            "cors.origins": [origin],
            "users.url": url,
            "users.verify_url": page + "?verify={token}",
            "users.login_redirects": [page],
            "users.passkey_origins": [origin],
            "users.login.company.issuer": issuer,
            "users.login.company.client_id": CLIENT,
            "users.login.company.client_secret": SECRET,
        }
        place = f"shop:{quote(MAIL_SECRET, safe='')}@127.0.0.1:{post.port}"
        mail = smtp.open(f"smtp+starttls://{place}?from={quote(SENDER)}&ca={post.ca}")
        ports: dict[type, Any] = {HttpClient: LazyHttpClient(allow_private=True), Mail: mail}
        now = rfc3339(SystemClock().now_ms())  # the issuer's clock is the real one
        async with Platform(
            settings=settings, ports=ports, start=now, sockets=True, running=True
        ) as platform:
            for made in COLLECTIONS:
                body = {name: value for name, value in made.items() if name != "rules"}
                (await platform.admin.post("/v1/collections", body)).expect(201)
            for made in COLLECTIONS:
                path = f"/v1/collections/{made['name']}"
                (await platform.admin.patch(path, {"rules": made["rules"]})).expect(200)
            yield platform


async def test_a_day_at_the_market(tmp_path: Path) -> None:
    async with (
        page() as address,
        SmtpServer(tmp_path) as post,
        market(address, post) as platform,
        chromium() as first,
        chromium() as second,
    ):
        ann, bert = Person(first), Person(second)
        await bert.opens(f"{address}?api={platform.url}")
        await bert.sees("#live", "live")

        await ann.opens(f"{address}?api={platform.url}")
        assert (
            await ann.sends("#password-form", "sign-up", email="ann@example.com", password=PASSWORD)
            == ""
        )
        (mail,) = await post.sent()
        link = re.search(r"http://localhost\S+", mail.text)
        assert link is not None, mail.text
        await ann.opens(link[0])
        await ann.sees("#said", "Your address is proved.")

        await ann.sends("#stall-form", name="Ann's")
        await ann.sends("#offer-form", stall="Ann's", title="Apples", price_cents="50")
        await bert.sees("#offers", "Apples0.50")  # he did not reload, and nobody knows him

        await bert.clicks("#issuer-log-in")
        await through_the_issuer(bert.browser, "bert")
        await bert.browser.run(LOADED)
        await bert.sees("#who", "bert@example.com")
        said = await bert.sends("#offer-form", stall="Ann's", title="Mine", price_cents="1")
        assert "a rule of the collection" in said, said
        await ann.sends("#offer-form", stall="Ann's", title="Pears", price_cents="60")
        await bert.sees("#offers", "Pears0.60")
        assert "Mine" not in await bert.reads("#offers")

        await ann.sends("#team-form", name="Red")
        await ann.sends("#project-form", team="Red", title="Bridge")
        assert "Bridge" not in await bert.reads("#projects")
        his = re.search(r"user_\w+", await bert.reads("#who"))
        assert his is not None
        await ann.sends("#member-form", team="Red", user=his[0], role="guest")
        await bert.opens(address)
        await bert.sees("#projects", "BridgeRed")

        await ann.browser.add_authenticator()
        await ann.clicks("#passkey-add")
        await ann.sees("#said", "Your passkey is kept.")
        await ann.clicks("#log-out")
        await ann.sees("#who", "Not logged in")
        await ann.clicks("#passkey-log-in")
        await ann.sees("#who", "ann@example.com")


async def through_the_issuer(browser: Browser, login: str) -> None:
    """Log in on the issuer's own pages and agree."""
    await browser.run(UNTIL + "await until(() => document.querySelector('input[name=login]'))")
    await browser.run(
        "document.querySelector('input[name=login]').value = arguments[0];"
        "document.querySelector('input[name=password]').value = 'x';"
        "document.querySelector('form').submit()",
        login,
    )
    await browser.run(
        UNTIL + "await until(() => document.querySelector('input[name=prompt][value=consent]'))"
    )
    await browser.run("document.querySelector('form').submit()")
