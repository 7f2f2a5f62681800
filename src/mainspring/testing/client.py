"""Somebody who calls a platform under test: in Python, or over HTTP."""

import asyncio
import contextlib
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import httptools
import msgspec
from msgspec import UNSET

from mainspring.gateway.pipeline import Admission
from mainspring.interfaces.http.server import Server
from mainspring.kernel.call import SYSTEM
from mainspring.kernel.errors import Failure, Unavailable
from mainspring.kernel.invocation import Invocation
from mainspring.kernel.operation import Kind, Operation, Raw, StreamItem
from mainspring.services.users.api.structs import RefreshRequest, Tokens

if TYPE_CHECKING:
    from mainspring.testing.platform import Platform

ADDRESS = "127.0.0.1"
ANSWER_S = 60.0  # an answer in process that has not ended by then is a stream without end


class HttpAnswer(msgspec.Struct, frozen=True):
    """What came back over HTTP. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body read as JSON; None when there is none."""
        return msgspec.json.decode(self.body) if self.body else None

    @property
    def text(self) -> str:
        """The body read as text."""
        return self.body.decode()

    @property
    def etag(self) -> str | None:
        """The entity tag, as ``if_match=`` takes it."""
        return self.headers.get("etag")

    def expect(self, status: int) -> Any:
        """Return the JSON. Raises AssertionError with the body when the status is another one."""
        if self.status != status:
            said = self.body.decode(errors="replace")[:2_000]
            raise AssertionError(f"answered {self.status}, not {status}: {said}")
        return self.json


Send = Callable[[str, str, list[tuple[str, str]], bytes], Awaitable[HttpAnswer]]


class Client:
    """One caller. ``call`` goes through the gateway in Python, the verbs of HTTP through HTTP.

    ``id`` is the user's or the key's; anonymous callers and the system have none.
    """

    def __init__(
        self,
        platform: "Platform",
        *,
        id: str | None = None,
        credential: str | None = None,
        tokens: Tokens | None = None,
        system: bool = False,
    ) -> None:
        self.id = id
        self._platform = platform
        self._credential = credential
        self._tokens = tokens
        self._renew_ms = 0 if tokens is None else self._end_of(tokens)
        self._system = system

    # In Python

    async def call(
        self,
        operation: Operation | str,
        /,
        *args: Any,
        idempotency_key: str | None = None,
        if_match: str | None = None,
        **named: Any,
    ) -> Any:
        """Call an operation, by itself or by its name, and return what its handler does.

        Arguments are the handler's. Where it takes a struct a dict does as well; either is checked
        as a body over HTTP would be. Raises the operation's Failure. A stream is returned as its
        async iterator.
        """
        declared = self._platform.operation(operation)
        if declared.kind is Kind.UPLOAD:
            raise TypeError(f"{declared.name} takes a file: send it with put(path, content=...)")
        # In a task of its own, so that what the test logs does not carry the ids of this call.
        answer = await asyncio.create_task(
            self._call(declared, _arguments(declared, args, named), idempotency_key, if_match)
        )
        with contextlib.suppress(Unavailable):  # the database is away: the next call has it done
            await self._platform.place_events()
        return answer

    async def stream(self, operation: Operation | str, /, *args: Any, **named: Any) -> "OpenStream":
        """Open a stream, to read item by item: ``async with await client.stream(...) as items``."""
        return OpenStream(self._platform, await self.call(operation, *args, **named))

    async def _call(
        self,
        operation: Operation,
        args: dict[str, Any],
        idempotency_key: str | None,
        if_match: str | None,
    ) -> Any:
        app = self._platform.app
        caller, account = SYSTEM, ""
        if not self._system:
            credential = await self.credential()
            header = None if credential is None else f"Bearer {credential}".encode()
            admission = app.gateway.admit(header, ADDRESS, operation.rate, address=ADDRESS)
            if not isinstance(admission, Admission):
                admission = await admission
            caller, account = admission.caller, admission.account
        invocation = Invocation(
            operation.name,
            args,
            caller,
            app.runtime.ids.new("req"),
            account,
            idempotency_key=idempotency_key,
            if_match=if_match,
        )
        if operation.kind is Kind.STREAM:
            return (await app.runtime.invoker.open(invocation)).body
        if operation.kind is Kind.RAW:
            opened = await app.runtime.invoker.open(invocation)
            return Raw(opened.body, opened.status, opened.media_type, opened.headers)
        outcome = await app.runtime.invoker.invoke(invocation)
        if outcome.value is None and outcome.body:
            return msgspec.json.decode(outcome.body, type=operation.response)
        if isinstance(outcome.value, msgspec.Raw):
            return msgspec.json.decode(outcome.value)
        return outcome.value

    # Over HTTP

    async def request(
        self,
        method: str,
        path: str,
        body: Any = UNSET,
        *,
        content: bytes | None = None,
        content_type: str = "application/octet-stream",
        idempotency_key: str | None = None,
        if_match: str | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> HttpAnswer:
        """Send one request; follow no redirect. ``body`` goes as JSON, ``content`` as it is."""
        sent = {"host": "127.0.0.1", "accept-encoding": "identity"}
        if body is not UNSET:
            content, content_type = msgspec.json.encode(body), "application/json"
        if content is not None:
            sent |= {"content-type": content_type, "content-length": str(len(content))}
        credential = await self.credential()
        if credential is not None:
            sent["authorization"] = f"Bearer {credential}"
        if idempotency_key is not None:
            sent["idempotency-key"] = idempotency_key
        if if_match is not None:
            sent["if-match"] = if_match
        sent |= {name.lower(): value for name, value in headers.items()}
        answer = await self._platform.send(method, path, list(sent.items()), content or b"")
        with contextlib.suppress(Unavailable):  # the database is away: the next call has it done
            await self._platform.place_events()
        return answer

    async def get(self, path: str, **options: Any) -> HttpAnswer:
        """GET."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, body: Any = UNSET, **options: Any) -> HttpAnswer:
        """POST."""
        return await self.request("POST", path, body, **options)

    async def put(self, path: str, body: Any = UNSET, **options: Any) -> HttpAnswer:
        """PUT."""
        return await self.request("PUT", path, body, **options)

    async def patch(self, path: str, body: Any = UNSET, **options: Any) -> HttpAnswer:
        """PATCH."""
        return await self.request("PATCH", path, body, **options)

    async def delete(self, path: str, **options: Any) -> HttpAnswer:
        """DELETE."""
        return await self.request("DELETE", path, **options)

    # Who it is

    async def credential(self) -> str | None:
        """The key or access token it calls with; a token that has run out is refreshed first."""
        if self._tokens is None:
            return self._credential
        if self._platform.clock.now_ms() >= self._renew_ms:
            try:
                self._tokens = await self._platform.system.call(
                    "users.refresh_session",
                    RefreshRequest(refresh_token=self._tokens.refresh_token),
                )
            except Failure:  # logged out or deleted: the old token tells it, as it should
                return self._tokens.access_token
            self._renew_ms = self._end_of(self._tokens)
        return self._tokens.access_token

    def _end_of(self, tokens: Tokens) -> int:
        return self._platform.clock.now_ms() + tokens.expires_in * 1000


class OpenStream:
    """An open stream of a platform under test. What is read of it is awaited, for half a minute."""

    def __init__(self, platform: "Platform", items: AsyncGenerator[StreamItem, None]) -> None:
        self._platform = platform
        self._items = items

    async def next(self) -> StreamItem:
        """Return the next item. Raises StopAsyncIteration when the stream has ended."""
        waiting = asyncio.ensure_future(anext(self._items))
        await self._platform.place_events()  # what has happened by now is there to be told
        async with asyncio.timeout(ANSWER_S):
            return await waiting

    async def json(self) -> Any:
        """Return what the next item holds."""
        return msgspec.json.decode((await self.next()).data)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._items.aclose()  # as when its reader leaves


def _arguments(
    operation: Operation, args: tuple[Any, ...], named: Mapping[str, Any]
) -> dict[str, Any]:
    """Bind arguments to the handler's parameters, and write each as it would be sent."""
    parameters = list(inspect.signature(operation.declared).parameters.values())[1:]
    bound = inspect.Signature(parameters).bind_partial(*args, **named).arguments
    needed = {*operation.path_params, operation.body_param}
    missing = [p.name for p in parameters if p.name not in bound and p.name in needed]
    if missing:
        raise TypeError(f"{operation.name} needs {', '.join(missing)}")
    return {name: _sent(value) for name, value in bound.items()}


def _sent(value: Any) -> Any:
    written = isinstance(value, str | msgspec.Raw)
    return value if written else msgspec.Raw(msgspec.json.encode(value))


def in_process(server: Server) -> Send:
    """Make the way to send that needs no socket: the server reads and writes memory."""

    async def send(
        method: str, path: str, headers: list[tuple[str, str]], body: bytes
    ) -> HttpAnswer:
        said = dict(headers)
        if body:
            said["content-length"] = str(len(body))
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items())]
        answer = _Answer(method)
        connection = server.connection()
        connection.connection_made(answer)
        connection.data_received("\r\n".join([*lines, "", ""]).encode() + body)
        async with asyncio.timeout(ANSWER_S):
            await answer.ended.wait()
        connection.connection_lost(None)
        if not answer.whole:
            raise AssertionError(f"{method} {path}: the app ended before its answer did")
        return HttpAnswer(answer.status, answer.headers, bytes(answer.body))

    return send


class _Answer(asyncio.Transport):
    """The client's end of a connection in memory: one answer, read as it comes."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self._parser = httptools.HttpResponseParser(self)
        self._without_body = method == "HEAD"
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.status = 0
        self.whole = False
        self.ended = asyncio.Event()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Say who is connected to whom."""
        return {"peername": (ADDRESS, 50_000), "sockname": (ADDRESS, 80)}.get(name, default)

    def write(self, data: Any) -> None:
        """Take a part of the answer."""
        if not self.ended.is_set():
            self._parser.feed_data(data)

    def get_write_buffer_size(self) -> int:
        """All of it is taken at once."""
        return 0

    def is_closing(self) -> bool:
        """Whether the answer has come to its end."""
        return self.ended.is_set()

    def pause_reading(self) -> None:
        """Send nothing more: all was sent already."""

    def resume_reading(self) -> None:
        """Send on: all was sent already."""

    def write_eof(self) -> None:
        """Note that nothing more of an answer comes, whole or not."""
        self.ended.set()

    def close(self) -> None:
        """Note that the server has ended it."""
        self.ended.set()

    def abort(self) -> None:
        """Note that the server has cut it off."""
        self.ended.set()

    # What the parser finds

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        text = value.decode("utf-8", "surrogateescape")
        self.headers[name.decode("latin-1").lower()] = text

    def on_headers_complete(self) -> None:
        """Take the status. Behind the head of an answer to HEAD comes nothing."""
        self.status = self._parser.get_status_code()
        if self._without_body:
            self.on_message_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self.body += body

    def on_message_complete(self) -> None:
        """Note that the answer is whole."""
        self.whole = True
        self.ended.set()
