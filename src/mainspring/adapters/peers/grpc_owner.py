"""One owner of services over gRPC: its connection, what it left unanswered, what it still has."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import grpc.aio

from mainspring.adapters.outage import Outage
from mainspring.adapters.peers.breaker import Breaker
from mainspring.adapters.peers.certificate_files import CertificateFiles
from mainspring.adapters.peers.frames import AUTHENTICATE as ASKS_WHO
from mainspring.adapters.peers.frames import CALL, CALL_BYTES_MAX
from mainspring.adapters.peers.grpc_stream import CallStream
from mainspring.adapters.peers.grpc_streams import KeptStreams
from mainspring.adapters.peers.grpc_wire import (
    ASK,
    AUTHENTICATE,
    CALLS,
    INVOKE,
    OPEN,
    OPTIONS,
    RECEIVE,
    REVOCATIONS,
    UPLOAD,
    path,
)
from mainspring.adapters.peers.tls import OwnCertificate
from mainspring.kernel.clock import Clock

T = TypeVar("T")

# That one owner may have yet to answer. An owner that answers nothing holds no more of its callers'
# connections than these, so the calls of other services have room.
PENDING_MAX = 1_000
LEFT_S = 5.0  # an owner that leaves is not called for so long, or until its connection ends
RETIRE_S = 3_600.0  # what lasts on a channel of a certificate that was replaced goes on so long
_RECONNECT = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # One name may lead to several.
    ("grpc.service_config", '{"loadBalancingConfig":[{"round_robin":{}}]}'),
    # Without a policy of its own gRPC sends only that again which no server has begun; what else is
    # safe to repeat is known here.
    ("grpc.enable_retries", 1),
]
# How a call ends that nobody answered; what else comes, an owner has said.
GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
_SILENT = (*GONE, grpc.StatusCode.DEADLINE_EXCEEDED)
_KINDS = {INVOKE: CALL, AUTHENTICATE: ASKS_WHO}  # of what goes as a frame
_BROKEN = (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)


class NotBegun(Exception):
    """The owner leaves, and has not begun the call."""


class GrpcOwner:
    """The process at one address, or those behind one name."""

    def __init__(self, address: str, clock: Clock) -> None:
        self.address = address
        self._clock = clock
        self._channel: grpc.aio.Channel | None = None
        self._own: OwnCertificate | None = None
        self._files: CertificateFiles | None = None
        self._service = ""
        self._methods: dict[str, Any] = {}
        self._kept = KeptStreams(address, self._hear_that_it_leaves)
        self._retiring: set[asyncio.Task[None]] = set()
        self._outage = Outage(f"peer {address}")
        self.breaker = Breaker()
        self._left_until_s: float | None = None  # it said that it leaves
        self.pending = 0  # calls that it has yet to answer

    def open(self, own: OwnCertificate | None, service: str) -> None:
        """Begin to connect; with a certificate, to this service and no other."""
        self._own, self._service = own, service
        self._connect()

    def _connect(self) -> None:
        target = f"dns:///{self.address}"
        options = [*OPTIONS, *_RECONNECT]
        if self._own is None:
            channel = grpc.aio.insecure_channel(target, options=options)
        else:
            self._files = self._own.files
            options += self._own.channel_options(self._service)
            secure = self._own.channel_credentials()
            channel = grpc.aio.secure_channel(target, secure, options=options)
        self._channel = channel
        self._methods = {
            INVOKE: channel.unary_unary(path(INVOKE)),
            UPLOAD: channel.stream_stream(path(UPLOAD)),
            RECEIVE: channel.stream_stream(path(RECEIVE)),
            OPEN: channel.stream_stream(path(OPEN)),
            ASK: channel.unary_unary(path(ASK)),
            AUTHENTICATE: channel.unary_unary(path(AUTHENTICATE)),
            REVOCATIONS: channel.stream_stream(path(REVOCATIONS)),
        }
        self._kept = KeptStreams(self.address, self._hear_that_it_leaves)
        self._kept.open(channel.stream_stream(path(CALLS)))
        channel.get_state(try_to_connect=True)

    def method(self, name: str) -> Any:
        """Return a method of the channel; of a new one where this one's certificate is replaced."""
        self._renew()
        return self._methods[name]

    def _renew(self) -> None:
        """Take another channel where the certificate of this one was replaced.

        gRPC gives a channel no other certificate. The one before goes when its last call is over.
        """
        if self._own is None or self._own.files is self._files:
            return
        assert self._channel is not None
        retiring = asyncio.create_task(self._retire(self._channel, self._kept))
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)
        self._connect()

    async def _retire(self, channel: grpc.aio.Channel, kept: KeptStreams) -> None:
        kept.close()
        try:
            await channel.close(RETIRE_S)
        finally:
            await kept.end()

    def stream(self) -> CallStream | None:
        """Return the stream that calls share; None where they go one by one."""
        return self._kept.stream()

    async def answer(self, name: str, message: bytes, time_s: float) -> bytes:
        """Ask by a method that has one answer, on the stream of calls where there is one.

        What is large goes by itself, so that it holds up nobody. Raises AioRpcError.
        """
        self._renew()
        stream = self.stream()
        if stream is None or len(message) > CALL_BYTES_MAX:
            answer: bytes = await self._methods[name](message, timeout=time_s)
            return answer
        return await stream.ask(_KINDS[name], message, time_s)

    async def close(self) -> None:
        """End every call and connection."""
        for retiring in self._retiring:
            retiring.cancel()
        if self._retiring:
            await asyncio.wait(self._retiring)
        await self._kept.end()
        if self._channel is not None:
            await self._channel.close()

    def _state(self) -> grpc.ChannelConnectivity:
        if self._channel is None:
            return grpc.ChannelConnectivity.SHUTDOWN
        return self._channel.get_state(try_to_connect=True)

    def connected(self) -> bool:
        """Whether it has answered a handshake, and the connection stands."""
        return self._state() is grpc.ChannelConnectivity.READY

    def broken(self) -> bool:
        """Whether nothing answers there, as far as is known."""
        return self._state() in _BROKEN

    def away(self) -> str | None:
        """Say why it is not called; None where it is."""
        if self._channel is None:
            return "it was not opened yet"
        if self.broken():
            return f"nothing answers at {self.address}"
        if self.breaker.open:
            return f"{self.address} left {self.breaker.failures} calls in a row without an answer"
        return None

    def takes_calls(self, now_s: float) -> bool:
        """Tell whether one more call may be made of it."""
        if self._left_until_s is not None:
            if now_s < self._left_until_s and self.connected():
                return False
            self._left_until_s = None
        return self.pending < PENDING_MAX and self.breaker.lets(now_s, self.connected)

    async def ask(self, attempt: Callable[["GrpcOwner"], Awaitable[T]]) -> T:
        """Make one call up to its first answer, and remember whether there was one.

        Raises AioRpcError where there was none, and NotBegun where it leaves.
        """
        tried = self.breaker.begin()
        self.pending += 1
        try:
            answer = await attempt(self)
        except grpc.aio.AioRpcError as error:
            if error.code() in _SILENT:
                self.breaker.failed(self._clock.monotonic_s(), tried=tried)
                self._outage.failed(f"{error.code().name} {error.details()}")
            else:
                self._worked()
            raise
        except NotBegun:
            self._worked()
            self._hear_that_it_leaves()
            raise
        except BaseException:
            self.breaker.gave_up(tried=tried)
            raise
        finally:
            self.pending -= 1
        self._worked()
        return answer

    def _hear_that_it_leaves(self) -> None:
        if self.stream() is None:  # else another behind the same name takes calls
            self._left_until_s = self._clock.monotonic_s() + LEFT_S

    def _worked(self) -> None:
        self.breaker.answered()
        self._outage.worked()
