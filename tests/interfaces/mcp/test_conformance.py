"""The protocol's own conformance suite: each check that asks for no tool of its own making.

Most of its scenarios want a server with certain test tools, prompts or streams. These do not.
"""

import asyncio
import os
import re
import shutil
from pathlib import Path

import pytest

from mainspring.interfaces.mcp.revisions import LEGACY, MODERN
from mainspring.testing import Platform
from tests.deadline import DEADLINE_S

MODULES = Path(os.environ.get("NODE_PATH", "node_modules"))
SUITE = MODULES / "@modelcontextprotocol" / "conformance"
NODE = MODULES / "node" / "bin" / "node"  # npm's ``node`` package, where the system's is too old

pytestmark = [
    pytest.mark.more,
    pytest.mark.timeout(5 * DEADLINE_S),
    pytest.mark.skipif(
        not SUITE.is_dir() or not (NODE.is_file() or shutil.which("node")),
        reason="no conformance suite in NODE_PATH: "
        "npm install @modelcontextprotocol/conformance@0.2.0-alpha.12 node@22",
    ),
]

SCENARIOS = [
    ("server-initialize", LEGACY[0]),
    ("ping", LEGACY[0]),
    ("tools-list", LEGACY[0]),
    ("resources-list", LEGACY[0]),
    ("dns-rebinding-protection", LEGACY[0]),
    ("server-stateless", MODERN),
    ("tools-list", MODERN),
    ("resources-list", MODERN),
    ("sep-2164-resource-not-found", MODERN),
    ("caching", MODERN),
    ("http-header-validation", MODERN),
    ("dns-rebinding-protection", MODERN),
]
# What fails for want of a tool that samples or streams, or of prompts.
ABSENT = {
    "sep-2575-server-rejects-undeclared-capability",
    "sep-2575-missing-capability-http-400",
    "sep-2575-http-server-no-independent-requests-on-stream",
    "sep-2575-server-no-log-without-loglevel",
    "sep-2549-prompts-list-caching-hints",
}
_CHECK = re.compile(r"\[([a-z0-9-]+) *\] (?:\x1b\[\d+m)?(SUCCESS|FAILURE|WARNING)")


async def test_each_check_that_can_be_made_holds() -> None:
    node = str(NODE) if NODE.is_file() else "node"
    made, faults = 0, []
    async with Platform(settings={"mcp.anonymous": True}, sockets=True) as platform:
        rules = {"list": "true", "view": "true"}
        posts = {"name": "posts", "fields": [{"name": "title", "type": "text"}], "rules": rules}
        (await platform.admin.post("/v1/collections", posts)).expect(201)
        for scenario, revision in SCENARIOS:
            process = await asyncio.create_subprocess_exec(
                node, str(SUITE / "dist" / "index.js"), "server", "--url", f"{platform.url}/mcp",
                "--scenario", scenario, "--spec-version", revision,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            said = (await process.communicate())[0].decode()
            checks = _CHECK.findall(said)
            assert checks, said
            made += len(checks)
            faults += [
                f"{scenario} {revision}: {name}"
                for name, found in checks
                if found != "SUCCESS" and name not in ABSENT
            ]
    assert faults == []
    assert made >= 60
