"""What callers see of a platform whose services run in processes of their own."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mainspring.app import SILENCE_MAX_S
from mainspring.cli import EXIT_START
from mainspring.cli.demo.process import environment
from tests.cli.site import Site
from tests.deadline import DEADLINE_S
from tests.scenarios.split import Split

NOTES = {
    "name": "notes",
    "fields": [
        {"name": "owner", "type": "relation", "collection": "users", "stamp": "caller.user"},
        {"name": "text", "type": "text"},
        {"name": "scan", "type": "file"},
    ],
    "rules": {
        "list": "record.owner == caller.id",
        "view": "record.owner == caller.id",
        "create": "true",
        "update": "record.owner == caller.id",
    },
}
RECORDS = "/v1/collections/notes/records"
ANN = {"email": "ann@example.com", "password": "a violet in the snow"}
SCAN = b"%PDF-1.4\n" + bytes(range(256)) * 2_000


@pytest.fixture
def split(postgres_url: str, tmp_path: Path) -> Iterator[Split]:
    with (tmp_path / "log").open("wb") as log:
        yield Split(tmp_path, log, postgres_url)


async def sign_up(gateway: Site, admin: str) -> None:
    """Make the collection and the user, and go on as that user."""
    gateway.http.headers["Authorization"] = f"Bearer {admin}"
    assert (await gateway.ask("POST", "/v1/collections", NOTES))[0] == 201
    assert (await gateway.ask("POST", "/v1/users", ANN))[0] == 201
    del gateway.http.headers["Authorization"]
    status, tokens = await gateway.ask("POST", "/v1/sessions", ANN)
    assert status == 201
    gateway.http.headers["Authorization"] = f"Bearer {tokens['access_token']}"


@pytest.mark.xdist_group("processes")
async def test_calls_of_every_kind_reach_the_owner_of_their_operation(split: Split) -> None:
    async with split.users(), split.rest(), split.worker(), split.gateway() as gateway:
        await sign_up(gateway, split.key)
        stream = await gateway.http.get(f"{gateway.url}{RECORDS}:stream")
        assert stream.status == 200, await stream.text()
        status, note = await gateway.ask("POST", RECORDS, {"text": "one"})
        assert status == 201
        assert note["id"] in await _change(stream)
        # A form with a file goes piece by piece, and is asked for first; so does the download.
        form = aiohttp.FormData({"record": '{"text": "two"}'})
        form.add_field("scan", SCAN, filename="scan.pdf", content_type="application/pdf")
        async with gateway.http.post(gateway.url + RECORDS, data=form) as answer:
            assert answer.status == 201, await answer.text()
            kept = await answer.json()
        place = f"{gateway.url}{RECORDS}/{kept['id']}/files/scan"
        async with gateway.http.get(place) as answer:
            assert answer.status == 200, await answer.text()
            assert await answer.read() == SCAN
        _, page = await gateway.ask("GET", f"{RECORDS}?sort=id")
        assert [item["id"] for item in page["items"]] == [note["id"], kept["id"]]
        # An agent calls through it, and is told of collections by their owner.
        body = {"text": "tried"}
        asked = {"operation": "records.create_record", "path": {"collection": "notes"}}
        tried = await _tool(gateway, {**asked, "body": body, "dry_run": True})
        assert (tried["status"], tried["body"]["text"], tried["dry_run"]) == (201, "tried", True)
        listed = await _tool(gateway, {**asked, "operation": "records.list_records"})
        assert listed["body"] == (await gateway.ask("GET", RECORDS))[1]
        named = {"jsonrpc": "2.0", "id": 1, "method": "resources/list"}
        (resource,) = (await gateway.ask("POST", "/mcp", named))[1]["result"]["resources"]
        assert resource["name"] == "notes"
        refused = await gateway.ask("PATCH", f"{RECORDS}/{note['id']}", {"text": 1})
        assert (refused[0], refused[1]["errors"][0]["pointer"]) == (422, "/text")
        assert (await gateway.ask("GET", "/v1/audit/checkpoint"))[0] == 403
        stream.close()
        # Whoever is revoked by one owner is refused by a gateway that remembers them.
        assert (await gateway.ask("GET", "/v1/users/me"))[0] == 200
        _, sessions = await gateway.ask("GET", "/v1/sessions")
        own = sessions["items"][0]["id"]
        assert (await gateway.ask("DELETE", f"/v1/sessions/{own}"))[0] == 204
        loop = asyncio.get_running_loop()
        until_s = loop.time() + SILENCE_MAX_S + 1.0
        while (await gateway.ask("GET", RECORDS))[0] != 401:
            assert loop.time() < until_s
        assert await gateway.end() == 0


async def _tool(gateway: Site, arguments: dict[str, Any]) -> Any:
    params = {"name": "call", "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    status, said = await gateway.ask("POST", "/mcp", message)
    assert status == 200, said
    return said["result"]["structuredContent"]


async def _change(stream: aiohttp.ClientResponse) -> str:
    """Return the data of the next event that tells of a record."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            line = (await stream.content.readline()).decode()
            assert line, "the stream ended"
            if line.startswith("data:") and "rec_" in line:
                return line


@pytest.mark.more
@pytest.mark.xdist_group("processes")
async def test_a_service_that_is_away_fails_its_own_calls_and_nothing_else(split: Split) -> None:
    async with split.users() as users, split.gateway() as gateway:
        async with split.rest() as rest:
            await _all_there(gateway)
            await sign_up(gateway, split.key)
            made = await _keyed(gateway, "one")
            assert made[0] == 201
            rest.process.kill()
            await rest.process.wait()
        status, said = await gateway.ask("GET", RECORDS)
        assert (status, said["code"]) == (503, "unavailable")
        assert "records" in said["detail"]
        status, said = await gateway.ask("POST", RECORDS, {"text": "not sent"})
        assert (status, said["code"]) == (503, "unavailable")
        assert (await gateway.ask("GET", "/v1/users/me"))[0] == 200
        status, said = await gateway.ask("GET", "/readyz")
        assert status == 200
        assert said["degraded"][0].startswith("other services")
        async with split.rest() as rest:
            async with asyncio.timeout(DEADLINE_S):
                while (again := await _keyed(gateway, "one"))[0] == 503:
                    pass
            assert again == (200, made[1])  # it was done once, before the kill
            assert await rest.end() == 0
        assert await users.end() == 0
        # Nobody can say who calls: nobody is let in.
        async with asyncio.timeout(DEADLINE_S):
            while (await gateway.ask("GET", "/v1/users/me"))[0] != 503:
                pass
        assert await gateway.end() == 0


@pytest.mark.more
@pytest.mark.xdist_group("processes")
async def test_each_proves_who_it_is_and_no_call_fails_while_certificates_are_replaced(
    split: Split,
) -> None:
    authority = split.secure()
    async with split.users(), split.rest():
        async with split.gateway() as gateway:
            await _all_there(gateway)
            await sign_up(gateway, split.key)
            replaced = asyncio.Event()
            calls = 0

            async def call() -> None:
                nonlocal calls
                while not replaced.is_set():
                    assert (await gateway.ask("POST", RECORDS, {"text": "one"}))[0] == 201
                    calls += 1

            callers = [asyncio.create_task(call()) for _ in range(4)]
            for _ in range(3):
                before = calls
                await asyncio.to_thread(authority.renew, (), None)
                loop = asyncio.get_running_loop()
                until_s = loop.time() + 1.5  # the files are looked at once a second
                while loop.time() < until_s or calls < before + 20:
                    await asyncio.wait(callers, timeout=0.1)
            replaced.set()
            await asyncio.gather(*callers)
            assert calls > 60
        # What has the certificate of a service may not call as a gateway does, nor ask who is who.
        async with split.gateway(certificate="worker") as pretender:
            pretender.http.headers["Authorization"] = f"Bearer {split.key}"
            status, said = await pretender.ask("POST", RECORDS, {"text": "two"})
            assert (status, said["code"]) == (503, "peer_refused")
            assert said["detail"] == "Authenticate is for gateway; worker calls"


@pytest.mark.parametrize(
    ("listen", "why"),
    [
        ("grpc://0.0.0.0:0", "is not encrypted"),
        ("127.0.0.1:7100", "nothing opens a URL that starts so"),
    ],
)  # fmt: skip
def test_where_an_owner_may_not_listen_it_says_why(
    postgres_url: str, tmp_path: Path, listen: str, why: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "mainspring", "run", "users", "--listen", listen, "--port", "0"],
        env=environment(database__url=postgres_url), cwd=tmp_path,
        capture_output=True, text=True, check=False, timeout=DEADLINE_S,
    )  # fmt: skip
    assert ended.returncode == EXIT_START
    assert why in ended.stderr.splitlines()[-1]


async def _all_there(gateway: Site) -> None:
    """Wait until a gateway that was started first has found everybody."""
    async with asyncio.timeout(DEADLINE_S):
        while "degraded" in (await gateway.ask("GET", "/readyz"))[1]:
            pass


async def _keyed(gateway: Site, key: str) -> tuple[int, Any]:
    async with gateway.http.post(
        gateway.url + RECORDS, json={"text": key}, headers={"Idempotency-Key": key}
    ) as answer:
        return answer.status, await answer.json()
