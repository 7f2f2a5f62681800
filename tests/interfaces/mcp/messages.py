"""How the tests speak MCP where no client library can: message by message."""

from typing import Any

import msgspec

from mainspring.interfaces.mcp.revisions import CAPABILITIES_KEY, MODERN, VERSION_KEY
from mainspring.testing.client import Client, HttpAnswer

META = {VERSION_KEY: MODERN, CAPABILITIES_KEY: {}}


async def post(
    client: Client, method: str, params: dict[str, Any] | None = None, **headers: str
) -> HttpAnswer:
    """Send a request of the stateless revision; a header is left out when it is empty."""
    given = params or {}
    named = given.get("name", given.get("uri"))
    said = {
        "MCP-Protocol-Version": MODERN, "Mcp-Method": method,
        **({} if named is None else {"Mcp-Name": str(named)}),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }  # fmt: skip
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": META, **given}}
    kept = {name: value for name, value in said.items() if value}
    return await client.post("/mcp", message, headers=kept)


async def ask(client: Client, method: str, params: dict[str, Any] | None = None) -> Any:
    """Return the result of a request."""
    return (await post(client, method, params)).expect(200)["result"]


async def tool(client: Client, name: str, **arguments: Any) -> Any:
    """Return what a tool answers: the same as structure and as text."""
    result = await ask(client, "tools/call", {"name": name, "arguments": arguments})
    assert msgspec.json.decode(result["content"][0]["text"]) == result["structuredContent"]
    return {**result["structuredContent"], "failed": result["isError"]}


async def call(client: Client, operation: str, **arguments: Any) -> Any:
    """Call an operation."""
    return await tool(client, "call", operation=operation, **arguments)
