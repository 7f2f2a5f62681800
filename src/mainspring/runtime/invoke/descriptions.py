"""What the data adds to operations, for who describes them: of this process, or asked of owners.

A gateway is told the shapes of a service once for each version of them, and keeps them by it. Every
call asks the owner again, so nothing old is shown while the owner is there.
"""

import asyncio
import zlib
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

import msgspec

from mainspring.kernel.call import Call
from mainspring.kernel.caller import Caller
from mainspring.kernel.errors import NotServedHere, Unavailable
from mainspring.kernel.lru_cache import LruCache
from mainspring.kernel.operation import OperationVariant
from mainspring.kernel.registry import Registry
from mainspring.ports.peers import Described, DescribeFor, Describes, Peer
from mainspring.runtime.invoke.routed import REST

PACKED_BYTES_MAX = 32 << 20  # of what is sent
SHAPES_BYTES_MAX = 256 << 20  # of what that is unpacked to
OBJECTS_PER_BYTE = 8  # bytes that a byte of it takes as dictionaries
KEPT_BYTES_MAX = 256 << 20  # of unpacked shapes that a gateway keeps
KEPT_MAX = 64  # lists that an owner keeps packed
VIEWERS_MAX = 1_000  # whose last version a gateway remembers
_VERSION_BYTES = 16
_shapes = msgspec.msgpack.Decoder(list[OperationVariant])


class ServiceShapes(NamedTuple):
    """The shapes of a service. ``missing`` says why they may be old, or are not there."""

    service: str
    shapes: Sequence[OperationVariant]
    missing: str = ""


class Descriptions(Protocol):
    """Knows what the data adds to operations, in this process or elsewhere."""

    async def of(self, caller: Caller, *, request_id: str, account: str) -> Sequence[ServiceShapes]:
        """Return the shapes of each service; the same list while nothing has changed."""
        ...


class _Packed(NamedTuple):
    shapes: Sequence[OperationVariant]  # kept, so that no other list takes its identity
    told: Described


class OwnDescriptions:
    """Asks the services of this process. It is a ``Describes`` for peers as well."""

    def __init__(self, registry: Registry, make_call: Callable[..., Call]) -> None:
        self._services = registry.services
        self._make_call = make_call
        self._packed: LruCache[int, _Packed] = LruCache(KEPT_MAX)

    async def of(self, caller: Caller, *, request_id: str, account: str) -> list[ServiceShapes]:
        """Return the shapes of each service; the same list while nothing has changed."""
        call = self._make_call(caller, request_id=request_id, account=account)
        services = self._services.values()
        return [
            ServiceShapes(s.name, await s.describe(call))
            for s in services
            if s.describe is not None
        ]

    async def describe(self, asked: DescribeFor) -> Described:
        """Tell a peer the shapes of one service, unless it knows them.

        Raises NotServedHere, and Unavailable for what is too large to be sent.
        """
        service = self._services.get(asked.service)
        if service is None or service.describe is None:
            raise NotServedHere(f"{asked.service} describes nothing here")
        call = self._make_call(asked.caller, request_id=asked.request_id, account=asked.account)
        shapes = await service.describe(call)
        packed = self._packed.get(id(shapes))
        if packed is None or packed.shapes is not shapes:
            packed = _Packed(shapes, await asyncio.to_thread(_pack, shapes))
            self._packed.put(id(shapes), packed)
        told = packed.told
        return Described(told.version) if told.version == asked.known else told


class _Kept(NamedTuple):
    shapes: Sequence[OperationVariant]
    size_bytes: int


class AskedDescriptions:
    """Asks the owners of services. What one told last is shown while it is away, and said so.

    Whoever has the same scopes is told the same; each is shown only what was told for these.
    """

    def __init__(self, registry: Registry, peers: Mapping[str, Peer]) -> None:
        self._owners: dict[str, Describes | None] = {
            s.name: peers.get(s.name) or peers.get(REST)
            for s in registry.services.values()
            if s.describe is not None
        }
        self._last: LruCache[tuple[str, Caller], str] = LruCache(VIEWERS_MAX)
        self._kept: LruCache[str, _Kept] = LruCache(
            KEPT_BYTES_MAX, size_of=lambda kept: min(kept.size_bytes, KEPT_BYTES_MAX)
        )

    async def of(self, caller: Caller, *, request_id: str, account: str) -> list[ServiceShapes]:
        """Return the shapes of each service; the same list while nothing has changed."""
        asking = (
            self._of(service, owner, DescribeFor(service, caller, request_id, account))
            for service, owner in self._owners.items()
        )
        return list(await asyncio.gather(*asking))

    async def _of(self, service: str, owner: Describes | None, asked: DescribeFor) -> ServiceShapes:
        viewer = (service, _viewer(asked.caller))
        known = self._last.get(viewer) or ""
        kept = self._kept.get(known)
        if owner is None:
            return ServiceShapes(service, (), "no process of the service is named")
        try:
            told = await owner.describe(
                msgspec.structs.replace(asked, known=known if kept is not None else "")
            )
            shapes = await self._take(told)
        except Unavailable as away:
            if kept is not None:
                return ServiceShapes(service, kept.shapes, f"as of before: {away.detail}")
            return ServiceShapes(service, (), f"not known: {away.detail}")
        self._last.put(viewer, told.version)
        return ServiceShapes(service, shapes)

    async def _take(self, told: Described) -> Sequence[OperationVariant]:
        """Return the shapes of a version, the same list for as long as it is kept."""
        if told.packed is not None and self._kept.get(told.version) is None:
            unpacked = await asyncio.to_thread(_unpack, told.packed)
            if self._kept.get(told.version) is None:  # another call may have been first
                self._kept.put(told.version, unpacked)
        kept = self._kept.get(told.version)
        if kept is None:  # pushed out since it was asked for
            raise Unavailable("the description went while it was asked for", retry_after_s=1)
        return kept.shapes


def _viewer(caller: Caller) -> Caller:
    """Return what a service may look at when it describes itself: who has which scopes where."""
    return Caller(caller.kind, tenant=caller.tenant, scopes=caller.scopes)


def _pack(shapes: Sequence[OperationVariant]) -> Described:
    data = msgspec.msgpack.encode(shapes, enc_hook=_plain)
    version = blake2b(data, digest_size=_VERSION_BYTES).hexdigest()
    packed = zlib.compress(data, 1)
    if len(packed) > PACKED_BYTES_MAX:
        raise Unavailable(f"the description is larger than the {PACKED_BYTES_MAX} bytes it may be")
    return Described(version, packed)


def _unpack(packed: bytes) -> _Kept:
    reading = zlib.decompressobj()
    data = reading.decompress(packed, SHAPES_BYTES_MAX)
    if not reading.eof:
        raise Unavailable(f"the description is larger than the {SHAPES_BYTES_MAX} bytes it may be")
    return _Kept(_shapes.decode(data), OBJECTS_PER_BYTE * len(data))


def _plain(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise TypeError(f"a shape holds a {type(value).__name__}")
    return dict(value)
