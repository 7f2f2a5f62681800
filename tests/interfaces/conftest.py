"""The notes service behind a real HTTP server on a free port."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import msgspec
import pytest

from mainspring import App
from mainspring.engines import opened
from mainspring.kernel.authority import Authenticator, Identity
from mainspring.kernel.call import Caller
from mainspring.kernel.clock import Clock, SystemEntropy
from mainspring.kernel.errors import Unauthenticated
from mainspring.kernel.invocation import Invoker
from mainspring.kernel.operation import Operation
from mainspring.ports.opening import Sources
from mainspring.ports.peers import Owned, Peer
from mainspring.testing import Platform
from tests.interfaces.notes import Gates, notes

WRITER = {"Authorization": "Bearer msk_writer"}
READER = {"Authorization": "Bearer msk_reader"}


class Keys:
    """An authenticator that knows a few keys and counts how often it is asked."""

    revoking = frozenset({"notes.key.revoked"})

    def __init__(self) -> None:
        self.asked = 0
        self.revoked: set[str] = set()

    async def authenticate(self, credential: str, now_ms: int) -> Identity:
        self.asked += 1
        scopes = {
            "msk_writer": frozenset({"notes:read", "notes:write"}),
            "msk_reader": frozenset({"notes:read"}),
        }.get(credential)
        key_id = f"key_{credential.removeprefix('msk_')}"
        if scopes is None or key_id in self.revoked:
            raise Unauthenticated("the key does not hold")
        return Identity(Caller("key", key_id, scopes=scopes), tags=(key_id,))


class Site:
    """A platform with the notes that serves, and a client for it."""

    def __init__(self, platform: Platform, keys: Keys) -> None:
        self.platform = platform
        self.server = platform.app.server
        self.rest = platform.app.rest
        self.runtime = platform.app.runtime
        self.invoker = platform.app.runtime.invoker
        self.keys = keys
        self.gates = platform.use(Gates)
        self.http = aiohttp.ClientSession(
            platform.url, auto_decompress=False, headers={"Accept-Encoding": "identity"}
        )

    async def close(self) -> None:
        """Let handlers end that wait, and the client go."""
        self.gates.opened.set()
        await self.http.close()

    @property
    def port(self) -> int:
        return int(self.platform.url.rpartition(":")[2])

    async def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[aiohttp.ClientResponse, Any]:
        """Call as the writer; names of headers are written with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {**WRITER, **named}
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else msgspec.json.encode(body)
            sent.setdefault("Content-Type", "application/json")
        answer = await self.http.request(
            method, path, data=data, headers=sent, allow_redirects=False
        )
        raw = await answer.read()
        packed = "Content-Encoding" in answer.headers
        if raw and not packed and answer.headers["Content-Type"].endswith(("/json", "+json")):
            return answer, msgspec.json.decode(raw)
        return answer, raw

    def stored(self) -> list[bytes]:
        """What is in the blob store, unfinished ones too."""
        blobs = self.platform.app.data_dir / "blobs"
        return [path.read_bytes() for path in blobs.rglob("*") if path.is_file()]

    async def count(self) -> int:
        """How many notes there are."""
        _, page = await self.ask("GET", "/v1/notes?limit=500")
        return len(page["items"])


Start = Callable[..., Awaitable[Site]]


class OverGrpc:
    """What calls go through: a peer of this process itself, over a real connection on loopback."""

    def __init__(self, owner: Invoker, clock: Clock) -> None:
        self._owner = owner
        self._sources = Sources(clock, SystemEntropy())
        self._peer: Peer | None = None
        self._opening = asyncio.Lock()
        self.operations: dict[str, Operation] = {}

    async def peer(self) -> Peer:
        async with self._opening:
            if self._peer is None:
                self._listener = opened("listener", "grpc://127.0.0.1:0", self._sources)
                await self._listener.start(Owned(self.operations, self._owner))
                peer = opened("peers", self._listener.url, self._sources)
                await peer.open_peer(self.operations)
                self._peer = peer
        return self._peer

    async def close(self) -> None:
        if self._peer is not None:
            await self._peer.close()
            await self._listener.drain(0)

    async def invoke(self, *call: Any) -> Any:
        return await (await self.peer()).invoke(*call)

    async def upload(self, *call: Any) -> Any:
        return await (await self.peer()).upload(*call)

    async def receive(self, *call: Any) -> Any:
        return await (await self.peer()).receive(*call)

    async def open(self, *call: Any) -> Any:
        return await (await self.peer()).open(*call)


@pytest.fixture(params=["typed", "encoded", pytest.param("grpc", marks=pytest.mark.more)])
async def start(request: pytest.FixtureRequest) -> AsyncIterator[Start]:
    """Start sites with settings of the test's own.

    Every test runs with the owner of the operations called in process, with each call and each
    answer encoded to bytes between the two, and over gRPC.
    """

    async def begin(
        *,
        server: dict[str, Any] | None = None,
        limits: dict[str, Any] | None = None,
        cors: dict[str, Any] | None = None,
        mounts: dict[str, Any] | None = None,
    ) -> Site:
        app, keys = App("notes", services=[notes]), Keys()
        for prefix, (asgi, scope) in (mounts or {}).items():
            app.mount(prefix, asgi, scope=scope)
        sections = {"server": server, "limits": limits, "cors": cors}
        platform = Platform(
            app,
            settings={f"{s}.{n}": v for s, of in sections.items() for n, v in (of or {}).items()},
            ports={Authenticator: keys},
            sockets=True,
            encoded=request.param == "encoded",
            through=OverGrpc if request.param == "grpc" else None,
        )
        site = Site(await sites.enter_async_context(platform), keys)
        if isinstance(site.invoker, OverGrpc):
            site.invoker.operations = site.runtime.registry.operations
            sites.push_async_callback(site.invoker.close)
        sites.push_async_callback(site.close)
        return site

    async with AsyncExitStack() as sites:
        yield begin


@pytest.fixture
async def site(start: Start) -> Site:
    """A site with the default settings."""
    return await start()
