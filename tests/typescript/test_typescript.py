"""The TypeScript client in Node, against a platform that listens; and what its files are."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from standardwebhooks.webhooks import Webhook

from mainspring.app import BUILT_IN
from mainspring.interfaces.clients import typescript
from mainspring.interfaces.clients.python import callable_ones
from mainspring.testing import Platform
from tests.browser import CHROMIUM, DRIVER, chromium
from tests.cli.site import Site, started
from tests.deadline import DEADLINE_S

HERE = Path(__file__).parent
SDK = HERE.parents[1] / "clients/typescript"
RUNTIME = ("core.js", "errors.js", "service.js", "sse.js")
RUNTIME_BYTES_MAX = 6 << 10
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

in_node = pytest.mark.skipif(not shutil.which("node"), reason="no node on PATH")


def webhook() -> dict[str, Any]:
    """A delivery as another implementation of the standard signs it."""
    moment = datetime(2026, 11, 28, 12, tzinfo=UTC)
    body = '{"type":"records.record.created","data":{"title":"é"}}'
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": "v1,bm8= " + Webhook(SECRET).sign("msg_1", moment, body),
    }
    now_ms = moment.timestamp() * 1000
    return {"secret": SECRET, "headers": headers, "body": body, "now_ms": now_ms}


@in_node
async def test_every_case_holds_in_node() -> None:
    async with Platform(sockets=True) as platform:
        told = {
            "sdk": str(SDK), "url": platform.url, "key": await platform.admin.credential(),
            "webhook": webhook(),
        }  # fmt: skip
        node = await asyncio.create_subprocess_exec(
            "node", str(HERE / "cases.mjs"), stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            said, complaints = await asyncio.wait_for(
                node.communicate(json.dumps(told).encode()), DEADLINE_S
            )
        finally:
            if node.returncode is None:
                node.kill()
            await node.wait()
    played = [json.loads(line) for line in said.splitlines()]
    wrong = [f"{each['name']}: {each['error']}" for each in played if each["error"]]
    assert not wrong, "\n\n".join(wrong)
    names = re.findall(r'^  async "(.+)"\(\)', (HERE / "cases.mjs").read_text(), re.MULTILINE)
    assert [each["name"] for each in played] == names, complaints.decode()


@in_node
@pytest.mark.more
async def test_writes_that_wait_have_one_effect_each_over_kills_of_both_ends(
    tmp_path: Path,
) -> None:
    async def node(at: Site, wanted: str) -> asyncio.subprocess.Process:
        key = at.http.headers["Authorization"].removeprefix("Bearer ")
        return await asyncio.create_subprocess_exec(
            "node", str(HERE / "offline.mjs"), str(SDK), at.url, key,
            str(tmp_path / "storage.json"), wanted, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async with started(tmp_path, subprocess.DEVNULL, "up", platform__workers="1") as first:
        losing = await node(first, "lose")
        assert losing.stdout is not None
        try:
            # The platform has written the second, and nobody has been told.
            assert await asyncio.wait_for(losing.stdout.readline(), DEADLINE_S) == b"201\n"
        finally:
            losing.kill()
            await losing.wait()
        first.process.kill()
    async with started(tmp_path, subprocess.DEVNULL, "up", platform__workers="1") as second:
        sending = await node(second, "send")
        try:
            said, _ = await asyncio.wait_for(sending.communicate(), DEADLINE_S)
        finally:
            if sending.returncode is None:
                sending.kill()
                await sending.wait()
    assert json.loads(said) == {
        "sent": [["two", True], ["three", False]],
        "found": ["one", "two", "three"],
    }


def test_what_is_made_of_the_declarations_is_current() -> None:
    made = dict(typescript.modules(BUILT_IN))
    kept = {name: (SDK / name).read_text("utf-8") for name in made if (SDK / name).exists()}
    assert kept == made, "make clients writes them anew"
    services = {f"services/{path.name}" for path in (SDK / "services").iterdir()}
    assert services == {name for name in made if name.startswith("services/")}


def test_every_operation_has_a_method_or_is_a_page_of_oauth() -> None:
    operations = [each for service in BUILT_IN for each in service.operations.values()]
    without = {each.name for each in operations} - {each.name for each in callable_ones(operations)}
    assert all(name.startswith("users.") for name in without)
    paths = {each.path for each in operations if each.name in without}
    assert paths <= {"/v1/logins/{provider}/callback"} | {p for p in paths if "/oauth/" in p}
    tables = "".join((SDK / f"services/{each.name}.js").read_text() for each in BUILT_IN)
    for each in operations:
        told = re.findall(rf'"{each.method} {re.escape(each.path)}[ "]', tables)
        assert len(told) == (each.name not in without), each.name


def test_it_takes_nothing_that_only_some_have() -> None:
    for path in SDK.rglob("*.js"):
        code = re.sub(r"//.*", "", path.read_text("utf-8"))
        assert not re.search(r"node:|require\(|\bprocess\.|\bBuffer\b", code), path.name
        assert not re.search(r"localStorage|EventSource|XMLHttpRequest|\bwindow\.", code), path.name
        assert not re.search(r"^(?:const .*= )?await ", code, re.MULTILINE), path.name
        assert not re.search(r"#\w+ in ", code), path.name
        assert all(each.startswith("./") or each.startswith("../") for each in
                   re.findall(r'from "(.+?)"', code)), path.name  # fmt: skip
    told = json.loads((SDK / "package.json").read_text())
    assert not told.keys() & {"dependencies", "peerDependencies"}


@in_node
def test_the_runtime_is_small() -> None:
    texts = [(SDK / name).read_text("utf-8") for name in RUNTIME]
    # As a bundler ships them, but for the short names that it would give.
    text = re.sub(r"^\s+|^//.*\n", "", "".join(texts), flags=re.MULTILINE).encode()
    script = (
        "const z=require('zlib');const t=require('fs').readFileSync(0);"
        "console.log(z.brotliCompressSync(t).length)"
    )
    done = subprocess.run(["node", "-e", script], input=text, capture_output=True, check=True)
    assert int(done.stdout) <= RUNTIME_BYTES_MAX


async def blank(_: web.Request) -> web.Response:
    return web.Response(text="<title>a page", content_type="text/html")


@pytest.mark.more
@pytest.mark.skipif(not (DRIVER and CHROMIUM), reason="no chromium and chromedriver on PATH")
async def test_a_page_logs_in_keeps_its_session_and_follows_a_stream() -> None:
    pages = web.Application()
    pages.router.add_static("/sdk", SDK)
    pages.router.add_get("/", blank)
    async with TestServer(pages) as site, chromium() as browser:
        origin = str(site.make_url("")).rstrip("/")
        async with Platform(sockets=True, settings={"cors.origins": [origin]}) as platform:
            account = {"email": "ann@example.com", "password": "correct horse battery"}
            (await platform.anonymous.post("/v1/users", account)).expect(201)
            field = {"name": "title", "type": "text"}
            anybody = dict.fromkeys(("list", "view", "create"), "true")
            wanted = {"name": "posts", "fields": [field], "rules": anybody}
            (await platform.admin.post("/v1/collections", wanted)).expect(201)
            await browser.open(origin)
            script = (HERE / "page.js").read_text()
            async with asyncio.timeout(DEADLINE_S):
                said = await browser.run(script, platform.url, account)
    assert said == {
        "who": "ann@example.com", "renewals": 1, "created": 201, "streamed": "from a page",
        "refused": "not_found", "kept": 0,
    }  # fmt: skip


MODULES = Path(os.environ.get("NODE_PATH", "node_modules"))


@pytest.mark.more
@pytest.mark.skipif(
    not shutil.which("node") or not (MODULES / "typescript").is_dir(),
    reason="no node, or no typescript in NODE_PATH: npm install typescript",
)
def test_its_types_fit_what_users_write(tmp_path: Path) -> None:
    (tmp_path / "node_modules/@mainspring").mkdir(parents=True)
    (tmp_path / "node_modules/@mainspring/sdk").symlink_to(SDK)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "use.ts").write_text((HERE / "use.ts").read_text())
    options = {
        "strict": True, "noEmit": True, "target": "es2022", "module": "nodenext", "types": [],
        "lib": ["es2022", "dom", "dom.iterable"],
    }  # fmt: skip
    config = {"compilerOptions": options, "files": ["use.ts"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(config))
    done = subprocess.run(
        ["node", str(MODULES / "typescript/bin/tsc"), "-p", "."],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
