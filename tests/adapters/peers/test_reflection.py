"""What an owner tells by reflection, asked by grpcio's own client over TLS on both sides."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc import aio
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from mainspring.adapters.peers import certificate_files, grpc_listener
from mainspring.adapters.peers.authority import DevelopmentAuthority
from mainspring.adapters.peers.tls import OwnCertificate
from mainspring.interfaces import protobuf
from mainspring.ports.peers import Owned
from mainspring.services import jobs
from tests.adapters.peers.owner import Notes
from tests.adapters.peers.test_owners import SOURCES
from tests.deadline import DEADLINE_S

NAMED = [("grpc.ssl_target_name_override", "jobs.shop.internal")]


async def test_reflection_tells_the_services_of_an_owner_and_ends_with_it(tmp_path: Path) -> None:
    authority = DevelopmentAuthority(tmp_path / "ours", SOURCES.clock)
    authority.init("shop.internal")
    authority.issue(["worker", "jobs"], 24)
    jobs.service.load()
    operations: Any = jobs.service.operations
    listener = grpc_listener.open("grpc://127.0.0.1:0", SOURCES)
    owned = Owned(operations, Notes(), files=lambda: protobuf.files_of(operations.values()))
    await listener.start(owned, OwnCertificate(tmp_path / "ours/jobs", SOURCES.clock))
    place = listener.url.removeprefix("grpc://")
    files = certificate_files.read(tmp_path / "ours/worker")
    theirs = grpc.ssl_channel_credentials(files.roots, files.key, files.chain)

    def ask() -> list[str]:
        with grpc.secure_channel(place, theirs, NAMED) as channel:
            found = ProtoReflectionDescriptorDatabase(channel)
            service = DescriptorPool(found).FindServiceByName("mainspring.jobs.v1.JobsService")
            got = service.methods_by_name["GetJob"]
            assert got.output_type.fields_by_name["id"].number == protobuf.number_of("id")
            return sorted(found.get_services())

    assert await asyncio.to_thread(ask) == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "mainspring.jobs.v1.JobsService",
    ]
    # Who has no certificate of this platform is told nothing.
    nobody = grpc.ssl_channel_credentials(files.roots)
    async with aio.secure_channel(place, nobody, NAMED) as channel:
        with pytest.raises(aio.AioRpcError):
            await asyncio.wait_for(_list(channel).read(), DEADLINE_S)
    async with aio.secure_channel(place, theirs, NAMED) as channel:
        lasting = _list(channel)
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        await lasting.write(question)
        assert len((await lasting.read()).list_services_response.service) == 3
        async with asyncio.timeout(DEADLINE_S):  # who asks nothing more does not hold it up
            await listener.drain(2 * DEADLINE_S)


def _list(channel: Any) -> Any:
    return reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
