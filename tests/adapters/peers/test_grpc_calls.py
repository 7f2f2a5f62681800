"""What an owner over gRPC is asked, while the way to it is slow, or it is not there."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mainspring.adapters.peers import grpc, grpc_listener
from mainspring.adapters.peers.authority import DevelopmentAuthority
from mainspring.adapters.peers.tls import LOOK_EVERY_S, OwnCertificate
from mainspring.gateway.identify import Identities
from mainspring.gateway.revocations import RevocationFeed
from mainspring.kernel.authority import Identity
from mainspring.kernel.caller import ANONYMOUS, Caller
from mainspring.kernel.clock import SystemClock, SystemEntropy
from mainspring.kernel.errors import OutcomeUnknown, Unavailable
from mainspring.kernel.invocation import Invocation, Outcome
from mainspring.kernel.operation import Kind
from mainspring.ports.opening import Sources
from mainspring.ports.peers import Owned
from mainspring.testing.clock import FakeClock
from mainspring.testing.servers import free_ports
from tests.deadline import DEADLINE_S
from tests.relay import Relay

CLOCK = SystemClock()
SOURCES = Sources(CLOCK, SystemEntropy())
HEADER = b"Bearer msk_x"
WRITES: Any = SimpleNamespace(writes=True, timeout_s=5.0, kind=Kind.UNARY, name="notes.create")
CALL = Invocation("notes.create", {}, ANONYMOUS, "req_1")


class Keys:
    """An owner of users that knows one key."""

    revoking: frozenset[str] = frozenset()

    async def authenticate(self, credential: str, now_ms: int) -> Identity:
        return Identity(Caller("key", "key_1"), tags=("key_1",))


class Hangs:
    """An owner that gets a call and never answers."""

    def __init__(self) -> None:
        self.called = asyncio.Event()

    async def invoke(self, invocation: Invocation) -> Outcome:
        self.called.set()
        return await asyncio.get_running_loop().create_future()


async def listening(owned: Owned) -> grpc_listener.GrpcListener:
    listener = grpc_listener.open("grpc://127.0.0.1:0", SOURCES)
    await listener.start(owned)
    return listener


async def test_what_is_revoked_before_the_stream_arrived_is_not_recalled_after_it() -> None:
    feed, keys = RevocationFeed(), Keys()
    listener = await listening(Owned({}, Hangs(), keys, feed))
    async with Relay(int(listener.url.rpartition(":")[2])) as relay:
        relay.requests.clear()
        peer = grpc.open(f"grpc://127.0.0.1:{relay.port}", SOURCES)
        await peer.open_peer({})
        remembered = Identities(keys, CLOCK, silence_max_s=1.0)  # another owner knows the key
        begun, heard = asyncio.Event(), asyncio.Event()

        async def hear() -> None:
            async for told in peer.follow():
                if told.all:
                    remembered.forget_all()
                    begun.set()
                for tag in told.tags:
                    remembered.forget(tag)
                if told.heard_s is not None:
                    remembered.heard(told.heard_s)
                    heard.set()

        hearing = asyncio.create_task(hear())
        async with asyncio.timeout(DEADLINE_S):
            await begun.wait()
            await remembered.look_up(HEADER, "192.0.2.1")
            feed.forget("key_1")
            relay.requests.set()
            hears = asyncio.create_task(heard.wait())
            while not hears.done():
                feed.heard(CLOCK.monotonic_s())
                await asyncio.wait([hears], timeout=0.05)
        assert remembered.recall(HEADER, CLOCK.now_ms()) is None
        hearing.cancel()
        await peer.close()
    await listener.drain(0)


@pytest.mark.parametrize("addresses", [1, 2])
async def test_a_write_that_was_not_sent_is_not_said_to_be_unknown(addresses: int) -> None:
    places = ",".join(f"127.0.0.1:{port}" for port in free_ports(addresses))
    peer = grpc.open(f"grpc://{places}", SOURCES)
    await peer.open_peer({"notes.create": WRITES})
    with pytest.raises(Unavailable, match="notes cannot be reached") as raised:
        await peer.invoke(CALL)
    assert type(raised.value) is Unavailable
    for calling in (peer.open(CALL), peer.upload(CALL, _nothing())):
        with pytest.raises(Unavailable, match="notes cannot be reached"):
            await calling
    await peer.close()


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield


async def test_a_certificate_that_stays_the_same_is_not_taken_for_another(tmp_path: Path) -> None:
    clock = FakeClock(CLOCK.now_ms())
    authority = DevelopmentAuthority(tmp_path, clock)
    authority.init("shop.internal")
    authority.issue(["users"], 24)
    own = OwnCertificate(tmp_path / "users", clock)
    files = own.files
    clock.move(2 * LOOK_EVERY_S)
    assert own.files is files  # else each look would be a new channel
    authority.renew((), None)
    assert own.files is files  # not looked at again yet
    clock.move(2 * LOOK_EVERY_S)
    assert own.files != files
    (tmp_path / "users" / "tls.crt").resolve().write_bytes(b"broken")
    good = own.files
    clock.move(2 * LOOK_EVERY_S)
    assert own.files is good
    assert "not PEM" in (own.failing() or "")


async def test_a_write_whose_owner_ended_is_unknown() -> None:
    owner = Hangs()
    listener = await listening(Owned({"notes.create": WRITES}, owner))
    peer = grpc.open(listener.url, SOURCES)
    await peer.open_peer({"notes.create": WRITES})
    calling = asyncio.create_task(peer.invoke(CALL))
    async with asyncio.timeout(DEADLINE_S):
        await owner.called.wait()
        await listener.drain(0)
        with pytest.raises(OutcomeUnknown):
            await calling
    await peer.close()
