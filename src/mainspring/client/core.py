"""What both clients do, without a socket: requests, tries, tokens, pages.

A call is a generator that yields what it wants done, and is sent what came of it. ``client.py``
drives one on threads (urllib3), ``async_client.py`` one on a loop (aiohttp).
"""

import email.utils
import os
import re
from collections.abc import Generator, Iterable, Mapping
from typing import IO, Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from msgspec import UNSET

from mainspring.client.errors import NotSent, Unreachable, refusal
from mainspring.kernel.clock import Clock, Entropy, SystemClock, SystemEntropy

T = TypeVar("T")

URL = "http://127.0.0.1:8080"
TRIES = 3  # of what may be sent again
TIMEOUT_S = 30.0
CONNECT_S = 3.0
FIRST_PAUSE_S = 0.25
PAUSE_S_MAX = 30.0  # an answer that asks for a longer wait is the caller's to wait for
RENEW_BEFORE_S = 30.0  # an access token with less left is renewed before it is used, or with half
SILENT_S = 60.0  # a stream says something every 15 s; one that does not is opened anew
CHUNK_BYTES = 1 << 16
ANSWER_BYTES_MAX = 64 << 20  # of one answer that is read whole
AGAIN = frozenset({408, 429, 502, 503, 504})
_WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class FileBody:
    """A file that is sent as a body, from where it stands. It can be sent again if it can seek."""

    __slots__ = ("_start", "file", "repeats", "size_bytes")

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.repeats = file.seekable()
        self.size_bytes: int | None = None
        self._start = 0
        if self.repeats:
            self._start = file.tell()
            self.size_bytes = file.seek(0, os.SEEK_END) - self._start
            file.seek(self._start)

    def rewind(self) -> None:
        """Stand where it began."""
        if self.repeats:
            self.file.seek(self._start)


class Request(msgspec.Struct, frozen=True):
    """One try: sent as it is. ``target`` is a path, or the URL of a store that was named."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes | FileBody | None
    timeout_s: float


class Reply(msgspec.Struct, frozen=True):
    """What came back, whole. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body read as JSON; None when there is none."""
        return msgspec.json.decode(self.body) if self.body else None

    @property
    def etag(self) -> str | None:
        """The entity tag, as ``if_match`` takes it."""
        return self.headers.get("etag")


class Pause(msgspec.Struct, frozen=True):
    """Wait so long."""

    seconds: float


class Renew(msgspec.Struct, frozen=True):
    """Renew the session, unless somebody else did since this refresh token was its newest.

    Access tokens do not tell: two that are made within a second are alike.
    """

    seen: str


class Broken(Exception):
    """The connection could not be made, or broke, or the time was up: thrown into the generator."""


Step = Request | Pause | Renew
Exchange = Generator[Step, Reply | None, T]


class Session(msgspec.Struct, frozen=True):
    """Who is logged in: the tokens of a session. Never shown."""

    access: str
    refresh: str
    renew_s: float  # monotonic: from when on it is renewed before it is used

    def __repr__(self) -> str:
        return "Session(...)"


class Options(msgspec.Struct, frozen=True):
    """How calls are made."""

    timeout_s: float = TIMEOUT_S
    tries: int = TRIES
    headers: Mapping[str, str] = {}


class Record(dict[str, Any]):
    """A record as its collection shows it, and its entity tag for ``if_match``."""

    __slots__ = ("etag",)

    def __init__(self, values: Mapping[str, Any], etag: str | None) -> None:
        super().__init__(values)
        self.etag = etag


class Core:
    """What a client knows: where the platform is, who it calls as, and how it tries.

    What is not said is that of the environment: MAINSPRING_URL, MAINSPRING_KEY.
    """

    def __init__(
        self,
        url: str | None,
        api_key: str | None,
        options: Options,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
    ) -> None:
        url = url or os.environ.get("MAINSPRING_URL") or URL
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query:
            raise NotSent(
                f"{url!r} cannot be called: an address looks like https://api.example.com"
            )
        if parts.username or parts.password:
            raise NotSent("the address holds a name or password: give the key as api_key")
        self.url = url.rstrip("/")
        self.base = parts.path.rstrip("/")
        self.options = options
        self.session: Session | None = None
        self._api_key = api_key or os.environ.get("MAINSPRING_KEY") or None
        self._clock = clock or SystemClock()
        self._entropy = entropy or SystemEntropy()

    def __repr__(self) -> str:
        return f"Core({self.url!r})"

    def url_of(self, request: Request) -> str:
        """Return where a request is sent."""
        if request.target.startswith("/"):
            return self.url[: len(self.url) - len(self.base)] + request.target
        return request.target

    # A call

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        json: Any = UNSET,
        body: bytes | FileBody | None = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        anonymous: bool = False,
    ) -> Exchange[Reply]:
        """Send a request, again where that is safe and helps, and return the answer.

        A write has an idempotency key, of its own if none is given: each try bears the same.
        Raises ApiError, Unreachable.
        """
        sent = {"Accept": "application/json, */*;q=0.5", **self.options.headers, **(headers or {})}
        if json is not UNSET:
            body = msgspec.json.encode(json)
            sent.setdefault("Content-Type", "application/json")
        if method in _WRITING:
            sent["Idempotency-Key"] = idempotency_key or self._entropy.token(16).hex()
        target = self.base + path + asked(query or {})
        if isinstance(body, FileBody) and body.size_bytes is not None:
            sent["Content-Length"] = str(body.size_bytes)
        once = isinstance(body, FileBody) and not body.repeats
        tries, renewed = 1 if once else max(1, self.options.tries), False
        number = 0
        while True:
            number += 1
            access = None if anonymous else (yield from self._credential())
            session = self.session
            if isinstance(body, FileBody):
                body.rewind()
            request = Request(
                method, target, self._with(sent, access), body, self.options.timeout_s
            )
            try:
                reply = yield request
            except Broken as error:
                if number == tries:
                    raise Unreachable(
                        f"{method} {path}: {error} ({number} tries)", sent.get("Idempotency-Key")
                    ) from None
                yield Pause(self.pause_s(number))
                continue
            assert reply is not None
            if reply.status < 400:
                return reply
            refused = refusal(reply.status, reply.headers, reply.body)
            if reply.status == 401 and session and access and not (renewed or once):
                renewed = True
                number -= 1  # nothing was wrong with the try but who made it
                yield Renew(session.refresh)
                continue
            wait_s = self._wait_s(reply, refused.code, number)
            if wait_s is None or number == tries:
                raise refused
            yield Pause(wait_s)

    def _with(self, headers: dict[str, str], access: str | None) -> dict[str, str]:
        return {**headers, "Authorization": f"Bearer {access}"} if access else headers

    def _credential(self) -> Exchange[str | None]:
        session = self.session
        if session is None:
            return self._api_key
        if self._clock.monotonic_s() > session.renew_s:
            yield Renew(session.refresh)
        return self.session.access if self.session is not None else None

    def _wait_s(self, reply: Reply, code: str, number: int) -> float | None:
        """How long until the same request may fare better; None where it will not."""
        again = reply.status in AGAIN or code == "idempotency_in_flight"
        if not again:
            return None
        asked_s = _retry_after_s(reply.headers.get("retry-after"), self._clock)
        if asked_s is None:
            return self.pause_s(number)
        return None if asked_s > PAUSE_S_MAX else asked_s + self._chance() * FIRST_PAUSE_S

    def pause_s(self, number: int) -> float:
        """Return a wait with full jitter, which doubles with each try."""
        longest_s: float = min(FIRST_PAUSE_S * 2 ** (number - 1), PAUSE_S_MAX)
        return self._chance() * longest_s

    def opening(
        self, target: str, headers: Mapping[str, str], *, renew: bool = False
    ) -> Exchange[Request]:
        """Return the request of an answer that is read piece by piece, as the caller of now."""
        access = yield from self._credential()
        if renew and access and self.session is not None:
            yield Renew(self.session.refresh)
            access = self.session.access
        sent = self._with({**self.options.headers, **headers}, access)
        return Request("GET", target, sent, None, self.options.timeout_s)

    def _chance(self) -> float:
        return int.from_bytes(self._entropy.token(4)) / (1 << 32)

    # Sessions

    def logged_in(self, reply: Reply) -> Any:
        """Keep the tokens of an answer, and return its user."""
        told = reply.json
        life_s = float(told["expires_in"])
        renew_s = self._clock.monotonic_s() + life_s - min(RENEW_BEFORE_S, life_s / 2)
        self.session = Session(told["access_token"], told["refresh_token"], renew_s)
        return told["user"]

    def renewal(self) -> Exchange[None]:
        """Exchange the refresh token for new ones. Raises ApiError: the session is over then."""
        if self.session is not None:
            wanted = {"refresh_token": self.session.refresh}
            path = "/v1/sessions/refresh"
            self.logged_in((yield from self.call("POST", path, json=wanted, anonymous=True)))


def asked(query: Mapping[str, Any]) -> str:
    """Write a query: absent is left out, a list is a parameter per item."""
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        if value is UNSET or value is None:
            continue
        many = value if isinstance(value, list | tuple | set | frozenset) else (value,)
        pairs += [(name, _text(each)) for each in many]
    return "?" + urlencode(pairs, quote_via=quote) if pairs else ""


def filled(path: str, values: Mapping[str, Any]) -> str:
    """Put values into a path's placeholders. Raises NotSent for one that is empty."""

    def put(match: re.Match[str]) -> str:
        text = _text(values[match[1]])
        if not text:
            raise NotSent(f"{match[1]} is empty, and stands in the path {path}")
        return quote(text, safe="")

    return _PLACEHOLDER.sub(put, path)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    made = msgspec.to_builtins(value)
    if isinstance(made, bool):
        return "true" if made else "false"
    return str(made)


def _retry_after_s(header: str | None, clock: Clock) -> float | None:
    if header is None:
        return None
    if header.isdigit():
        return float(header)
    try:
        moment = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - clock.now_ms() / 1000)


def decoded(reply: Reply, answer: Any) -> Any:
    """Read an answer as the type that an operation declares; 204 is None."""
    if answer is None or reply.status == 204 or not reply.body:
        return None
    if answer is Record:
        return Record(msgspec.json.decode(reply.body), reply.etag)
    return msgspec.json.decode(reply.body, type=answer)


def header_lines(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return headers by their names in lower case; of those that repeat, joined by commas."""
    found: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found


def page_of(reply: Reply, item: Any) -> tuple[list[Any], str | None]:
    """Return the items of a page, and the cursor of the next one."""
    page = msgspec.json.decode(reply.body, type=_Page)
    raw = [msgspec.json.decode(each) for each in page.items] if item is Record else None
    if raw is not None:
        return [Record(each, None) for each in raw], page.next_cursor
    return [msgspec.json.decode(each, type=item) for each in page.items], page.next_cursor


class _Page(msgspec.Struct, frozen=True):
    items: list[msgspec.Raw]
    next_cursor: str | None = None


def file_headers(media_type: str | None, filename: str | None) -> dict[str, str]:
    """Say what a file is, and its name (RFC 8187)."""
    sent = {"Content-Type": media_type or "application/octet-stream"}
    if filename is not None:
        sent["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(filename, safe='')}"
    return sent
