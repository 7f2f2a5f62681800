"""A process that takes callers' calls and owns nothing: it has no database and no keyring.

It knows the contracts of all services. Who calls is asked of the owner of the users, and each call
goes to the owner of its operation.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from mainspring.app import SILENCE_MAX_S, services_of
from mainspring.engines import adapter_of, limits_url, opened
from mainspring.gateway.limit import Limits, LimitSettings
from mainspring.gateway.pipeline import Gateway
from mainspring.interfaces.graphql.endpoint import GraphqlEndpoint
from mainspring.interfaces.graphql.settings import GraphqlSettings
from mainspring.interfaces.http.server import Server
from mainspring.interfaces.http.server_settings import CorsSettings, ServerSettings
from mainspring.interfaces.mcp.endpoint import McpEndpoint
from mainspring.interfaces.mcp.settings import McpSettings
from mainspring.interfaces.rest.asgi import RestApp
from mainspring.interfaces.rest.pages import Pages
from mainspring.kernel.clock import Clock, Entropy, SystemClock, SystemEntropy
from mainspring.kernel.errors import Failure
from mainspring.kernel.ids import IdMaker
from mainspring.kernel.invocation import Invoker
from mainspring.kernel.process_role import ProcessRole, Seat
from mainspring.kernel.registry import Registry
from mainspring.kernel.user_app import App
from mainspring.ports.database import StartError
from mainspring.ports.limits import RateLimits
from mainspring.ports.opening import Sources
from mainspring.ports.telemetry import Telemetry
from mainspring.runtime import crew as crews
from mainspring.runtime.crew import TELL_S, CrewBoard
from mainspring.runtime.invoke.descriptions import AskedDescriptions
from mainspring.runtime.invoke.routed import REST, RoutedInvoker
from mainspring.runtime.metrics.gauges import watch_peers
from mainspring.runtime.metrics.telemetry import Metrics
from mainspring.runtime.supervisor import Supervisor
from mainspring.settings import (
    DEFAULT,
    DatabaseSettings,
    PeerSettings,
    PlatformSettings,
    Settings,
    SettingsError,
)
from mainspring.split import USERS, Peers

_TELEMETRY = ("telemetry", "rollups:")


def _limits(settings: Settings) -> tuple[str, str]:
    return "limits", limits_url(settings.of(LimitSettings))


def share(settings: Settings, size: int) -> Callable[[Seat], Mapping[type, Any]]:
    """Make what gateways at one address share, before they are forked. Raises StartError.

    Nothing that speaks gRPC is imported here: its threads do not survive a fork.
    """
    wanted: dict[type, tuple[str, str]] = {Telemetry: _TELEMETRY, RateLimits: _limits(settings)}
    adapters = {kind: (adapter_of(port, url), url) for kind, (port, url) in wanted.items()}
    shared = {
        kind: adapter.share(url, size)
        for kind, (adapter, url) in adapters.items()
        if hasattr(adapter, "share")
    }
    board = crews.share(size, ())
    return lambda seat: {
        CrewBoard: board(seat),
        **{kind: own(seat) for kind, own in shared.items()},
    }


class GatewayProcess:
    """HTTP in front of owners in other processes. It is started and drained as an ``Instance``."""

    role = ProcessRole.GATEWAY
    new = False

    def __init__(
        self,
        settings: Settings,
        user_app: App | None = None,
        *,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        sockets: Sequence[socket.socket] = (),
        ports: Mapping[type, Any] | None = None,
    ) -> None:
        """Put it together. ``ports`` are what ``share`` made for one of several."""
        shared = ports or {}
        self.clock, self.entropy = clock or SystemClock(), entropy or SystemEntropy()
        sources = Sources(self.clock, self.entropy)
        services = services_of(user_app)
        self.registry = Registry(services)
        self.peers = Peers(settings, services, sources)
        named = self.peers.by_service
        users = named.get(USERS) or named.get(REST)
        if users is None:
            source = settings.sources.get("peers.services", DEFAULT)
            raise SettingsError(
                f"{source}: peers.services: a gateway asks the users service who calls: say where "
                'its owner is, {users = "grpc://127.0.0.1:7100"}'
            )
        self._users = users
        self.data_dir = Path(settings.of(PlatformSettings).data_dir)
        self.telemetry: Telemetry = shared.get(Telemetry) or opened(*_TELEMETRY, sources)
        self.crew: CrewBoard = shared.get(CrewBoard) or crews.alone(())
        metrics = Metrics(self.telemetry)
        metrics.declare(services)
        self._look_at_peers = watch_peers(self.telemetry, named, self.peers.credentials)
        chosen = settings.of(LimitSettings)
        # Gateways with the same owners count together, and those of other platforms by themselves.
        owners = settings.of(PeerSettings).services
        self._platform = blake2b(
            msgspec.json.encode(owners, order="sorted"), digest_size=8
        ).hexdigest()
        self.limits: RateLimits = shared.get(RateLimits) or opened(*_limits(settings), sources)
        self.gateway = Gateway(
            users,
            self.clock,
            metrics,
            limits=Limits(chosen, self.limits, self.registry.rate_classes),
            silence_max_s=SILENCE_MAX_S,
            stream_tokens=users,
        )
        server = settings.of(ServerSettings)
        ids = IdMaker(self.clock, self.entropy)
        invoker = RoutedInvoker(None, (), named)
        self.rest = RestApp(
            self.registry.operations.values(),
            self.gateway,
            invoker,
            clock=self.clock,
            ids=ids,
            metrics=metrics,
            mounts=user_app.mounts if user_app else {},
            server=server,
            cors=settings.of(CorsSettings),
            lags=settings.of(DatabaseSettings).replicas_for == "all",
        )
        self._add_pages(settings, invoker)
        self.server = Server(self.rest, server, ids=ids, sockets=sockets, clock=self.clock)
        self._hearing = Supervisor()

    def _add_pages(self, settings: Settings, invoker: Invoker) -> None:
        descriptions = AskedDescriptions(self.registry, self.peers.by_service)
        Pages(
            self.rest,
            self.registry,
            ready=self.failing,
            degraded=self.degraded,
            status=self.status,
            prove=lambda nonce: self._users.prove(nonce, self.url),
            descriptions=descriptions,
        )
        mcp, cors = settings.of(McpSettings), settings.of(CorsSettings)
        McpEndpoint(self.rest, self.registry, invoker, mcp, cors, descriptions)
        graphql = settings.of(GraphqlSettings)
        GraphqlEndpoint(self.rest, self.registry, invoker, graphql, descriptions)

    @property
    def url(self) -> str:
        """Where it listens, once it has started."""
        return self.server.url

    async def engine(self) -> str:
        """Say what it keeps things in."""
        return "none: it asks the owners of services"

    async def start(self) -> None:
        """Connect and serve. Raises StartError."""
        try:
            await self.limits.open(self._platform)
            await self.peers.open(self.registry.operations)
            self._hearing.start("revocations", self._hear)
            self._hearing.start("crew", self._tell)
            await self.server.start()
        except (OSError, Failure) as error:
            raise StartError(f"cannot start: {error}") from error

    async def _tell(self) -> None:
        """Tell the others of this address that it lives, and what it counts of its owners."""
        while True:
            self.crew.tell(self._hearing.failing(), self.clock.monotonic_s())
            await self._look_at_peers()
            await asyncio.sleep(TELL_S)

    async def _hear(self) -> None:
        """Forget who is revoked. What is remembered counts only while this hears everything."""
        async for revocation in self._users.follow():
            if revocation.all:
                self.gateway.forget_all()
            for tag in revocation.tags:
                self.gateway.forget(tag)
            if revocation.heard_s is not None:
                self.gateway.heard(revocation.heard_s)

    async def drain(self, timeout_s: float, *, lame_duck_s: float = 0.0) -> None:
        """Take no new calls, let those under way finish, close."""
        await self.server.drain(timeout_s, lame_duck_s=lame_duck_s)
        await self.close()

    async def let_go(self) -> None:
        """Close what a start that failed may have left open."""
        await self.close()

    async def close(self) -> None:
        """Let go of everything."""
        await self._hearing.stop()
        await asyncio.gather(self.peers.close(), self.limits.close())

    async def failing(self) -> list[str]:
        """Name what keeps it from serving: nothing but that it leaves."""
        return ["process: it is about to end"] if self.server.leaving else []

    def degraded(self) -> list[str]:
        """Name the services that are away: the others go on without them."""
        limits = self.limits.away()
        own = [*self.server.degraded(), *self._hearing.failing()]
        own += self.crew.failing_elsewhere(self.clock.monotonic_s())
        return [*self.peers.away(), *([f"limits: {limits}"] if limits else []), *own]

    async def status(self) -> dict[str, Any]:
        """Version, role and services, for ``GET /v1/status``."""
        failing = await self.failing()
        return {
            "version": version("mainspring"),
            "role": self.role,
            "processes": {
                "wanted": self.crew.seat.size,
                "alive": self.crew.alive(self.clock.monotonic_s()),
            },
            "ready": not failing,
            "failing": failing,
            "degraded": self.degraded(),
            "engines": {},
            "services": {s.name: s.doc for s in self.registry.services.values()},
        }
