"""What an owner's services look like in Protocol Buffers, told to those who ask by reflection.

``grpc.reflection.v1alpha``, as grpcurl and its like ask it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, empty_pb2, struct_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

_KNOWN = (struct_pb2, empty_pb2, health_pb2, reflection_pb2)
_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class OwnerReflection(reflection_pb2_grpc.ServerReflectionServicer):  # type: ignore[misc]
    """The library's, which gets its files when somebody asks, and ends with the process.

    Few owners are ever asked, and it takes a second.
    """

    def __init__(self, files: Callable[[], Iterable[bytes]], leaving: asyncio.Event) -> None:
        self._files, self._leaving = files, leaving
        self._making: asyncio.Future[Any] | None = None

    def add_to(self, server: Any) -> None:
        """Have a server answer."""
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(self, server)

    async def ServerReflectionInfo(  # noqa: N802 - gRPC's name
        self, requests: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[Any]:
        """Answer each question, until whoever asks has no more or this process leaves."""
        if self._making is None:
            self._making = asyncio.ensure_future(asyncio.to_thread(_made, self._files))
        made = await asyncio.shield(self._making)
        answers = made.ServerReflectionInfo(requests, context)
        leaving = asyncio.ensure_future(self._leaving.wait())
        following: asyncio.Future[Any] = leaving
        try:
            while True:
                following = asyncio.ensure_future(anext(answers, None))
                await asyncio.wait({following, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if not following.done() or (answer := following.result()) is None:
                    return
                yield answer
        finally:
            for task in (following, leaving):
                task.cancel()
            await asyncio.wait({following, leaving})


def _made(files: Callable[[], Iterable[bytes]]) -> Any:
    pool = descriptor_pool.DescriptorPool()
    names = [_HEALTH, reflection.SERVICE_NAME]
    for module in _KNOWN:
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    for data in files():
        pool.AddSerializedFile(data)
        file = descriptor_pb2.FileDescriptorProto.FromString(data)
        names += [f"{file.package}.{service.name}" for service in file.service]
    return reflection.aio.ReflectionServicer(names, pool)
