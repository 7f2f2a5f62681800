"""Whom a connection to PostgreSQL trusts: over a network, a server that proves who it is."""

import os
import ssl
from ipaddress import ip_address
from urllib.parse import SplitResult

import asyncpg

VERIFIED = frozenset({"verify-ca", "verify-full"})  # what makes sure that it is the server
ADVICE = (
    "over a network the server proves who it is: add sslrootcert=FILE, the certificate of its "
    "authority, to [database] url, or sslmode=require to take whoever answers"
)


class Trust:
    """What a URL, and libpq's environment, say of it.

    Without an ``sslmode`` a server that may be elsewhere is verified, certificate and name.
    """

    def __init__(self, parts: SplitResult, query: dict[str, str]) -> None:
        near = all(map(_is_near, _hosts(parts, query)))
        said = query.get("sslmode") or os.environ.get("PGSSLMODE")
        self.sslmode = said or ("prefer" if near else "verify-full")
        self.unverified = self.sslmode not in VERIFIED and not near
        self.query = query if said or near else {**query, "sslmode": self.sslmode}

    def advice(self, error: BaseException) -> str:
        """What to do about an error that is one of trust, or nothing."""
        if self.sslmode not in VERIFIED:
            return ""
        failed = isinstance(error, ssl.SSLError | asyncpg.ClientConfigurationError)
        return f"; {ADVICE}" if failed or "rejected SSL" in str(error) else ""


def _hosts(parts: SplitResult, query: dict[str, str]) -> list[str]:
    """Name every host the driver may connect to; one that only a service file knows is empty."""
    found = [host for host in query.get("host", "").split(",") if host]
    for place in parts.netloc.rpartition("@")[2].split(","):
        host = place[1:].partition("]")[0] if place.startswith("[") else place.partition(":")[0]
        found += [host] if host else []
    if found:
        return found
    if "service" in query or "PGSERVICE" in os.environ:
        return [""]
    return os.environ.get("PGHOST", "localhost").split(",")


def _is_near(host: str) -> bool:
    """Tell whether a host is this machine: a socket's directory, or a loopback address."""
    if host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
