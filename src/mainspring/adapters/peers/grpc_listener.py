"""Calls from peers over gRPC, to the operations that this process owns."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, NoReturn

import grpc
import grpc.aio
import structlog

from mainspring.adapters.peers import frames
from mainspring.adapters.peers.grpc import SCHEME
from mainspring.adapters.peers.grpc_health import OwnerHealth
from mainspring.adapters.peers.grpc_questions import answered
from mainspring.adapters.peers.grpc_reflection import OwnerReflection
from mainspring.adapters.peers.grpc_stream_listener import CallsOnStream, NoAnswer
from mainspring.adapters.peers.grpc_wire import (
    ASK,
    AUTHENTICATE,
    CALLS,
    INVOKE,
    OPEN,
    OPTIONS,
    PIECE_BYTES_MAX,
    RECEIVE,
    REVOCATIONS,
    SERVICE,
    UPLOAD,
    Credential,
    QuestionAnswer,
    Revoked,
    WhoseAnswer,
    credentials,
    encode,
    questions,
)
from mainspring.adapters.peers.tls import OwnCertificate
from mainspring.kernel import sent
from mainspring.kernel.caller import Caller
from mainspring.kernel.clock import Clock
from mainspring.kernel.errors import (
    Failure,
    NotServedHere,
    PeerRefused,
    Unauthenticated,
    no_room,
)
from mainspring.kernel.invocation import FilePart, Invocation, Invoker, Opened, Outcome
from mainspring.kernel.operation import StreamItem
from mainspring.ports.database import StartError
from mainspring.ports.opening import Sources
from mainspring.ports.peers import Owned, OwnIdentity, Revocation

PLAIN_HOSTS = ("127.0.0.1", "localhost", "[::1]")
GATEWAY = "gateway"  # the name in the certificate of what may call everything
WORD_S = 0.25  # in which every caller hears that this process leaves
TAGS_WAITING_MAX = 10_000  # of revocations that an asker has not asked for; then it forgets all


def open(url: str, sources: Sources) -> "GrpcListener":
    """Return what listens at a URL. Raises StartError for one that cannot be."""
    return GrpcListener(url, sources.clock)


class Leaves(Exception):
    """This process is about to end, and begins no call."""


class CutOff(Exception):
    """Whoever sent files went before they were whole."""


class GrpcListener:
    """A gRPC server. A ``PeerListener``."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._address = address = url.removeprefix(SCHEME)
        host, _, port = address.rpartition(":")
        if not url.startswith(SCHEME) or not port.isdecimal():
            raise StartError(f"peers: {url} is not grpc://HOST:PORT")
        self._host, self._port = host, int(port)
        self._clock = clock
        self._leaving = asyncio.Event()
        self._server: grpc.aio.Server | None = None
        self._health: OwnerHealth | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{SCHEME}{self._host}:{self._port}"

    async def start(self, owned: Owned, credentials: OwnIdentity | None = None) -> None:
        """Listen."""
        own = credentials if isinstance(credentials, OwnCertificate) else None
        if own is None and self._host not in PLAIN_HOSTS:
            raise StartError(
                f"peers: {self.url}: what is sent there is not encrypted, and whoever reaches it "
                f"may call as anybody: listen on {' or '.join(PLAIN_HOSTS)}, or name [peers] "
                "certificates"
            )
        self._server = server = grpc.aio.server(options=[*OPTIONS, ("grpc.so_reuseport", 0)])
        calls = _Calls(owned, self._clock, self._leaving, own)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {
            CALLS: grpc.stream_stream_rpc_method_handler(calls.calls),
            INVOKE: grpc.unary_unary_rpc_method_handler(calls.invoke),
            UPLOAD: grpc.stream_stream_rpc_method_handler(calls.upload),
            RECEIVE: grpc.stream_stream_rpc_method_handler(calls.receive),
            OPEN: grpc.stream_stream_rpc_method_handler(calls.open),
            ASK: grpc.unary_unary_rpc_method_handler(calls.ask),
            AUTHENTICATE: grpc.unary_unary_rpc_method_handler(calls.authenticate),
            REVOCATIONS: grpc.stream_stream_rpc_method_handler(calls.revocations),
        })])  # fmt: skip
        where = f"{self._host}:{self._port}"
        try:
            if own is None:
                self._port = server.add_insecure_port(where)
            else:
                self._port = server.add_secure_port(where, own.server_credentials())
        except RuntimeError as error:
            raise StartError(f"peers: cannot listen at {self._address}: {error}") from error
        services = {name.partition(".")[0] for name in owned.operations}
        self._health = OwnerHealth(services, owned.failing, self._leaving)
        await self._health.start(server)
        if owned.files is not None:
            OwnerReflection(owned.files, self._leaving).add_to(server)
        await server.start()

    async def drain(self, timeout_s: float, *, lame_duck_s: float = 0.0) -> None:
        """Say that it leaves, then take no new calls, end what lasts, let the others finish."""
        if self._server is None or self._health is None:
            return
        await self._health.leave()
        await asyncio.sleep(lame_duck_s)
        self._leaving.set()
        # gRPC cancels what comes after it stops, and whoever sent it cannot know that it was not
        # begun. So each is told so by word first, and goes on elsewhere.
        await asyncio.sleep(min(WORD_S, timeout_s))
        await self._server.stop(timeout_s)


class _Calls:
    """The methods. A defect is logged here, and told nobody."""

    def __init__(
        self, owned: Owned, clock: Clock, leaving: asyncio.Event, own: OwnCertificate | None
    ) -> None:
        self._owned = owned
        self._own = own
        self._invoker: Invoker = owned.invoker
        self._clock = clock
        self._leaving = leaving
        self._log = structlog.get_logger("mainspring.peers")

    async def calls(self, _: Any, context: Any) -> None:
        """Take many calls on one stream."""
        shown = self._shown(context)

        def invoke(request: bytes) -> Callable[[], Awaitable[bytes]]:
            return partial(self._invoke, sent.read_told(request), shown)

        def authenticate(request: bytes) -> Callable[[], Awaitable[bytes]]:
            return partial(self._authenticate, credentials.decode(request), shown)

        methods = {frames.CALL: invoke, frames.AUTHENTICATE: authenticate}
        await CallsOnStream(context, self._leaving, methods).run()

    async def invoke(self, request: bytes, context: Any) -> bytes:
        """Call a unary operation."""
        try:
            return await self._invoke(sent.read_told(request), self._shown(context))
        except NoAnswer as defect:
            return await _abort(context, defect)

    async def _invoke(self, call: sent.Told, shown: bytes) -> bytes:
        """Call a unary operation for this peer. Raises NoAnswer."""
        try:
            outcome = await self._invoker.invoke(self._received(shown, call))
        except Exception as error:  # noqa: BLE001 - told, or logged and ended
            return sent.written(self._failed(error))
        return sent.written(sent.sent_outcome(outcome))

    async def upload(self, _: Any, context: Any) -> None:
        """Call an upload: the sender waits until its file is let come."""
        call = sent.read_told(await context.read())

        async def chunks() -> AsyncIterator[bytes]:
            await context.write(sent.written(sent.SentGo()))
            while not isinstance(told := await _following(context), sent.SentEnd):
                assert isinstance(told, sent.SentBytes)
                yield told.data

        await self._answer(context, call, lambda i: self._invoker.upload(i, chunks()))

    async def receive(self, _: Any, context: Any) -> None:
        """Call a unary operation that takes files."""
        call = sent.read_told(await context.read())
        await self._answer(context, call, lambda i: self._invoker.receive(i, _files(context)))

    async def open(self, _: Any, context: Any) -> None:
        """Call a raw operation or open a stream."""
        call = sent.read_told(await context.read())
        assert isinstance(call, sent.SentCall)
        far = _FarRecipient(context) if call.lasts else None
        try:
            opened = await self._invoker.open(self._received(self._shown(context), call), far)
            await context.write(sent.written(sent.sent_head(opened)))
            if not isinstance(opened.body, bytes):
                await self._send(context, opened)
        except Exception as error:  # noqa: BLE001 - told, or logged and ended
            await context.write(sent.written(await self._ended(context, error)))

    async def _send(self, context: Any, opened: Opened) -> None:
        """Send what follows, until it ends or this process does."""
        assert not isinstance(opened.body, bytes)
        items, leaving = aiter(opened.body), asyncio.ensure_future(self._leaving.wait())
        pulled: asyncio.Future[Any] = leaving
        try:
            while True:
                pulled = asyncio.ensure_future(anext(items, None))
                await asyncio.wait({pulled, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if not pulled.done():
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the owner stops")
                if (piece := pulled.result()) is None:
                    return
                await _write(context, piece)
        finally:
            leaving.cancel()
            if not pulled.done():  # only then its generator can be closed
                pulled.cancel()
                await asyncio.wait({pulled})
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    async def _answer(
        self, context: Any, call: sent.Told, answer: Callable[[Invocation], Awaitable[Outcome]]
    ) -> None:
        try:
            invocation = self._received(self._shown(context), call)
            said: sent.Said = sent.sent_outcome(await answer(invocation))
        except Exception as error:  # noqa: BLE001 - told, or logged and ended
            said = await self._ended(context, error)
        await context.write(sent.written(said))

    async def authenticate(self, request: bytes, context: Any) -> bytes:
        """Say whose a credential is."""
        try:
            return await self._authenticate(credentials.decode(request), self._shown(context))
        except NoAnswer as defect:
            return await _abort(context, defect)

    async def _authenticate(self, asked: Credential, shown: bytes) -> bytes:
        """Say whose a credential is to this peer. Raises NoAnswer."""
        try:
            self._require(shown, AUTHENTICATE, anybody=False)
            if self._owned.authenticator is None:
                raise NotServedHere("this process does not own the users")
            found = await self._owned.authenticator.authenticate(asked.credential, asked.now_ms)
        except Exception as error:  # noqa: BLE001 - told, or logged and ended
            return encode(WhoseAnswer(failure=self._told(error)))
        return encode(WhoseAnswer(identity=found))

    async def ask(self, request: bytes, context: Any) -> bytes:
        """Answer a question that is no call."""
        try:
            self._require(self._shown(context), ASK, anybody=False)
            return encode(await answered(self._owned, questions.decode(request)))
        except Exception as error:  # noqa: BLE001 - told, or logged and ended
            try:
                return encode(QuestionAnswer(failure=self._told(error)))
            except NoAnswer as defect:
                return await _abort(context, defect)

    async def revocations(self, _: Any, context: Any) -> None:
        """Tell at each question what was revoked since the one before."""
        if self._owned.revocations is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this process owns no users")
        assert self._owned.revocations is not None
        told, shown = _Told(), self._shown(context)
        following = asyncio.ensure_future(told.follow(self._owned.revocations.follow()))
        try:
            self._require(shown, REVOCATIONS, anybody=False)
            await asyncio.sleep(0)  # so that it follows before the first answer
            while await context.read() is not grpc.aio.EOF:
                if self._leaving.is_set():
                    return
                self._require(shown, REVOCATIONS, anybody=False)
                await context.write(encode(told.take(self._clock.monotonic_s())))
        except PeerRefused as refused:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, refused.detail)
        finally:
            following.cancel()

    def _shown(self, context: Any) -> bytes:
        """Return the certificates that whoever calls has shown."""
        return b"" if self._own is None else self._own.shown_by(context)

    def _received(self, shown: bytes, call: sent.Told) -> Invocation:
        """Read a call. Raises NotServedHere where its operation is another process's.

        Raises PeerRefused where whoever calls may not, and Leaves where nothing is begun any more.
        """
        assert isinstance(call, sent.SentCall)
        if self._leaving.is_set():
            raise Leaves
        operation = self._owned.operations.get(call.operation)
        if operation is None:
            raise NotServedHere(f"{call.operation} is not of this process")
        self._require(shown, call.operation, anybody=not operation.writes)
        return sent.received_call(call, self._clock.monotonic_s())

    def _require(self, shown: bytes, what: str, *, anybody: bool) -> None:
        """Let a gateway pass, and any service of this platform where ``anybody`` may.

        Raises PeerRefused.
        """
        if self._own is None:
            return
        peer = self._own.caller(shown)
        if peer == GATEWAY or (peer is not None and anybody):
            return
        fits = f"any of {self._own.trust_domain}" if anybody else GATEWAY
        self._log.warning("peer_refused", peer=peer, operation=what)
        raise PeerRefused(f"{what} is for {fits}; {peer or 'another trust domain'} calls")

    async def _ended(self, context: Any, error: Exception) -> sent.Said:
        """Return what a call of a stream of its own is answered with. A defect ends it."""
        if isinstance(error, CutOff):
            await context.abort(grpc.StatusCode.CANCELLED, "what was sent is not whole")
        if isinstance(error, grpc.aio.AbortError):
            raise error
        try:
            return self._failed(error)
        except NoAnswer as defect:
            return await _abort(context, defect)

    def _failed(self, error: Exception) -> sent.Said:
        """Return what a call that failed is answered with. Raises NoAnswer for a defect."""
        return sent.SentLeaving() if isinstance(error, Leaves) else self._told(error)

    def _told(self, error: Exception) -> sent.SentFailure:
        if isinstance(error, Failure):
            return sent.sent_failure(error)
        if (without := no_room(error)) is not None:
            self._log.error("no_room", error=str(error))
            return sent.sent_failure(without)
        self._log.error("call_of_a_peer_failed", exc_info=error)
        raise NoAnswer("a defect, which its log tells of") from error


async def _abort(context: Any, defect: NoAnswer) -> NoReturn:
    """End a call without an answer."""
    await context.abort(grpc.StatusCode.INTERNAL, str(defect))
    raise defect  # which it does itself


class _Told:
    """What was revoked and is yet to be told, within a bound."""

    def __init__(self) -> None:
        self._tags: dict[str, None] = {}
        self._all = True  # what was revoked before it followed it cannot tell one by one
        self._heard_s: float | None = None

    async def follow(self, revocations: AsyncIterator[Revocation]) -> None:
        async for revocation in revocations:
            self._tags.update(dict.fromkeys(revocation.tags))
            self._all = self._all or revocation.all or len(self._tags) > TAGS_WAITING_MAX
            if self._all:
                self._tags.clear()
            if revocation.heard_s is not None:
                self._heard_s = revocation.heard_s

    def take(self, now_s: float) -> Revoked:
        age_s = None if self._heard_s is None else now_s - self._heard_s
        told = Revoked(tuple(self._tags), self._all, age_s)
        self._tags, self._all = {}, False
        return told


class _FarRecipient:
    """A recipient at the other end: asked each time, for it cannot say at once. A ``Recipient``."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._asking = asyncio.Lock()

    @property
    def credential(self) -> int:
        """Nobody comes with an equal one."""
        return id(self)

    def holds(self) -> bool:
        """It cannot say without being asked."""
        return False

    async def renew(self) -> Caller | None:
        """Ask who it is by now."""
        async with self._asking:
            await self._context.write(sent.written(sent.SentRenew()))
            told = await _read(self._context)
        if not isinstance(told, sent.SentRenewed):
            raise Unauthenticated("nobody says any more who this is")
        return told.caller

    def push(self, item: StreamItem) -> bool:
        """Take nothing: it pulls."""
        return False


async def _read(context: Any) -> sent.Told | None:
    data = await context.read()
    return None if data is grpc.aio.EOF else sent.read_told(data)


async def _following(context: Any) -> sent.Told:
    """Read what follows a call. Raises CutOff where it ends without saying so."""
    told = await _read(context)
    if told is None:
        raise CutOff
    return told


async def _write(context: Any, piece: StreamItem | bytes) -> None:
    if not isinstance(piece, bytes):
        await context.write(sent.written(sent.SentItem(piece)))
        return
    for start in range(0, len(piece), PIECE_BYTES_MAX):
        part = piece[start : start + PIECE_BYTES_MAX]
        await context.write(sent.written(sent.SentBytes(part)))


async def _files(context: Any) -> AsyncIterator[FilePart]:
    """Yield the files that follow, each with its bytes; what is left of one is passed by."""
    await context.write(sent.written(sent.SentGo()))
    following: sent.Told = await _following(context)
    while isinstance(following, sent.SentFile):
        file = _File(context)
        yield FilePart(following.name, following.head, file.chunks())
        following = await file.rest()


class _File:
    """The bytes of one file, up to what is no bytes of it."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._next: sent.Told | None = None  # what comes after them

    async def chunks(self) -> AsyncIterator[bytes]:
        while self._next is None:
            told = await _following(self._context)
            if isinstance(told, sent.SentBytes):
                yield told.data
            else:
                self._next = told

    async def rest(self) -> sent.Told:
        """Pass by what is left; return what follows."""
        async for _ in self.chunks():
            pass
        assert self._next is not None
        return self._next
