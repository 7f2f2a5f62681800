"""The whole way: calls over HTTP in, one commit each, signed webhooks out."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mainspring import app, settings
from tests.services.webhooks.receiver import Receiver


class Client:
    """Calls a platform as its administrator would."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def call(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.request(
            method, self._url + path, json=body, headers=named
        ) as response:
            return response.status, await response.json() if response.status != 204 else None


@pytest.fixture
async def client(database_url: str, tmp_path: Path) -> AsyncIterator[Client]:
    environ = {
        "MAINSPRING_PLATFORM__DATA_DIR": str(tmp_path / "data"),
        "MAINSPRING_DATABASE__URL": database_url,
        "MAINSPRING_SERVER__PORT": "0",
        "MAINSPRING_HTTP_CLIENT__ALLOW_PRIVATE_ADDRESSES": "true",
    }
    platform = await app.build(settings.load(app.sections(None), environ=environ))
    await platform.start()
    key = (tmp_path / "data/admin.key").read_text().strip()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
        yield Client(session, platform.url)
    await platform.drain(5.0)


async def test_a_record_becomes_a_webhook_that_the_judge_accepts(
    client: Client, receiver: Receiver
) -> None:
    new = {"url": receiver.url(), "types": ["records.record.*"], "filter": "data.cents > 1000"}
    status, hook = await client.call("POST", "/v1/webhooks", new, Idempotency_Key="hook")
    assert status == 201
    status, again = await client.call("POST", "/v1/webhooks", new, Idempotency_Key="hook")
    assert (status, again) == (200, hook)
    fields = [{"name": "cents", "type": "integer"}]
    status, _ = await client.call("POST", "/v1/collections", {"name": "orders", "fields": fields})
    assert status == 201
    records = "/v1/collections/orders/records"
    await client.call("POST", records, {"cents": 1000})
    for _ in range(2):
        _, made = await client.call("POST", records, {"cents": 1099}, Idempotency_Key="order")
    received = await receiver.next()
    received.verify(hook["secret"])
    assert received.event["subject"] == made["id"]
    assert received.event["data"]["cents"] == 1099
    path = f"/v1/webhooks/{hook['id']}"
    status, tested = await client.call("POST", f"{path}:test")
    assert status == 202
    assert (await receiver.next()).event["id"] == tested["event_id"]
    _, feed = await client.call("GET", "/v1/events?type=records.record.created")
    assert received.event in feed["items"]
    status, _ = await client.call("DELETE", path)
    assert status == 204
    assert (await client.call("GET", path))[0] == 404
    assert receiver.arrived.empty()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/webhooks", {"url": "http://a.example:0/"}, 422),
        ("POST", "/v1/webhooks", {"url": "https://a.example", "filter": "data.x >"}, 422),
        ("POST", "/v1/webhooks", {"url": "https://a.example", "types": []}, 422),
        ("POST", "/v1/webhooks", {"url": "https://a.example", "secret": "x"}, 422),
        ("GET", "/v1/webhooks/whk_nothing", None, 404),
        ("POST", "/v1/webhooks/whk_nothing:test", None, 404),
        ("GET", "/v1/webhooks/whk_nothing/deliveries", None, 404),
        ("GET", "/v1/webhooks?limit=0", None, 422),
        ("POST", "/v1/jobs", {"name": "webhooks.deliver", "args": {}}, 422),
        ("POST", "/v1/jobs", {"name": "x", "priority": 10}, 422),
        ("GET", "/v1/jobs/job_nothing", None, 404),
        ("GET", "/v1/jobs?state=lost", None, 422),
        ("GET", "/v1/queues/nowhere", None, 404),
        ("GET", "/v1/queues/nowhere/dead", None, 404),
        ("POST", "/v1/queues/bulk/dead:redrive", {"limit": 0}, 422),
    ],
)
async def test_bad_input_is_refused(
    client: Client, method: str, path: str, body: object, status: int
) -> None:
    found, problem = await client.call(method, path, body)
    assert (found, problem["status"]) == (status, status)
