"""Calls that share one stream: what ends with it, what does not, and who knows none."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import grpc as driver
import pytest
from grpc import aio
from structlog.testing import capture_logs

from mainspring.adapters.peers import (
    frames,
    grpc,
    grpc_listener,
    grpc_stream_listener,
    grpc_streams,
)
from mainspring.adapters.peers.authority import DevelopmentAuthority
from mainspring.adapters.peers.frames import Frame
from mainspring.adapters.peers.grpc_wire import CALLS, INVOKE, SERVICE, path
from mainspring.adapters.peers.tls import VERIFIED_S, OwnCertificate
from mainspring.kernel import sent
from mainspring.kernel.caller import ANONYMOUS
from mainspring.kernel.clock import SystemClock, SystemEntropy
from mainspring.kernel.errors import NotFound, OutcomeUnknown, PeerRefused, Unavailable
from mainspring.kernel.invocation import Invocation, Outcome
from mainspring.ports.certificates import RootStep
from mainspring.ports.opening import Sources
from mainspring.ports.peers import Owned
from mainspring.testing.clock import FakeClock
from tests.adapters.peers.owner import OPERATIONS, Notes
from tests.deadline import DEADLINE_S
from tests.relay import Relay
from tests.until import until

SOURCES = Sources(SystemClock(), SystemEntropy())
READ = Invocation("notes.wait", {}, ANONYMOUS, "req_1")
WRITE = Invocation("notes.create", {}, ANONYMOUS, "req_2")
LARGE = Invocation("notes.wait", {"of": "x" * frames.CALL_BYTES_MAX}, ANONYMOUS, "req_3")
ONE_MORE = 2 << 20


class Answering(Notes):
    """Answers each call by what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.cancelled = 0

    async def invoke(self, invocation: Invocation) -> Outcome:
        try:
            await super().invoke(invocation)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        match invocation.arguments.get("do"):
            case "fail":
                raise NotFound("there is none")
            case "break":
                raise ValueError("a defect")
            case "long":
                return Outcome(200, b"y" * ONE_MORE)
        return Outcome(200, str(invocation.request_id).encode())


@asynccontextmanager
async def asked(notes: Notes, relay: Relay | None = None) -> AsyncIterator[Any]:
    listener = grpc_listener.open("grpc://127.0.0.1:0", SOURCES)
    await listener.start(Owned(OPERATIONS, notes))
    url = listener.url
    if relay is not None:
        relay.leads_to(int(url.rpartition(":")[2]))
        url = f"grpc://127.0.0.1:{relay.port}"
    peer = grpc.open(url, SOURCES)
    await peer.open_peer(OPERATIONS)
    await until(lambda: peer.owners[0].stream() is not None)
    try:
        yield peer, listener
    finally:
        await peer.close()
        await listener.drain(0)


async def test_calls_have_their_own_answers_and_failures() -> None:
    notes = Answering()
    async with asked(notes) as (peer, _), asyncio.timeout(DEADLINE_S):

        def call(number: int, do: str = "") -> Invocation:
            return Invocation("notes.wait", {"do": do}, ANONYMOUS, f"req_{number}")

        calls = [call(1, "fail"), call(2, "break"), call(3, "long"), *map(call, range(4, 300))]
        answers = await asyncio.gather(*map(peer.invoke, calls), return_exceptions=True)
        assert isinstance(answers[0], NotFound)
        assert isinstance(answers[1], RuntimeError)
        assert "INTERNAL" in str(answers[1])
        assert "a defect, which its log tells of" in str(answers[1])
        assert answers[2].body == b"y" * ONE_MORE
        assert [one.body for one in answers[3:]] == [f"req_{n}".encode() for n in range(4, 300)]
        assert peer.owners[0].pending == 0
        notes.answers.clear()
        large = asyncio.create_task(peer.invoke(LARGE))
        await notes.called(len(calls) + 1)
        assert peer.owners[0].stream().pending == 0  # it goes by itself
        notes.answers.set()
        assert (await large).body == b"req_3"


async def test_who_gives_up_ends_its_call_and_no_other() -> None:
    notes = Answering()
    notes.answers.clear()
    async with asked(notes) as (peer, _), asyncio.timeout(DEADLINE_S):
        gone, stays = (asyncio.create_task(peer.invoke(READ)) for _ in range(2))
        await notes.called(2)
        gone.cancel()
        await until(lambda: notes.cancelled == 1)
        notes.answers.set()
        assert (await stays).body == b"req_1"
        assert notes.cancelled == 1


async def test_an_owner_runs_no_more_of_a_stream_than_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grpc_stream_listener, "RUNNING_MAX", 3)
    notes = Answering()
    notes.answers.clear()
    async with asked(notes) as (peer, _), asyncio.timeout(DEADLINE_S):
        calls = [asyncio.create_task(peer.invoke(READ)) for _ in range(10)]
        await notes.called(3)
        own_way = asyncio.create_task(peer.open(READ))  # and after them
        await notes.called(4)
        assert notes.calls == 4
        notes.answers.set()
        await asyncio.gather(own_way, *calls)
        assert notes.calls == 11


async def test_an_owner_reads_no_more_of_a_stream_while_answers_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grpc_stream_listener, "WAITING_BYTES_MAX", 1)
    notes = Answering()
    long = Invocation("notes.wait", {"do": "long"}, ANONYMOUS, "req_5")
    async with Relay(0) as relay, asked(notes, relay) as (peer, _), asyncio.timeout(DEADLINE_S):
        relay.replies.clear()
        calls = [asyncio.create_task(peer.invoke(long)) for _ in range(10)]
        await notes.called(10)
        more = [asyncio.create_task(peer.invoke(READ)) for _ in range(10)]
        await asyncio.wait(more, timeout=0.2)
        assert notes.calls == 10
        relay.replies.set()
        await asyncio.gather(*calls, *more)
        assert notes.calls == 20


async def test_a_stream_that_breaks_ends_its_calls_as_a_connection_does() -> None:
    notes = Answering()
    notes.answers.clear()
    async with Relay(0) as relay, asked(notes, relay) as (peer, _), asyncio.timeout(DEADLINE_S):
        write, read = (asyncio.create_task(peer.invoke(call)) for call in (WRITE, READ))
        await notes.called(2)
        relay.cut()
        with pytest.raises(OutcomeUnknown):
            await write
        await until(lambda: notes.cancelled == 2)
        notes.answers.set()
        assert (await read).body == b"req_1"  # asked once more
        await until(lambda: peer.owners[0].stream() is not None)
        assert (await peer.invoke(WRITE)).body == b"req_2"


async def test_a_call_that_was_not_sent_is_known_not_to_be_done() -> None:
    notes = Answering()
    async with Relay(0) as relay, asked(notes, relay) as (peer, _), asyncio.timeout(DEADLINE_S):
        relay.stall()
        body = {"body": "x" * (frames.CALL_BYTES_MAX - 1_000)}
        large = Invocation("notes.create", body, ANONYMOUS, "req_4")
        writes = [asyncio.create_task(peer.invoke(large)) for _ in range(200)]
        await until(lambda: relay.held > 0)
        relay.hang_up()
        done = await asyncio.gather(*writes, return_exceptions=True)
        # What was handed to gRPC may have arrived; the others waited here for their turn.
        assert {type(one) for one in done} == {OutcomeUnknown, Unavailable}
        assert notes.calls == 0


async def test_an_owner_that_leaves_finishes_what_it_has() -> None:
    notes = Answering()
    notes.answers.clear()
    async with asked(notes) as (peer, listener), asyncio.timeout(DEADLINE_S):
        has = asyncio.create_task(peer.invoke(WRITE))
        await notes.called(1)
        draining = asyncio.create_task(listener.drain(DEADLINE_S))
        await until(lambda: peer.owners[0].stream() is None)
        with pytest.raises(Unavailable):
            await peer.invoke(WRITE)  # there is no other
        assert notes.calls == 1
        notes.answers.set()
        assert (await has).body == b"req_2"
        await draining


@pytest.mark.parametrize(
    "wild",
    [
        b"wild",
        frames.written([Frame(1, 99, b"")]),
        frames.written([Frame(1, frames.CALL, b"no call")]),
        frames.written([Frame(0, frames.CALL, sent.written(sent.sent_call(READ, 0.0)))]),
    ],
)
async def test_wild_bytes_end_their_stream_and_nothing_else(wild: bytes) -> None:
    notes = Answering()
    async with asked(notes) as (peer, listener), asyncio.timeout(DEADLINE_S):
        other = peer.owners[0].stream()
        async with aio.insecure_channel(listener.url.removeprefix("grpc://")) as channel:
            call = channel.stream_stream(path(CALLS))()
            await call.read()
            with capture_logs() as logs:
                await call.write(wild)
                assert await call.code() is driver.StatusCode.INVALID_ARGUMENT
        assert [one["event"] for one in logs] == ["stream_not_understood"]
        assert peer.owners[0].stream() is other
        await peer.invoke(READ)


@asynccontextmanager
async def bare(**methods: Any) -> AsyncIterator[str]:
    """An owner that has these methods only."""
    server = aio.server()
    server.add_generic_rpc_handlers([driver.method_handlers_generic_handler(SERVICE, methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"grpc://127.0.0.1:{port}"
    await server.stop(None)


async def _answers(request: bytes, context: Any) -> bytes:
    return sent.written(sent.sent_outcome(Outcome(200, b"alone")))


async def _wild(_: Any, context: Any) -> None:
    await context.write(b"\x90")
    await context.read()
    await context.write(b"wild")
    await context.read()


async def test_an_owner_of_an_earlier_version_is_asked_call_by_call() -> None:
    alone = driver.unary_unary_rpc_method_handler(_answers)
    async with bare(**{INVOKE: alone}) as url:
        peer = grpc.open(url, SOURCES)
        await peer.open_peer(OPERATIONS)
        for _ in range(3):
            assert (await peer.invoke(WRITE)).body == b"alone"
        assert peer.owners[0].stream() is None
        assert peer.away() is None
        await peer.close()


async def test_wild_answers_end_the_stream_and_leave_its_calls_unknown() -> None:
    wild = driver.stream_stream_rpc_method_handler(_wild)
    async with bare(**{CALLS: wild}) as url, asyncio.timeout(DEADLINE_S):
        peer = grpc.open(url, SOURCES)
        await peer.open_peer(OPERATIONS)
        await until(lambda: peer.owners[0].stream() is not None)
        with capture_logs() as logs, pytest.raises(OutcomeUnknown):
            await peer.invoke(WRITE)
        assert "owner_not_understood" in [one["event"] for one in logs]
        await peer.close()


async def test_who_called_once_is_not_taken_for_ever(tmp_path: Path) -> None:
    clock = FakeClock(SystemClock().now_ms())
    authority = DevelopmentAuthority(tmp_path / "of", clock)
    authority.init("shop.internal")
    authority.issue(["gateway", "notes"], 24)
    shutil.copytree(tmp_path / "of/gateway", tmp_path / "gateway", symlinks=True)  # never renewed
    owner, gateway = (OwnCertificate(tmp_path / f, clock) for f in ("of/notes", "gateway"))
    listener = grpc_listener.open("grpc://127.0.0.1:0", SOURCES)
    await listener.start(Owned(OPERATIONS, Answering()), owner)
    peer = grpc.open(listener.url, SOURCES)
    await peer.open_peer(OPERATIONS, gateway, "notes")
    try:
        await until(lambda: peer.owners[0].stream() is not None)
        stream = peer.owners[0].stream()
        assert (await peer.invoke(WRITE)).body == b"req_2"
        for step in get_args(RootStep):
            authority.change_root(step)
            clock.move(2 * VERIFIED_S)
            if step != "drop":
                assert (await peer.invoke(WRITE)).body == b"req_2"
        for call in (READ, WRITE, LARGE):
            with pytest.raises(PeerRefused):
                await peer.invoke(call)
        assert peer.owners[0].stream() is stream
    finally:
        await peer.close()
        await listener.drain(0)


def test_a_certificate_that_ended_is_nobodys(tmp_path: Path) -> None:
    clock = FakeClock(SystemClock().now_ms())
    authority = DevelopmentAuthority(tmp_path, clock)
    authority.init("shop.internal")
    authority.issue(["gateway", "notes"], 24)
    shown = (tmp_path / "gateway/tls.crt").read_bytes()
    authority.issue(["notes"], 48)
    owner = OwnCertificate(tmp_path / "notes", clock)
    clock.move(24 * 3_600 - VERIFIED_S)
    assert owner.caller(shown) == "gateway"
    clock.move(2 * VERIFIED_S)
    assert owner.caller(shown) is None
    assert owner.caller(b"wild") is None


async def test_another_stream_takes_the_place_of_one_that_is_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grpc_streams, "AGE_S_MAX", 0.05)
    notes = Answering()
    notes.answers.clear()
    async with asked(notes) as (peer, _), asyncio.timeout(DEADLINE_S):
        first = peer.owners[0].stream()
        has = asyncio.create_task(peer.invoke(WRITE))
        await until(lambda: peer.owners[0].stream() not in (first, None))
        assert not first.open
        notes.answers.set()
        assert (await has).body == b"req_2"
        await until(first.ending.done)


async def test_there_is_a_stream_for_each_address_of_a_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def two(*_: Any, **__: Any) -> list[Any]:
        return [(2, 1, 6, "", (f"127.0.0.{n}", 1)) for n in (1, 2, 2)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two)
    notes = Answering()
    notes.answers.clear()
    async with asked(notes) as (peer, _), asyncio.timeout(DEADLINE_S):
        begun = peer.owners[0].stream()
        first = asyncio.create_task(peer.invoke(READ))
        await until(lambda: peer.owners[0].stream() not in (begun, None))
        second = asyncio.create_task(peer.invoke(READ))
        await notes.called(2)
        notes.answers.set()
        assert (await first).body == (await second).body == b"req_1"
