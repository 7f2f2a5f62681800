"""Every operation, over MCP and over REST: the same answer, the same mistake, the same refusal.

What writes is tried over MCP first, and a dry run foretells what the call over REST is answered.
"""

import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import pytest

from mainspring.interfaces.rest.arguments import query_fields
from mainspring.kernel.operation import Kind, Operation
from mainspring.kernel.policy import RateClass
from mainspring.testing import Client, HttpAnswer, Platform
from tests.interfaces.mcp.messages import post
from tests.scenarios import test_who_sees_what as everything

# Whose answers differ by something that passes between the two calls.
MOVES = {
    "users.get_jwks": "tells for how long, by the clock",
}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.more)])
async def platform(request: pytest.FixtureRequest, name: str) -> AsyncIterator[Platform]:
    """The seeded platform; what database it has makes a difference to one caller at most."""
    if request.param == "postgres" and name != "*":
        pytest.skip("asked over SQLite")
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres_server").url()
    async with Platform(everything.app, database=url) as platform:
        yield platform


async def over_mcp(who: Client, operation: Operation, path: str, body: Any) -> HttpAnswer:
    """Ask what a path asks; what writes is only tried."""
    where, _, query = path.partition("?")
    template = re.sub(r"\\\{([a-z_]+)\\\}", r"(?P<\1>[^/]+?)", re.escape(operation.path))
    match = re.fullmatch(template, where)
    assert match is not None, (operation.path, path)
    arguments: dict[str, Any] = {
        "operation": operation.name,
        "path": {name: unquote(value) for name, value in match.groupdict().items()},
        "query": query_fields(query.encode()),
        "dry_run": operation.writes,
    }
    if body is not None:
        arguments["body"] = body
    return await post(who, "tools/call", {"name": "call", "arguments": arguments})


@pytest.mark.parametrize("name", ["*", "user", "records:write"])
async def test_both_say_the_same(platform: Platform, name: str) -> None:
    made = await everything.seed(platform)
    who = await everything.caller_of(platform, name)
    operations = platform.app.runtime.registry.operations
    faults, compared = [], 0
    for asked, ways in everything.ASKED.items():
        operation = operations[asked]
        if operation.kind is not Kind.UNARY:
            continue
        for path, body in ways:
            path, body = everything.filled(path, made), everything.filled(body, made)
            tried = await over_mcp(who, operation, path, body)
            real = await everything.ask(who, operation.method, path, body, None)
            where = f"{name}: {operation.method} {path}"
            seen = everything.shown(tried, name, path, body) if name != "*" else []
            faults += [f"{where} shows {word}" for word in seen]
            if tried.status == 401:
                told: dict[str, Any] = {"status": 401}
            else:
                told = tried.expect(200)["result"]["structuredContent"]
            compared += 1
            untried = operation.secret or operation.rate is RateClass.LOGIN
            if operation.writes and untried and told["status"] == 422:
                continue
            if told["status"] != real.status:
                faults.append(f"{where}: {told['status']} {told.get('detail')}, REST {real.status}")
            elif real.status >= 400 and real.status != 401:
                same = ("code", "detail", "errors")
                if any(told.get(part) != real.json.get(part) for part in same):
                    faults.append(f"{where}: {told} is not {real.json}")
            elif not operation.writes and real.status == 200 and asked not in MOVES:
                if told["body"] != real.json:
                    faults.append(f"{where}: another answer")
                if told.get("etag") not in {None, real.etag}:
                    faults.append(f"{where}: another tag")
    assert not faults, "\n".join(faults)
    assert compared > 150
