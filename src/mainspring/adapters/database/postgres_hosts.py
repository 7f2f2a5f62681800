"""Which of the servers that a URL names is the primary, and which is tried first."""

import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import SplitResult, unquote

import asyncpg

from mainspring.ports.database import StartError

HOSTS_MAX = 5
PORT = 5432
CONNECT_TIMEOUT_S = 5.0
HOST_TIMEOUT_S = 3.0  # for each of several, so that one that is silent does not hide the next
# What a platform can use: it writes, and it reads what was committed last.
ATTRIBUTES = ("primary", "read-write", "any")
# A server that is gone without a word, as with its machine or its network, is found by the kernel.
ACKNOWLEDGED_WITHIN_MS = 10_000
PROBE_AFTER_S, PROBE_EVERY_S, PROBES = 5, 2, 3

Host = tuple[str, int]
Connect = Callable[[dict[str, Any], float], Awaitable[Any]]
# Of several errors, the one that tells what to change.
_TELLING = (
    asyncpg.TooManyConnectionsError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ClientConfigurationError,
    ssl.SSLError,
)
STANDBY = "it is a standby, or refuses writes: name the primary"


class NoHost(OSError):
    """None of several servers can be used; says of each why."""


class PostgresHosts:
    """The servers of a URL. The one that was good last is tried first, the others in their order.

    ``target_session_attrs`` is taken out of the query: ``primary`` unless several are named, of
    which a primary that was told to take no writes is no good either (``read-write``).
    """

    def __init__(self, parts: SplitResult, query: dict[str, str], *, replica: bool = False) -> None:
        self.named = _named(parts, query)
        several = len(self.named) > 1
        if replica and several:
            raise StartError("database replicas: each names one server: write a URL for each")
        usual = "any" if replica else "read-write" if several else "primary"
        wanted = query.pop("target_session_attrs", usual)
        if wanted not in ATTRIBUTES:
            raise StartError(
                f"database url: target_session_attrs is {', '.join(ATTRIBUTES[:-1])} or "
                f"{ATTRIBUTES[-1]}, not {wanted!r}: a platform writes"
            )
        self.wanted = wanted
        self.at = 0  # of ``named``: where the last connection led to
        self.moves = 0  # how often it was another than before
        self.moved: Callable[[], None] = _nobody  # told of each, in whatever thread finds it

    async def connect(self, connect: Connect) -> Any:
        """Connect to the first that will do. Raises what the driver raises, or NoHost."""
        asked: dict[str, Any] = {"target_session_attrs": self.wanted}
        if len(self.named) < 2:
            try:
                return await connect(asked, CONNECT_TIMEOUT_S)
            except asyncpg.TargetServerAttributeNotMatched as error:
                raise NoHost(STANDBY) from error
        errors: list[Exception] = []
        begun_at = self.moves
        order = [self.at, *(n for n in range(len(self.named)) if n != self.at)]
        for number in order:
            host, port = self.named[number]
            try:
                made = await connect({**asked, "host": host, "port": port}, HOST_TIMEOUT_S)
            except (OSError, asyncpg.PostgresError, asyncpg.InternalClientError) as refusal:
                errors.append(refusal)  # TimeoutError is an OSError
                continue
            if number != self.at:
                if self.moves != begun_at:  # another attempt has found a newer one meanwhile
                    made.terminate()
                    return await self.connect(connect)
                self.at = number
                self.moves += 1
                self.moved()
            return made
        for told in errors:
            if isinstance(told, _TELLING):
                raise told
        said = [f"{self.named[n][0]}: {_why(e)}" for n, e in zip(order, errors, strict=True)]
        raise NoHost("; ".join(said)) from errors[0]


def _nobody() -> None:
    """Nobody waits for a move."""


def _why(error: Exception) -> str:
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return STANDBY
    if isinstance(error, asyncpg.PostgresError):
        return str(error.args[0]) if error.args else type(error).__name__
    return f"{type(error).__name__} {error}".strip().splitlines()[0]


def _named(parts: SplitResult, query: dict[str, str]) -> list[Host]:
    """Return the servers that a URL names, in their order. Raises StartError."""
    places = [one for one in parts.netloc.rpartition("@")[2].split(",") if one]
    places = places or [one for one in query.get("host", "").split(",") if one]
    if len(places) > HOSTS_MAX:
        raise StartError(f"database url: names {len(places)} hosts, {HOSTS_MAX} at most")
    ports = [one for one in query.get("port", "").split(",") if one] or [str(PORT)]
    if len(ports) not in (1, len(places)) and len(places) > 1:
        raise StartError(f"database url: {len(ports)} ports for {len(places)} hosts: one, or each")
    named = []
    for number, place in enumerate(places):
        host, port = unquote(place), ports[number % len(ports)]
        if host.startswith("["):
            host, _, own = host[1:].partition("]")
            port = own.removeprefix(":") or port
        elif not host.startswith("/") and ":" in host:
            host, _, port = host.partition(":")
        if len(places) > 1 and not (port.isdecimal() and 0 < int(port) < 65_536):
            raise StartError(f"database url: the port of {host} is 1 to 65535, not {port!r}")
        named.append((host, int(port) if port.isdecimal() else PORT))
    return named


def watch_over(transport: Any) -> None:
    """Have the kernel end a TCP connection to a server that acknowledges nothing any more.

    A server that is only slow does acknowledge: its kernel does so.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", PROBE_AFTER_S),
        ("TCP_KEEPINTVL", PROBE_EVERY_S),
        ("TCP_KEEPCNT", PROBES),
        ("TCP_USER_TIMEOUT", ACKNOWLEDGED_WITHIN_MS),
    ):
        if hasattr(socket, name):  # not on every system
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
