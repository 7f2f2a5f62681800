"""The settings of HTTP: ``[server]`` and ``[cors]``."""

from ipaddress import ip_network
from typing import Annotated, Literal

import msgspec

from mainspring.interfaces.http import hosts, origins

Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]


class ServerSettings(msgspec.Struct, frozen=True):
    """``[server]``: where it listens, whom it believes and what it bears."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8080
    hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    connections_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000
    connections_per_address_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 5_000
    streams_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000
    streams_per_caller_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1_000
    header_bytes_max: Annotated[int, msgspec.Meta(ge=1024, le=1 << 20)] = 32 * 1024
    body_bytes_max: Annotated[int, msgspec.Meta(ge=1024, le=64 << 20)] = 1 << 20
    header_timeout_s: Seconds = 10.0
    body_timeout_s: Seconds = 30.0
    keep_alive_s: Seconds = 75.0
    idempotency_required: bool = False
    tls_certificate: str = ""
    tls_key: str = ""
    tls_minimum: Literal["1.2", "1.3"] = "1.3"
    hsts_max_age_s: Annotated[int, msgspec.Meta(ge=0)] = 31_536_000
    hsts_subdomains: bool = False
    access_log: bool = False

    def __post_init__(self) -> None:
        for proxy in self.trusted_proxies:
            ip_network(proxy, strict=False)
        for host in self.hosts:
            hosts.check(host)
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key go together")


class CorsSettings(msgspec.Struct, frozen=True):
    """``[cors]``: which web origins may read answers: ``https://app.example``, or ``*`` for all.

    ``https://*.example`` is every name below ``example``, however many labels; not itself.

    Credentials travel in ``Authorization``, which scripts set themselves; cookies are not used, so
    ``Access-Control-Allow-Credentials`` is never sent.
    """

    origins: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    exposed_headers: tuple[str, ...] = ()
    max_age_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 600

    def __post_init__(self) -> None:
        for origin in self.origins:
            origins.check(origin)
        for name in (*self.headers, *self.exposed_headers):
            origins.check_header(name)
