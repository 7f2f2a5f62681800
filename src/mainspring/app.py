"""The composition root: settings, adapters, runtime, services, gateway, interfaces, in that order.

Nothing else knows which adapter fills which port.
"""

import asyncio
import difflib
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from mainspring.adapters import private_file
from mainspring.engines import adapter_of, opened, urls_of
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
from mainspring.kernel.authority import Authenticator, StreamTokens
from mainspring.kernel.clock import Clock, Entropy, SystemClock, SystemEntropy
from mainspring.kernel.declaration import Misdeclared, place
from mainspring.kernel.errors import Failure
from mainspring.kernel.job import PLATFORM_QUEUES, QUEUES, require_queue
from mainspring.kernel.process_role import ProcessRole, Seat
from mainspring.kernel.registry import Registry
from mainspring.kernel.service import Service, pattern_covers
from mainspring.kernel.upload_settings import UploadSettings
from mainspring.kernel.user_app import App
from mainspring.ports.blobs import Blobs
from mainspring.ports.bus import Bus
from mainspring.ports.cache import Cache
from mainspring.ports.database import Database, StartError
from mainspring.ports.documents import DocumentStore
from mainspring.ports.http_client import HttpClient
from mainspring.ports.keyring import Keyring, NoKeyring
from mainspring.ports.kms import FormerKms, Kms
from mainspring.ports.limits import RateLimits
from mainspring.ports.opening import Sources
from mainspring.ports.peers import Owned
from mainspring.ports.search import SearchEngine
from mainspring.ports.telemetry import Telemetry
from mainspring.runtime import crew as crews
from mainspring.runtime import identity
from mainspring.runtime.crew import CrewBoard
from mainspring.runtime.data_keys import DataKeys, KeyringSettings
from mainspring.runtime.events import catch_up
from mainspring.runtime.events.catch_up import Bulletin, CatchUp
from mainspring.runtime.events.field_encryption import FieldEncryption
from mainspring.runtime.events.tail import Tail
from mainspring.runtime.health import warn_of_little_room
from mainspring.runtime.invoke.descriptions import OwnDescriptions
from mainspring.runtime.metrics.gauges import (
    Store,
    watch_peers,
    watch_replicas,
    watch_stores,
)
from mainspring.runtime.metrics.telemetry import STORE_USES
from mainspring.runtime.retention import RetentionSettings
from mainspring.runtime.runtime import Runtime, Through
from mainspring.services import audit, events, jobs, records, users, webhooks
from mainspring.services.users.admin import ensure_admin_key, new_key, settle_addresses
from mainspring.settings import (
    DEFAULT,
    OWN_SECTIONS,
    DatabaseSettings,
    PlatformSettings,
    QueueSettings,
    Settings,
    SettingsError,
)
from mainspring.split import ownership

BUILT_IN: tuple[Service, ...] = (
    users.service,
    records.service,
    jobs.service,
    webhooks.service,
    events.service,
    audit.service,
)
PLATFORM_SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    **OWN_SECTIONS,
    "server": ServerSettings,
    "limits": LimitSettings,
    "cors": CorsSettings,
    "mcp": McpSettings,
    "graphql": GraphqlSettings,
    "retention": RetentionSettings,
    "keyring": KeyringSettings,
    "uploads": UploadSettings,
}
# How long at most a credential is taken for good in other processes after it was revoked, where
# they are told of it: what they remember is used only while all until then was heard.
SILENCE_MAX_S = 1.0


def services_of(user_app: App | None) -> list[Service]:
    """Built-in services and the user's own. Raises Misdeclared when they do not fit together."""
    own = list(user_app.services) if user_app else []
    if clash := {s.name for s in own} & {"runtime", *(s.name for s in BUILT_IN)}:
        raise Misdeclared(
            f"the app names a service like a built-in one: {', '.join(sorted(clash))}"
        )
    if clash := {s.name for s in own if s.settings} & PLATFORM_SECTIONS.keys():
        raise Misdeclared(
            f"[{min(clash)}] is a section of the platform's own settings: rename that service"
        )
    services = [*BUILT_IN, *own]
    for service in services:
        service.load()
    for job in (job for service in own for job in service.jobs.values()):
        if job.queue in PLATFORM_QUEUES:
            require_queue(f"{place(job.declared)}: {job.name}", job.queue, QUEUES)
    types = [name for service in services for name in service.events]
    for consumer in (c for service in services for c in service.consumers.values()):
        for pattern in consumer.patterns:
            if not any(pattern_covers(pattern, name) for name in types):
                near = difflib.get_close_matches(pattern, types, n=1)
                hint = f"did you mean {near[0]}?" if near else "GET /v1/events lists what there is"
                raise Misdeclared(
                    f"{place(consumer.handler)}: no service emits {pattern!r}; {hint}"
                )
    return services


def sections(user_app: App | None) -> Mapping[str, type[msgspec.Struct]]:
    """Every section of the settings and its struct."""
    return {
        **PLATFORM_SECTIONS,
        **{s.name: s.settings for s in services_of(user_app) if s.settings is not None},
    }


def _make(data_dir: Path) -> None:
    """Make the data directory, closed to other users. Raises StartError when it cannot be made."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        why = "a file is there" if isinstance(error, FileExistsError) else error.strerror
        raise StartError(
            f"cannot make the data directory {data_dir}: {why}; choose another with --data-dir"
        ) from error


def _one_process(settings: Settings) -> SettingsError:
    """Say why a process over SQLite has no part of the work only."""
    source = settings.sources.get("platform.role", DEFAULT)
    return SettingsError(
        f"{source}: platform.role: {settings.of(PlatformSettings).role} needs PostgreSQL: each "
        "process over an SQLite database does everything (set [database] url, or leave role at all)"
    )


def _ports(
    given: Mapping[type, Any], settings: Settings, data_dir: Path, sources: Sources
) -> dict[type, Any]:
    """Return what fills each port: what is given, else what the settings name."""
    urls = urls_of(settings, data_dir)
    named = {
        kind: opened(port, url, sources) for kind, (port, url) in urls.items() if kind not in given
    }
    return {**named, **given}


def share(
    settings: Settings, size: int, user_app: App | None = None
) -> Callable[[Seat], Mapping[type, Any]]:
    """Make what processes of one platform share, before they are forked. Raises StartError.

    Each builds its own with what this returns for its seat.
    Whatever the settings name is imported here, once for all of them.
    """
    data_dir = Path(settings.of(PlatformSettings).data_dir)
    _make(data_dir)
    urls = urls_of(settings, data_dir)
    adapters = {kind: (adapter_of(port, url), url) for kind, (port, url) in urls.items()}
    shared = {
        kind: adapter.share(url, size)
        for kind, (adapter, url) in adapters.items()
        if hasattr(adapter, "share")
    }
    bulletin = catch_up.share(size)
    board = crews.share(size, Registry(services_of(user_app)).queue_names)
    return lambda seat: {
        CrewBoard: board(seat),
        Bulletin: bulletin(seat.number),
        **{kind: own(seat) for kind, own in shared.items()},
    }


async def build(
    settings: Settings,
    user_app: App | None = None,
    *,
    clock: Clock | None = None,
    entropy: Entropy | None = None,
    sockets: Sequence[socket.socket] = (),
    ports: Mapping[type, Any] | None = None,
    through: Through | None = None,
) -> "Instance":
    """Put a platform together; nothing runs yet. Raises StartError.

    ``sockets`` that listen already are served instead of the address in the settings. ``ports``
    are taken instead of what the settings name, or of what services provide. ``through`` is what
    calls go through to the owners of their operations.
    """
    clock, entropy = clock or SystemClock(), entropy or SystemEntropy()
    return Instance(settings, user_app, clock, entropy, sockets, ports or {}, through)


class Instance:
    """Everything in one process over one database."""

    def __init__(
        self,
        settings: Settings,
        user_app: App | None,
        clock: Clock,
        entropy: Entropy,
        sockets: Sequence[socket.socket],
        ports: Mapping[type, Any],
        through: Through | None,
    ) -> None:
        server = settings.of(ServerSettings)
        self.data_dir = Path(settings.of(PlatformSettings).data_dir)
        self.role = settings.of(PlatformSettings).role
        filled = _ports(ports, settings, self.data_dir, Sources(clock, entropy))
        services = services_of(user_app)
        self.split = ownership(settings, services, Sources(clock, entropy))
        if self.split is not None and through is None:
            through = self.split.through
        board, bulletin = filled.pop(CrewBoard, None), filled.pop(Bulletin, None)
        if filled[Database].dialect == "sqlite" and self.role is not ProcessRole.ALL:
            raise _one_process(settings)
        _make(self.data_dir)
        self.new = False  # whether this start made the database
        self._removed = settings.of(PlatformSettings).removed_services
        self.telemetry: Telemetry = filled[Telemetry]
        self.keyring: Keyring = filled[Keyring]
        self.database: Database = filled[Database]
        self.web: HttpClient = filled[HttpClient]
        self.blobs: Blobs = filled[Blobs]
        self.bus: Bus | None = filled.get(Bus)
        self.cache: Cache = filled[Cache]
        self.limits: RateLimits = filled[RateLimits]
        self.search: SearchEngine | None = filled.get(SearchEngine)
        self.documents: DocumentStore | None = filled.get(DocumentStore)
        self.data_keys = DataKeys(
            self.database, self.keyring, clock, entropy,
            kms=filled.pop(Kms, None), former=filled.pop(FormerKms, None),
        )  # fmt: skip
        self.sealer = FieldEncryption(self.database, self.data_keys, entropy, clock)
        resources: dict[type, Any] = {**{type(s): s for s in settings.sections.values()}, **filled}
        self.runtime = Runtime(
            self.database,
            services,
            keyring=self.keyring,
            sealer=self.sealer,
            resources=resources,
            telemetry=self.telemetry,
            clock=clock,
            entropy=entropy,
            concurrency=settings.of(QueueSettings).concurrency,
            data_dir=self.data_dir,
            idempotency_required=server.idempotency_required,
            bus=self.bus,
            role=self.role,
            crew=board,
            through=through,
        )
        self.runtime.dispatcher.on_commit(self.sealer.on_commit)
        self.elsewhere, self.recheck = self._elsewhere(bulletin), identity.Recheck(self._forget_all)
        self.gateway = self._gateway(settings.of(LimitSettings), self.limits)
        self.rest = self._rest(settings, user_app)
        self._watch()
        self._add_pages()
        self._add_interfaces(settings)
        self.server = Server(self.rest, server, ids=self.runtime.ids, sockets=sockets, clock=clock)

    def _rest(self, settings: Settings, user_app: App | None) -> RestApp:
        return RestApp(
            self.runtime.registry.operations.values(),
            self.gateway,
            self.runtime.invoker,
            clock=self.runtime.clock,
            ids=self.runtime.ids,
            metrics=self.runtime.metrics,
            mounts=user_app.mounts if user_app else {},
            server=settings.of(ServerSettings),
            cors=settings.of(CorsSettings),
            serves=self.role.serves,
            lags=settings.of(DatabaseSettings).replicas_for == "all",
        )

    def _watch(self) -> None:
        """Have what this process needs of others shown in its metrics."""
        watch_stores(self.telemetry, self._watched)
        uses = self.telemetry.counter(STORE_USES)
        counted: dict[str, Cache | RateLimits] = {"cache": self.cache, "limits": self.limits}
        for part, store in counted.items():
            store.measure(partial(uses.of, part))
        if self.split is not None:
            named, own = self.split.peers.by_service, self.split.peers.credentials
            watch_peers(self.telemetry, named, own)
        if self.database.replicas is not None:
            watch_replicas(self.telemetry, self.database.replicas)

    def _add_pages(self) -> None:
        self._descriptions = OwnDescriptions(self.runtime.registry, self.runtime.dispatcher.call)
        Pages(
            self.rest,
            self.runtime.registry,
            ready=self.failing,
            degraded=self.degraded,
            status=self.status,
            descriptions=self._descriptions,
            prove=lambda nonce: self.prove(nonce, self.url),
        )

    def _add_interfaces(self, settings: Settings) -> None:
        McpEndpoint(
            self.rest,
            self.runtime.registry,
            self.runtime.invoker,
            settings.of(McpSettings),
            settings.of(CorsSettings),
            self._descriptions,
        )
        GraphqlEndpoint(
            self.rest,
            self.runtime.registry,
            self.runtime.invoker,
            settings.of(GraphqlSettings),
            self._descriptions,
        )

    def _gateway(self, settings: LimitSettings, limits: RateLimits) -> Gateway:
        runtime, elsewhere = self.runtime, self.elsewhere
        gateway = Gateway(
            runtime.resources[Authenticator],
            runtime.clock,
            runtime.metrics,
            limits=Limits(settings, limits, runtime.registry.rate_classes),
            silence_max_s=SILENCE_MAX_S if isinstance(elsewhere, Tail) else None,
            elsewhere=elsewhere if isinstance(elsewhere, CatchUp) else None,
            stream_tokens=runtime.resources.get(StreamTokens),
        )
        if self.split is not None and self.split.feed is not None:
            gateway.tell(self.split.feed)
        runtime.dispatcher.on_commit(gateway.on_commit)
        if isinstance(elsewhere, CatchUp):
            runtime.dispatcher.on_commit(elsewhere.on_commit)
        return gateway

    def _elsewhere(self, bulletin: Bulletin | None) -> Tail | CatchUp | None:
        """Hear of what other processes commit: who is revoked, and who is erased."""
        if self.database.exclusive:
            return None
        if bulletin is not None and self.database.dialect == "sqlite":  # all are of one crew
            events = self.runtime.registry.events.values()
            erasing = {event.name for event in events if event.erases is not None}
            urgent = erasing | self.runtime.resources[Authenticator].revoking
            return CatchUp(self.database, bulletin, urgent, self._heard, self._forget_all)
        return Tail(
            self.runtime.reader,
            self._heard,
            self.runtime.clock,
            waits=self.runtime.sequencer.waits,
            complete=lambda until_s: self.gateway.heard(until_s),
            lost=self._forget_all,
        )

    def _heard(self, event_type: str, subject: str) -> None:
        self.gateway.revoke(event_type, subject)
        told = self.runtime.registry.events.get(event_type)
        if told is not None and told.erases is not None:
            self.sealer.forget_all()

    def _forget_all(self) -> None:
        """Forget what was concluded from what the database may never have had, or not any more."""
        self.gateway.forget_all()
        self.data_keys.forget_all()
        self.sealer.forget_all()
        self.runtime.forget_all()

    @property
    def url(self) -> str:
        """Where it listens, once it has started."""
        return self.server.url

    async def engine(self) -> str:
        """Name and version of the database, once it is open."""
        return await self.database.version()

    async def let_go(self) -> None:
        """Close what a start that failed may have left open."""
        await self.database.close()

    async def start(self) -> None:
        """Open everything, start what moves, and serve. Raises StartError."""
        try:
            await self.open()
            if self.runtime.crew.seat.number == 0:  # the others of a crew have divided what is left
                await warn_of_little_room(self.database)
            await self.runtime.start()
            if self.role.works:
                await self.runtime.resealing.begin(self.runtime.dispatcher, new=self.new)
            if self.elsewhere is not None:
                await self.elsewhere.start()
            await self.server.start()
            if self.split is not None:
                await self.split.peers.open(self.runtime.registry.operations)
                await self.split.start(self.owned())
        except (OSError, Failure) as error:  # a full disk, a database that went away meanwhile
            raise StartError(f"cannot start over {self.data_dir}: {error}") from error

    def owned(self) -> Owned:
        """Return what peers may be given by this process."""
        return Owned(
            self.runtime.registry.operations,
            self.runtime.owner,
            self.runtime.resources[Authenticator],
            failing=self.failing,
            stream_tokens=self.runtime.resources.get(StreamTokens),
            describes=self._descriptions,
            proves=self,
        )

    async def prove(self, nonce: str, url: str) -> str:
        """Show whoever has the same keyring, and asked at this address, that a platform answers."""
        return identity.prove(self.keyring, nonce, url)

    async def open(self) -> None:
        """Open everything and bring the schema up to date: calls are taken, nothing moves yet.

        Raises StartError, with everything closed again.
        """
        await self.database.open()
        try:
            empty = not await self.database.applied()
            await self._check_schema()
            await self.open_keyring()
            await self.data_keys.connect()
            await self.runtime.migrate()
            clock, entropy = self.runtime.clock, self.runtime.entropy
            made = await identity.establish(self.database, self.keyring, clock, entropy)
            self.new = made and empty
            await self.recheck.start(self.database)
            # In a task of its own, so that what starts after it does not log the ids of its call.
            await asyncio.create_task(self._ensure_admin_key())
            await asyncio.create_task(settle_addresses(self.runtime.dispatcher))
            await self.web.open()
            await self._open_stores()
            if self.bus is not None:
                await self.bus.open()
        except BaseException:
            await self.close()
            raise

    async def _open_stores(self) -> None:
        """Open what several processes may share beside the database, under the database's name."""
        known = await identity.find(self.database, await self.database.applied())
        assert known is not None  # established by now
        await asyncio.gather(*(store.open(known.id) for store in self._stores.values()))

    @property
    def _stores(self) -> dict[str, Cache | RateLimits | SearchEngine | DocumentStore]:
        copies = {"search": self.search, "documents": self.documents}
        there = {part: store for part, store in copies.items() if store is not None}
        return {"cache": self.cache, "limits": self.limits, **there}

    @property
    def _watched(self) -> dict[str, Store]:
        bus: dict[str, Store] = {} if self.bus is None else {"bus": self.bus}
        kms: dict[str, Store] = {"kms": self.data_keys} if self.data_keys.has_kms else {}
        return {**self._stores, "blobs": self.blobs, **kms, **bus}

    async def open_keyring(self) -> None:
        """Open the keyring of the open database; make it if that is empty. Raises StartError."""
        applied = await self.database.applied()
        known = await identity.find(self.database, applied)
        try:
            await self.keyring.open(create=not applied)
        except NoKeyring as error:
            raise identity.missing_keyring(known) from error
        if known is not None:
            identity.check_keyring(known, self.keyring)

    async def _check_schema(self) -> None:
        applied = await self.database.applied()
        services = self.runtime.registry.services.values()
        identity.check_schema(applied, services, self.database.dialect, self._removed)

    @property
    def _admin_key_file(self) -> Path:
        return self.data_dir / "admin.key"

    async def _ensure_admin_key(self) -> None:
        """Write the key's file first: a crash before its commit is made good by the next start."""
        file = self._admin_key_file
        text = await asyncio.to_thread(
            private_file.create_once, file, lambda: f"{new_key(self.runtime.entropy)}\n".encode()
        )
        await ensure_admin_key(self.runtime.dispatcher, text.decode().strip())

    async def replace_admin_key(self, text: str) -> Path:
        """Put another key where the first administrator's was; return the file."""
        file = self._admin_key_file
        await asyncio.to_thread(private_file.write, file, f"{text}\n".encode())
        return file

    async def drain(self, timeout_s: float, *, lame_duck_s: float = 0.0) -> None:
        """Take no new calls, let calls and jobs finish, hand the rest back, close.

        For ``lame_duck_s`` before that it still takes calls, and says that it is not ready. No job
        is begun any more: another process may run it to its end.
        """
        self.runtime.leave()
        takes_calls = self.role.serves or self.split is not None
        leaving = [self.server.drain(timeout_s, lame_duck_s=lame_duck_s if takes_calls else 0.0)]
        if self.split is not None:
            leaving.append(self.split.drain(timeout_s, lame_duck_s=lame_duck_s))
        await asyncio.gather(*leaving)
        if self.elsewhere is not None:
            await self.elsewhere.stop()
        await self.runtime.stop(timeout_s)
        await self.close()

    async def close(self) -> None:
        """Let go of what ``open`` opened."""
        if self.split is not None:
            await self.split.close()
        await self.runtime.close()
        if self.bus is not None:
            await self.bus.close()
        for store in self._stores.values():
            await store.close()
        await self.data_keys.disconnect()
        await self.web.close()
        await self.database.close()

    async def failing(self) -> list[str]:
        """Name the parts that cannot serve; none when it is ready."""
        leaving = ["process: it is about to end"] if self.server.leaving else []
        return leaving or await self.runtime.health.failing()

    def degraded(self) -> list[str]:
        """Name what is away that not every call needs: others go on without it."""
        away = {part: store.away() for part, store in self._watched.items()}
        peers = [] if self.split is None else self.split.peers.away()
        replicas = self.database.replicas
        left = [] if replicas is None else [(r.name, r.why) for r in replicas.standing() if r.why]
        return [
            *(f"{part}: {why}" for part, why in away.items() if why),
            *(f"replica {name}: {why}" for name, why in left),
            *self.runtime.waiting(),
            *peers,
            *self.server.degraded(),
        ]

    async def status(self) -> dict[str, Any]:
        """Version, role, services and engines, for ``GET /v1/status``."""
        failing = await self.failing()
        crew, now_s = self.runtime.crew, self.runtime.clock.monotonic_s()
        named = {part: store.version() for part, store in self._stores.items()}
        stores = {part: name for part, name in named.items() if name}
        return {
            "version": version("mainspring"),
            "role": self.role,
            "processes": {"wanted": crew.seat.size, "alive": crew.alive(now_s)},
            "ready": not failing,
            "failing": failing,
            "degraded": self.degraded(),
            "engines": {"database": await self.database.version(), **stores},
            "services": {s.name: s.doc for s in self.runtime.registry.services.values()},
        }
