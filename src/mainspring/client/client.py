"""The client that waits: one pool of connections, safe to use from several threads."""

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, Generic, Self, TypeVar

import urllib3
from msgspec import UNSET

from mainspring.client.core import (
    ANSWER_BYTES_MAX,
    CHUNK_BYTES,
    CONNECT_S,
    SILENT_S,
    TIMEOUT_S,
    TRIES,
    Broken,
    Core,
    Exchange,
    FileBody,
    Options,
    Pause,
    Renew,
    Reply,
    Request,
    Step,
    asked,
    decoded,
    file_headers,
    filled,
    header_lines,
    page_of,
)
from mainspring.client.errors import ClientError
from mainspring.client.reading import Fetching, Following
from mainspring.client.sse import StreamEvent

if TYPE_CHECKING:
    from mainspring.client.generated.audit import Audit
    from mainspring.client.generated.events import Events
    from mainspring.client.generated.jobs import Jobs
    from mainspring.client.generated.records import Records
    from mainspring.client.generated.users import Users
    from mainspring.client.generated.webhooks import Webhooks

T = TypeVar("T")

CONNECTIONS_MAX = 10


class Client:
    """Calls a platform. ``client.users.get(id)``, ``client.records.create("posts", {…})``.

    ``url`` and ``api_key`` are those of MAINSPRING_URL and MAINSPRING_KEY where none are given;
    with neither key nor ``login`` it calls as nobody. Every write bears an idempotency key, and
    what fails on the way is tried again with the same one. Use it with ``with``, or ``close`` it.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        tries: int = TRIES,
        headers: Mapping[str, str] | None = None,
        ca: str | None = None,
    ) -> None:
        options = Options(timeout_s, tries, dict(headers or {}))
        self._core = Core(url, api_key, options)
        self._pool = urllib3.PoolManager(
            maxsize=CONNECTIONS_MAX, block=True, retries=False, ca_certs=ca
        )
        self._renewing = threading.Lock()

    def __repr__(self) -> str:
        return f"Client({self._core.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._pool.clear()

    # The services

    @cached_property
    def audit(self) -> "Audit":
        """The log that can be verified."""
        from mainspring.client.generated.audit import Audit

        return Audit(self)

    @cached_property
    def events(self) -> "Events":
        """What happened."""
        from mainspring.client.generated.events import Events

        return Events(self)

    @cached_property
    def jobs(self) -> "Jobs":
        """Work that is done later."""
        from mainspring.client.generated.jobs import Jobs

        return Jobs(self)

    @cached_property
    def records(self) -> "Records":
        """Collections and their records."""
        from mainspring.client.generated.records import Records

        return Records(self)

    @cached_property
    def users(self) -> "Users":
        """Who there is, and how they log in."""
        from mainspring.client.generated.users import Users

        return Users(self)

    @cached_property
    def webhooks(self) -> "Webhooks":
        """Who is told over HTTP."""
        from mainspring.client.generated.webhooks import Webhooks

        return Webhooks(self)

    # Who calls

    def login(self, email: str, password: str) -> dict[str, Any]:
        """Log in, and call as this user from now on: tokens are renewed in time. Returns the user.

        Raises ApiError; where a second factor is asked for, ``client.users.complete_session`` ends
        the log-in.
        """
        wanted = {"email": email, "password": password}
        reply = self._drive(self._core.call("POST", "/v1/sessions", json=wanted, anonymous=True))
        user: dict[str, Any] = self._core.logged_in(reply)
        return user

    # Calls

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        json: Any = UNSET,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Reply:
        """Send any request, as the methods of the services do. Raises ApiError, Unreachable."""
        return self._drive(
            self._core.call(
                method, path, query=query, json=json, body=body, headers=headers,
                idempotency_key=idempotency_key,
            )
        )  # fmt: skip

    def send(
        self,
        method: str,
        path: str,
        values: Mapping[str, Any],
        answer: Any,
        *,
        query: Mapping[str, Any] | None = None,
        json: Any = UNSET,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """Make the call of an operation, and return what it answers."""
        headers = {"If-Match": if_match} if if_match else {}
        reply = self.request(
            method, filled(path, values), query=query, json=json, headers=headers,
            idempotency_key=idempotency_key,
        )  # fmt: skip
        return decoded(reply, answer)

    def pages(
        self,
        path: str,
        values: Mapping[str, Any],
        item: Any,
        query: Mapping[str, Any],
        place: str = "cursor",
    ) -> "Pages[Any]":
        """Return what a list has, page by page as it is asked for: ``place`` says from where on."""
        return Pages(self, filled(path, values), item, dict(query), place)

    def _drive(self, exchange: Exchange[T]) -> T:
        """Do what an exchange asks for until it has its result."""
        sent: Reply | None = None
        broken: Broken | None = None
        while True:
            try:
                step: Step = exchange.throw(broken) if broken else exchange.send(sent)
            except StopIteration as done:
                result: T = done.value
                return result
            sent = broken = None
            if isinstance(step, Pause):
                time.sleep(step.seconds)
            elif isinstance(step, Renew):
                self._renew(step.seen)
            else:
                try:
                    sent = self._try(step)
                except Broken as error:
                    broken = error

    def _renew(self, seen: str) -> None:
        with self._renewing:
            session = self._core.session
            if session is not None and session.refresh == seen:
                self._drive(self._core.renewal())

    def _try(self, request: Request) -> Reply:
        with self._opened(request) as answer:
            body = answer.read(ANSWER_BYTES_MAX + 1)
            if len(body) > ANSWER_BYTES_MAX:
                raise ClientError(f"the answer has more than {ANSWER_BYTES_MAX} bytes: page it")
            return Reply(answer.status, header_lines(answer.headers.items()), body)

    @contextlib.contextmanager
    def _opened(
        self, request: Request, *, lasts: bool = False
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """Send, and yield the answer whose body is yet to be read. Raises Broken."""
        body = request.body.file if isinstance(request.body, FileBody) else request.body
        timeout = urllib3.Timeout(connect=CONNECT_S, read=SILENT_S if lasts else request.timeout_s)
        try:
            answer = self._pool.request(
                request.method, self._core.url_of(request), headers=request.headers,
                body=body, timeout=timeout,
                redirect=False, preload_content=False, decode_content=True,
            )  # fmt: skip
            try:
                _whole_head(answer)
                yield answer
                answer.drain_conn()
            finally:
                answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise Broken(str(error) or type(error).__name__) from error

    # What is long, or lasts

    def follow(
        self, path: str, values: Mapping[str, Any], query: Mapping[str, Any]
    ) -> Iterator[StreamEvent]:
        """Yield a stream's events; one that breaks off is opened again after the last of them.

        Nothing is left out and nothing comes twice. Raises ApiError where the platform refuses to
        go on, as PositionGone; Unreachable when it is away for too long. It ends where the stream
        does.
        """
        target = self._core.base + filled(path, values) + asked(query)
        following = Following()
        while not following.over:
            headers = following.headers()
            opened = self._drive(self._core.opening(target, headers, renew=following.renew))
            try:
                with self._opened(opened, lasts=True) as answer:
                    following.began(answer.status, answer.headers.items(), _refusal(answer))
                    for piece in answer.stream(CHUNK_BYTES):
                        yield from following.events(piece)
                following.ended()
            except Broken as error:
                following.broke(f"{path}: {error}")
            time.sleep(following.pause_s(self._core))

    def download(
        self, path: str, values: Mapping[str, Any], query: Mapping[str, Any]
    ) -> Iterator[bytes]:
        """Yield a body in pieces; one that breaks off is gone on with, if it has an entity tag."""
        target = self._core.base + filled(path, values) + asked(query)
        fetching = Fetching(self._core.options.tries)
        while not fetching.whole:
            opened = self._drive(self._core.opening(target, fetching.headers()))
            opened = fetching.sent_elsewhere(opened)
            try:
                with self._opened(opened) as answer:
                    fetching.began(answer.status, answer.headers.items(), _refusal(answer))
                    if fetching.elsewhere is None:
                        for piece in answer.stream(CHUNK_BYTES):
                            fetching.got(len(piece))
                            yield piece
                fetching.ended()
            except Broken as error:
                fetching.broke(f"{path}: {error}")
                time.sleep(fetching.pause_s(self._core))

    def upload(
        self, method: str, path: str, values: Mapping[str, Any], answer: Any,
        file: IO[bytes] | bytes, *, query: Mapping[str, Any] | None = None,
        media_type: str | None = None, filename: str | None = None,
        idempotency_key: str | None = None,
    ) -> Any:  # fmt: skip
        """Send a file, from where it stands; again from there if it can seek."""
        reply = self._drive(
            self._core.call(
                method, filled(path, values), query=query,
                body=file if isinstance(file, bytes) else FileBody(file),
                headers=file_headers(media_type, filename), idempotency_key=idempotency_key,
            )
        )  # fmt: skip
        return decoded(reply, answer)


class Pages(Generic[T]):
    """A list: iterate over its items, or over ``pages()``. Each page is read when it is wanted."""

    def __init__(
        self, client: Client, path: str, item: Any, query: dict[str, Any], place: str
    ) -> None:
        self._client, self._path, self._item, self._query = client, path, item, query
        self._place = place

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page

    def pages(self) -> Iterator[list[T]]:
        """Yield one page after the other."""
        query = self._query
        while True:
            reply = self._client.request("GET", self._path, query=query)
            items, cursor = page_of(reply, self._item)
            yield items
            if cursor is None:
                return
            query = {**query, self._place: cursor}

    def first(self) -> T | None:
        """Return the first item; None of an empty list."""
        return next(iter(self), None)


def _whole_head(answer: urllib3.BaseHTTPResponse) -> None:
    """Raise Broken for an answer that does not say where it ends: a head that broke off is so."""
    told = {"content-length", "transfer-encoding"} & {name.lower() for name in answer.headers}
    if not told and answer.status not in (204, 304):
        raise Broken("the head of the answer broke off")


def _refusal(answer: urllib3.BaseHTTPResponse) -> bytes:
    """Return the beginning of the body of an answer that refuses; nothing of others."""
    return answer.read(CHUNK_BYTES) if answer.status >= 400 else b""
