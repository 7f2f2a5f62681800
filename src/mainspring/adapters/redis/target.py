"""What a URL says of Redis or Valkey: where it is, who asks, and how long is waited."""

import ssl
from collections.abc import Mapping
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from mainspring.kernel.masking import faulty_url
from mainspring.ports.database import StartError

PORT = 6379
SENTINEL_PORT = 26379
TIMEOUT_MS = 100  # how long a call waits for an answer, unless the URL says ``timeout_ms=``
TIMEOUT_MS_MAX = 5_000
DATABASE_MAX = 1_023  # what ``SELECT`` may name; a server has 16 unless told otherwise

Topology = Literal["single", "sentinel", "cluster"]
ServerPlace = tuple[str, int]  # host and port
_FORMS: Mapping[str, Topology] = {"": "single", "sentinel": "sentinel", "cluster": "cluster"}
_SHAPES = (
    "redis://user:password@host:6379/0, redis+sentinel://host:26379,host:26379/NAME or "
    "redis+cluster://host:6379,host:6379; rediss for TLS"
)
OWN = frozenset({"timeout_ms", "ca", "db", "sentinel_user", "sentinel_password"})


class Target(msgspec.Struct, frozen=True):
    """Where Redis is. ``name`` is the one that Sentinel knows the primary by."""

    form: Topology
    places: tuple[ServerPlace, ...]
    user: str
    password: str
    database: int
    name: str
    timeout_s: float
    tls: ssl.SSLContext | None
    sentinel_user: str
    sentinel_password: str
    others: Mapping[str, str]  # parameters that the adapter itself takes

    @property
    def shown(self) -> str:
        """Where it is, for people: nothing of it is secret."""
        return ",".join(f"{host}:{port}" for host, port in self.places)


def read_target(url: str, port: str, own: frozenset[str] = frozenset()) -> Target:
    """Read a URL; ``own`` are the parameters of the adapter of this port. Raises StartError.

    What is said of a URL that does not fit never repeats it: it may hold a password.
    """
    if why := faulty_url(url):
        raise StartError(
            f"[{port}] url {why.replace('postgresql://user:password@host:port/name', _SHAPES)}"
        )
    parts = urlsplit(url)
    start, _, kind = parts.scheme.partition("+")
    if kind not in _FORMS:
        raise StartError(f"[{port}] url: write {_SHAPES}")
    form = _FORMS[kind]
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(query.keys() - OWN - own):
        raise StartError(
            f"[{port}] url: nothing takes {unknown[0]!r}; there are {', '.join(sorted(OWN | own))}"
        )
    user, _, place = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    path = parts.path.strip("/")
    if form == "sentinel" and not path:
        raise StartError(f"[{port}] url: which primary? redis+sentinel://host:26379/NAME")
    if form == "cluster" and (path or query.get("db")):
        raise StartError(f"[{port}] url: a cluster has one database and no path; write {_SHAPES}")
    database = query.get("db", "0") if form == "sentinel" else path or query.get("db", "0")
    return Target(
        form,
        _places(place, port, SENTINEL_PORT if form == "sentinel" else PORT, form != "single"),
        unquote(name) or "default",
        unquote(password),
        _number(database, port, "the database", 0, DATABASE_MAX),
        unquote(path) if form == "sentinel" else "",
        _number(query.get("timeout_ms", str(TIMEOUT_MS)), port, "timeout_ms", 1, TIMEOUT_MS_MAX)
        / 1000,
        _tls(query.get("ca"), port) if start == "rediss" else None,
        query.get("sentinel_user", "default"),
        query.get("sentinel_password", ""),
        {key: query[key] for key in own if key in query},
    )


def _places(text: str, port: str, usual: int, many: bool) -> tuple[ServerPlace, ...]:
    found = []
    for one in text.split(","):
        parts = urlsplit(f"//{one}")
        try:
            number = parts.port
        except ValueError as error:
            raise StartError(f"[{port}] url: {error}") from None
        if not parts.hostname:
            raise StartError(f"[{port}] url: which host? {_SHAPES}")
        found.append((parts.hostname, usual if number is None else number))
    if len(found) > 1 and not many:
        raise StartError(f"[{port}] url: several hosts are a Sentinel's or a cluster's: {_SHAPES}")
    return tuple(found)


def _number(text: str, port: str, what: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise StartError(f"[{port}] url: {what} is a number from {least} to {most}, not {text!r}")
    return int(text)


def _tls(ca: str | None, port: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise StartError(
            f"[{port}] url: cannot read the certificates in ca={ca}: {error}"
        ) from error
    return context
