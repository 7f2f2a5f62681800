"""The official SDK, as a client, takes everything that is answered: in either revision."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from mainspring.interfaces.mcp.revisions import LEGACY, MODERN
from mainspring.testing import Platform
from tests.deadline import DEADLINE_S

POSTS = {"name": "posts", "fields": [{"name": "title", "type": "text"}]}


@asynccontextmanager
async def connected(platform: Platform, mode: str) -> AsyncIterator[Client]:
    """A client of the SDK with the administrator's key."""
    headers = {"Authorization": f"Bearer {await platform.admin.credential()}"}
    async with httpx2.AsyncClient(headers=headers, timeout=DEADLINE_S) as http:
        transport = streamable_http_client(f"{platform.url}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


@pytest.mark.parametrize(
    ("mode", "spoken"), [("auto", MODERN), (MODERN, MODERN), ("legacy", LEGACY[0])]
)
async def test_the_official_client_gets_along(mode: str, spoken: str) -> None:
    settings = {"mcp.writes": True}
    async with (
        Platform(settings=settings, sockets=True) as platform,
        connected(platform, mode) as client,
    ):
        assert client.protocol_version == spoken
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == ["search", "describe", "call"]
        found = await client.call_tool("search", {"query": "create collection"})
        assert found.structured_content["items"][0]["operation"] == "records.create_collection"
        told = await client.call_tool("describe", {"operation": "records.create_collection"})
        assert not told.is_error
        asked = {"operation": "records.create_collection", "body": POSTS}
        tried = await client.call_tool("call", {**asked, "dry_run": True})
        assert tried.structured_content["dry_run"]
        assert (await client.list_resources()).resources == []
        made = await client.call_tool("call", {**asked, "idempotency_key": "k"})
        assert made.structured_content["status"] == 201
        again = await client.call_tool("call", {**asked, "idempotency_key": "k"})
        assert again.structured_content["replayed"]
        wrong = await client.call_tool("call", {"operation": "nothing.like"})
        assert (wrong.is_error, wrong.structured_content["code"]) == (True, "not_found")
        title = {"title": "Größe \u2028"}
        write = {"operation": "records.create_record", "path": {"collection": "posts"}}
        await client.call_tool("call", {**write, "body": title})
        (resource,) = (await client.list_resources(cache_mode="refresh")).resources
        read = await client.read_resource(resource.uri)
        assert json.loads(read.contents[0].text)["items"][0]["title"] == title["title"]
        templates = (await client.list_resource_templates()).resource_templates
        assert [template.name for template in templates] == ["records", "record"]
