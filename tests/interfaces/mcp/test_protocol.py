"""Both revisions, message by message: what is refused, with which code and status."""

from collections.abc import AsyncIterator
from random import Random
from typing import Any

import msgspec
import pytest

from mainspring.interfaces.mcp.revisions import CAPABILITIES_KEY, MODERN, VERSION_KEY
from mainspring.testing import Platform
from tests.interfaces.mcp.messages import META, ask, post

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    """A platform that knows nobody's page but one."""
    async with Platform(settings={"cors.origins": ["https://app.example"]}) as platform:
        yield platform


async def test_what_is_no_message_is_refused(platform: Platform) -> None:
    deep = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":' + b"[" * 70 + b"]" * 70 + b"}}"
    for body, code in (
        (b"", -32700),
        (b"{", -32700),
        (b"\xff", -32700),
        (deep, -32700),
        (b"[]", -32600),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600),
        (b"1", -32600),
        (b'{"id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"a\\u0000"}', -32600),
    ):
        answer = await platform.admin.request(
            "POST", "/mcp", content=body, content_type="application/json"
        )
        assert (answer.expect(400)["error"]["code"], answer.json["id"]) == (code, None), body


async def test_headers_must_say_what_the_body_says(platform: Platform) -> None:
    name = {"name": "search", "arguments": {}}
    encoded = "=?base64?c2VhcmNo?="
    for params, headers, code in (
        ({}, {"MCP_Protocol_Version": ""}, -32020),
        ({}, {"MCP_Protocol_Version": "2025-11-25"}, -32020),
        ({}, {"Mcp_Method": "tools/call"}, -32020),
        ({}, {"Mcp_Method": ""}, -32020),
        (name, {"Mcp_Name": "call"}, -32020),
        (name, {"Mcp_Name": ""}, -32020),
        (name, {"Mcp_Name": "=?base64?!?="}, -32020),
        ({"_meta": {}}, {}, -32602),
        ({"_meta": {VERSION_KEY: MODERN}}, {}, -32602),
        ({"_meta": 1}, {}, -32602),
        (
            {"_meta": {**META, VERSION_KEY: "1900-01-01"}},
            {"MCP_Protocol_Version": "1900-01-01"},
            -32022,
        ),
        ({"_meta": {}}, {"MCP_Protocol_Version": "1900-01-01"}, -32022),
    ):
        method = "tools/call" if "name" in params else "tools/list"
        answer = await post(platform.admin, method, params, **headers)
        assert answer.expect(400)["error"]["code"] == code, (params, headers)
    assert "2025-11-25" in answer.json["error"]["data"]["supported"]
    (await post(platform.admin, "tools/call", name, Mcp_Name=encoded)).expect(200)
    unknown = await post(platform.admin, "nothing/like")
    assert unknown.expect(404)["error"]["code"] == -32601
    assert (await post(platform.admin, "ping")).expect(404)["error"]["code"] == -32601


async def test_the_stateless_revision_tells_what_it_is(platform: Platform) -> None:
    told = await ask(platform.admin, "server/discover")
    assert told["supportedVersions"][0] == MODERN
    assert told["resultType"] == "complete"
    assert told["cacheScope"] == "private"
    assert told["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "mainspring"
    missing = await post(
        platform.admin, "resources/read", {"uri": "mainspring://collections/x/records"}
    )
    assert missing.expect(400)["error"]["code"] == -32602
    told = missing.json["error"]["data"]
    assert (told["code"], told["uri"]) == ("not_found", "mainspring://collections/x/records")


async def test_the_revision_before_begins_with_a_handshake(platform: Platform) -> None:
    admin = platform.admin

    async def old(method: str, params: Any = None, **headers: str) -> Any:
        message = {"jsonrpc": "2.0", "id": "a", "method": method, "params": params or {}}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await admin.post("/mcp", message, headers=named)

    for wanted, agreed in (("2025-11-25",) * 2, ("2025-06-18",) * 2, ("1900-01-01", "2025-11-25")):
        began = await old("initialize", {"protocolVersion": wanted, "capabilities": {}})
        assert began.expect(200)["result"]["protocolVersion"] == agreed
        assert "mcp-session-id" not in began.headers
    noted = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert (await admin.post("/mcp", noted)).expect(202) is None
    # No session is made here, so none that somebody else made can have ended.
    said = {"MCP_Protocol_Version": "2025-11-25", "Mcp_Session_Id": "theirs"}
    assert (await old("ping", **said)).expect(200)["result"] == {}
    listed = (await old("tools/list", **said)).expect(200)["result"]
    assert listed.keys() == {"tools"}
    lost = await old("resources/read", {"uri": "mainspring://collections/x/records"}, **said)
    assert lost.expect(200)["error"]["code"] == -32002
    assert (await old("server/discover", **said)).expect(200)["error"]["code"] == -32601
    (await old("ping", MCP_Protocol_Version="1900-01-01")).expect(400)
    for method in ("GET", "DELETE"):
        other = await admin.request(method, "/mcp")
        assert (other.status, other.headers["allow"]) == (405, "OPTIONS, POST")


async def test_pages_from_elsewhere_may_not_call(platform: Platform) -> None:
    async def origin(value: str) -> int:
        return (await post(platform.admin, "tools/list", Origin=value)).status

    wanted = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    preflight = await platform.anonymous.request("OPTIONS", "/mcp", headers=wanted)
    allowed = preflight.headers["access-control-allow-headers"]
    assert {"mcp-method", "mcp-name", "mcp-protocol-version"} <= set(allowed.split(", "))
    assert await origin("https://app.example") == 200
    assert await origin("http://localhost:3000") == 200
    for foreign in ("http://evil.example:8080", "null", "http://[", "https://app.example.evil.org"):
        assert await origin(foreign) == 403, foreign


async def test_only_json_comes_and_goes(platform: Platform) -> None:
    (await post(platform.admin, "tools/list", Accept="text/html")).expect(406)
    (await post(platform.admin, "tools/list", Accept="text/event-stream, application/json")).expect(
        200
    )
    text = await platform.admin.request("POST", "/mcp", content=b"{}", content_type="text/plain")
    text.expect(415)
    large = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"' + b"a" * (1 << 20) + b'"}}'
    over = await platform.admin.request(
        "POST", "/mcp", content=large, content_type="application/json"
    )
    over.expect(413)


async def test_nothing_that_is_sent_breaks_it(platform: Platform, seed: int) -> None:
    random = Random(seed)
    names = [o.name for o in platform.app.runtime.registry.operations.values()]
    uris = [
        "mainspring://collections/%00/records",
        "mainspring://collections/a/records?limit=x",
        "mainspring://collections/a/records/%2e%2e?a=%ff",
        "file:///etc/passwd",
        "\ud7ff" * 9,
    ]

    def junk(depth: int = 0) -> Any:
        kinds = [None, True, -1, 2**70, 1e308, "", "x" * 300, "é\u2028", "__proto__", [], {}]
        if depth < 3 and random.random() < 0.4:
            return (
                [junk(depth + 1) for _ in range(3)]
                if random.random() < 0.5
                else {
                    random.choice(["id", "limit", "filter", "a"]): junk(depth + 1) for _ in range(2)
                }
            )
        return random.choice(kinds)

    for _ in range(400):
        arguments: Any = junk()
        if random.random() < 0.8:
            fields = {
                "operation": random.choice(names),
                "path": junk(),
                "query": junk(),
                "body": junk(),
                "dry_run": random.random() < 0.9,
                "if_match": junk(),
                "collection": junk(),
                "limit": junk(),
                "cursor": junk(),
                "query_": junk(),
            }
            picked = random.sample(sorted(fields), random.randint(1, 6))
            arguments = {name: fields[name] for name in {"operation", *picked}}
        method, params = random.choice([
            ("tools/call", {"name": "call", "arguments": arguments}),
            ("tools/call", {"name": "describe", "arguments": arguments}),
            ("tools/call", {"name": "search", "arguments": {"query": junk(), "cursor": junk()}}),
            ("tools/call", {"name": "search", "arguments": arguments}),
            ("resources/read", {"uri": random.choice(uris)}),
            ("resources/read", {"uri": junk()}),
            ("resources/list", {"cursor": junk()}),
            ("initialize", {"protocolVersion": junk()}),
        ])  # fmt: skip
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        body = msgspec.json.encode(message)
        if random.random() < 0.1:
            cut = random.randrange(len(body))
            body = body[:cut] + bytes([random.randrange(256)]) + body[cut + 1 :]
        answer = await platform.admin.request(
            "POST", "/mcp", content=body, content_type="application/json"
        )
        assert answer.status < 500, (body, answer.text)
        structured = (answer.json or {}).get("result", {}).get("structuredContent", {})
        assert structured.get("status", 200) < 500, (body, answer.text)
    assert await platform.events("records.*") == []
    assert CAPABILITIES_KEY in META
