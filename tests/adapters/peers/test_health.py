"""``grpc.health.v1`` of an owner, as gRPC's own client sees it, over TLS on both sides."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mainspring.adapters.peers import certificate_files, grpc_health, grpc_listener
from mainspring.adapters.peers.authority import DevelopmentAuthority
from mainspring.adapters.peers.tls import OwnCertificate
from mainspring.kernel.clock import SystemClock, SystemEntropy
from mainspring.ports.opening import Sources
from mainspring.ports.peers import Owned
from tests.adapters.peers.owner import OPERATIONS, Notes
from tests.deadline import DEADLINE_S

CLOCK = SystemClock()
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LAME_DUCK_S = 0.5


@asynccontextmanager
async def asking(folder: Path, url: str) -> AsyncIterator[health_pb2_grpc.HealthStub]:
    files = certificate_files.read(folder)
    credentials = grpc.ssl_channel_credentials(files.roots, files.key, files.chain)
    named = [("grpc.ssl_target_name_override", "notes.shop.internal")]
    place = url.removeprefix("grpc://")
    async with aio.secure_channel(place, credentials, named) as channel:
        yield health_pb2_grpc.HealthStub(channel)


async def test_an_owner_serves_while_it_is_ready_and_says_when_it_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_health, "LOOK_EVERY_S", 0.01)
    authority = DevelopmentAuthority(tmp_path, CLOCK)
    authority.init("shop.internal")
    authority.issue(["gateway", "notes"], 24)
    wrong: list[str] = []

    async def failing() -> Sequence[str]:
        return wrong

    listener = grpc_listener.open("grpc://127.0.0.1:0", Sources(CLOCK, SystemEntropy()))
    owned = Owned(OPERATIONS, Notes(), failing=failing)
    await listener.start(owned, OwnCertificate(tmp_path / "notes", CLOCK))
    async with asking(tmp_path / "gateway", listener.url) as health:

        async def status(service: str = "") -> int:
            asked = health_pb2.HealthCheckRequest(service=service)
            return (await health.Check(asked, timeout=DEADLINE_S)).status

        assert [await status(name) for name in ("", "notes")] == [SERVING, SERVING]
        with pytest.raises(aio.AioRpcError) as raised:
            await status("records")
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        watching = health.Watch(health_pb2.HealthCheckRequest(service="notes"))
        async with asyncio.timeout(DEADLINE_S):
            assert (await watching.read()).status == SERVING
            wrong.append("database: away")
            assert (await watching.read()).status == NOT_SERVING
            wrong.clear()
            assert (await watching.read()).status == SERVING
            draining = asyncio.create_task(listener.drain(DEADLINE_S, lame_duck_s=LAME_DUCK_S))
            assert (await watching.read()).status == NOT_SERVING
            assert await status() == NOT_SERVING
            await draining  # whoever watches does not hold it up
            with pytest.raises((aio.AioRpcError, StopAsyncIteration)):
                await status()
