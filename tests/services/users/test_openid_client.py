"""npm's openid-client, which nobody here wrote, logs somebody in over real sockets."""

import asyncio
import json
import os
import re
import shutil
from pathlib import Path
from urllib.parse import urljoin

import aiohttp
import pytest

from mainspring.kernel.clock import SystemClock, rfc3339
from mainspring.testing import Platform
from mainspring.testing.servers import free_ports
from tests.deadline import DEADLINE_S
from tests.services.users.relying_party import AFTER, EMAIL, PASSWORD, register

APP = "https://grafana.example/login/generic_oauth"  # the client finds it where it is led to
SCRIPT = Path(__file__).with_name("openid_client.mjs")
MODULES = Path(os.environ.get("NODE_PATH", "node_modules"))

pytestmark = [
    pytest.mark.more,
    pytest.mark.skipif(
        not shutil.which("node") or not (MODULES / "openid-client").is_dir(),
        reason="no node, or no openid-client in NODE_PATH: npm install openid-client",
    ),
]


async def visit(url: str) -> str:
    """Go through the platform's own pages as a browser would; return where they lead."""
    typed = {"email": EMAIL, "password": PASSWORD, "decision": "allow"}
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        form: dict[str, str] | None = None
        for _ in range(10):
            method = "GET" if form is None else "POST"
            async with browser.request(method, url, data=form, allow_redirects=False) as answer:
                text = await answer.text()
                if answer.status == 303:
                    url, form = urljoin(url, answer.headers["Location"]), None
                    if url.startswith((APP, AFTER)):
                        return url
                    continue
            assert answer.status == 200, text
            url = urljoin(url, re.findall(r'action="([^"]+)"', text)[0])
            form = dict(re.findall(r'name="(request)" value="([^"]+)"', text))
            form |= {name: value for name, value in typed.items() if f'name="{name}"' in text}
    raise AssertionError("the platform's pages go round in circles")


async def test_openid_client_is_content(platform_server: str | None) -> None:
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    settings = {"users.url": url, "server.port": port}
    now = rfc3339(SystemClock().now_ms())  # the client's clock is the real one
    async with Platform(
        database=platform_server, settings=settings, sockets=True, start=now
    ) as platform:
        given = {"email": EMAIL, "password": PASSWORD, "display_name": "Ann"}
        user = (await platform.anonymous.post("/v1/users", given)).expect(201)
        scopes = ["openid", "profile", "email", "offline_access", "records:read"]
        party = await register(platform, scopes=scopes, redirect_uris=[APP])
        process = await asyncio.create_subprocess_exec(
            "node", str(SCRIPT), str(MODULES.resolve()), url, party.id, party.client["secret"],
            APP, AFTER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            begun = json.loads(await asyncio.wait_for(process.stdout.readline(), DEADLINE_S))
            process.stdin.write((await visit(begun["url"])).encode() + b"\n")
            said = json.loads(await asyncio.wait_for(process.stdout.readline(), DEADLINE_S))
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
        assert (said["claims"]["sub"], said["claims"]["amr"]) == (user["id"], ["pwd"])
        assert (said["who"]["email"], said["who"]["name"]) == (EMAIL, "Ann")
        assert (said["before"]["active"], said["before"]["client_id"]) == (True, party.id)
        assert (said["gone"], said["spent"]) == ({"active": False}, "invalid_grant")
        assert said["own"] == "records:read"
