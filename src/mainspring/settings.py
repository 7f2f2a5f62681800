"""Settings: struct defaults < mainspring.toml < environment < flags, each value with its source.

A section is a frozen msgspec struct whose fields all have defaults; built-in and user services
bring their own (``Service(settings=...)``). ``defaults.toml`` beside this file is the reference for
people: a test holds it equal to the structs.
"""

import difflib
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import msgspec

from mainspring.kernel.declaration import is_struct
from mainspring.kernel.json_reader import fields_of
from mainspring.kernel.masking import Secret, faulty_url, masked
from mainspring.kernel.process_role import ProcessRole
from mainspring.ports.database import StartError

S = TypeVar("S", bound=msgspec.Struct)
Keys = tuple[str, ...]
Sections = Mapping[str, type[msgspec.Struct]]

_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[A-Za-z0-9_-]+)*/?")
_ENDPOINT = re.compile(
    r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?/?|https?://\[[0-9a-f:]+\](?::[0-9]+)?/?"
)
_MAIL_SCHEMES = ("smtp+starttls://", "smtps://", "smtp+plain://", "sandbox:")

FILE_NAME = "mainspring.toml"
FILE_BYTES_MAX = 1 << 20
ENV_PREFIX = "MAINSPRING_"
ENV_CONFIG = "MAINSPRING_CONFIG"  # names the file to read instead of ./mainspring.toml
DEFAULT = "default"

# What Kubernetes sets in every container beside a Service that is named like us: MAINSPRING_PORT is
# tcp://10.0.0.1:8080 then, and no setting. https://kubernetes.io/docs/concepts/services-networking
_KUBERNETES = re.compile(
    r"MAINSPRING_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?"
    r"|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_KUBERNETES_URL = re.compile(r"(?:tcp|udp|sctp)://.*")

_HEADER = re.compile(r"\s*\[([A-Za-z0-9_.\-]+)\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_.\-]+)\s*=")


class SettingsError(StartError):
    """A setting that is unknown or invalid: where it was set, what is wrong, what is meant."""


class PlatformSettings(msgspec.Struct, frozen=True):
    """``[platform]``: the process itself."""

    data_dir: str = "./mainspring-data"
    role: ProcessRole = ProcessRole.ALL
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] | Literal["auto"] = "auto"
    lame_duck_s: Annotated[float, msgspec.Meta(ge=0, le=600)] = 1.0
    drain_s: Annotated[float, msgspec.Meta(ge=0, le=600)] = 30.0
    removed_services: tuple[str, ...] = ()


class DatabaseSettings(msgspec.Struct, frozen=True):
    """``[database]``: which engine. An empty URL is SQLite in the data directory."""

    url: Annotated[str, Secret] = ""
    replicas: Annotated[tuple[str, ...], Secret] = ()
    replica_lag_s: Annotated[float, msgspec.Meta(ge=0.1, le=60)] = 1.0
    replicas_for: Literal["asking", "all"] = "asking"

    def __post_init__(self) -> None:
        for replica in self.replicas:
            if not replica.startswith(("postgresql://", "postgres://")):
                raise ValueError("replicas are URLs that start with postgresql://")
            if why := faulty_url(replica):
                raise ValueError(f"replicas: a URL {why}")
        if self.replicas and not self.url.startswith("postgres"):
            raise ValueError("replicas are of a PostgreSQL url: SQLite has none")
        if self.url and not self.url.startswith(("postgresql://", "postgres://", "sqlite:")):
            raise ValueError("url starts with postgresql:// or sqlite:, or is empty")
        if self.url.startswith("postgres") and (why := faulty_url(self.url)):
            raise ValueError(f"url {why}")


class BusSettings(msgspec.Struct, frozen=True):
    """``[bus]``: where consumers read events from. ``log:`` is the database's own log."""

    url: Annotated[str, Secret] = "log:"


class SearchSettings(msgspec.Struct, frozen=True):
    """``[search]``: where texts are indexed. Empty is a file in the data directory over SQLite.

    Over PostgreSQL empty is nowhere: ``fts5:`` is that file there, for a single machine.
    """

    url: Annotated[str, Secret] = ""


class DocumentSettings(msgspec.Struct, frozen=True):
    """``[documents]``: a MongoDB that collections with ``documents`` are copied to, or nothing."""

    url: Annotated[str, Secret] = ""


class PeerSettings(msgspec.Struct, frozen=True):
    """``[peers]``: a platform whose services run in processes of their own.

    ``owns`` are the services whose calls this process takes at ``listen``; ``services`` says where
    those of others are. ``certificates`` is the directory of this process's own.
    """

    listen: str = ""
    owns: tuple[str, ...] = ()
    services: dict[str, str] = msgspec.field(default_factory=dict)
    certificates: str = ""


class CacheSettings(msgspec.Struct, frozen=True):
    """``[cache]``: where public answers are kept. ``memory:`` is each process by itself."""

    url: Annotated[str, Secret] = "memory:"


class MailSettings(msgspec.Struct, frozen=True):
    """``[mail]``: who delivers mails. An empty URL is the sandbox in the data directory."""

    url: Annotated[str, Secret] = ""
    password: Annotated[str, Secret] = ""
    sender: Annotated[str, msgspec.Meta(max_length=320)] = msgspec.field(default="", name="from")

    def __post_init__(self) -> None:
        if self.url and not self.url.startswith(_MAIL_SCHEMES):
            raise ValueError(f"url starts with {' or '.join(_MAIL_SCHEMES)}, or is empty")
        if self.url and (why := faulty_url(self.url)):
            raise ValueError(f"url {why}")
        if self.url.startswith("smtp") and not self.sender:
            raise ValueError('from is missing: who are mails from? "Shop <shop@example.com>"')


class BlobSettings(msgspec.Struct, frozen=True):
    """``[blobs]``: where files lie. An empty URL is a folder of the data directory."""

    url: str = ""
    endpoint: str = ""
    public_endpoint: str = ""
    ca: str = ""
    region: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{0,64}$")] = ""
    access_key_id: str = ""
    secret_access_key: Annotated[str, Secret] = ""
    session_token: Annotated[str, Secret] = ""
    timeout_s: Annotated[float, msgspec.Meta(ge=0.1, le=600)] = 15.0
    connections_max: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 64

    def __post_init__(self) -> None:
        if self.url and _BUCKET.fullmatch(self.url) is None:
            raise ValueError(
                "url is s3://BUCKET or s3://BUCKET/PREFIX, or empty; who asks says access_key_id"
            )
        for name in ("endpoint", "public_endpoint"):
            if (given := getattr(self, name)) and _ENDPOINT.fullmatch(given) is None:
                raise ValueError(f"{name} is https://HOST:PORT with no path, or http:// to try it")
        if bool(self.access_key_id) != bool(self.secret_access_key):
            raise ValueError("access_key_id and secret_access_key go together")


class LogSettings(msgspec.Struct, frozen=True):
    """``[log]``: what is written to standard error, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"


Concurrency = Annotated[int, msgspec.Meta(ge=1, le=1_024)]


class QueueSettings(msgspec.Struct, frozen=True):
    """``[queues]``: how many jobs of each run at a time in a crew; ``own`` are those of the app."""

    critical: Concurrency = 32
    default: Concurrency = 64
    bulk: Concurrency = 16
    notifications: Concurrency = 128
    mails: Concurrency = 128
    platform: Concurrency = 16
    webhooks: Concurrency = 128
    own: dict[str, Concurrency] = msgspec.field(default_factory=dict)

    @property
    def concurrency(self) -> dict[str, int]:
        """Every queue by name."""
        named: dict[str, int] = msgspec.structs.asdict(self)
        del named["own"]
        return {**self.own, **named}


class HttpClientSettings(msgspec.Struct, frozen=True):
    """``[http_client]``: where requests to addresses that somebody else chose may go."""

    allow_private_addresses: bool = False


OWN_SECTIONS: Sections = {
    "platform": PlatformSettings,
    "database": DatabaseSettings,
    "bus": BusSettings,
    "peers": PeerSettings,
    "cache": CacheSettings,
    "search": SearchSettings,
    "documents": DocumentSettings,
    "mail": MailSettings,
    "blobs": BlobSettings,
    "log": LogSettings,
    "queues": QueueSettings,
    "http_client": HttpClientSettings,
}
MOVED = {"webhooks.allow_private_addresses": "http_client.allow_private_addresses"}


class Flag(msgspec.Struct, frozen=True):
    """A value from the command line: the flag as it was written, and the setting it stands for."""

    name: str
    path: str
    value: object


class Shown(msgspec.Struct, frozen=True):
    """A setting for people to read: secrets are masked, the source names file and line."""

    path: str
    value: Any
    source: str


class Settings:
    """Every section as its struct, and where each value came from."""

    __slots__ = ("others", "sections", "sources")

    def __init__(
        self,
        sections: Mapping[str, msgspec.Struct],
        sources: Mapping[str, str] | None = None,
        others: Mapping[str, str] | None = None,
    ) -> None:
        self.sections = dict(sections)
        self.sources = dict(sources or {})
        self.others = dict(others or {})

    def of(self, kind: type[S]) -> S:
        """Return the section of this struct. Raises KeyError when there is none."""
        for section in self.sections.values():
            if type(section) is kind:
                return section
        raise KeyError(f"no section is a {kind.__name__}")

    def shown(self) -> list[Shown]:
        """Every value in the order of its section, secrets masked."""
        rows = []
        for name, section in self.sections.items():
            for keys, value, kind in _leaves((name,), section, type(section)):
                path = ".".join(keys)
                plain = msgspec.to_builtins(value)
                shown = plain
                if _is_secret(kind):
                    several = isinstance(plain, list | tuple)
                    shown = [masked(one) for one in plain] if several else masked(plain)
                rows.append(Shown(path, shown, self.sources.get(path, DEFAULT)))
        return rows


def database_url(settings: Settings) -> str:
    """Return the URL in force: the one that was set, or SQLite in the data directory."""
    folder = Path(settings.of(PlatformSettings).data_dir)
    return settings.of(DatabaseSettings).url or f"sqlite:{folder / 'mainspring.db'}"


def search_url(settings: Settings) -> str:
    """Return the URL in force; empty where nothing is indexed."""
    url = settings.of(SearchSettings).url
    if not url and not database_url(settings).startswith("sqlite:"):
        return ""
    file = Path(settings.of(PlatformSettings).data_dir) / "search.db"
    return f"fts5:{file}" if url in ("", "fts5:") else url


def serving_url(settings: Settings) -> str:
    """Return the URL in force with the replicas, which processes that take calls read from."""
    url, database = database_url(settings), settings.of(DatabaseSettings)
    role = settings.of(PlatformSettings).role
    if not database.replicas or not (role.serves or role is ProcessRole.OWN):
        return url
    said = [("replica", replica) for replica in database.replicas]
    said.append(("replica_lag_s", str(database.replica_lag_s)))
    return f"{url}{'&' if '?' in url else '?'}{urlencode(said)}"


def mail_url(settings: Settings) -> str:
    """Return the URL in force with what else is set of mail, or the sandbox's."""
    mail = settings.of(MailSettings)
    if not mail.url:
        return f"sandbox:{Path(settings.of(PlatformSettings).data_dir) / 'mail'}"
    if mail.url.startswith("sandbox:"):
        return mail.url
    parts = urlsplit(mail.url)
    user, at, place = parts.netloc.rpartition("@")
    if mail.password:
        user = f"{user.partition(':')[0]}:{quote(mail.password, safe='')}"
    query = [*parse_qsl(parts.query), ("from", mail.sender)]
    return urlunsplit(parts._replace(netloc=f"{user}{at}{place}", query=urlencode(query)))


def blobs_url(settings: Settings) -> str:
    """Return the URL in force with what else is set of the bucket, or the data directory's."""
    blobs = settings.of(BlobSettings)
    if not blobs.url:
        return f"file:{Path(settings.of(PlatformSettings).data_dir) / 'blobs'}"
    named = {
        "endpoint": blobs.endpoint, "public_endpoint": blobs.public_endpoint,
        "ca": blobs.ca, "region": blobs.region, "token": blobs.session_token,
        "timeout_s": blobs.timeout_s, "connections_max": blobs.connections_max,
    }  # fmt: skip
    parts = urlsplit(blobs.url)
    who = f"{quote(blobs.access_key_id, safe='')}:{quote(blobs.secret_access_key, safe='')}"
    place = f"{who}@{parts.netloc}" if blobs.access_key_id else parts.netloc
    query = urlencode({name: value for name, value in named.items() if value})
    return urlunsplit(parts._replace(netloc=place, query=query))


class _Set(msgspec.Struct, frozen=True):
    """One value as one source gave it. ``loose`` values are text that is yet to be typed."""

    keys: Keys
    value: Any
    source: str
    loose: bool = False


def settings_files(
    environ: Mapping[str, str], here: Path, chosen: Path | None = None
) -> list[Path]:
    """Pick the chosen file, MAINSPRING_CONFIG's, or mainspring.toml where it exists."""
    if chosen is None and environ.get(ENV_CONFIG):
        chosen = Path(environ[ENV_CONFIG])
    if chosen is not None:
        return [chosen]
    usual = here / FILE_NAME
    return [usual] if usual.is_file() else []


def load(
    sections: Sections,
    *,
    files: Iterable[Path] = (),
    environ: Mapping[str, str] | None = None,
    flags: Iterable[Flag] = (),
    others: bool = False,
) -> Settings:
    """Read every source and check it. Raises SettingsError with one line for the first error.

    With ``others`` there may be sections that are not among ``sections``, an app's own where the
    app is not at hand. They are left alone; ``Settings.others`` says where each is.
    """
    leaves: dict[Keys, Any] = {}
    sources: dict[str, str] = {}
    left: dict[str, str] | None = {} if others else None
    for name, kind in sections.items():
        for keys, value, _ in _leaves((name,), kind(), kind):
            leaves[keys] = msgspec.to_builtins(value)
    for given in (*_from_files(files, sections), *_from_environ(environ or {}, sections),
                  *_from_flags(flags)):  # fmt: skip
        if not _has_section(given, sections, left):
            continue
        for keys, value, source in _checked(given, sections):
            leaves[keys] = value
            sources[".".join(keys)] = source
    tree: dict[str, Any] = {name: {} for name in sections}
    for keys, value in leaves.items():
        table = tree
        for key in keys[:-1]:
            table = table.setdefault(key, {})
        table[keys[-1]] = value
    built = {name: _built(name, kind, tree[name], sources) for name, kind in sections.items()}
    return Settings(built, sources, left)


def _built(
    name: str, kind: type[msgspec.Struct], table: dict[str, Any], sources: Mapping[str, str]
) -> msgspec.Struct:
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        # Each value passed on its own, so it is the section's own rule that is broken.
        where = [s for path, s in sources.items() if path.startswith(name + ".")]
        raise SettingsError(f"{', '.join(dict.fromkeys(where))}: [{name}] {error}") from None


# Sources


def _from_files(files: Iterable[Path], sections: Sections) -> Iterator[_Set]:
    for file in files:
        try:
            if file.stat().st_size > FILE_BYTES_MAX:
                raise SettingsError(f"{file}: is larger than {FILE_BYTES_MAX} bytes")
            text = file.read_text(encoding="utf-8")
            tables = tomllib.loads(text)
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{file}: cannot be read: {error}") from None
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{file}: not valid TOML: {error}") from None
        lines = _lines(text)
        for section, table in tables.items():
            where = _where(file, lines, (section,))
            if not isinstance(table, dict):
                if section in sections:
                    raise SettingsError(f"{where}: {section} is a section: write [{section}]")
                raise SettingsError(f"{where}: {section} stands above the [section] it belongs to")
            yield _Set((section,), None, where)
            for key, value in table.items():
                yield from _spread(file, lines, (section, key), value)


def _spread(file: Path, lines: Mapping[Keys, int], keys: Keys, value: Any) -> Iterator[_Set]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _spread(file, lines, (*keys, key), inner)
    else:
        yield _Set(keys, value, _where(file, lines, keys))


def _lines(text: str) -> dict[Keys, int]:
    """Line numbers of headers and keys, as far as plain TOML shows them (tomllib keeps none)."""
    found: dict[Keys, int] = {}
    header: Keys = ()
    for number, line in enumerate(text.splitlines(), 1):
        if match := _HEADER.match(line):
            header = tuple(match[1].split("."))
            found.setdefault(header, number)
        elif match := _KEY.match(line):
            found.setdefault((*header, *match[1].split(".")), number)
    return found


def _where(file: Path, lines: Mapping[Keys, int], keys: Keys) -> str:
    while keys and keys not in lines:
        keys = keys[:-1]
    return f"{file.name}:{lines[keys]}" if keys else file.name


def _from_environ(environ: Mapping[str, str], sections: Sections) -> Iterator[_Set]:
    for name in sorted(environ):
        if not name.startswith(ENV_PREFIX) or name == ENV_CONFIG:
            continue
        if _KUBERNETES.fullmatch(name) or (
            name.endswith("_PORT") and _KUBERNETES_URL.fullmatch(environ[name])
        ):
            continue
        keys = tuple(name.removeprefix(ENV_PREFIX).lower().split("__"))
        if len(keys) < 2:
            if meant := _meant(keys[0], sections):
                raise SettingsError(f"{name}: not a setting; did you mean {meant}?")
            continue
        yield _Set(keys, environ[name], name, loose=True)


def _from_flags(flags: Iterable[Flag]) -> Iterator[_Set]:
    for flag in flags:
        if flag.value is not None:
            yield _Set(tuple(flag.path.split(".")), flag.value, flag.name)


def _has_section(given: _Set, sections: Sections, left: dict[str, str] | None) -> bool:
    """Tell whether a value is to be read: it has a section, and is more than that section's head.

    Raises SettingsError for a section nobody knows, unless it is to be ``left`` alone.
    """
    name = given.keys[0]
    if name not in sections:
        if left is None:
            raise SettingsError(
                f"{given.source}: there is no section [{name}]; {_near(name, sections)}"
            )
        left.setdefault(name, given.source)
        return False
    return len(given.keys) > 1


def _near(word: str, known: Iterable[str]) -> str:
    names = sorted(known)
    if close := difflib.get_close_matches(word, names, n=3, cutoff=0.6):
        return "did you mean " + " or ".join(close) + "?"
    return "known: " + ", ".join(names)


def _meant(word: str, sections: Sections) -> str:
    """Guess which setting a name without ``__`` stands for: MAINSPRING_PORT, ..._SERVER_PORT."""
    for section, kind in sections.items():
        for key in fields_of(kind):
            if word in (key, f"{section}_{key}"):
                return f"{ENV_PREFIX}{section.upper()}__{key.upper()}"
    return ""


# Checking


def _checked(given: _Set, sections: Sections) -> Iterator[tuple[Keys, Any, str]]:
    """Find the field a value is for and type it; a table inside it becomes its own values."""
    kind: Any = sections[given.keys[0]]
    for depth, key in enumerate(given.keys[1:], 1):
        plain = _plain(kind)
        if is_struct(plain):
            fields = fields_of(plain)
            if key not in fields:
                within = ".".join(given.keys[:depth])
                if moved := MOVED.get(f"{within}.{key}"):
                    section, _, name = moved.rpartition(".")
                    raise SettingsError(
                        f"{given.source}: {key!r} of [{within}] is now {name!r} of [{section}]"
                    )
                raise SettingsError(
                    f"{given.source}: [{within}] has no key {key!r}; {_near(key, fields)}"
                )
            kind = fields[key]
        elif typing.get_origin(plain) is dict:
            kind = typing.get_args(plain)[1]
        else:
            path = ".".join(given.keys[:depth])
            raise SettingsError(f"{given.source}: {path} is a value, not a table")
    try:
        value = _typed(given.value, kind) if given.loose else msgspec.convert(given.value, kind)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        told = f"{'.'.join(given.keys)}: {error}{_choices(kind)}"
        raise SettingsError(f"{given.source}: {told}") from None
    for keys, leaf, _ in _leaves(given.keys, value, kind):
        yield keys, msgspec.to_builtins(leaf), given.source


def _typed(text: str, kind: Any) -> Any:
    """Read text from the environment as the type the field has; lists may be comma-separated."""
    plain = _plain(kind)
    if plain is str:
        return msgspec.convert(text, kind)
    if is_struct(plain) or typing.get_origin(plain) is dict or text.startswith("["):
        return msgspec.json.decode(text, type=kind)
    if typing.get_origin(plain) in (list, tuple, frozenset, set):
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return msgspec.convert(parts, kind, strict=False)
    return msgspec.convert(text, kind, strict=False)


def _choices(kind: Any) -> str:
    """Say which values a setting takes, where they are few and named."""
    plain = _plain(kind)
    if typing.get_origin(plain) is Literal:
        return f"; it is one of {', '.join(typing.get_args(plain))}"
    if isinstance(plain, type) and issubclass(plain, StrEnum):
        return f"; it is one of {', '.join(plain)}"
    return ""


def _leaves(keys: Keys, value: Any, kind: Any) -> Iterator[tuple[Keys, Any, Any]]:
    """Walk a struct down to its plain values: where each is, what it is, how it is declared."""
    plain = _plain(kind)
    if is_struct(plain) and isinstance(value, plain):
        for field in msgspec.structs.fields(plain):
            at = (*keys, field.encode_name)
            yield from _leaves(at, getattr(value, field.name), field.type)
    elif typing.get_origin(plain) is dict and value:
        for name, inner in value.items():
            yield from _leaves((*keys, name), inner, typing.get_args(plain)[1])
    else:
        yield keys, value, kind


def _plain(kind: Any) -> Any:
    if typing.get_origin(kind) is Annotated:
        return _plain(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        inner = [k for k in typing.get_args(kind) if k is not type(None)]
        return _plain(inner[0]) if len(inner) == 1 else kind
    return kind


def _is_secret(kind: Any) -> bool:
    marks = getattr(kind, "__metadata__", ())
    return Secret in marks or any(isinstance(mark, Secret) for mark in marks)
