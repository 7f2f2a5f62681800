"""Which adapter fills which port: a module by the scheme of a URL, imported when it is opened."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from mainspring.gateway.limit import LimitSettings
from mainspring.kernel.clock import Clock, SystemClock
from mainspring.ports.blobs import Blobs
from mainspring.ports.bus import Bus
from mainspring.ports.cache import Cache
from mainspring.ports.certificates import CertificateAuthority
from mainspring.ports.database import Database, StartError
from mainspring.ports.documents import DocumentStore
from mainspring.ports.http_client import HttpClient
from mainspring.ports.keyring import Keyring
from mainspring.ports.kms import FormerKms, Kms
from mainspring.ports.limits import RateLimits
from mainspring.ports.mail import Mail
from mainspring.ports.opening import SYSTEM_SOURCES, Sources
from mainspring.ports.peers import OwnIdentity
from mainspring.ports.search import SearchEngine
from mainspring.ports.telemetry import Telemetry
from mainspring.runtime.data_keys import KeyringSettings
from mainspring.settings import (
    BusSettings,
    CacheSettings,
    DocumentSettings,
    HttpClientSettings,
    Settings,
    blobs_url,
    mail_url,
    search_url,
    serving_url,
)

REDIS_SCHEMES = (
    "redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster",
)  # fmt: skip
# Which module fills a port, by the scheme of its URL. One is imported when it is opened.
ADAPTERS: Mapping[str, Mapping[str, str]] = {
    "blobs": {
        "file": "mainspring.adapters.blobs.directory",
        "s3": "mainspring.adapters.blobs.s3",
    },
    "cache": {
        "memory": "mainspring.adapters.cache.memory",
        **dict.fromkeys(REDIS_SCHEMES, "mainspring.adapters.cache.redis"),
    },
    "bus": {"kafka": "mainspring.adapters.bus.kafka"},
    "database": {
        "sqlite": "mainspring.adapters.database.sqlite",
        "postgresql": "mainspring.adapters.database.postgres",
        "postgres": "mainspring.adapters.database.postgres",
    },
    "documents": {
        "mongodb": "mainspring.adapters.documents.mongo",
    },
    "http_client": {"direct": "mainspring.adapters.http_client.lazy"},
    "keyring": {"file": "mainspring.adapters.keyring.file"},
    "kms": {"aws-kms": "mainspring.adapters.kms.aws"},
    "limits": {
        "memory": "mainspring.adapters.limits.memory",
        **dict.fromkeys(REDIS_SCHEMES, "mainspring.adapters.limits.redis"),
    },
    "listener": {"grpc": "mainspring.adapters.peers.grpc_listener"},
    "mail": {
        "sandbox": "mainspring.adapters.mail.sandbox",
        "smtp+starttls": "mainspring.adapters.mail.smtp",
        "smtps": "mainspring.adapters.mail.smtp",
        "smtp+plain": "mainspring.adapters.mail.smtp",
    },
    "search": {
        "fts5": "mainspring.adapters.search.fts5",
        "opensearch": "mainspring.adapters.search.opensearch",
        "opensearch+plain": "mainspring.adapters.search.opensearch",
    },
    "peers": {"grpc": "mainspring.adapters.peers.grpc"},
    "telemetry": {"rollups": "mainspring.adapters.telemetry.rollups"},
}
IN_THE_RUNTIME: Mapping[str, str] = {
    "bus": "log",
    "kms": "keyring",
}  # what a port is without an adapter
# Of pyproject.toml, where one is not named like the scheme.
EXTRAS = {
    "postgresql": "postgres", "mongodb": "mongo",
    **dict.fromkeys(REDIS_SCHEMES, "redis"),
}  # fmt: skip


def adapter_of(port: str, url: str) -> ModuleType:
    """Return the module that a URL's scheme names. Raises StartError."""
    scheme, known = url.partition(":")[0], ADAPTERS[port]
    if scheme not in known:
        own = [IN_THE_RUNTIME[port]] if port in IN_THE_RUNTIME else []
        schemes = " or ".join(f"{name}:" for name in (*own, *known))
        raise StartError(f"{port}: nothing opens a URL that starts so; it starts with {schemes}")
    try:
        return import_module(known[scheme])
    except ModuleNotFoundError as error:
        raise StartError(
            f"{port}: {scheme}: needs the package {error.name}, which is not installed: "
            f"pip install '.[{EXTRAS.get(scheme, scheme)}]' in a checkout of Mainspring"
        ) from error


def opened(port: str, url: str, sources: Sources = SYSTEM_SOURCES) -> Any:
    """Return the adapter that a URL's scheme names, yet to be connected. Raises StartError."""
    return adapter_of(port, url).open(url, sources)


def open_database(url: str) -> Database:
    """Return the database behind a URL, yet to be connected. Raises StartError."""
    database: Database = opened("database", url)
    return database


def open_authority(folder: Path) -> CertificateAuthority:
    """Return the authority for development over a directory, which need not be there yet."""
    from mainspring.adapters.peers.authority import DevelopmentAuthority

    return DevelopmentAuthority(folder, SystemClock())


def own_certificate(folder: str, clock: Clock) -> OwnIdentity | None:
    """Return the certificate in a directory, None where none is named. Raises StartError."""
    if not folder:
        return None
    from mainspring.adapters.peers.tls import OwnCertificate

    return OwnCertificate(Path(folder), clock)


def limits_url(limits: LimitSettings) -> str:
    """Return the URL in force with what else is set of who counts."""
    if limits.url.startswith("memory:"):
        return limits.url if limits.url != "memory:" else f"memory:{limits.keys_max}"
    mark = "&" if "?" in limits.url else "?"
    return f"{limits.url}{mark}keys_max={limits.keys_max}&fail={limits.fail}"


def urls_of(settings: Settings, data_dir: Path) -> dict[type, tuple[str, str]]:
    """Return which port is filled by what is behind which URL."""
    private = "private" if settings.of(HttpClientSettings).allow_private_addresses else ""
    urls: dict[type, tuple[str, str]] = {
        Database: ("database", serving_url(settings)),
        Blobs: ("blobs", blobs_url(settings)),
        Cache: ("cache", settings.of(CacheSettings).url),
        Keyring: ("keyring", f"file:{data_dir / 'keyring.json'}"),
        HttpClient: ("http_client", f"direct:{private}"),
        RateLimits: ("limits", limits_url(settings.of(LimitSettings))),
        Mail: ("mail", mail_url(settings)),
        Telemetry: ("telemetry", "rollups:"),
        Bus: ("bus", settings.of(BusSettings).url),
    }
    if url := search_url(settings):
        urls[SearchEngine] = ("search", url)
    if url := settings.of(DocumentSettings).url:
        urls[DocumentStore] = ("documents", url)
    wraps = settings.of(KeyringSettings)
    urls |= {Kms: ("kms", wraps.kms), FormerKms: ("kms", wraps.former_kms)}
    left_out: dict[type, str] = {Bus: "log:", Kms: "keyring:", FormerKms: ""}
    return {kind: named for kind, named in urls.items() if left_out.get(kind) != named[1]}
