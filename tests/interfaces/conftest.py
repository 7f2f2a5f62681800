"""The notes service behind a real HTTP server on a free port."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from mainspring.adapters.blobs.directory import DirectoryBlobs
from mainspring.adapters.database.sqlite import SqliteDatabase
from mainspring.adapters.keyring.file import FileKeyring
from mainspring.adapters.limits.memory import MemoryLimits
from mainspring.adapters.telemetry.rollups import Rollups
from mainspring.gateway.limit import Limits, LimitSettings
from mainspring.gateway.pipeline import Gateway
from mainspring.interfaces.http.server import Server
from mainspring.interfaces.http.server_settings import CorsSettings, ServerSettings
from mainspring.interfaces.rest.asgi import RestApp
from mainspring.interfaces.rest.pages import Pages
from mainspring.kernel.authority import Identity
from mainspring.kernel.call import Caller
from mainspring.kernel.clock import SystemClock, SystemEntropy
from mainspring.kernel.errors import Unauthenticated
from mainspring.kernel.invocation import Invoker
from mainspring.ports.blobs import Blobs
from mainspring.runtime.events.field_encryption import FieldEncryption
from mainspring.runtime.runtime import Runtime
from mainspring.testing.encoding import EncodingInvoker
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
    """A running server and a client for it."""

    def __init__(
        self,
        server: Server,
        rest: RestApp,
        runtime: Runtime,
        invoker: Invoker,
        keys: Keys,
        blobs: Path,
    ) -> None:
        self.server = server
        self.rest = rest
        self.runtime = runtime
        self.invoker = invoker
        self.keys = keys
        self.gates: Gates = runtime.resources[Gates]
        self._blobs = blobs
        self.failing: list[str] = []
        self.http = aiohttp.ClientSession(
            server.url, auto_decompress=False, headers={"Accept-Encoding": "identity"}
        )

    @property
    def port(self) -> int:
        return int(self.server.url.rpartition(":")[2])

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
        return [path.read_bytes() for path in self._blobs.rglob("*") if path.is_file()]

    async def count(self) -> int:
        """How many notes there are."""
        _, page = await self.ask("GET", "/v1/notes?limit=500")
        return len(page["items"])


Start = Callable[..., Awaitable[Site]]


@pytest.fixture(params=["typed", "encoded"])
async def start(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Start]:
    """Start sites with settings of the test's own.

    Every test runs twice: with the owner of the operations called in process, and with each call
    and each answer encoded to bytes between the two.
    """
    sites: list[Site] = []
    clock, entropy = SystemClock(), SystemEntropy()

    async def begin(
        *,
        server: dict[str, Any] | None = None,
        limits: dict[str, Any] | None = None,
        cors: dict[str, Any] | None = None,
        mounts: dict[str, Any] | None = None,
    ) -> Site:
        folder = tmp_path / str(len(sites))
        folder.mkdir()
        database = SqliteDatabase(folder / "notes.db")
        await database.open()
        settings = ServerSettings(**{"port": 0, **(server or {})})
        keyring = FileKeyring(folder / "keyring.json", clock=clock, entropy=entropy)
        await keyring.open()
        runtime = Runtime(
            database, [notes], keyring=keyring, sealer=FieldEncryption(database, keyring, entropy),
            resources={Gates: Gates(), Blobs: DirectoryBlobs(folder / "blobs")},
            telemetry=Rollups(clock),
            idempotency_required=settings.idempotency_required,
        )  # fmt: skip
        await runtime.migrate()
        keys, metrics = Keys(), runtime.metrics
        counted = Limits(LimitSettings(**(limits or {})), MemoryLimits(clock))
        gateway = Gateway(keys, clock, metrics, limits=counted)
        runtime.dispatcher.on_commit(gateway.on_commit)
        encoded = request.param == "encoded"
        invoker: Invoker = EncodingInvoker(runtime.invoker, clock) if encoded else runtime.invoker
        rest = RestApp(
            notes.operations.values(), gateway, invoker, clock=clock, ids=runtime.ids,
            metrics=metrics, mounts=mounts, server=settings, cors=CorsSettings(**(cors or {})),
        )  # fmt: skip
        failing: list[str] = []

        async def ready() -> list[str]:
            return failing

        async def status() -> dict[str, str]:
            return {"version": "0"}

        Pages(
            rest,
            runtime.registry,
            ready=ready,
            status=status,
            prove=str.upper,
            make_call=runtime.dispatcher.call,
            title="Notes",
        )
        http = Server(rest, settings, ids=runtime.ids)
        await http.start()
        site = Site(http, rest, runtime, invoker, keys, folder / "blobs")
        site.failing = failing
        sites.append(site)
        return site

    yield begin
    for site in sites:
        site.gates.opened.set()
        await site.http.close()
        await site.server.drain(1)
        await site.runtime.database.close()


@pytest.fixture
async def site(start: Start) -> Site:
    """A site with the default settings."""
    return await start()
