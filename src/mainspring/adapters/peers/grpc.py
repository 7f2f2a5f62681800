"""Calls to the owners of a service over gRPC: ``grpc://host:port``, or several with commas."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc
import grpc.aio

from mainspring.adapters.outage import Outage
from mainspring.adapters.peers.certificate_files import CertificateFiles
from mainspring.adapters.peers.grpc_wire import (
    AUTHENTICATE,
    INVOKE,
    OPEN,
    OPTIONS,
    RECEIVE,
    REVOCATIONS,
    UPLOAD,
    Credential,
    Ping,
    answers,
    encode,
    path,
    revoked,
)
from mainspring.adapters.peers.tls import OwnCertificate
from mainspring.kernel import sent
from mainspring.kernel.authority import Identity
from mainspring.kernel.clock import Clock
from mainspring.kernel.errors import DeadlineExceeded, OutcomeUnknown, Unavailable
from mainspring.kernel.invocation import FilePart, Invocation, Opened, Outcome
from mainspring.kernel.operation import Kind, Operation
from mainspring.kernel.recipient import Recipient
from mainspring.ports.database import StartError
from mainspring.ports.opening import Sources
from mainspring.ports.peers import OwnIdentity, Revocation

SCHEME = "grpc://"
ANSWER_MARGIN_S = 2.0  # after the time that a call has: its owner says itself that it is up
AUTHENTICATE_S = 10.0
TRIES_MAX = 3  # of a call that is safe to repeat, while its owner cannot be reached
FIRST_PAUSE_S = 0.05
PING_EVERY_S = 0.25
RETIRE_S = 3_600.0  # what lasts on a channel of a certificate that was replaced goes on so long
WHY_CHARS_MAX = 200
AGAIN_S = 0.5  # before the stream of revocations is opened once more
_RECONNECT = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.service_config", '{"loadBalancingConfig":[{"round_robin":{}}]}'),
    ("grpc.enable_retries", 0),  # what is safe to repeat is known here
]
# What gRPC says of a call that it kept, since it had no connection to send it on.
_NOT_SENT = ("connections to all backends failing", "failed to connect", "dns resolution failed")
# How a call says that it is over: where it is read, and where it is written to.
_ENDED = (grpc.aio.AioRpcError, asyncio.InvalidStateError)
_GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def open(url: str, sources: Sources) -> "GrpcPeer":
    """Return the peer at a URL. Raises StartError for one that cannot be."""
    return GrpcPeer(url, sources.clock)


class GrpcPeer:
    """The processes behind one or more addresses. A ``Peer``."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._target, self._shown = _target(url), url
        self._clock = clock
        self._operations: Mapping[str, Operation] = {}
        self._channel: grpc.aio.Channel | None = None
        self._own: OwnCertificate | None = None
        self._files: CertificateFiles | None = None
        self._service = ""
        self._methods: dict[str, Any] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._outage = Outage(f"peer {url}")
        self._deaf = Outage(f"revocations of {url}")

    async def open_peer(
        self,
        operations: Mapping[str, Operation],
        credentials: OwnIdentity | None = None,
        service: str = "",
    ) -> None:
        """Begin to connect."""
        self._operations, self._service = operations, service
        self._own = credentials if isinstance(credentials, OwnCertificate) else None
        self._connect()

    def _connect(self) -> None:
        options = [*OPTIONS, *_RECONNECT]
        if self._own is None:
            channel = grpc.aio.insecure_channel(self._target, options=options)
        else:
            self._files = self._own.files
            options += self._own.channel_options(self._service)
            secure = self._own.channel_credentials()
            channel = grpc.aio.secure_channel(self._target, secure, options=options)
        self._channel = channel
        self._methods = {
            INVOKE: channel.unary_unary(path(INVOKE)),
            UPLOAD: channel.stream_stream(path(UPLOAD)),
            RECEIVE: channel.stream_stream(path(RECEIVE)),
            OPEN: channel.stream_stream(path(OPEN)),
            AUTHENTICATE: channel.unary_unary(path(AUTHENTICATE)),
            REVOCATIONS: channel.stream_stream(path(REVOCATIONS)),
        }
        channel.get_state(try_to_connect=True)

    def _method(self, name: str) -> Any:
        """Return a method of the channel; of a new one where this one's certificate is replaced.

        gRPC gives a channel no other certificate. The one before goes when its last call is over.
        """
        if self._own is not None and self._own.files is not self._files:
            assert self._channel is not None
            retiring = asyncio.create_task(self._channel.close(RETIRE_S))
            self._retiring.add(retiring)
            retiring.add_done_callback(self._retiring.discard)
            self._connect()
        return self._methods[name]

    async def close(self) -> None:
        """End every call and connection."""
        for retiring in self._retiring:
            retiring.cancel()
        if self._channel is not None:
            await self._channel.close()

    def away(self) -> str | None:
        """Say why it cannot be reached."""
        if self._channel is None:
            return "it was not opened yet"
        state = self._channel.get_state(try_to_connect=True)
        failing = (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)
        return f"nothing answers at {self._shown}" if state in failing else None

    # An Invoker

    async def invoke(self, invocation: Invocation) -> Outcome:
        """Call a unary operation, again where that is safe."""
        operation = self._operations[invocation.operation]
        safe = not operation.writes or invocation.idempotency_key is not None
        tries = 0
        while True:
            tries += 1
            message = self._written(invocation)
            try:
                data = await self._method(INVOKE)(
                    message, timeout=self._time_for(operation, invocation)
                )
            except grpc.aio.AioRpcError as error:
                failure = self._failed(error, operation)
                again = safe and isinstance(failure, Unavailable) and tries < TRIES_MAX
                pause_s = FIRST_PAUSE_S * 2 ** (tries - 1)
                if not again or self._left_s(invocation, operation) <= pause_s:
                    raise failure from error
                await asyncio.sleep(pause_s)
            else:
                self._outage.worked()
                return _outcome(sent.read_said(data))

    async def upload(self, invocation: Invocation, chunks: AsyncIterator[bytes]) -> Outcome:
        """Call an upload."""

        async def send(call: Any) -> None:
            async for chunk in chunks:
                await call.write(sent.written(sent.SentBytes(chunk)))
            await call.done_writing()

        return await self._sending(UPLOAD, invocation, send)

    async def receive(self, invocation: Invocation, files: AsyncIterator[FilePart]) -> Outcome:
        """Call a unary operation that takes files."""

        async def send(call: Any) -> None:
            async for file in files:
                await call.write(sent.written(sent.SentFile(file.name, file.head)))
                async for chunk in file.chunks:
                    await call.write(sent.written(sent.SentBytes(chunk)))
            await call.done_writing()

        return await self._sending(RECEIVE, invocation, send)

    async def _sending(
        self, method: str, invocation: Invocation, send: Callable[[Any], Awaitable[None]]
    ) -> Outcome:
        """Call with what follows, which its owner lets come first."""
        operation = self._operations[invocation.operation]
        call = self._method(method)()  # it may take as long as its sender, whom others bound
        try:
            await call.write(self._written(invocation))
            said = await _read(call)
            if isinstance(said, sent.SentGo):
                said = await _while(call, send)
            return _outcome(said)
        except _ENDED as error:
            raise self._failed(await _status(call, error), operation) from error
        finally:
            call.cancel()

    async def open(self, invocation: Invocation, recipient: Recipient | None = None) -> Opened:
        """Call a raw operation or open a stream."""
        operation = self._operations[invocation.operation]
        call = self._method(OPEN)()
        try:
            await call.write(self._written(invocation, lasts=recipient is not None))
            said = await _asked(call, recipient)
        except BaseException as error:
            call.cancel()
            if isinstance(error, _ENDED):
                raise self._failed(await _status(call, error), operation) from error
            raise
        if isinstance(said, sent.SentFailure):
            raise sent.received_failure(said)
        assert isinstance(said, sent.SentHead), said
        body: bytes | AsyncIterator[Any] = said.body or b""
        if said.body is None:
            body = self._pieces(call, recipient, operation)
        return Opened(
            body, said.status, said.media_type, said.headers, said.replayed, said.elsewhere
        )

    async def _pieces(
        self, call: Any, recipient: Recipient | None, operation: Operation
    ) -> AsyncIterator[Any]:
        try:
            while (said := await _asked(call, recipient)) is not None:
                if isinstance(said, sent.SentFailure):
                    raise sent.received_failure(said)
                yield said.item if isinstance(said, sent.SentItem) else said.data
        except _ENDED as error:
            told = await _status(call, error)
            if operation.kind is Kind.STREAM and told.code() in _GONE:
                return  # its owner stops: whoever follows comes again, after the last item
            raise self._failed(told, operation) from error
        finally:
            call.cancel()

    def _written(self, invocation: Invocation, *, lasts: bool = False) -> bytes:
        now_s = self._clock.monotonic_s()
        return sent.written(sent.sent_call(invocation, now_s, lasts=lasts))

    def _left_s(self, invocation: Invocation, operation: Operation) -> float:
        if invocation.deadline_s is None:
            return operation.timeout_s
        return invocation.deadline_s - self._clock.monotonic_s()

    def _time_for(self, operation: Operation, invocation: Invocation) -> float:
        return max(self._left_s(invocation, operation), 0.0) + ANSWER_MARGIN_S

    def _failed(self, error: grpc.aio.AioRpcError, operation: Operation) -> Exception:
        """Return what to raise for a call that had no answer."""
        code, why = error.code(), str(error.details() or "")
        service = operation.name.partition(".")[0]
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            if not operation.writes:
                return DeadlineExceeded(f"the service {service} did not answer in time")
            return OutcomeUnknown(f"the service {service} did not say whether this was done")
        if code not in _GONE:
            return RuntimeError(f"the owner of {operation.name} failed: {code.name} {why}")
        self._outage.failed(why)
        if operation.writes and not any(told in why.lower() for told in _NOT_SENT):
            return OutcomeUnknown(
                f"the service {service} ended while it did this. Repeat the call with the same "
                "Idempotency-Key; without one look first",
                retry_after_s=1,
            )
        return Unavailable(f"the service {service} cannot be reached", retry_after_s=1)

    # An Authenticator, and what tells of revocations

    @property
    def revoking(self) -> frozenset[str]:
        """None: whoever remembers is told by ``follow``."""
        return frozenset()

    async def authenticate(self, credential: str, now_ms: int) -> Identity:
        """Return whose credential this is."""
        message = encode(Credential(credential, now_ms))
        tries = 0
        while True:
            tries += 1
            try:
                data = await self._method(AUTHENTICATE)(message, timeout=AUTHENTICATE_S)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNKNOWN:
                    raise RuntimeError(f"no log-in is checked: {error.details()}") from error
                if error.code() not in _GONE or tries == TRIES_MAX:
                    self._outage.failed(str(error.details()))
                    raise Unavailable("nobody can be identified now", retry_after_s=1) from error
                await asyncio.sleep(FIRST_PAUSE_S * 2 ** (tries - 1))
            else:
                answer = answers.decode(data)
                if answer.failure is not None:
                    raise sent.received_failure(answer.failure)
                assert answer.identity is not None
                return answer.identity

    async def follow(self) -> AsyncIterator[Revocation]:
        """Yield what is revoked; whenever it may have missed something, that all is."""
        while True:
            call = self._method(REVOCATIONS)()
            try:
                yield Revocation(all=True)
                while True:
                    asked_s = self._clock.monotonic_s()
                    await call.write(encode(Ping()))
                    data = await call.read()
                    if data is grpc.aio.EOF:
                        break
                    told = revoked.decode(data)
                    self._deaf.worked()
                    # What it had heard by then, it had heard when it was asked, or later.
                    heard_s = None if told.age_s is None else asked_s - told.age_s
                    yield Revocation(told.tags, told.all, heard_s)
                    await asyncio.sleep(PING_EVERY_S)
            except _ENDED as error:
                self._deaf.failed(str(error)[:WHY_CHARS_MAX])
            finally:
                call.cancel()
            await asyncio.sleep(AGAIN_S)


async def _read(call: Any) -> sent.Said | None:
    data = await call.read()
    return None if data is grpc.aio.EOF else sent.read_said(data)


async def _asked(call: Any, recipient: Recipient | None) -> Any:
    """Read what comes next; what is asked meanwhile is answered."""
    while isinstance(said := await _read(call), sent.SentRenew):
        caller = None if recipient is None else await recipient.renew()
        await call.write(sent.written(sent.SentRenewed(caller)))
    return said


async def _while(call: Any, send: Callable[[Any], Awaitable[None]]) -> sent.Said | None:
    """Send until there is an answer, which may come before everything was sent."""
    sending = asyncio.ensure_future(send(call))
    answer = asyncio.ensure_future(_read(call))
    try:
        await asyncio.wait({sending, answer}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done() and not answer.done():
            sending.result()  # what went wrong at the sender's end is what happened
        return await answer
    finally:
        for task in (sending, answer):
            task.cancel()
        await asyncio.wait({sending, answer})


async def _status(call: Any, error: BaseException) -> grpc.aio.AioRpcError:
    """Return how a call ended."""
    if isinstance(error, grpc.aio.AioRpcError):
        return error
    code, details = await call.code(), await call.details()
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


def _outcome(said: sent.Said | None) -> Outcome:
    if isinstance(said, sent.SentFailure):
        raise sent.received_failure(said)
    if not isinstance(said, sent.SentOutcome):
        raise RuntimeError(f"an owner answers a call with {type(said).__name__}")
    return sent.received_outcome(said)


def _target(url: str) -> str:
    """Return what gRPC calls the addresses of a URL. Raises StartError."""
    hosts = url.removeprefix(SCHEME).split(",")
    if not url.startswith(SCHEME) or not all(host.rpartition(":")[2].isdecimal() for host in hosts):
        raise StartError(f"peers: {url} is not grpc://HOST:PORT, or several with commas between")
    if len(hosts) == 1:
        return f"dns:///{hosts[0]}"
    for host in hosts:
        name = host.rpartition(":")[0]
        try:
            ipaddress.IPv4Address(name)
        except ValueError:
            raise StartError(
                f"peers: {name} in {url}: several are told apart by IPv4 addresses; one name may "
                "lead to several"
            ) from None
    return f"ipv4:{','.join(hosts)}"
