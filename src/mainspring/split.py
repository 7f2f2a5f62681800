"""A platform whose services run in processes of their own: who owns what, and who is asked for it.

All are over one database, so a call is one commit wherever it runs.
"""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from mainspring.engines import opened, own_certificate
from mainspring.gateway.revocations import RevocationFeed
from mainspring.kernel.clock import Clock
from mainspring.kernel.invocation import Invoker
from mainspring.kernel.operation import Operation
from mainspring.kernel.process_role import ProcessRole
from mainspring.kernel.service import Service
from mainspring.ports.opening import Sources
from mainspring.ports.peers import Owned, Peer, PeerListener
from mainspring.runtime.invoke.routed import REST, RoutedInvoker
from mainspring.settings import DEFAULT, PeerSettings, PlatformSettings, Settings, SettingsError

USERS = "users"


class Peers:
    """The owners of other services, one for each address."""

    def __init__(self, settings: Settings, services: Sequence[Service], sources: Sources) -> None:
        named = settings.of(PeerSettings).services
        known = {service.name for service in services} | {REST}
        if unknown := sorted(named.keys() - known):
            raise _wrong(settings, "services", f"there is no service {unknown[0]}")
        self.credentials = own_certificate(settings.of(PeerSettings).certificates, sources.clock)
        self._wanted = {name: url.partition("#")[2] or name for name, url in named.items()}
        if self.credentials is not None and self._wanted.get(REST) == REST:
            raise _wrong(
                settings,
                "services",
                f'which service does the certificate of "*" name? Say so: "{named[REST]}#records"',
            )
        by_url = {
            (url.partition("#")[0], self._wanted[name]): opened(
                "peers", url.partition("#")[0], sources
            )
            for name, url in named.items()
        }
        self.by_service: Mapping[str, Peer] = {
            name: by_url[url.partition("#")[0], self._wanted[name]] for name, url in named.items()
        }
        self._all: Mapping[tuple[str, str], Peer] = by_url

    async def open(self, operations: Mapping[str, Operation]) -> None:
        """Begin to connect to all."""
        for (_, service), peer in self._all.items():
            await peer.open_peer(operations, self.credentials, service)

    async def close(self) -> None:
        """End every connection."""
        await asyncio.gather(*(peer.close() for peer in self._all.values()))

    def away(self) -> list[str]:
        """Name the services whose owners cannot be reached, and why; also a certificate's end."""
        failing = None if self.credentials is None else self.credentials.failing()
        own = [] if failing is None else [f"certificate: {failing}"]
        return own + [
            f"{'other services' if name == REST else name}: {why}"
            for name, peer in self.by_service.items()
            if (why := peer.away()) is not None
        ]


class Ownership:
    """What a process owns of a split platform, and how its peers reach it."""

    def __init__(self, settings: Settings, services: Sequence[Service], sources: Sources) -> None:
        chosen = settings.of(PeerSettings)
        self._names = frozenset(chosen.owns)
        if unknown := sorted(self._names - {service.name for service in services}):
            raise _wrong(settings, "owns", f"there is no service {unknown[0]}")
        if not self._names:
            raise _wrong(settings, "owns", "a process with the role own owns a service at least")
        if not chosen.listen:
            raise _wrong(settings, "listen", "where do gateways reach it? grpc://127.0.0.1:7100")
        self.peers = Peers(settings, services, sources)
        self.feed = RevocationFeed() if USERS in self._names else None
        self.listener: PeerListener = opened("listener", chosen.listen, sources)

    def through(self, own: Invoker, _: Clock) -> Invoker:
        """Return what calls of this process go through: others own what it does not."""
        return RoutedInvoker(own, self._names, self.peers.by_service)

    async def start(self, whole: Owned) -> None:
        """Take the calls of peers, of what is owned here of the whole. Raises StartError."""
        owned = {
            name: operation
            for name, operation in whole.operations.items()
            if name.partition(".")[0] in self._names
        }
        part = msgspec.structs.replace(
            whole, operations=owned, revocations=self.feed, files=lambda: _files(owned)
        )
        if self.feed is None:
            part = msgspec.structs.replace(part, authenticator=None, stream_tokens=None)
        await self.listener.start(part, self.peers.credentials)

    async def drain(self, timeout_s: float, *, lame_duck_s: float) -> None:
        """Say that it leaves, take no new calls of peers, and let those under way finish."""
        await self.listener.drain(timeout_s, lame_duck_s=lame_duck_s)

    async def close(self) -> None:
        """Let go of the others."""
        await self.peers.close()


def ownership(
    settings: Settings, services: Sequence[Service], sources: Sources
) -> Ownership | None:
    """Return what a process of this role owns for others; None where it is whole."""
    if settings.of(PlatformSettings).role is not ProcessRole.OWN:
        return None
    return Ownership(settings, services, sources)


def _files(owned: Mapping[str, Operation]) -> Sequence[bytes]:
    """Return what is owned in Protocol Buffers, whose library is loaded when somebody asks."""
    from mainspring.interfaces.protobuf import files_of

    return files_of(owned.values())


def _wrong(settings: Settings, name: str, why: str) -> SettingsError:
    source = settings.sources.get(f"peers.{name}", DEFAULT)
    return SettingsError(f"{source}: peers.{name}: {why}")
