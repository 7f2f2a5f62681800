"""A gateway in front of an owner shows what one process shows, also beside the operations."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from mainspring import testing
from mainspring.app import sections
from mainspring.engines import opened
from mainspring.gateway.revocations import RevocationFeed
from mainspring.gateway_process import GatewayProcess
from mainspring.interfaces.rest.asgi import RestApp
from mainspring.kernel.operation import Operation
from mainspring.ports.opening import Sources
from mainspring.runtime import identity
from mainspring.settings import Flag, load
from mainspring.testing.servers import free_ports
from tests.cli.site import Site, started
from tests.cli.test_up import children
from tests.deadline import DEADLINE_S
from tests.scenarios.test_streams import EventSource

RECORDS = "/v1/collections/offers/records"
NEW = {
    "name": "offers",
    "fields": [{"name": "title", "type": "text"}, {"name": "cost", "type": "integer"}],
    "rules": {"list": "true", "view": "caller.id != null"},
}
# What a gateway does not answer as one process does: (method, path), and why that is right.
DIFFERS: dict[tuple[str, str], str] = {}


class Apart:
    """One process that owns everything, and a gateway in front of it: in one event loop."""

    def __init__(self, whole: testing.Platform) -> None:
        self.whole = whole
        self._sources = Sources(whole.clock, whole.app.runtime.entropy)
        self.listener = opened("listener", "grpc://127.0.0.1:0", self._sources)
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(DEADLINE_S))

    async def start(self) -> None:
        feed = RevocationFeed()
        self.whole.app.gateway.tell(feed)
        await self.listener.start(msgspec.structs.replace(self.whole.app.owned(), revocations=feed))
        flags = [
            Flag("port", "server.port", 0),
            Flag("role", "platform.role", "gateway"),
            Flag("services", "peers.services", {"*": self.listener.url}),
        ]
        settings = load(sections(None), flags=flags)
        self.gateway = GatewayProcess(settings, clock=self.whole.clock)
        await self.gateway.start()

    async def close(self) -> None:
        await self.http.close()
        await self.gateway.drain(0)
        await self.listener.drain(0)

    async def get(self, path: str, key: str | None, *, base: str | None = None) -> Any:
        """Return what is at a path of the gateway, or of another base."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with self.http.get((base or self.gateway.url) + path, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def refuses(self, key: str) -> None:
        """Wait until the gateway has heard that a key is good no more."""
        me, headers = self.gateway.url + "/v1/users/me", {"Authorization": f"Bearer {key}"}
        async with asyncio.timeout(DEADLINE_S):
            while (await self.http.get(me, headers=headers)).status != 401:
                pass


@pytest.fixture
async def apart() -> AsyncIterator[Apart]:
    async with testing.Platform(sockets=True, running=True) as whole:
        apart = Apart(whole)
        await apart.start()
        try:
            yield apart
        finally:
            await apart.close()


async def _key(whole: testing.Platform, *scopes: str) -> str:
    """Return what somebody with these scopes calls with."""
    new = {"name": "a key", "scopes": scopes}
    key: str = (await whole.admin.post("/v1/api_keys", new)).expect(201)["key"]
    return key


async def test_collections_are_described_as_by_the_process_that_has_them(apart: Apart) -> None:
    whole = apart.whole
    (await whole.admin.post("/v1/collections", NEW)).expect(201)
    keys = [None, await _key(whole, "records:read"), await _key(whole, "*")]

    async def compared(key: str | None) -> Any:
        document = await apart.get("/openapi.json", key)
        assert document == await apart.get("/openapi.json", key, base=whole.url)
        return document

    public, some, everything = [await compared(key) for key in keys]
    paths = [set(document["paths"]) for document in (public, some, everything)]
    assert RECORDS in paths[0]
    assert RECORDS + "/{id}" not in paths[0]
    assert RECORDS + "/{id}" in paths[1]
    assert RECORDS + "/{id}" in paths[2]
    assert "post" not in some["paths"][RECORDS]
    assert "post" in everything["paths"][RECORDS]
    # A change is shown by the next answer; the ETag tells that there is something new.
    fields = [*NEW["fields"], {"name": "place", "type": "text"}]  # type: ignore[misc]
    (await whole.admin.patch("/v1/collections/offers", {"fields": fields})).expect(200)
    for key in keys:
        assert '"place"' in str(await compared(key)).replace("'", '"')
    # Without its owner: what was told last for these scopes, and it is said.
    before = await compared(None)
    await apart.listener.drain(0)
    after = await apart.get("/openapi.json", None)
    assert after.pop("x-incomplete").keys() == {"records"}
    assert after == before


async def test_a_stream_token_opens_a_stream_that_ends_with_its_session(apart: Apart) -> None:
    whole = apart.whole
    (await whole.admin.post("/v1/collections", NEW)).expect(201)
    login = {"email": "anna@example.com", "password": "a violet in the snow"}
    (await whole.anonymous.post("/v1/users", login)).expect(201)
    access = (await whole.anonymous.post("/v1/sessions", login)).expect(201)["access_token"]
    anna = whole.as_bearer(access)
    token = (await anna.post("/v1/stream_tokens")).expect(201)["token"]
    await apart.get("/v1/users/me", access)  # remembered from now on, until it is revoked
    url = f"{apart.gateway.url}{RECORDS}:stream?stream_token="
    for wrong in (token[:-6], "mso_" + token[4:], "é"):
        async with apart.http.get(url + wrong) as answer:
            assert answer.status == 401
    async with EventSource(apart.http, url + token) as source:
        assert (await source.next())[0] == "ready"
        (await whole.admin.post(RECORDS, {"title": "one"})).expect(201)
        assert (await source.next())[2]["record"]["title"] == "one"
        (await anna.delete("/v1/sessions")).expect(204)
        await apart.refuses(access)
        (await whole.admin.post(RECORDS, {"title": "not theirs any more"})).expect(201)
        kind, _, told = await source.next()
        assert (kind, told["end"]) == ("end", "unauthenticated")


async def test_a_gateway_has_its_own_address_proved(apart: Apart) -> None:
    nonce = "ab" * 32
    told = await apart.get(f"/v1/proof?nonce={nonce}", None)
    keyring = apart.whole.app.keyring
    assert told == {"proof": identity.prove(keyring, nonce, apart.gateway.url)}
    assert told != await apart.get(f"/v1/proof?nonce={nonce}", None, base=apart.whole.url)


async def test_a_gateway_answers_at_every_path_that_one_process_answers_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tables: dict[int, set[tuple[str, str]]] = {}
    add = RestApp.add

    def noted(
        rest: RestApp, method: str, template: str, handle: Any, operation: Operation | None = None
    ) -> None:
        tables.setdefault(id(rest), set()).add((method, template))
        add(rest, method, template, handle, operation)

    monkeypatch.setattr(RestApp, "add", noted)
    async with testing.Platform() as whole:
        apart = Apart(whole)
        await apart.start()
        await apart.close()
        one, gateway = tables[id(whole.app.rest)], tables[id(apart.gateway.rest)]
    assert len(one) > len(whole.app.runtime.registry.operations)
    assert one ^ gateway == DIFFERS.keys(), "say in DIFFERS why, or serve it at both"


@pytest.mark.xdist_group("processes")
async def test_gateways_at_one_address_count_together_and_one_that_dies_is_started_again(
    tmp_path: Path,
) -> None:
    nobody = msgspec.json.encode({"*": f"grpc://127.0.0.1:{free_ports(1)[0]}"}).decode()
    settings = {"peers__services": nobody, "limits__anonymous": "5/h", "platform__lame_duck_s": "0"}
    log = tmp_path / "log"
    command = ("run", "gateway", "--workers", "2")
    with log.open("wb") as writes:
        async with started(tmp_path, writes, *command, **settings) as site:
            one, other = children(site.process.pid)
            said = await _asked_of(one, other, site, 3)
            assert said[0][1]["processes"] == {"wanted": 2, "alive": 2}
            said += await _asked_of(other, one, site, 3)
            assert [status for status, _ in said] == [200] * 5 + [429]
            counted = 'http_response_status_code="200",http_route="/v1/status"} 5.0'
            async with asyncio.timeout(DEADLINE_S):  # an answer is counted once it was sent
                while counted not in (text := await _metrics(site)):
                    pass
            for line in ('process_open_fds{process="1"}', "mainspring_peer_away{owner="):
                assert line in text, text
            os.kill(one, signal.SIGKILL)
            async with asyncio.timeout(DEADLINE_S):
                while b"process_restarted" not in log.read_bytes():
                    await site.ask("GET", "/healthz")
            assert len(children(site.process.pid)) == 2
            assert await site.end() == 0


async def _asked_of(pid: int, other: int, site: Site, times: int) -> list[tuple[int, Any]]:
    """Ask one of two processes at an address for its status, over connections of their own."""
    os.kill(other, signal.SIGSTOP)
    try:
        answers = []
        for _ in range(times):
            async with site.http.get(
                site.url + "/v1/status", headers={"Connection": "close"}
            ) as answer:
                answers.append((answer.status, await answer.json(content_type=None)))
        return answers
    finally:
        os.kill(other, signal.SIGCONT)


async def _metrics(site: Site) -> str:
    async with site.http.get(site.url + "/metrics", headers={"Connection": "close"}) as answer:
        return await answer.text()
