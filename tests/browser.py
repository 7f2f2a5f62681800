"""A real browser for a test: Chromium, driven over WebDriver (W3C) through chromedriver.

Ask for it with ``async with chromium() as browser``, in a test marked as ``IN_A_BROWSER`` says.
"""

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.deadline import DEADLINE_S

DRIVER = shutil.which("chromedriver")
CHROMIUM = shutil.which("chromium")
# Debian: apt-get install --no-install-recommends chromium chromium-driver
IN_A_BROWSER = [
    pytest.mark.more,
    pytest.mark.skipif(
        not (DRIVER and CHROMIUM), reason="no chromium and chromedriver on PATH (chromium-driver)"
    ),
]
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # as root there is none
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
)


class BrowserSaid(AssertionError):
    """What a page threw, or the driver refused."""


class Browser:
    """One window. Scripts run in its page; what they return is awaited there."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send a command of WebDriver and return its value."""
        sent = {} if method == "POST" and body is None else body
        async with self._session.request(method, self._base + path, json=sent) as answer:
            value = (await answer.json())["value"]
        if answer.status != 200:
            raise BrowserSaid(f"{value['error']}: {value['message'][:1_000]}")
        return value

    async def open(self, url: str) -> None:
        """Load a page to its end."""
        await self.ask("POST", "/url", {"url": url})

    async def run(self, script: str, *args: Any) -> Any:
        """Run a function's body in the page (``arguments`` are its own) and await what it gives."""
        return await self.ask("POST", "/execute/sync", {"script": script, "args": list(args)})

    async def protocol(self, command: str, **params: Any) -> Any:
        """Send a command of the DevTools protocol."""
        return await self.ask("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    async def add_authenticator(self) -> str:
        """Give it an authenticator of its own, that keeps passkeys and verifies its user."""
        await self.protocol("WebAuthn.enable")
        options = {
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": True,
            "hasUserVerification": True, "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }  # fmt: skip
        made = await self.protocol("WebAuthn.addVirtualAuthenticator", options=options)
        return str(made["authenticatorId"])


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start a browser with a profile of its own, and end it."""
    assert DRIVER is not None
    with tempfile.TemporaryDirectory(prefix="mainspring-chromium-") as profile:
        driver = await asyncio.create_subprocess_exec(
            DRIVER, "--port=0", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
            async with aiohttp.ClientSession(timeout=timeout) as session:
                base = f"http://127.0.0.1:{await _port(driver)}/session"
                browser = Browser(session, base)
                arguments = [*ARGUMENTS, f"--user-data-dir={profile}"]
                wanted = {"browserName": "chrome", "goog:chromeOptions": {
                    "binary": CHROMIUM, "args": arguments,
                }}  # fmt: skip
                made = await browser.ask("POST", "", {"capabilities": {"alwaysMatch": wanted}})
                browser = Browser(session, f"{base}/{made['sessionId']}")
                try:
                    yield browser
                finally:
                    await browser.ask("DELETE", "")
        finally:
            driver.terminate()
            await driver.wait()


async def _port(driver: asyncio.subprocess.Process) -> int:
    assert driver.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        async for line in driver.stdout:
            if found := re.search(rb"successfully on port ([0-9]+)", line):
                return int(found[1])
    raise BrowserSaid("chromedriver ended before it listened")
