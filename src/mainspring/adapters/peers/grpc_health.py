"""Whether an owner may be sent calls, as ``grpc.health.v1`` tells those who ask or watch."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

LOOK_EVERY_S = 1.0  # whether it is ready

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class OwnerHealth:
    """Tells of the process, under the empty name, and of each service that it owns.

    All are SERVING while it is ready, as ``/readyz`` has it, and NOT_SERVING from when it drains.
    """

    def __init__(
        self,
        services: Iterable[str],
        failing: Callable[[], Awaitable[Sequence[str]]],
        leaving: asyncio.Event,
    ) -> None:
        self._names = ("", *sorted(services))
        self._failing = failing
        self._servicer = _Servicer(leaving)
        self._looking: asyncio.Task[None] | None = None

    async def start(self, server: Any) -> None:
        """Add it to a server, and begin to look."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        await self._look()
        self._looking = asyncio.create_task(self._keep_looking())

    async def leave(self) -> None:
        """Say from now on that it serves no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
        await self._servicer.enter_graceful_shutdown()

    async def _look(self) -> None:
        try:
            ready = not await self._failing()
        except Exception as error:  # noqa: BLE001 - who cannot say that it is ready is not
            structlog.get_logger().error("readiness_not_known", exc_info=error)
            ready = False
        for name in self._names:
            await self._servicer.set(name, _SERVING if ready else _NOT_SERVING)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self._look()


class _Servicer(health.aio.HealthServicer):  # type: ignore[misc]
    """The library's, whose watchers would hold up the end of the process."""

    def __init__(self, leaving: asyncio.Event) -> None:
        super().__init__()
        self._leaving = leaving

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802 - gRPC's name
        """Tell of a status now and whenever it changes, until this process leaves."""
        watching = asyncio.ensure_future(super().Watch(request, context))
        leaving = asyncio.ensure_future(self._leaving.wait())
        try:
            await asyncio.wait({watching, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (watching, leaving):
                task.cancel()
            await asyncio.wait({watching, leaving})
