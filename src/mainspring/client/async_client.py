"""The client that awaits: one pool of connections on one event loop."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, Generic, Self, TypeVar

import aiohttp
from msgspec import UNSET
from yarl import URL

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
    from mainspring.client.generated.async_audit import AsyncAudit
    from mainspring.client.generated.async_events import AsyncEvents
    from mainspring.client.generated.async_jobs import AsyncJobs
    from mainspring.client.generated.async_records import AsyncRecords
    from mainspring.client.generated.async_users import AsyncUsers
    from mainspring.client.generated.async_webhooks import AsyncWebhooks

T = TypeVar("T")

CONNECTIONS_MAX = 100


class AsyncClient:
    """``Client``, awaited: ``await client.users.get(id)``, ``async for job in client.jobs.list()``.

    It belongs to the event loop that it is first used on. Use it with ``async with``, or await
    ``close``.
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
        self._ca = ca
        self._renewing = asyncio.Lock()

    def __repr__(self) -> str:
        return f"AsyncClient({self._core.url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        if "_pool" in self.__dict__:
            await self._pool.close()

    @cached_property
    def _pool(self) -> aiohttp.ClientSession:
        trust: Any = ssl.create_default_context(cafile=self._ca) if self._ca else True
        connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX, ssl=trust)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    # The services

    @cached_property
    def audit(self) -> "AsyncAudit":
        """The log that can be verified."""
        from mainspring.client.generated.async_audit import AsyncAudit

        return AsyncAudit(self)

    @cached_property
    def events(self) -> "AsyncEvents":
        """What happened."""
        from mainspring.client.generated.async_events import AsyncEvents

        return AsyncEvents(self)

    @cached_property
    def jobs(self) -> "AsyncJobs":
        """Work that is done later."""
        from mainspring.client.generated.async_jobs import AsyncJobs

        return AsyncJobs(self)

    @cached_property
    def records(self) -> "AsyncRecords":
        """Collections and their records."""
        from mainspring.client.generated.async_records import AsyncRecords

        return AsyncRecords(self)

    @cached_property
    def users(self) -> "AsyncUsers":
        """Who there is, and how they log in."""
        from mainspring.client.generated.async_users import AsyncUsers

        return AsyncUsers(self)

    @cached_property
    def webhooks(self) -> "AsyncWebhooks":
        """Who is told over HTTP."""
        from mainspring.client.generated.async_webhooks import AsyncWebhooks

        return AsyncWebhooks(self)

    # Who calls

    async def login(self, email: str, password: str) -> dict[str, Any]:
        """Log in, and call as this user from now on. See ``Client.login``."""
        wanted = {"email": email, "password": password}
        exchange = self._core.call("POST", "/v1/sessions", json=wanted, anonymous=True)
        user: dict[str, Any] = self._core.logged_in(await self._drive(exchange))
        return user

    # Calls

    async def request(
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
        return await self._drive(
            self._core.call(
                method, path, query=query, json=json, body=body, headers=headers,
                idempotency_key=idempotency_key,
            )
        )  # fmt: skip

    async def send(
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
        reply = await self.request(
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
    ) -> "AsyncPages[Any]":
        """Return what a list has, page by page as it is asked for: ``place`` says from where on."""
        return AsyncPages(self, filled(path, values), item, dict(query), place)

    async def _drive(self, exchange: Exchange[T]) -> T:
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
                await asyncio.sleep(step.seconds)
            elif isinstance(step, Renew):
                await self._renew(step.seen)
            else:
                try:
                    sent = await self._try(step)
                except Broken as error:
                    broken = error

    async def _renew(self, seen: str) -> None:
        async with self._renewing:
            session = self._core.session
            if session is not None and session.refresh == seen:
                await self._drive(self._core.renewal())

    async def _try(self, request: Request) -> Reply:
        async with self._opened(request) as answer:
            body = bytearray()
            async for piece in answer.content.iter_chunked(CHUNK_BYTES):
                body += piece
                if len(body) > ANSWER_BYTES_MAX:
                    raise ClientError(f"the answer has more than {ANSWER_BYTES_MAX} bytes: page it")
            return Reply(answer.status, header_lines(answer.headers.items()), bytes(body))

    @contextlib.asynccontextmanager
    async def _opened(
        self, request: Request, *, lasts: bool = False
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send, and yield the answer whose body is yet to be read. Raises Broken."""
        body = request.body.file if isinstance(request.body, FileBody) else request.body
        silent_s = SILENT_S if lasts else request.timeout_s
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=silent_s)
        try:
            async with self._pool.request(
                request.method, URL(self._core.url_of(request), encoded=True),
                headers=request.headers, data=body, timeout=timeout, allow_redirects=False,
            ) as answer:  # fmt: skip
                yield answer
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Broken(str(error) or type(error).__name__) from error

    # What is long, or lasts

    async def follow(
        self, path: str, values: Mapping[str, Any], query: Mapping[str, Any]
    ) -> AsyncIterator[StreamEvent]:
        """Yield a stream's events. See ``Client.follow``."""
        target = self._core.base + filled(path, values) + asked(query)
        following = Following()
        while not following.over:
            headers = following.headers()
            opened = await self._drive(self._core.opening(target, headers, renew=following.renew))
            try:
                async with self._opened(opened, lasts=True) as answer:
                    said = await _refusal(answer)
                    following.began(answer.status, answer.headers.items(), said)
                    async for piece in answer.content.iter_any():
                        for event in following.events(piece):
                            yield event
                following.ended()
            except Broken as error:
                following.broke(f"{path}: {error}")
            await asyncio.sleep(following.pause_s(self._core))

    async def download(
        self, path: str, values: Mapping[str, Any], query: Mapping[str, Any]
    ) -> AsyncIterator[bytes]:
        """Yield a body in pieces. See ``Client.download``."""
        target = self._core.base + filled(path, values) + asked(query)
        fetching = Fetching(self._core.options.tries)
        while not fetching.whole:
            opened = await self._drive(self._core.opening(target, fetching.headers()))
            opened = fetching.sent_elsewhere(opened)
            try:
                async with self._opened(opened) as answer:
                    said = await _refusal(answer)
                    fetching.began(answer.status, answer.headers.items(), said)
                    if fetching.elsewhere is None:
                        async for piece in answer.content.iter_chunked(CHUNK_BYTES):
                            fetching.got(len(piece))
                            yield piece
                fetching.ended()
            except Broken as error:
                fetching.broke(f"{path}: {error}")
                await asyncio.sleep(fetching.pause_s(self._core))

    async def upload(
        self,
        method: str,
        path: str,
        values: Mapping[str, Any],
        answer: Any,
        file: IO[bytes] | bytes,
        *,
        query: Mapping[str, Any] | None = None,
        media_type: str | None = None,
        filename: str | None = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """Send a file, from where it stands; again from there if it can seek."""
        reply = await self._drive(
            self._core.call(
                method, filled(path, values), query=query,
                body=file if isinstance(file, bytes) else FileBody(file),
                headers=file_headers(media_type, filename), idempotency_key=idempotency_key,
            )
        )  # fmt: skip
        return decoded(reply, answer)


class AsyncPages(Generic[T]):
    """A list: iterate over its items, or over ``pages()``. Each page is read when it is wanted."""

    def __init__(
        self, client: AsyncClient, path: str, item: Any, query: dict[str, Any], place: str
    ) -> None:
        self._client, self._path, self._item, self._query = client, path, item, query
        self._place = place

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page:
                yield item

    async def pages(self) -> AsyncIterator[list[T]]:
        """Yield one page after the other."""
        query = self._query
        while True:
            reply = await self._client.request("GET", self._path, query=query)
            items, cursor = page_of(reply, self._item)
            yield items
            if cursor is None:
                return
            query = {**query, self._place: cursor}

    async def first(self) -> T | None:
        """Return the first item; None of an empty list."""
        async for item in self:
            return item
        return None


async def _refusal(answer: aiohttp.ClientResponse) -> bytes:
    """Return the beginning of the body of an answer that refuses; nothing of others."""
    return await answer.content.read(CHUNK_BYTES) if answer.status >= 400 else b""
