"""Owners that are slow, gone, frozen or fail now and then, and what becomes of calls to them."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc as driver
import pytest
from grpc import aio

from mainspring.adapters.peers import grpc, grpc_listener, grpc_owner
from mainspring.adapters.peers.breaker import BURST, FAILURES_MAX, SHARE
from mainspring.adapters.peers.grpc_wire import INVOKE, SERVICE
from mainspring.kernel import sent
from mainspring.kernel.caller import ANONYMOUS
from mainspring.kernel.clock import SystemClock, SystemEntropy
from mainspring.kernel.errors import DeadlineExceeded, OutcomeUnknown, Unavailable
from mainspring.kernel.invocation import Invocation, Outcome
from mainspring.ports.opening import Sources
from mainspring.ports.peers import Owned
from mainspring.testing.servers import free_ports
from tests.adapters.peers.owner import OPERATIONS, Notes
from tests.deadline import DEADLINE_S
from tests.relay import Relay
from tests.until import until

SOURCES = Sources(SystemClock(), SystemEntropy())
READ = Invocation("notes.get", {}, ANONYMOUS, "req_1")
LONG = Invocation("notes.wait", {}, ANONYMOUS, "req_5")
WRITE = Invocation("notes.create", {}, ANONYMOUS, "req_2")
KEYED = Invocation("notes.create", {}, ANONYMOUS, "req_3", idempotency_key="one")
SEND = Invocation("notes.send", {}, ANONYMOUS, "req_4")
FROZEN_BOUND_S = 12.0  # keepalive finds it out in six; the machine may be slow


@asynccontextmanager
async def owner(notes: Notes, port: int = 0) -> AsyncIterator[grpc_listener.GrpcListener]:
    listener = grpc_listener.open(f"grpc://127.0.0.1:{port}", SOURCES)
    await listener.start(Owned(OPERATIONS, notes))
    try:
        yield listener
    finally:
        await listener.drain(0)


@asynccontextmanager
async def peer(*urls: str, shared: bool = True) -> AsyncIterator[grpc.GrpcPeer]:
    """A peer, from when its calls to each owner share a stream."""
    places = ",".join(url.removeprefix(grpc.SCHEME) for url in urls)
    made = grpc.open(f"{grpc.SCHEME}{places}", SOURCES)
    await made.open_peer(OPERATIONS)
    try:
        if shared:
            await until(lambda: all(owner.stream() is not None for owner in made.owners))
        yield made
    finally:
        await made.close()


async def answers_again(asked: grpc.GrpcPeer, call: Invocation = READ) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                await asked.invoke(call)
            except Unavailable:
                await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.02)
            else:
                return


async def test_an_owner_that_is_too_slow_is_left_alone_until_it_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grpc, "ANSWER_MARGIN_S", 0.0)
    notes = Notes()
    async with owner(notes) as listener, peer(listener.url) as asked:
        await asked.invoke(READ)
        notes.answers.clear()
        for _ in range(FAILURES_MAX):
            with pytest.raises(DeadlineExceeded):
                await asked.invoke(READ)
        came = notes.calls
        for calling in (asked.invoke(READ), asked.open(READ), asked.invoke(WRITE)):
            with pytest.raises(Unavailable, match="notes cannot be reached") as raised:
                await calling
            assert type(raised.value) is Unavailable  # not sent, so nobody need wonder
        assert notes.calls == came
        assert "left 5 calls in a row without an answer" in (asked.away() or "")
        state = asked.state()
        assert (state.owners[0].away, state.refused) == (True, 3)
        notes.answers.set()
        await answers_again(asked)
        assert asked.away() is None


async def test_what_an_owner_answers_too_late_by_its_own_clock_does_not_count() -> None:
    notes = Notes(says=DeadlineExceeded("a scan"))
    async with owner(notes) as listener, peer(listener.url) as asked:
        for _ in range(2 * FAILURES_MAX):
            with pytest.raises(DeadlineExceeded, match="a scan"):
                await asked.invoke(READ)
        assert asked.away() is None


async def test_an_owner_holds_no_more_calls_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_owner, "PENDING_MAX", 3)
    notes = Notes()
    notes.answers.clear()
    async with owner(notes) as listener, peer(listener.url) as asked:
        waiting = [asyncio.create_task(asked.invoke(LONG)) for _ in range(2)]
        waiting.append(asyncio.create_task(asked.open(LONG)))
        async with asyncio.timeout(DEADLINE_S):
            await notes.called(3)
            with pytest.raises(Unavailable):
                await asked.invoke(LONG)
            assert asked.state().owners[0].pending == 3
            notes.answers.set()
            await asyncio.gather(*waiting)
            assert asked.state().owners[0].pending == 0
            await asked.invoke(LONG)


async def test_what_is_safe_goes_on_at_the_other_owner_when_one_ends() -> None:
    held, free = Notes(), Notes()
    held.answers.clear()
    async with owner(free) as other:
        async with owner(held) as first, peer(first.url, other.url) as asked:
            kinds = [
                (asked.invoke, LONG), (asked.open, LONG), (asked.invoke, KEYED),
                (asked.invoke, WRITE),
            ]  # fmt: skip
            waiting = [asyncio.create_task(ask(call)) for ask, call in kinds for _ in range(2)]
            async with asyncio.timeout(DEADLINE_S):
                await held.called(4)  # the owner with the least to do is asked
                await first.drain(0)
                done = await asyncio.gather(*waiting, return_exceptions=True)
            lost = [one for one in done if isinstance(one, BaseException)]
            assert len(lost) == 1
            assert isinstance(lost[0], OutcomeUnknown)
            assert (asked.away() or "").startswith("1 of 2: nothing answers at 127.0.0.1")
            for _ in range(10):
                await asked.invoke(WRITE)  # nobody asks who is known to be gone
        assert asked.state().retried == 3


async def test_no_call_fails_while_one_of_two_owners_drains() -> None:
    stop = asyncio.Event()
    async with owner(Notes()) as stays, owner(Notes()) as goes, peer(stays.url, goes.url) as asked:

        async def call() -> int:
            made = 0
            while not stop.is_set():
                await asked.invoke(WRITE)  # without a key: what may have been done is not repeated
                made += 1
            return made

        calls = [asyncio.create_task(call()) for _ in range(16)]
        await asyncio.wait(calls, timeout=0.2)
        await goes.drain(DEADLINE_S)
        await asyncio.wait(calls, timeout=0.2)
        stop.set()
        assert min(await asyncio.gather(*calls)) > 0


async def test_no_more_is_made_again_than_the_budget_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc, "FIRST_PAUSE_S", 0.0)
    calls, came = 300, 0

    async def every_second_fails(request: bytes, context: Any) -> bytes:
        nonlocal came
        came += 1
        if came % 2:
            await context.abort(driver.StatusCode.UNAVAILABLE, "now and then")
        return sent.written(sent.sent_outcome(Outcome(200, b"{}")))

    server = aio.server()
    handler = driver.unary_unary_rpc_method_handler(every_second_fails)
    server.add_generic_rpc_handlers(
        [driver.method_handlers_generic_handler(SERVICE, {INVOKE: handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with peer(f"127.0.0.1:{port}", shared=False) as asked:
        failed = 0
        for _ in range(calls):
            try:
                await asked.invoke(READ)
            except Unavailable:
                failed += 1
        again = asked.state().retried
        assert came == calls + again
        assert BURST <= again <= BURST + calls * SHARE
        assert failed > 0
    await server.stop(None)


async def test_an_upload_that_is_cut_off_is_not_taken_for_a_whole_one() -> None:
    notes = Notes()
    async with AsyncExitStack() as stack:
        listener = await stack.enter_async_context(owner(notes))
        relay = await stack.enter_async_context(Relay(int(listener.url.rpartition(":")[2])))
        asked = await stack.enter_async_context(peer(f"127.0.0.1:{relay.port}"))
        for end in ("cancel", "cut"):
            sending = asyncio.create_task(asked.upload(SEND, _half()))
            async with asyncio.timeout(DEADLINE_S):
                await notes.taken.wait()
                if end == "cancel":
                    sending.cancel()
                else:
                    relay.cut()
                await asyncio.wait([sending])
                await notes.ended.wait()
            notes.taken.clear()
            notes.ended.clear()
        assert notes.whole == []
        async with asyncio.timeout(DEADLINE_S):
            while notes.whole != [b"the first half, the second"]:
                try:
                    await asked.upload(SEND, _whole())
                except Unavailable:
                    notes.whole.clear()


async def _half() -> AsyncIterator[bytes]:
    yield b"the first half"
    await asyncio.get_running_loop().create_future()


async def _whole() -> AsyncIterator[bytes]:
    yield b"the first half"
    yield b", the second"


@pytest.mark.more
async def test_a_frozen_owner_is_found_out_and_what_it_had_is_read_elsewhere() -> None:
    ports = free_ports(2)
    places = [f"127.0.0.1:{port}" for port in ports]
    async with running(ports[0]) as frozen, running(ports[1]), peer(*places) as asked:
        frozen.send_signal(signal.SIGSTOP)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        answers = await asyncio.gather(*(asked.invoke(LONG) for _ in range(20)))
        took_s = loop.time() - began_s
        assert len(answers) == 20
        assert took_s < FROZEN_BOUND_S
        print(f"reads of a frozen owner were answered by the other after {took_s:.1f} s")
        began_s = loop.time()
        for _ in range(20):
            await asked.invoke(WRITE)
        assert loop.time() - began_s < 1.0
        assert (asked.away() or "").startswith("1 of 2")
        frozen.send_signal(signal.SIGCONT)
        async with asyncio.timeout(DEADLINE_S):
            while asked.away() is not None:
                await answers_again(asked)


@asynccontextmanager
async def running(port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """An owner in a process of its own, from when it listens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.adapters.peers.owner",
        str(port),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            assert await process.stdout.readline() == b"listens\n"
        yield process
    finally:
        process.kill()
        await process.wait()
